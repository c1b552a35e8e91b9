// SPDX-License-Identifier: GPL-2.0
/* The socket options. */
#include <linux/capability.h>
#include <linux/module.h>
#include "internal.h"

static bool soc_unprivileged;
module_param_named(unprivileged, soc_unprivileged, bool, 0644);
MODULE_PARM_DESC(unprivileged, "SO_CRYPT_SET and SO_CRYPT_SET_RX need no capability");

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

/* A cipher as asked for, and its request, whose answer @wait waits for. */
static int soc_make(struct sock *sk, const struct so_crypt_set *set, struct crypto_wait *wait,
		    struct crypto_skcipher **made, struct skcipher_request **request)
{
	struct skcipher_request *req;
	struct crypto_skcipher *tfm;
	int err;

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
	crypto_init_wait(wait);
	skcipher_request_set_callback(req, CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				      crypto_req_done, wait);
	*made = tfm;
	*request = req;
	return 0;
free_tfm:
	crypto_free_skcipher(tfm);
	return err;
}

static bool soc_is_stream(struct crypto_skcipher *tfm)
{
	return crypto_skcipher_blocksize(tfm) < soc_unit(tfm);
}

static unsigned int soc_chunk(const struct so_crypt_set *set, unsigned int unit)
{
	unsigned int chunk = min_t(unsigned int, set->chunk ?: SO_CRYPT_CHUNK_DEFAULT,
				   SOC_MAX_PAGES * PAGE_SIZE);

	return round_down(chunk, unit);
}

/* tx_lock held */
static int soc_set(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct skcipher_request *req;
	struct crypto_skcipher *tfm;
	int err;

	if (ctx->tfm)
		return -EBUSY;
	err = soc_make(sk, set, &ctx->wait, &tfm, &req);
	if (err)
		return err;

	lock_sock(sk);
	if (!soc_can_send(sk) || (sk->sk_shutdown & SEND_SHUTDOWN)) {
		err = -ENOTCONN;
	} else if (sk->sk_write_pending) {
		err = -EBUSY;		/* clear text would come after cipher text */
	} else {
		ctx->unit = soc_unit(tfm);
		ctx->stream = soc_is_stream(tfm);
		ctx->chunk = soc_chunk(set, ctx->unit);
		ctx->pad = set->pad;
		ctx->req = req;
		memcpy(ctx->iv, set->iv, set->ivlen);
		smp_store_release(&ctx->tfm, tfm);	/* senders look without a lock */
	}
	release_sock(sk);
	if (!err)
		return 0;
	skcipher_request_free(req);
	crypto_free_skcipher(tfm);
	return err;
}

/* rx.lock held */
static int soc_set_rx(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct skcipher_request *req;
	struct crypto_skcipher *tfm;
	struct soc_rx *rx = &ctx->rx;
	int err;

	if (rx->tfm)
		return -EBUSY;
	err = soc_make(sk, set, &rx->wait, &tfm, &req);
	if (err)
		return err;

	lock_sock(sk);
	/* Whoever reads clear text now would get cipher text. */
	err = rx->clear ? -EBUSY : soc_hook_rx(sk, ctx);
	if (!err) {
		rx->unit = soc_unit(tfm);
		rx->stream = soc_is_stream(tfm);
		rx->pad = set->pad;
		/* Beside a request's worth a block that waits for what follows. */
		rx->chunk = min_t(unsigned int, soc_chunk(set, rx->unit) + rx->unit,
				  SOC_MAX_PAGES * PAGE_SIZE);
		rx->req = req;
		memcpy(rx->iv, set->iv, set->ivlen);
		sock_set_flag(sk, SOCK_URGINLINE);	/* no byte leaves the stream */
		smp_store_release(&rx->tfm, tfm);	/* readers look without a lock */
	}
	release_sock(sk);
	if (!err)
		return 0;
	skcipher_request_free(req);
	crypto_free_skcipher(tfm);
	return err;
}

int soc_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval,
			  unsigned int optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	bool receives = optname == SO_CRYPT_SET_RX;
	struct so_crypt_set set;
	struct mutex *lock;
	int err;

	if (level != SOL_SO_CRYPT)
		return ctx->base->setsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_SET && !receives)
		return -ENOPROTOOPT;
	lock = receives ? &ctx->rx.lock : &ctx->tx_lock;
	/* Pairs with soc_set_rx(), soc_set().  Who holds the lock then may hold it for long. */
	if (receives ? !!smp_load_acquire(&ctx->rx.tfm) : !!smp_load_acquire(&ctx->tfm))
		return -EBUSY;
	if (optlen != sizeof(set))
		return -EINVAL;
	if (copy_from_sockptr(&set, optval, sizeof(set))) {
		err = -EFAULT;
	} else if (mutex_lock_interruptible(lock)) {
		err = -EINTR;
	} else if (receives) {
		err = soc_set_rx(sk, ctx, &set);
		soc_unlock_rx(ctx);
	} else {
		err = soc_set(sk, ctx, &set);
		soc_unlock(ctx);
	}
	memzero_explicit(&set, sizeof(set));
	return err;
}

static void soc_fill_driver(struct crypto_skcipher *tfm, struct so_crypt_info *info)
{
	strscpy(info->driver, crypto_tfm_alg_driver_name(crypto_skcipher_tfm(tfm)),
		sizeof(info->driver));
	info->async = !!(crypto_skcipher_tfm(tfm)->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC);
	info->blocksize = crypto_skcipher_blocksize(tfm);
}

static void soc_fill_info(struct soc_ctx *ctx, struct so_crypt_info *info)
{
	struct crypto_skcipher *tfm = smp_load_acquire(&ctx->tfm);	/* pairs with soc_set() */
	unsigned int fill = READ_ONCE(ctx->fill), skip = READ_ONCE(ctx->skip);

	if (!tfm)
		return;
	soc_fill_driver(tfm, info);
	info->bytes_in = READ_ONCE(ctx->bytes_in);
	info->bytes_out = READ_ONCE(ctx->bytes_out);
	info->requests = READ_ONCE(ctx->requests);
	info->pending = fill > skip ? fill - skip : 0;
}

static void soc_fill_info_rx(struct soc_ctx *ctx, struct so_crypt_info *info)
{
	struct soc_rx *rx = &ctx->rx;
	struct crypto_skcipher *tfm = smp_load_acquire(&rx->tfm);	/* pairs with soc_set_rx() */
	unsigned int from = READ_ONCE(rx->from), to = READ_ONCE(rx->to);

	if (!tfm)
		return;
	soc_fill_driver(tfm, info);
	info->bytes_in = READ_ONCE(rx->bytes_in);
	info->bytes_out = READ_ONCE(rx->bytes_out);
	info->requests = READ_ONCE(rx->requests);
	info->pending = (to > from ? to - from : 0) + (rx->stream ? 0 : READ_ONCE(rx->nrest));
}

int soc_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
			  int __user *optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_info info = {};
	int len;

	if (level == SOL_TCP && optname == TCP_ZEROCOPY_RECEIVE && smp_load_acquire(&ctx->rx.tfm))
		return -EOPNOTSUPP;	/* it would take cipher text */
	if (level != SOL_SO_CRYPT)
		return ctx->base->getsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_INFO && optname != SO_CRYPT_INFO_RX)
		return -ENOPROTOOPT;
	if (get_user(len, optlen))
		return -EFAULT;
	if (len < (int)sizeof(info))
		return -EINVAL;
	if (optname == SO_CRYPT_INFO)
		soc_fill_info(ctx, &info);
	else
		soc_fill_info_rx(ctx, &info);
	if (put_user((int)sizeof(info), optlen) || copy_to_user(optval, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}
