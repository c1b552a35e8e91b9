// SPDX-License-Identifier: GPL-2.0
/*
 * Hashes and HMACs of sessions.  The state of a hash that comes in pieces is the
 * session's, so requests take turns, and each waits for its driver's answer, also
 * when its process is killed.
 */
#include <linux/slab.h>
#include "internal.h"

int dc_hash_init(struct dc_hash *hash, const char *name, const u8 *key, unsigned int keylen)
{
	struct crypto_ahash *tfm = crypto_alloc_ahash(name, 0, 0);
	int err;

	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	hash->tfm = tfm;		/* dc_hash_free() is for it from here on */
	if (crypto_ahash_digestsize(tfm) > DC_MAX_DIGEST)
		return -EINVAL;
	if (keylen) {
		err = crypto_ahash_setkey(tfm, key, keylen);
		if (err)
			return err == -ENOSYS ? -EINVAL : err;	/* a hash has no key */
	} else if (crypto_ahash_get_flags(tfm) & CRYPTO_TFM_NEED_KEY) {
		return -ENOKEY;
	}
	hash->req = ahash_request_alloc(tfm, GFP_KERNEL_ACCOUNT);
	if (!hash->req)
		return -ENOMEM;
	crypto_init_wait(&hash->wait);
	ahash_request_set_callback(hash->req,
				   CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				   crypto_req_done, &hash->wait);
	return 0;
}

void dc_hash_free(struct dc_hash *hash)
{
	if (!hash->tfm)
		return;
	ahash_request_free(hash->req);
	crypto_free_ahash(hash->tfm);
}

/* Await and count a request of @len bytes that was answered with @err at once. */
static int dc_hash_wait(struct dc_session *ses, unsigned int len, int err)
{
	if (err == -EINPROGRESS || err == -EBUSY)
		atomic64_inc(&ses->later);
	err = crypto_wait_req(err, &ses->hash.wait);
	atomic64_inc(&ses->requests);
	if (err)
		atomic64_inc(&ses->failed);
	else
		atomic64_add(len, &ses->bytes);
	return err;
}

static int dc_hash_piece(struct dc_session *ses, unsigned int flags, struct scatterlist *sg,
			 unsigned int len, u8 *result)
{
	struct dc_hash *hash = &ses->hash;
	struct ahash_request *req = hash->req;
	int err = 0;

	if (!(flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL))) {
		hash->begun = false;
		ahash_request_set_crypt(req, sg, hash->result, len);
		err = dc_hash_wait(ses, len, crypto_ahash_digest(req));
		goto out;
	}
	if (!hash->begun || (flags & COP_FLAG_RESET)) {
		err = crypto_wait_req(crypto_ahash_init(req), &hash->wait);
		hash->begun = !err;
	}
	if (!err && len) {
		ahash_request_set_crypt(req, sg, NULL, len);
		err = dc_hash_wait(ses, len, crypto_ahash_update(req));
	}
	if (!err && (flags & COP_FLAG_FINAL)) {
		ahash_request_set_crypt(req, NULL, hash->result, 0);
		err = dc_hash_wait(ses, 0, crypto_ahash_final(req));
		hash->begun = false;
	}
	if (err)
		hash->begun = false;
out:
	if (!err)
		memcpy(result, hash->result, crypto_ahash_digestsize(hash->tfm));
	return err;
}

/* @len bytes of @sg; a @result that more is to follow for is not to be used. */
int dc_hash_data(struct dc_session *ses, unsigned int flags, struct scatterlist *sg,
		 unsigned int len, u8 *result)
{
	int err;

	if (mutex_lock_killable(&ses->hash.lock))
		return -EINTR;
	err = dc_hash_piece(ses, flags, sg, len, result);
	mutex_unlock(&ses->hash.lock);
	return err;
}

static int dc_hash_export(struct dc_hash *hash, void *state, bool *begun)
{
	int err;

	if (mutex_lock_killable(&hash->lock))
		return -EINTR;
	*begun = hash->begun;
	err = *begun ? crypto_ahash_export(hash->req, state) : 0;
	mutex_unlock(&hash->lock);
	return err;
}

static int dc_hash_import(struct dc_hash *hash, const void *state, bool begun)
{
	int err;

	if (mutex_lock_killable(&hash->lock))
		return -EINTR;
	err = begun ? crypto_ahash_import(hash->req, state) : 0;
	hash->begun = begun && !err;
	mutex_unlock(&hash->lock);
	return err;
}

int dc_hash_copy(struct dc_session *to, struct dc_session *from)
{
	struct crypto_ahash *t = to->hash.tfm, *f = from->hash.tfm;
	unsigned int size;
	void *state;
	bool begun;
	int err;

	/* A driver's state means something to that driver only. */
	if (!t || !f || strcmp(crypto_tfm_alg_driver_name(crypto_ahash_tfm(t)),
			       crypto_tfm_alg_driver_name(crypto_ahash_tfm(f))))
		return -EINVAL;
	size = crypto_ahash_statesize(f);
	state = kmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!state)
		return -ENOMEM;
	err = dc_hash_export(&from->hash, state, &begun);
	if (!err)
		err = dc_hash_import(&to->hash, state, begun);
	kfree_sensitive(state);
	return err;
}
