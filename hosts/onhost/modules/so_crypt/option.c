// SPDX-License-Identifier: GPL-2.0
/* The socket options. */
#include <linux/capability.h>
#include <linux/module.h>
#include "internal.h"

static bool soc_unprivileged;
module_param_named(unprivileged, soc_unprivileged, bool, 0644);
MODULE_PARM_DESC(unprivileged, "SO_CRYPT_SET needs no capability");

/* Only modes whose IV carries on from one request to the next make a stream. */
static bool soc_chains(const char *name)
{
	static const char * const modes[] = { "ecb(", "cbc(", "ctr(" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strncmp(name, modes[i], strlen(modes[i])))
			return true;
	return false;
}

/*
 * What of the machine a caller may have.  The rights of a user namespace, which any
 * user may make, are for what the kernel does itself; not for cards by their name,
 * nor for modules by any name.
 */
static bool soc_permitted(const struct sock *sk, const char *alg)
{
	static const char * const plain[] = { "cbc(aes)", "cbc(des3_ede)", "cbc(des)", "ctr(aes)",
					      "ecb(aes)", "ecb(cipher_null)" };
	unsigned int i;

	if (READ_ONCE(soc_unprivileged) || capable(CAP_NET_ADMIN))
		return true;
	if (!ns_capable(sock_net(sk)->user_ns, CAP_NET_ADMIN))
		return false;
	for (i = 0; i < ARRAY_SIZE(plain); i++)
		if (!strcmp(alg, plain[i]))
			return true;
	return false;
}

/*
 * Bytes that can be encrypted by themselves, in any of our modes.  Drivers of cards
 * do not always say that a counter counts blocks of the size of its IV.
 */
static unsigned int soc_unit(struct crypto_skcipher *tfm)
{
	return max(crypto_skcipher_chunksize(tfm), crypto_skcipher_ivsize(tfm));
}

static int soc_check_tfm(struct crypto_skcipher *tfm, const struct so_crypt_set *set)
{
	unsigned int unit = soc_unit(tfm);

	if (!soc_chains(crypto_tfm_alg_name(crypto_skcipher_tfm(tfm))))
		return -EOPNOTSUPP;
	if (!is_power_of_2(unit) || unit > SOC_MAX_UNIT ||
	    crypto_skcipher_ivsize(tfm) > SOC_MAX_UNIT)
		return -EOPNOTSUPP;
	if (set->ivlen != crypto_skcipher_ivsize(tfm))
		return -EINVAL;
	if (set->chunk && set->chunk < unit)
		return -EINVAL;
	if (set->keylen)
		return crypto_skcipher_setkey(tfm, set->key, set->keylen);
	return crypto_skcipher_get_flags(tfm) & CRYPTO_TFM_NEED_KEY ? -ENOKEY : 0;
}

/* tx_lock held */
static int soc_set(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct skcipher_request *req;
	struct crypto_skcipher *tfm;
	unsigned int chunk;
	int err;

	if (ctx->tfm)
		return -EBUSY;
	if (!set->alg[0] || strnlen(set->alg, sizeof(set->alg)) == sizeof(set->alg) ||
	    set->keylen > sizeof(set->key) || set->ivlen > sizeof(set->iv) ||
	    set->chunk > SO_CRYPT_CHUNK_MAX || set->pad > SO_CRYPT_PAD_PKCS7)
		return -EINVAL;
	if (!soc_permitted(sk, set->alg))
		return -EPERM;

	tfm = crypto_alloc_skcipher(set->alg, 0, 0);
	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	err = soc_check_tfm(tfm, set);
	if (err)
		goto free_tfm;
	req = skcipher_request_alloc(tfm, GFP_KERNEL_ACCOUNT);
	if (!req) {
		err = -ENOMEM;
		goto free_tfm;
	}
	crypto_init_wait(&ctx->wait);
	skcipher_request_set_callback(req, CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				      crypto_req_done, &ctx->wait);

	lock_sock(sk);
	if (!soc_can_send(sk) || (sk->sk_shutdown & SEND_SHUTDOWN)) {
		err = -ENOTCONN;
	} else if (sk->sk_write_pending) {
		err = -EBUSY;		/* clear text would come after cipher text */
	} else {
		ctx->unit = soc_unit(tfm);
		ctx->stream = crypto_skcipher_blocksize(tfm) < ctx->unit;
		chunk = min_t(unsigned int, set->chunk ?: SO_CRYPT_CHUNK_DEFAULT,
			      SOC_MAX_PAGES * PAGE_SIZE);
		ctx->chunk = round_down(chunk, ctx->unit);
		ctx->pad = set->pad;
		ctx->req = req;
		memcpy(ctx->iv, set->iv, set->ivlen);
		smp_store_release(&ctx->tfm, tfm);	/* senders look without a lock */
	}
	release_sock(sk);
	if (!err)
		return 0;
	skcipher_request_free(req);
free_tfm:
	crypto_free_skcipher(tfm);
	return err;
}

int soc_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval,
			  unsigned int optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_set set;
	int err;

	if (level != SOL_SO_CRYPT)
		return ctx->base->setsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_SET)
		return -ENOPROTOOPT;
	if (smp_load_acquire(&ctx->tfm))	/* pairs with soc_set() */
		return -EBUSY;
	if (optlen != sizeof(set))
		return -EINVAL;
	if (copy_from_sockptr(&set, optval, sizeof(set))) {
		err = -EFAULT;
	} else if (mutex_lock_interruptible(&ctx->tx_lock)) {
		err = -EINTR;
	} else {
		err = soc_set(sk, ctx, &set);
		soc_unlock(ctx);
	}
	memzero_explicit(&set, sizeof(set));
	return err;
}

static void soc_fill_info(struct soc_ctx *ctx, struct so_crypt_info *info)
{
	struct crypto_skcipher *tfm = smp_load_acquire(&ctx->tfm);	/* pairs with soc_set() */
	unsigned int fill = READ_ONCE(ctx->fill), skip = READ_ONCE(ctx->skip);

	if (!tfm)
		return;
	strscpy(info->driver, crypto_tfm_alg_driver_name(crypto_skcipher_tfm(tfm)),
		sizeof(info->driver));
	info->async = !!(crypto_skcipher_tfm(tfm)->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC);
	info->blocksize = crypto_skcipher_blocksize(tfm);
	info->bytes_in = READ_ONCE(ctx->bytes_in);
	info->bytes_out = READ_ONCE(ctx->bytes_out);
	info->requests = READ_ONCE(ctx->requests);
	info->pending = fill > skip ? fill - skip : 0;
}

int soc_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
			  int __user *optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_info info = {};
	int len;

	if (level != SOL_SO_CRYPT)
		return ctx->base->getsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_INFO)
		return -ENOPROTOOPT;
	if (get_user(len, optlen))
		return -EFAULT;
	if (len < (int)sizeof(info))
		return -EINVAL;
	soc_fill_info(ctx, &info);
	if (put_user((int)sizeof(info), optlen) || copy_to_user(optval, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}
