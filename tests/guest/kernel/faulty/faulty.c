// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver for cbc(aes) that can be made to answer wrongly, for tests of the harness: what it is asked it passes on to
 * the kernel's own driver, and while the parameter "wrong" is set it then turns one bit of the first byte. Its priority
 * is the lowest, so that nobody gets it who does not name it.
 */
#include <crypto/aes.h>
#include <crypto/internal/skcipher.h>
#include <crypto/scatterwalk.h>
#include <linux/module.h>

static bool wrong;
module_param(wrong, bool, 0644);
MODULE_PARM_DESC(wrong, "turn a bit of every answer");

/* The kernel's own driver, found before ours is there: by the algorithm's name ours would find itself. */
static struct crypto_skcipher *own;

struct faulty {
	struct crypto_skcipher *right;
};

static int faulty_init(struct crypto_skcipher *tfm)
{
	struct faulty *f = crypto_skcipher_ctx(tfm);

	f->right = crypto_alloc_skcipher(crypto_tfm_alg_driver_name(crypto_skcipher_tfm(own)), 0, CRYPTO_ALG_ASYNC);
	if (IS_ERR(f->right))
		return PTR_ERR(f->right);
	crypto_skcipher_set_reqsize(tfm, sizeof(struct skcipher_request) + crypto_skcipher_reqsize(f->right));
	return 0;
}

static void faulty_exit(struct crypto_skcipher *tfm)
{
	struct faulty *f = crypto_skcipher_ctx(tfm);

	crypto_free_skcipher(f->right);
}

static int faulty_setkey(struct crypto_skcipher *tfm, const u8 *key, unsigned int len)
{
	struct faulty *f = crypto_skcipher_ctx(tfm);

	return crypto_skcipher_setkey(f->right, key, len);
}

static int faulty_do(struct skcipher_request *req, bool encrypt)
{
	struct faulty *f = crypto_skcipher_ctx(crypto_skcipher_reqtfm(req));
	struct skcipher_request *inner = skcipher_request_ctx(req);
	int err;
	u8 byte;

	skcipher_request_set_tfm(inner, f->right);
	skcipher_request_set_callback(inner, skcipher_request_flags(req), NULL, NULL);
	skcipher_request_set_crypt(inner, req->src, req->dst, req->cryptlen, req->iv);
	err = encrypt ? crypto_skcipher_encrypt(inner) : crypto_skcipher_decrypt(inner);
	if (!err && READ_ONCE(wrong) && req->cryptlen) {
		scatterwalk_map_and_copy(&byte, req->dst, 0, 1, 0);
		byte ^= 1;
		scatterwalk_map_and_copy(&byte, req->dst, 0, 1, 1);
	}
	return err;
}

static int faulty_encrypt(struct skcipher_request *req)
{
	return faulty_do(req, true);
}

static int faulty_decrypt(struct skcipher_request *req)
{
	return faulty_do(req, false);
}

static struct skcipher_alg alg = {
	.base.cra_name		= "cbc(aes)",
	.base.cra_driver_name	= "cbc-aes-faulty",
	.base.cra_priority	= 1,
	.base.cra_blocksize	= AES_BLOCK_SIZE,
	.base.cra_ctxsize	= sizeof(struct faulty),
	.base.cra_module	= THIS_MODULE,
	.min_keysize		= AES_MIN_KEY_SIZE,
	.max_keysize		= AES_MAX_KEY_SIZE,
	.ivsize			= AES_BLOCK_SIZE,
	.init			= faulty_init,
	.exit			= faulty_exit,
	.setkey			= faulty_setkey,
	.encrypt		= faulty_encrypt,
	.decrypt		= faulty_decrypt,
};

static int __init faulty_load(void)
{
	int err;

	own = crypto_alloc_skcipher("cbc(aes)", 0, CRYPTO_ALG_ASYNC);
	if (IS_ERR(own))
		return PTR_ERR(own);
	err = crypto_register_skcipher(&alg);
	if (err)
		crypto_free_skcipher(own);
	return err;
}

static void __exit faulty_unload(void)
{
	crypto_unregister_skcipher(&alg);
	crypto_free_skcipher(own);
}

module_init(faulty_load);
module_exit(faulty_unload);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A cipher that can be made to answer wrongly, for tests");
