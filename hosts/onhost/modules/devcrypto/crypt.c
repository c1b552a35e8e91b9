// SPDX-License-Identifier: GPL-2.0
/* CIOCCRYPT, and its asynchronous kin: a cipher, a hash, or both. */
#include <linux/uaccess.h>
#include "internal.h"

#define DC_CRYPT_FLAGS	(COP_FLAG_UPDATE | COP_FLAG_FINAL | COP_FLAG_WRITE_IV | \
			 COP_FLAG_NO_ZC | COP_FLAG_RESET)

/* What a request without an IV begins with. */
static void dc_carry_on(struct dc_session *ses, u8 *to, const u8 *from)
{
	spin_lock(&ses->iv_lock);
	memcpy(to, from, ses->ivsize);
	spin_unlock(&ses->iv_lock);
}

/* Whether the request ends a hash. */
static bool dc_has_mac(const struct dc_request *req)
{
	return req->ses->hash.tfm &&
	       (req->op.flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL)) != COP_FLAG_UPDATE;
}

static int dc_check(const struct dc_request *req)
{
	const struct crypt_op *op = &req->op;

	if (req->ses->aead || op->op > COP_DECRYPT || (op->flags & ~DC_CRYPT_FLAGS))
		return -EINVAL;
	if (dc_has_mac(req) && !op->mac)
		return -EINVAL;
	return op->len > DEVCRYPTO_MAX_LEN ? -E2BIG : 0;
}

/* A request with its data, not yet the driver's. */
static struct dc_request *dc_prepare(struct dc_file *file, const struct crypt_op *op)
{
	struct dc_request *req = dc_request_new(file, op->ses);
	struct dc_session *ses;
	int err;

	if (IS_ERR(req))
		return req;
	ses = req->ses;
	req->op = *op;
	req->len = op->len;
	err = dc_check(req);
	if (!err && op->len)
		err = dc_request_data(req, op->src, op->len, op->dst,
				      ses->skcipher ? op->len : 0,
				      ses->mapped && !(op->flags & COP_FLAG_NO_ZC));
	if (!err && op->iv)
		err = dc_request_iv(req, op->iv);
	else if (!err)
		dc_carry_on(ses, req->iv, ses->iv);
	if (!err)
		return req;
	dc_request_put(req);
	return ERR_PTR(err);
}

/* Hash and encipher, or decipher and hash; what follows a cipher waits for it. */
static int dc_run(struct dc_request *req)
{
	struct scatterlist *src = req->in.sg ? req->in.sg + 1 : NULL;
	struct scatterlist *dst = req->out.sg ? req->out.sg + 1 : src;
	bool decrypt = req->op.op == COP_DECRYPT, first;
	struct dc_session *ses = req->ses;
	int err = 0;

	first = ses->hash.tfm && !(ses->skcipher && decrypt);
	if (first)
		err = dc_hash_data(ses, req->op.flags, src, req->len, req->mac);
	if (err)
		return err;
	if (ses->skcipher && req->len)
		dc_request_cipher(req, decrypt, src, dst);
	else
		dc_request_done(req, 0);
	if (!ses->hash.tfm || first)
		return 0;
	err = dc_request_wait(req);
	return err ?: dc_hash_data(ses, req->op.flags, dst, req->len, req->mac);
}

/* All results of a request that is done. */
static int dc_give(struct dc_request *req)
{
	const struct crypt_op *op = &req->op;
	struct dc_session *ses = req->ses;
	int err = 0;

	if (ses->skcipher)
		err = dc_request_give(req, op->dst, 0, req->len);
	if (!err && dc_has_mac(req)) {
		unsigned int len = crypto_ahash_digestsize(ses->hash.tfm);

		if (copy_to_user(op->mac, req->mac, len))
			return -EFAULT;
		atomic64_add(len, &ses->copied_out);
	}
	if (err)
		return err;
	dc_carry_on(ses, ses->iv, req->iv);
	if ((op->flags & COP_FLAG_WRITE_IV) && ses->ivsize && op->iv &&
	    copy_to_user(op->iv, req->iv, ses->ivsize))
		return -EFAULT;
	return 0;
}

int dc_crypt(struct dc_file *file, const struct crypt_op *op)
{
	struct dc_request *req = dc_prepare(file, op);
	int err;

	if (IS_ERR(req))
		return PTR_ERR(req);
	err = dc_run(req);
	if (!err)
		err = dc_request_wait(req);
	if (!err)
		err = dc_give(req);
	dc_request_put(req);
	return err;
}

static void dc_leave(struct dc_file *file)
{
	spin_lock_irq(&file->lock);
	file->depth--;
	spin_unlock_irq(&file->lock);
	wake_up_interruptible(&file->wait);
}

/*
 * A session with a hash is run to its end here: the next piece must not overtake
 * this one.  It can be fetched only then; a cipher's, as soon as the driver says.
 */
static int dc_submit_run(struct dc_request *req)
{
	struct dc_file *file = req->file;
	bool hash = req->ses->hash.tfm;
	int err = 0;

	if (hash) {
		err = dc_run(req);
		if (!err)
			err = dc_request_wait(req);
		if (err)
			return err;
	}
	spin_lock_irq(&file->lock);
	list_add_tail(&req->list, hash ? &file->answered : &file->pending);
	spin_unlock_irq(&file->lock);
	if (hash)
		wake_up_interruptible(&file->wait);
	else
		dc_run(req);	/* cannot fail without a hash; the driver's answer can */
	return 0;
}

int dc_submit(struct dc_file *file, const struct crypt_op *op)
{
	struct dc_request *req;
	bool room;
	int err;

	spin_lock_irq(&file->lock);
	room = file->depth < DEVCRYPTO_DEPTH;
	if (room)
		file->depth++;
	spin_unlock_irq(&file->lock);
	if (!room)
		return -EBUSY;
	req = dc_prepare(file, op);
	if (IS_ERR(req)) {
		dc_leave(file);
		return PTR_ERR(req);
	}
	kref_get(&req->ref);		/* fetched at once, it would be gone */
	err = dc_submit_run(req);
	if (err) {
		dc_leave(file);
		dc_request_put(req);
	}
	dc_request_put(req);
	return err;
}

int dc_fetch(struct dc_file *file, struct crypt_op *op)
{
	struct dc_request *req;
	int err;

	spin_lock_irq(&file->lock);
	req = list_first_entry_or_null(&file->answered, struct dc_request, list);
	if (req)
		list_del_init(&req->list);
	spin_unlock_irq(&file->lock);
	if (!req)
		return -EBUSY;
	dc_leave(file);
	*op = req->op;
	/* The driver's answer is under way still, but it has told the result. */
	err = req->err ?: dc_give(req);
	dc_request_put(req);
	return err;
}
