/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/crypto: the kernel's ciphers, AEADs, hashes and HMACs, and the cards that
 * do them, by ioctl: a session has a key, a request enciphers a buffer.
 *
 * RESEARCH USE.
 *
 *	fd = open("/dev/crypto", O_RDWR);
 *	ioctl(fd, CIOCGSESSION, &session);	session.ses names it from now on
 *	ioctl(fd, CIOCCRYPT, &op);		as often as needed
 *	ioctl(fd, CIOCFSESSION, &session.ses);
 *
 * The first part is the interface that OpenBSD began and that Linux programs
 * know as cryptodev: numbers, structures and meanings are those, so that such
 * programs run unchanged.  The second part is our own: sessions by the name of
 * a driver, user memory mapped instead of copied, and what a session has done.
 *
 * Of the interface, this is not there, and is EINVAL:
 *	CIOCKEY; CIOCASYMFEAT says 0: no public keys
 *	ciphers: Skipjack, ARC4; hashes with KPDK; compression
 *	an AEAD's request or a record without an IV
 *	a tag_len in CIOCAUTHCRYPT without a record type that is neither 0 nor the
 *	session's
 *	ioctls that are named nowhere here
 * 32-bit programs on a 64-bit kernel get ENOTTY from all of it.
 *
 * The device belongs to root (mode 0600).  Whom root lets in, by chmod or by an open
 * descriptor, has sessions by number: algorithms of a fixed list, by the driver that
 * the kernel prefers.  Sessions by name may load any module and reach every driver, so
 * they want CAP_NET_ADMIN of the caller besides, in the first user namespace.
 */
#ifndef _UAPI_DEVCRYPTO_H
#define _UAPI_DEVCRYPTO_H

#include <linux/ioctl.h>
#include <linux/types.h>

#ifndef L_CRYPTODEV_H		/* the usual header was here first */
#ifndef __KERNEL__
#define __user
#endif

#define CRYPTO_HMAC_MAX_KEY_LEN		512
#define CRYPTO_CIPHER_MAX_KEY_LEN	64
#define EALG_MAX_BLOCK_LEN		16
#define AALG_MAX_RESULT_LEN		64
#define HASH_MAX_LEN			64
#define CRYPTODEV_MAX_ALG_NAME		64

/* session_op.cipher, session_op.mac */
enum cryptodev_crypto_op_t {
	CRYPTO_DES_CBC = 1,
	CRYPTO_3DES_CBC = 2,
	CRYPTO_BLF_CBC = 3,
	CRYPTO_CAST_CBC = 4,
	CRYPTO_SKIPJACK_CBC = 5,	/* not there */
	CRYPTO_MD5_HMAC = 6,
	CRYPTO_SHA1_HMAC = 7,
	CRYPTO_RIPEMD160_HMAC = 8,
	CRYPTO_MD5_KPDK = 9,		/* not there */
	CRYPTO_SHA1_KPDK = 10,		/* not there */
	CRYPTO_RIJNDAEL128_CBC = 11,
	CRYPTO_AES_CBC = CRYPTO_RIJNDAEL128_CBC,
	CRYPTO_ARC4 = 12,		/* not there */
	CRYPTO_MD5 = 13,
	CRYPTO_SHA1 = 14,
	CRYPTO_DEFLATE_COMP = 15,	/* not there */
	CRYPTO_NULL = 16,
	CRYPTO_LZS_COMP = 17,		/* not there */
	CRYPTO_SHA2_256_HMAC = 18,
	CRYPTO_SHA2_384_HMAC = 19,
	CRYPTO_SHA2_512_HMAC = 20,
	CRYPTO_AES_CTR = 21,
	CRYPTO_AES_XTS = 22,
	CRYPTO_AES_ECB = 23,
	CRYPTO_AES_GCM = 50,
	CRYPTO_CAMELLIA_CBC = 101,
	CRYPTO_RIPEMD160,
	CRYPTO_SHA2_224,
	CRYPTO_SHA2_256,
	CRYPTO_SHA2_384,
	CRYPTO_SHA2_512,
	CRYPTO_SHA2_224_HMAC,
	CRYPTO_ALGORITHM_ALL,
};

#define CRYPTO_ALGORITHM_MAX	(CRYPTO_ALGORITHM_ALL - 1)

/**
 * struct session_op - a new session (48 bytes)
 * @cipher:    CRYPTO_*, or 0 for none
 * @mac:       CRYPTO_* of a hash or an HMAC, or 0 for none
 * @keylen:    bytes of @key; 0 for a cipher without a key
 * @key:       the cipher's key
 * @mackeylen: bytes of @mackey; 0 for a hash
 * @mackey:    the HMAC's key
 * @ses:       set: the session's number, never 0, of this open file and of its
 *	       copies (dup, fork, CRIOGET)
 *
 * The kernel's driver of highest priority does the work; user memory is copied.
 * A session of a cipher and a MAC does both to each request: the MAC is that of
 * the plain text.
 *
 * CIOCGSESSION fails with
 *	EINVAL	neither cipher nor MAC, one that is not there, an AEAD with a MAC,
 *		a key of a wrong size
 *	ENOENT	this kernel has no driver for it
 *	ENOKEY	it wants a key
 *	EFAULT	structure or key cannot be read
 *	EMFILE	the open file has 4,096 sessions
 *	ENOMEM, EINTR, and what the driver returns
 */
struct session_op {
	__u32	cipher;
	__u32	mac;
	__u32	keylen;
	__u8	__user *key;
	__u32	mackeylen;
	__u8	__user *mackey;
	__u32	ses;
};

/* session_info_op.flags: a driver of a card or the like, or one of them is */
#define SIOP_FLAG_KERNEL_DRIVER_ONLY	1

/**
 * struct session_info_op - a session's drivers (268 bytes)
 * @ses:         which session
 * @cipher_info: set: algorithm and driver of the cipher, empty if there is none;
 *		 names are cut to 63 characters
 * @hash_info:   set: the same of the hash or HMAC
 * @alignmask:   set: buffers at addresses with these bits clear cost least
 * @flags:       set: SIOP_FLAG_*
 *
 * CIOCGSESSINFO fails with EINVAL (no such session) or EFAULT.
 */
struct session_info_op {
	__u32 ses;
	struct alg_info {
		char cra_name[CRYPTODEV_MAX_ALG_NAME];
		char cra_driver_name[CRYPTODEV_MAX_ALG_NAME];
	} cipher_info, hash_info;
	__u16 alignmask;
	__u32 flags;
};

/* crypt_op.op, crypt_auth_op.op */
#define COP_ENCRYPT	0
#define COP_DECRYPT	1

/* crypt_op.flags, crypt_auth_op.flags */
#define COP_FLAG_NONE			(0 << 0)
#define COP_FLAG_UPDATE			(1 << 0)	/* hash: more follows, no result */
#define COP_FLAG_FINAL			(1 << 1)	/* hash: the last piece */
#define COP_FLAG_WRITE_IV		(1 << 2)	/* set *iv to what carries on from here */
#define COP_FLAG_NO_ZC			(1 << 3)	/* copy, also in a mapped session */
#define COP_FLAG_AEAD_TLS_TYPE		(1 << 4)
#define COP_FLAG_AEAD_SRTP_TYPE		(1 << 5)
#define COP_FLAG_RESET			(1 << 6)	/* hash: begin anew */

/**
 * struct crypt_op - a request (48 bytes)
 * @ses:   the session; not of an AEAD
 * @op:    COP_ENCRYPT or COP_DECRYPT
 * @flags: COP_FLAG_UPDATE, _FINAL, _WRITE_IV, _NO_ZC, _RESET
 * @len:   bytes at @src, and at @dst if there is a cipher; 0 is done at once
 * @src:   data
 * @dst:   where the cipher's result goes; may be @src
 * @mac:   where the hash's result goes, if this request has one
 * @iv:    initialisation vector, of the size that the cipher wants; NULL carries on
 *	   from the session's request that was last finished or fetched, at first
 *	   from zeros
 *
 * CIOCCRYPT returns when it is done.  CIOCASYNCCRYPT hands the request to the
 * driver and returns; data is read before it returns.  poll() then says POLLIN
 * when an answer is there and POLLOUT while there is room for a request.
 * CIOCASYNCFETCH takes the answer that came first: it sets the structure to that
 * request, writes its results to where this says (by the caller's addresses),
 * and fails with what the request failed with.  A session with a hash is done
 * within CIOCASYNCCRYPT.
 *
 * All three fail with
 *	EINVAL	no such session, an AEAD's, @op or @flags unknown, no @mac where one
 *		is wanted, a length that the cipher cannot do; mapped: @src and
 *		@dst overlap and are not the same
 *	E2BIG	@len over DEVCRYPTO_MAX_LEN; mapped, and an asynchronous driver:
 *		source or destination lie in more than 31 pieces of memory (the
 *		module's parameter pieces; a page is a piece if the next one does
 *		not follow it)
 *	EFAULT	memory that cannot be read or written
 *	EBUSY	asynchronous: DEVCRYPTO_DEPTH requests are not yet fetched;
 *		fetching: none is answered
 *	ENOMEM	memory is short, or there are small pages alone: copied, an asynchronous
 *		driver, and more pieces than those
 *	EINTR (killed meanwhile), and what the driver returns
 */
struct crypt_op {
	__u32	ses;
	__u16	op;
	__u16	flags;
	__u32	len;
	__u8	__user *src;
	__u8	__user *dst;
	__u8	__user *mac;
	__u8	__user *iv;
};

/**
 * struct crypt_auth_op - an authenticated request (72 bytes)
 * @ses:      the session
 * @op:       COP_ENCRYPT or COP_DECRYPT
 * @flags:    none, COP_FLAG_AEAD_TLS_TYPE or COP_FLAG_AEAD_SRTP_TYPE; with
 *	      COP_FLAG_NO_ZC or without
 * @len:      bytes at @src; set to the bytes at @dst
 * @auth_len: bytes at @auth_src
 * @auth_src: data that is authenticated only
 * @src:      data
 * @dst:      where the result goes; may be @src
 * @tag:      SRTP: the tag
 * @tag_len:  bytes of the tag; 0 for the session's; set to what it was
 * @iv:       initialisation vector
 * @iv_len:   bytes of @iv: 0, or what the cipher wants
 *
 * Without a type it is a session of an AEAD, and the tag follows the cipher text:
 * @dst has @len and @tag_len bytes when enciphering, @src ends with the tag when
 * deciphering.
 *
 * The types are for sessions of a cipher and a MAC, of any hash.  TLS: MAC of
 * @auth_src and @src, then MAC and the least padding are appended and all of it is
 * enciphered to @dst.  SRTP: @src, which is @dst and lies within @auth_src, is
 * enciphered, then the MAC of @auth_src goes to @tag.  Both copy user memory.
 *
 * CIOCAUTHCRYPT fails as CIOCCRYPT does, and with
 *	EBADMSG	tag or padding are wrong: nothing was written; mapped: what is at @dst
 *		is not to be used, for most drivers decipher before they compare
 *	EINVAL	a session that is not of the type, @iv_len or @tag_len wrong, less
 *		data than a tag
 *	E2BIG	@len and @auth_len together are over DEVCRYPTO_MAX_LEN
 */
struct crypt_auth_op {
	__u32	ses;
	__u16	op;
	__u16	flags;
	__u32	len;
	__u32	auth_len;
	__u8	__user *auth_src;
	__u8	__user *src;
	__u8	__user *dst;
	__u8	__user *tag;
	__u32	tag_len;
	__u8	__user *iv;
	__u32	iv_len;
};

/*
 * struct cphash_op - the state of a hash, from one session to another of the same
 * algorithm.  CIOCCPHASH fails with EINVAL (no such session, no hash, another one),
 * EFAULT, ENOMEM, EINTR, and what the driver returns.
 */
struct cphash_op {
	__u32	dst_ses;
	__u32	src_ses;
};

/* CIOCKEY, which is not there, and its CRK_MOD_EXP, ... */
struct crparam {
	__u8	__user *crp_p;
	__u32	crp_nbits;
};

#define CRK_MAXPARAM	8

struct crypt_kop {
	__u32	crk_op;
	__u32	crk_status;
	__u16	crk_iparams;
	__u16	crk_oparams;
	__u32	crk_pad1;
	struct crparam crk_param[CRK_MAXPARAM];
};

#define CRIOGET		_IOWR('c', 101, __u32)	/* a copy of the descriptor */
#define CRIOGET_NOT_NEEDED	1
#define CIOCGSESSION	_IOWR('c', 102, struct session_op)
#define CIOCFSESSION	_IOW('c', 103, __u32)	/* EINVAL, EFAULT */
#define CIOCCRYPT	_IOWR('c', 104, struct crypt_op)
#define CIOCKEY		_IOWR('c', 105, struct crypt_kop)
#define CIOCASYMFEAT	_IOR('c', 106, __u32)
#define CIOCGSESSINFO	_IOWR('c', 107, struct session_info_op)
#define CIOCAUTHCRYPT	_IOWR('c', 109, struct crypt_auth_op)
#define CIOCASYNCCRYPT	_IOW('c', 110, struct crypt_op)
#define CIOCASYNCFETCH	_IOR('c', 111, struct crypt_op)
#define CIOCCPHASH	_IOW('c', 112, struct cphash_op)

#endif /* L_CRYPTODEV_H */

/* ---- our own ---- */

#define DEVCRYPTO_MAX_LEN	262140	/* bytes of a request */
#define DEVCRYPTO_DEPTH		64	/* asynchronous requests of an open file */

/* devcrypto_session.kind */
enum {
	DEVCRYPTO_CIPHER,
	DEVCRYPTO_AEAD,
	DEVCRYPTO_HASH,		/* and HMAC */
};

/* devcrypto_session.memory */
enum {
	DEVCRYPTO_COPIED,	/* user memory is copied in and out */
	DEVCRYPTO_MAPPED,	/* user pages are pinned, and the driver works on them */
};

/**
 * struct devcrypto_session - a session of a driver by name (160 bytes)
 * @name:   NUL-terminated name as in /proc/crypto: an algorithm, "cbc(aes)", for the
 *	    driver of highest priority, or one driver, "virtio_crypto_aes_cbc"
 * @key:    address of the key
 * @keylen: bytes of the key; 0 for none
 * @kind:   DEVCRYPTO_CIPHER, ...
 * @memory: DEVCRYPTO_COPIED or DEVCRYPTO_MAPPED
 * @taglen: bytes of an AEAD's tag; 0 for the longest, and for other kinds
 * @ses:    set: the session's number
 * @pad:    0
 *
 * A mapped request without data to read or to write is copied.  Who changes mapped
 * memory during a request gets a result of neither.
 *
 * DEVCRYPTO_SESSION fails as CIOCGSESSION does, and with
 *	EPERM	without CAP_NET_ADMIN
 *	EINVAL	@name empty, not terminated or (or ENOENT) of another kind, @kind,
 *		@memory, @taglen or @pad
 */
struct devcrypto_session {
	char  name[128];
	__u64 key;
	__u32 keylen;
	__u32 kind;
	__u32 memory;
	__u32 taglen;
	__u32 ses;
	__u32 pad;
};

/**
 * struct devcrypto_info - what a session has done (216 bytes)
 * @driver:     set: the driver at work, as in /proc/crypto; the cipher's, if the
 *		session has cipher and MAC
 * @ses:        which session
 * @kind:       set: DEVCRYPTO_CIPHER, ...
 * @async:      set: 1 if it is an asynchronous driver (cards are)
 * @memory:     set: DEVCRYPTO_COPIED or DEVCRYPTO_MAPPED
 * @blocksize:  set: of the cipher or hash
 * @ivsize:     set: 0 for a hash
 * @taglen:     set: of an AEAD; of a hash, its result
 * @most:       set: most requests of ciphers and AEADs that a driver had at once after
 *		their calls returned; 0 if it never answered later
 * @requests:   set: requests to the drivers
 * @later:      set: those of them that were answered later, not within the call
 * @failed:     set: those of them that failed
 * @bytes:      set: bytes in requests that did not fail; what is hashed and
 *		enciphered counts twice
 * @copied_in:  set: bytes copied from user memory, without keys and IVs
 * @copied_out: set: bytes copied to user memory, without IVs
 * @mapped:     set: bytes of user memory that was pinned for requests; a request in
 *		place pins its bytes once
 *
 * A snapshot: exact while no request is under way.
 * DEVCRYPTO_INFO fails with EINVAL (no such session) or EFAULT.
 */
struct devcrypto_info {
	char  driver[128];
	__u32 ses;
	__u32 kind;
	__u32 async;
	__u32 memory;
	__u32 blocksize;
	__u32 ivsize;
	__u32 taglen;
	__u32 most;
	__u64 requests;
	__u64 later;
	__u64 failed;
	__u64 bytes;
	__u64 copied_in;
	__u64 copied_out;
	__u64 mapped;
};

#define DEVCRYPTO_SESSION	_IOWR('c', 192, struct devcrypto_session)
#define DEVCRYPTO_INFO		_IOWR('c', 193, struct devcrypto_info)

#endif /* _UAPI_DEVCRYPTO_H */
