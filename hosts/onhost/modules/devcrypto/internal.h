/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of devcrypto share; see device.c for how they go together. */
#ifndef DEVCRYPTO_INTERNAL_H
#define DEVCRYPTO_INTERNAL_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <crypto/aead.h>
#include <crypto/hash.h>
#include <crypto/skcipher.h>
#include "devcrypto.h"

#define DC_MAX_IV	32
#define DC_MAX_DIGEST	HASH_MAX_LEN
#define DC_MAX_SESSIONS	4096
#define DC_GFP		(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* An open file. */
struct dc_file {
	struct kref ref;		/* the file itself, and each of its requests */
	struct xarray sessions;
	spinlock_t lock;		/* of what follows; taken by drivers' answers */
	struct list_head pending;	/* asynchronous requests under way ... */
	struct list_head answered;	/* ... and answered, the first to answer first */
	unsigned int depth;		/* in both, or about to be */
	wait_queue_head_t wait;
};

struct dc_hash {
	struct crypto_ahash *tfm;	/* NULL if the session has none */
	struct ahash_request *req;
	struct crypto_wait wait;
	struct mutex lock;		/* of all but tfm */
	bool begun;			/* req holds the state of pieces so far */
	u8 result[DC_MAX_DIGEST] CRYPTO_MINALIGN_ATTR;
};

struct dc_session {
	struct kref ref;		/* its file, and each of its requests */
	struct crypto_skcipher *skcipher;	/* one of these, or none */
	struct crypto_aead *aead;
	unsigned int ivsize;
	spinlock_t iv_lock;
	u8 iv[DC_MAX_IV];		/* to carry on with */
	bool mapped;
	bool async;			/* the cipher's driver is an asynchronous one */
	atomic64_t requests, later, failed, bytes, copied_in, copied_out, pinned;
	atomic_t waiting, most;		/* for answers after their calls; at once, so far */
	struct dc_hash hash;
};

/* Memory of a request, as a scatter list. */
struct dc_memory {
	struct scatterlist *sg;		/* NULL: none; sg[0] is left for authenticated data */
	unsigned int n;			/* pieces, from sg[1] on; sg[n + 1] is left, too */
	bool pinned;			/* pages of the user's, else of ours */
	bool written;			/* pinned to be written */
};

struct dc_request {
	struct kref ref;		/* who waits for it or fetches it, and the driver */
	struct list_head list;		/* of dc_file; empty if nobody will fetch it */
	struct work_struct work;
	struct completion done;
	struct dc_file *file;
	struct dc_session *ses;
	struct dc_memory in;		/* the source; in place, the destination too */
	struct dc_memory out;		/* the destination, if it is another */
	u8 *auth;			/* authenticated data, and more that a driver may want */
	unsigned int len;		/* bytes to encipher or decipher */
	int err;
	struct crypt_op op;
	u8 mac[DC_MAX_DIGEST];
	struct scatterlist part[2];	/* of memory, see auth.c */
	u8 iv[DC_MAX_IV] CRYPTO_MINALIGN_ATTR;
	union {				/* and the driver's context; last */
		struct skcipher_request skcipher;
		struct aead_request aead;
	} u;
};

/* memory.c */
int dc_memory_take(struct dc_memory *m, unsigned int len);
int dc_memory_pin(struct dc_memory *m, void __user *addr, unsigned int len, bool write);
int dc_memory_read(struct dc_memory *m, const void __user *from, unsigned int len);
int dc_memory_write(struct dc_memory *m, void __user *to, unsigned int skip, unsigned int len);
void dc_memory_free(struct dc_memory *m);

/* session.c */
int dc_session_by_number(struct dc_file *file, struct session_op *op);
int dc_session_by_name(struct dc_file *file, struct devcrypto_session *op);
int dc_session_names(struct dc_file *file, struct session_info_op *op);
int dc_session_info(struct dc_file *file, struct devcrypto_info *info);
int dc_session_end(struct dc_file *file, u32 id);
void dc_session_end_all(struct dc_file *file);
struct dc_session *dc_session_get(struct dc_file *file, u32 id);
void dc_session_put(struct dc_session *ses);

/* hash.c */
int dc_hash_init(struct dc_hash *hash, const char *name, const u8 *key, unsigned int keylen);
void dc_hash_free(struct dc_hash *hash);
int dc_hash_data(struct dc_session *ses, unsigned int flags, struct scatterlist *sg,
		 unsigned int len, u8 *result);
int dc_hash_copy(struct dc_session *to, struct dc_session *from);

/* request.c */
int dc_requests_init(void);
void dc_requests_exit(void);
struct dc_request *dc_request_new(struct dc_file *file, u32 id);
int dc_request_data(struct dc_request *req, u8 __user *src, unsigned int len, u8 __user *dst,
		    unsigned int outlen, bool mapped);
int dc_request_iv(struct dc_request *req, const u8 __user *iv);
void dc_request_cipher(struct dc_request *req, bool decrypt, struct scatterlist *src,
		       struct scatterlist *dst);
void dc_request_aead(struct dc_request *req, bool decrypt, struct scatterlist *src,
		     struct scatterlist *dst, unsigned int authlen);
void dc_request_done(struct dc_request *req, int err);
int dc_request_wait(struct dc_request *req);
int dc_request_give(struct dc_request *req, u8 __user *to, unsigned int skip, unsigned int len);
void dc_request_put(struct dc_request *req);

/* crypt.c */
int dc_crypt(struct dc_file *file, const struct crypt_op *op);
int dc_submit(struct dc_file *file, const struct crypt_op *op);
int dc_fetch(struct dc_file *file, struct crypt_op *op);

/* auth.c */
int dc_auth(struct dc_file *file, struct crypt_auth_op *op);

/* device.c */
void dc_file_put(struct dc_file *file);

#endif /* DEVCRYPTO_INTERNAL_H */
