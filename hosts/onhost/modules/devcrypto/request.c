// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to ciphers and AEADs.
 *
 * A request belongs to who waits for it, or to the open file where it will be
 * fetched, and to the driver from its start until its answer.  Who is killed lets
 * go, and so does a file that is closed: session, memory and the file's structure
 * stay until the driver answers.  That may be in an interrupt, where pages cannot
 * be let go of, so a last reference of the driver's is put by a worker.  The module
 * is unloaded only when no request is left.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "internal.h"

#define DC_CALL_FLAGS	(CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP)

/* virtio_crypto needs n(n + 1) + 3 places in its ring of 1,024, or never answers. */
static unsigned int pieces = 31;
module_param(pieces, uint, 0644);
MODULE_PARM_DESC(pieces, "most pieces of memory in a request to an asynchronous driver");

static struct workqueue_struct *dc_workers;
static atomic_t dc_requests;
static DECLARE_WAIT_QUEUE_HEAD(dc_idle);

static void dc_request_free(struct dc_request *req)
{
	dc_memory_free(&req->in);
	dc_memory_free(&req->out);
	kfree(req->auth);
	dc_session_put(req->ses);
	dc_file_put(req->file);
	kfree_sensitive(req);
	if (atomic_dec_and_test(&dc_requests))
		wake_up(&dc_idle);
}

static void dc_request_work(struct work_struct *work)
{
	dc_request_free(container_of(work, struct dc_request, work));
}

static void dc_request_last(struct kref *ref)
{
	dc_request_free(container_of(ref, struct dc_request, ref));
}

static void dc_request_last_of_driver(struct kref *ref)
{
	struct dc_request *req = container_of(ref, struct dc_request, ref);

	queue_work(dc_workers, &req->work);
}

/* May sleep. */
void dc_request_put(struct dc_request *req)
{
	kref_put(&req->ref, dc_request_last);
}

/* A request of session @id, without data. */
struct dc_request *dc_request_new(struct dc_file *file, u32 id)
{
	struct dc_session *ses = dc_session_get(file, id);
	struct dc_request *req;
	size_t size = sizeof(*req);

	if (!ses)
		return ERR_PTR(-EINVAL);
	if (ses->skcipher)
		size += crypto_skcipher_reqsize(ses->skcipher);
	else if (ses->aead)
		size += crypto_aead_reqsize(ses->aead);
	req = kzalloc(size, DC_GFP);
	if (!req) {
		dc_session_put(ses);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&req->ref);
	INIT_LIST_HEAD(&req->list);
	INIT_WORK(&req->work, dc_request_work);
	init_completion(&req->done);
	kref_get(&file->ref);
	req->file = file;
	req->ses = ses;
	atomic_inc(&dc_requests);
	return req;
}

/*
 * The request's memory: @len bytes of @src to read, @outlen of @dst to write, which
 * is not looked at if that is 0.
 */
int dc_request_data(struct dc_request *req, u8 __user *src, unsigned int len, u8 __user *dst,
		    unsigned int outlen, bool mapped)
{
	unsigned int both = max(len, outlen);
	int err;

	if (!mapped) {
		err = dc_memory_take(&req->in, both);
		if (!err)
			err = dc_memory_read(&req->in, src, len);
		if (!err)
			atomic64_add(len, &req->ses->copied_in);
	} else if (!outlen || src == dst) {
		err = dc_memory_pin(&req->in, src, both, outlen);
		if (!err)
			atomic64_add(both, &req->ses->pinned);
	} else if (src < dst + outlen && dst < src + len) {
		err = -EINVAL;
	} else {
		err = dc_memory_pin(&req->in, src, len, false);
		if (!err)
			err = dc_memory_pin(&req->out, dst, outlen, true);
		if (!err)
			atomic64_add(len + outlen, &req->ses->pinned);
	}
	if (!err && req->ses->async && max(req->in.n, req->out.n) > READ_ONCE(pieces))
		return mapped ? -E2BIG : -ENOMEM;	/* of ours: no big pages were to be had */
	return err;
}

int dc_request_iv(struct dc_request *req, const u8 __user *iv)
{
	if (!req->ses->ivsize)
		return 0;
	if (!iv)
		return -EINVAL;
	return copy_from_user(req->iv, iv, req->ses->ivsize) ? -EFAULT : 0;
}

/* It is done, with @err: who waits, wakes, and it can be fetched. */
void dc_request_done(struct dc_request *req, int err)
{
	struct dc_file *file = req->file;
	unsigned long flags;
	bool fetched;

	req->err = err;
	spin_lock_irqsave(&file->lock, flags);
	fetched = !list_empty(&req->list);
	if (fetched)
		list_move_tail(&req->list, &file->answered);
	spin_unlock_irqrestore(&file->lock, flags);
	if (fetched)
		wake_up_interruptible(&file->wait);
	complete_all(&req->done);
}

static void dc_request_answer(struct dc_request *req, int err)
{
	struct dc_session *ses = req->ses;

	atomic64_inc(&ses->requests);
	if (err)
		atomic64_inc(&ses->failed);
	else
		atomic64_add(req->len, &ses->bytes);
	dc_request_done(req, err);
	kref_put(&req->ref, dc_request_last_of_driver);
}

#ifdef DC_COMPLETION_HAS_DATA
static void dc_request_later(void *data, int err)
{
	struct dc_request *req = data;
#else
static void dc_request_later(struct crypto_async_request *base, int err)
{
	struct dc_request *req = base->data;
#endif

	if (err == -EINPROGRESS)	/* which says that it has left the backlog */
		return;
	atomic_dec(&req->ses->waiting);
	dc_request_answer(req, err);
}

/* An answer may be there before the call returns: waiting is -1 then, and nobody waited. */
static void dc_request_waits(struct dc_session *ses)
{
	int now = atomic_inc_return(&ses->waiting), most = atomic_read(&ses->most);

	while (now > most && !atomic_try_cmpxchg(&ses->most, &most, now))
		;
	atomic64_inc(&ses->later);
}

static void dc_request_called(struct dc_request *req, int err)
{
	if (err == -EINPROGRESS || err == -EBUSY)
		dc_request_waits(req->ses);
	else
		dc_request_answer(req, err);
}

/* Hand over to the driver; req->len bytes. */
void dc_request_cipher(struct dc_request *req, bool decrypt, struct scatterlist *src,
		       struct scatterlist *dst)
{
	struct skcipher_request *call = &req->u.skcipher;

	skcipher_request_set_tfm(call, req->ses->skcipher);
	skcipher_request_set_callback(call, DC_CALL_FLAGS, dc_request_later, req);
	skcipher_request_set_crypt(call, src, dst, req->len, req->iv);
	kref_get(&req->ref);
	dc_request_called(req, decrypt ? crypto_skcipher_decrypt(call) :
					 crypto_skcipher_encrypt(call));
}

/* The same, after @authlen bytes of authenticated data. */
void dc_request_aead(struct dc_request *req, bool decrypt, struct scatterlist *src,
		     struct scatterlist *dst, unsigned int authlen)
{
	struct aead_request *call = &req->u.aead;

	aead_request_set_tfm(call, req->ses->aead);
	aead_request_set_callback(call, DC_CALL_FLAGS, dc_request_later, req);
	aead_request_set_crypt(call, src, dst, req->len, req->iv);
	aead_request_set_ad(call, authlen);
	kref_get(&req->ref);
	dc_request_called(req, decrypt ? crypto_aead_decrypt(call) : crypto_aead_encrypt(call));
}

int dc_request_wait(struct dc_request *req)
{
	return wait_for_completion_killable(&req->done) ? -EINTR : req->err;
}

/* The result, @len bytes after @skip, to where the user wants it. */
int dc_request_give(struct dc_request *req, u8 __user *to, unsigned int skip, unsigned int len)
{
	int err;

	if (req->in.pinned || !len)
		return 0;
	err = dc_memory_write(&req->in, to, skip, len);
	if (!err)
		atomic64_add(len, &req->ses->copied_out);
	return err;
}

int dc_requests_init(void)
{
	dc_workers = alloc_workqueue("devcrypto", WQ_UNBOUND, 0);
	return dc_workers ? 0 : -ENOMEM;
}

void dc_requests_exit(void)
{
	wait_event(dc_idle, !atomic_read(&dc_requests));
	destroy_workqueue(dc_workers);
	synchronize_rcu();		/* drivers' answers end with bottom halves off */
}
