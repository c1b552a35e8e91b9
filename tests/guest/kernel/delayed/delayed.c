// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drivers for cbc(aes) and ctr(aes) that answer later, as cards do, for tests of the harness: a timer hands what they
 * are asked to the kernel's own driver, and so the answer comes from a bottom half. As some cards' does, that for ctr
 * tells no chunk size. Their priority is the lowest, so that nobody gets them who does not name them.
 */
#include <crypto/aes.h>
#include <crypto/internal/skcipher.h>
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/timer.h>

static bool hold;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "answer nothing for now");

static bool fail;
module_param(fail, bool, 0644);
MODULE_PARM_DESC(fail, "answer with EIO");

static bool backlog;
module_param(backlog, bool, 0644);
MODULE_PARM_DESC(backlog, "say that the request waits its turn, and then that its turn has come");

static int most;
module_param(most, int, 0644);
MODULE_PARM_DESC(most, "most requests that were under way together");

static atomic_t under_way;

static struct skcipher_alg algs[2];		/* below */

/* The kernel's own drivers, found before ours are there: by the algorithm's name ours would find themselves. */
static struct crypto_skcipher *own[ARRAY_SIZE(algs)];

struct delayed {
	struct crypto_skcipher *right;
};

struct delayed_request {
	struct timer_list timer;
	struct skcipher_request *asked;
	bool encrypt, waits;
	struct skcipher_request inner;	/* and its context */
};

static int delayed_init(struct crypto_skcipher *tfm)
{
	struct crypto_skcipher *found = own[crypto_skcipher_alg(tfm) - algs];
	struct delayed *d = crypto_skcipher_ctx(tfm);

	d->right = crypto_alloc_skcipher(crypto_tfm_alg_driver_name(crypto_skcipher_tfm(found)), 0, CRYPTO_ALG_ASYNC);
	if (IS_ERR(d->right))
		return PTR_ERR(d->right);
	crypto_skcipher_set_reqsize(tfm, sizeof(struct delayed_request) + crypto_skcipher_reqsize(d->right));
	return 0;
}

static void delayed_exit(struct crypto_skcipher *tfm)
{
	struct delayed *d = crypto_skcipher_ctx(tfm);

	crypto_free_skcipher(d->right);
}

static int delayed_setkey(struct crypto_skcipher *tfm, const u8 *key, unsigned int len)
{
	struct delayed *d = crypto_skcipher_ctx(tfm);

	return crypto_skcipher_setkey(d->right, key, len);
}

static void delayed_answer(struct timer_list *timer)
{
	struct delayed_request *r = container_of(timer, struct delayed_request, timer);
	struct skcipher_request *req = r->asked;
	int err;

	if (READ_ONCE(hold)) {
		mod_timer(timer, jiffies + 1);
		return;
	}
	if (r->waits)
		skcipher_request_complete(req, -EINPROGRESS);
	err = r->encrypt ? crypto_skcipher_encrypt(&r->inner) : crypto_skcipher_decrypt(&r->inner);
	atomic_dec(&under_way);
	skcipher_request_complete(req, READ_ONCE(fail) ? -EIO : err);
}

static int delayed_do(struct skcipher_request *req, bool encrypt)
{
	struct delayed *d = crypto_skcipher_ctx(crypto_skcipher_reqtfm(req));
	struct delayed_request *r = skcipher_request_ctx(req);
	int now = atomic_inc_return(&under_way);

	if (now > READ_ONCE(most))
		WRITE_ONCE(most, now);
	r->asked = req;
	r->encrypt = encrypt;
	r->waits = READ_ONCE(backlog);
	skcipher_request_set_tfm(&r->inner, d->right);
	skcipher_request_set_callback(&r->inner, 0, NULL, NULL);
	skcipher_request_set_crypt(&r->inner, req->src, req->dst, req->cryptlen, req->iv);
	timer_setup(&r->timer, delayed_answer, 0);
	mod_timer(&r->timer, jiffies + 1);
	return r->waits ? -EBUSY : -EINPROGRESS;
}

static int delayed_encrypt(struct skcipher_request *req)
{
	return delayed_do(req, true);
}

static int delayed_decrypt(struct skcipher_request *req)
{
	return delayed_do(req, false);
}

#define DELAYED(mode, block) {								\
	.base.cra_name		= mode "(aes)",						\
	.base.cra_driver_name	= mode "-aes-delayed",					\
	.base.cra_priority	= 1,							\
	.base.cra_flags		= CRYPTO_ALG_ASYNC | CRYPTO_ALG_KERN_DRIVER_ONLY,	\
	.base.cra_blocksize	= block,						\
	.base.cra_ctxsize	= sizeof(struct delayed),				\
	.base.cra_module	= THIS_MODULE,						\
	.min_keysize		= AES_MIN_KEY_SIZE,					\
	.max_keysize		= AES_MAX_KEY_SIZE,					\
	.ivsize			= AES_BLOCK_SIZE,					\
	.init			= delayed_init,						\
	.exit			= delayed_exit,						\
	.setkey			= delayed_setkey,					\
	.encrypt		= delayed_encrypt,					\
	.decrypt		= delayed_decrypt,					\
}

static struct skcipher_alg algs[2] = { DELAYED("cbc", AES_BLOCK_SIZE), DELAYED("ctr", 1) };

static void delayed_forget(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(algs); i++)
		crypto_free_skcipher(own[i]);
}

static int __init delayed_load(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(algs) && !err; i++) {
		struct crypto_skcipher *tfm = crypto_alloc_skcipher(algs[i].base.cra_name, 0, CRYPTO_ALG_ASYNC);

		if (IS_ERR(tfm))
			err = PTR_ERR(tfm);
		else
			own[i] = tfm;
	}
	if (!err)
		err = crypto_register_skciphers(algs, ARRAY_SIZE(algs));
	if (err)
		delayed_forget();
	return err;
}

static void __exit delayed_unload(void)
{
	crypto_unregister_skciphers(algs, ARRAY_SIZE(algs));
	delayed_forget();
}

module_init(delayed_load);
module_exit(delayed_unload);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Ciphers that answer later, for tests");
