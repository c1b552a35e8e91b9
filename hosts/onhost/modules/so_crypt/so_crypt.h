/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * SO_CRYPT: a TCP socket whose bytes are encrypted by the kernel when they are sent, and
 * deciphered when they are received.
 *
 * RESEARCH USE.  No authentication, no records, no key exchange: a receiver cannot tell
 * altered data from good data, and truncated data only as said below.
 *
 *	setsockopt(fd, IPPROTO_TCP, TCP_ULP, "so_crypt", sizeof("so_crypt"));
 *	setsockopt(fd, SOL_SO_CRYPT, SO_CRYPT_SET, &set, sizeof(set));
 *	sendfile(fd, file, NULL, size);		or send(), write(), splice(), ...
 *
 *	setsockopt(fd, IPPROTO_TCP, TCP_ULP, "so_crypt", sizeof("so_crypt"));
 *	setsockopt(fd, SOL_SO_CRYPT, SO_CRYPT_SET_RX, &set, sizeof(set));
 *	splice(fd, NULL, pipe, NULL, size, 0);	or recv(), read(), ...
 *
 * The two directions have nothing to do with one another: a socket may have either or
 * both, each with a cipher, a key and an IV of its own.
 *
 * TCP_ULP fails with
 *	ENOENT		the module is not loaded (CAP_NET_ADMIN loads it on demand)
 *	ENOTCONN	the socket is not connected: listening, connecting, closed
 *	EEXIST		the socket already has an upper layer protocol
 *	EBUSY		something else (a BPF sockmap) has taken the socket over
 *
 * Until SO_CRYPT_SET the socket sends clear text as before, so a header can go
 * out first; what was sent until then stays clear even if still queued.  From
 * SO_CRYPT_SET on the bytes of all calls are one stream, encrypted as if by one
 * call of the cipher, wherever the calls begin and end.  There is no way back.
 *
 * A call's bytes go to the cipher when a request's worth (@chunk) is collected,
 * and at the end of each call without MSG_MORE.  A last partial block of a
 * block mode waits for the next call; ctr has no blocks to wait for.  An empty
 * send() without MSG_MORE sends what MSG_MORE held back, and so does the end of the
 * file in a sendfile() of more than it has.
 *
 * The module belongs to the machine, cards too: who may set the option is said at
 * struct so_crypt_set.  The module's parameter "unprivileged" lifts that.
 *
 * send() and the like fail as on any TCP socket, and with
 *	EOPNOTSUPP	MSG_OOB, MSG_ZEROCOPY, MSG_FASTOPEN, ancillary data
 *	EIO		the cipher or its device failed: the stream has a hole and
 *			nothing more is sent; close() then resets the connection
 * A call that meets another thread's call waits for it, or fails with EAGAIN if
 * it must not wait, and poll() tells when to try again; bytes of two calls are
 * never mixed.
 * disconnecting (connect() to AF_UNSPEC) fails with EOPNOTSUPP.
 * While cipher text goes to TCP, SO_SNDBUF may read, and poll() find, a send buffer
 * that is larger by twice @chunk.
 *
 * The end of the stream, shutdown(SHUT_WR) or close() (which is also what
 * happens to a killed process), encrypts what was held back, and pads.  If that
 * cannot be done (the cipher failed, a page was not to be had, TCP had no memory for
 * two seconds) the connection is reset, also under a thread that receives, and the
 * socket's error is ECONNABORTED: a stream that ends in order is whole, as far as this
 * end can tell.
 * shutdown() during another thread's send() waits until the cipher has answered: what
 * that call has taken goes out, its count is short, and the next one fails with EPIPE.
 * A process killed in that wait has not shut down: the end is left to close().
 *
 * Receiving.  Until SO_CRYPT_SET_RX the socket reads what comes as it is, so a clear
 * header can come first; from then on all bytes that no call has taken yet are one
 * stream of cipher text, also those that arrived before.  (What is to be left for it can
 * be looked at with MSG_PEEK.)  There is no way back.
 *
 * A call takes a request's worth of what has arrived, deciphers it, and gives as much as
 * was asked for; the rest is the next call's, and nothing more is taken from TCP before it
 * is gone.  It waits as on any TCP socket (O_NONBLOCK, MSG_DONTWAIT, MSG_WAITALL,
 * SO_RCVTIMEO for each wait, SO_RCVLOWAT, SPLICE_F_NONBLOCK) until there is a block to
 * give; poll() finds the socket readable when there is, and when it has come to its end or
 * failed.  For poll() SO_RCVLOWAT counts the cipher text that TCP has; of plain text that a
 * call has left it tells however little that is, so recv() may wait for the mark then.
 * MSG_PEEK shows what is deciphered, at most a request's worth, and never waits for all.
 * splice() gives pages by reference, and fills the pipe with what there is.  Two calls at
 * once: as for sending.
 *
 * The end, by @pad, must be as the sender's end makes it:
 *	SO_CRYPT_PAD_NONE,
 *	SO_CRYPT_PAD_ZERO	whole blocks; zeros are the stream's own
 *	SO_CRYPT_PAD_PKCS7	the padding is taken off.  What may be it, the last block, is
 *				given when more comes, or the end.
 * A stream that ends otherwise (within a block, without padding, with a padding that is
 * none: it was cut or altered, or the key is another's) gives what came before, and then
 * fails with EBADMSG instead of the end, at each call.  So does one whose connection
 * broke, with the error that TCP had, ECONNRESET if another call was told of that.
 * A wrong key is not found otherwise, nor is a cut between blocks where there is no
 * padding, or anywhere in a stream of ctr.  After a shutdown(SHUT_RD) of one's own, calls
 * give 0 when nothing is left.
 *
 * recv() and the like fail as on any TCP socket, and with
 *	EOPNOTSUPP	MSG_OOB; SO_PEEK_OFF and TCP_ZEROCOPY_RECEIVE, too
 *	EBADMSG		see above
 *	EIO		the cipher or its device failed: the stream has a hole, at each call
 *	ENOMEM		nothing is lost: call again
 * Urgent data are part of the stream: SO_CRYPT_SET_RX sets SO_OOBINLINE.  A caller that
 * clears it afterwards has TCP take an urgent byte out of the cipher text.  There is no
 * ancillary data.  SIOCINQ (FIONREAD) tells how much plain text a call would give now; what
 * waits for the rest of its block, or may be the padding, is not in it.
 */
#ifndef _UAPI_SO_CRYPT_H
#define _UAPI_SO_CRYPT_H

#include <linux/types.h>

#define SOL_SO_CRYPT	21315	/* "SC" */

/* options of SOL_SO_CRYPT */
#define SO_CRYPT_SET	1	/* set: struct so_crypt_set, once */
#define SO_CRYPT_INFO	2	/* get: struct so_crypt_info, at any time */
#define SO_CRYPT_SET_RX	3	/* set: struct so_crypt_set, once: of what is received */
#define SO_CRYPT_INFO_RX 4	/* get: struct so_crypt_info of what is received, at any time */

/* so_crypt_set.pad: what the end of the stream does with a partial last block */
enum {
	SO_CRYPT_PAD_NONE,	/* it is dropped; so_crypt_info.pending tells its size */
	SO_CRYPT_PAD_ZERO,	/* it is filled up with zeros; nothing if there is none */
	SO_CRYPT_PAD_PKCS7,	/* always 1 to blocksize bytes, each their number */
};				/* of no effect where blocksize is 1 */

#define SO_CRYPT_CHUNK_DEFAULT	65536
#define SO_CRYPT_CHUNK_MAX	131072

/**
 * struct so_crypt_set - the cipher of one direction of a socket (160 bytes)
 * @alg:    NUL-terminated name of an skcipher as in /proc/crypto: an algorithm,
 *	    "cbc(aes)", for the driver of highest priority, or one driver,
 *	    "virtio_crypto_aes_cbc"; modes ecb, cbc and ctr
 * @key:    key
 * @iv:     initialisation vector
 * @keylen: bytes of @key that count; 0 for a cipher without a key
 * @ivlen:  bytes of @iv that count: exactly what the cipher wants
 * @chunk:  most bytes in one request to the cipher, rounded down to whole
 *	    blocks; 0 for SO_CRYPT_CHUNK_DEFAULT.  A request also ends after 30
 *	    pieces of memory (at most 30 pages), so that its scatter list is
 *	    short enough for every card.
 * @pad:    SO_CRYPT_PAD_*
 *
 * It wants CAP_NET_ADMIN in the user namespace of the socket's network.  Without it
 * in the first user namespace besides, @alg is one of cbc(aes), cbc(des3_ede),
 * cbc(des), ctr(aes), ecb(aes) and ecb(cipher_null): no driver by name, and no other
 * module is loaded.
 *
 * SO_CRYPT_SET and SO_CRYPT_SET_RX fail with
 *	EPERM		without these
 *	EINVAL		a wrong size of the structure or of key or IV, @alg empty or
 *			not terminated, @chunk or @pad out of range
 *	EFAULT		the structure cannot be read
 *	ENOENT		no such algorithm or driver
 *	EOPNOTSUPP	a mode that cannot be carried on from request to request
 *	ENOKEY		@keylen is 0 and the cipher needs a key
 *	EBUSY		set before, or another thread is sending (SO_CRYPT_SET) or receiving
 *			(SO_CRYPT_SET_RX) clear text.  Of the latter, a splice() and what began
 *			before TCP_ULP are not seen, and would take cipher text.
 *	ENOTCONN	SO_CRYPT_SET: the sending side is closed
 *	ENOMEM, EINTR, and what the cipher's driver returns
 * ENOPROTOOPT: an option that does not exist.
 */
struct so_crypt_set {
	char  alg[64];
	__u8  key[64];
	__u8  iv[16];
	__u32 keylen;
	__u32 ivlen;
	__u32 chunk;
	__u32 pad;
};

/**
 * struct so_crypt_info - what the socket has done (168 bytes)
 * @driver:    the driver at work, as in /proc/crypto; empty before SO_CRYPT_SET
 * @async:     1 if it is an asynchronous one (cards are)
 * @blocksize: bytes of a block; 1 for ctr and for the null cipher
 * @bytes_in:  plain bytes taken from callers, without padding; of what is received,
 *	       cipher bytes taken from TCP, with padding
 * @bytes_out: cipher bytes handed to TCP, with padding; of what is received, plain bytes
 *	       given to callers, without it
 * @requests:  requests to the driver
 * @pending:   plain bytes held back: a partial block, or data sent with MSG_MORE; of what is
 *	       received, bytes taken from TCP and not given to a caller
 *
 * The numbers are a snapshot without a lock: exact while no call is under way.
 * A later version may add members at the end; callers get what fits in their
 * buffer and getsockopt() returns how much that was.
 * SO_CRYPT_INFO and SO_CRYPT_INFO_RX fail with EINVAL (buffer below 168 bytes) or EFAULT.
 */
struct so_crypt_info {
	char  driver[128];
	__u32 async;
	__u32 blocksize;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 requests;
	__u64 pending;
};

#endif /* _UAPI_SO_CRYPT_H */
