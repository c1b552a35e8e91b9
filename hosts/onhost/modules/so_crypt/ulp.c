// SPDX-License-Identifier: GPL-2.0
/*
 * so_crypt: a TCP upper layer protocol that encrypts everything sent on a socket, and
 * deciphers everything received, each with one skcipher of the kernel crypto API.
 *
 * RESEARCH USE: no authentication.  See so_crypt.h for the user interface.
 *
 *	ulp.c		the protocol: its life on a socket, its options
 *	stream.c	one direction's bytes, and what the cipher makes of them
 *	send.c		to TCP
 *	receive.c	from TCP
 *
 * Locking: tx.lock serialises senders and guards tx, for the whole of a call, so that
 * calls do not mix.  The socket lock nests inside and is held around TCP's functions
 * only, not while the cipher (maybe an asynchronous device) works.  shutdown() is the
 * exception: it arrives with the socket lock held.  tx.tfm appears once, under both
 * locks, and goes with the socket.  Who may not wait for tx.lock sets a bit, and
 * soc_unlock() does what it says.  rx appears once, when nobody receives clear text,
 * and has a lock of the same kind.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/wait_bit.h>
#include "internal.h"

static struct proto soc_prots[2];
static struct proto *soc_bases[2];
static struct proto_ops soc_ops[2];
static const struct proto_ops *soc_base_ops[2];
static DEFINE_MUTEX(soc_prots_lock);
static atomic_t soc_closing = ATOMIC_INIT(0);	/* calls of soc_close() */

static bool soc_unprivileged;
module_param_named(unprivileged, soc_unprivileged, bool, 0644);
MODULE_PARM_DESC(unprivileged, "the options need no capability");

static void soc_free_ctx(struct soc_ctx *ctx)
{
	soc_stream_free(&ctx->tx);
	if (ctx->rx)
		soc_stream_free(ctx->rx);
	kfree_sensitive(ctx->rx);
	kfree_sensitive(ctx);
}

static void soc_close(struct sock *sk, long timeout)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct proto *base = ctx->base;

	atomic_inc(&soc_closing);
	cancel_delayed_work_sync(&ctx->retry);
	mutex_lock(&ctx->tx.lock);
	lock_sock(sk);
	soc_end(sk, ctx);
	WRITE_ONCE(sk->sk_socket->ops, ctx->base_ops);
	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(icsk->icsk_ulp_data, NULL);
	WRITE_ONCE(sk->sk_prot, base);
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
	mutex_unlock(&ctx->tx.lock);
	cancel_delayed_work_sync(&ctx->retry);

	soc_free_ctx(ctx);
	base->close(sk, timeout);	/* may give back the last reference on this module */
	if (atomic_dec_and_test(&soc_closing))
		wake_up_var(&soc_closing);
}

static int soc_disconnect(struct sock *sk, int flags)
{
	return -EOPNOTSUPP;
}

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

/* All of the stream but tfm, which makes it one. */
static struct crypto_skcipher *soc_prepare(struct sock *sk, struct soc_stream *st,
					   const struct so_crypt_set *set)
{
	struct crypto_skcipher *tfm;
	unsigned int chunk;
	int err;

	if (!set->alg[0] || strnlen(set->alg, sizeof(set->alg)) == sizeof(set->alg) ||
	    set->keylen > sizeof(set->key) || set->ivlen > sizeof(set->iv) ||
	    set->chunk > SO_CRYPT_CHUNK_MAX || set->pad > SO_CRYPT_PAD_PKCS7)
		return ERR_PTR(-EINVAL);
	if (!soc_permitted(sk, set->alg))
		return ERR_PTR(-EPERM);

	tfm = crypto_alloc_skcipher(set->alg, 0, 0);
	if (IS_ERR(tfm))
		return tfm;
	err = soc_check_tfm(tfm, set);
	if (!err) {
		st->req = skcipher_request_alloc(tfm, GFP_KERNEL_ACCOUNT);
		err = st->req ? 0 : -ENOMEM;
	}
	if (err) {
		crypto_free_skcipher(tfm);
		return ERR_PTR(err);
	}
	crypto_init_wait(&st->wait);
	skcipher_request_set_callback(st->req,
				      CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				      crypto_req_done, &st->wait);
	st->unit = soc_unit(tfm);
	st->stream = crypto_skcipher_blocksize(tfm) < st->unit;
	chunk = min_t(unsigned int, set->chunk ?: SO_CRYPT_CHUNK_DEFAULT, SOC_MAX_PAGES * PAGE_SIZE);
	st->chunk = round_down(chunk, st->unit);
	st->pad = set->pad;
	memcpy(st->iv, set->iv, set->ivlen);
	return tfm;
}

static int soc_set_tx(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct soc_stream *tx = &ctx->tx;
	struct crypto_skcipher *tfm;
	int err = 0;

	if (mutex_lock_interruptible(&tx->lock))
		return -EINTR;
	if (tx->tfm) {
		err = -EBUSY;
		goto unlock;
	}
	tfm = soc_prepare(sk, tx, set);
	if (IS_ERR(tfm)) {
		err = PTR_ERR(tfm);
		goto unlock;
	}
	lock_sock(sk);
	if (!soc_can_send(sk) || (sk->sk_shutdown & SEND_SHUTDOWN))
		err = -ENOTCONN;
	else if (sk->sk_write_pending)
		err = -EBUSY;		/* clear text would come after cipher text */
	else
		smp_store_release(&tx->tfm, tfm);	/* senders look without a lock */
	release_sock(sk);
	if (err) {
		skcipher_request_free(tx->req);
		tx->req = NULL;
		crypto_free_skcipher(tfm);
	}
unlock:
	soc_unlock(ctx);
	return err;
}

static int soc_set_rx(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct soc_stream *rx = kzalloc(sizeof(*rx), GFP_KERNEL_ACCOUNT);
	int err = 0;

	if (!rx)
		return -ENOMEM;
	soc_stream_init(rx, true);
	rx->tfm = soc_prepare(sk, rx, set);
	if (IS_ERR(rx->tfm)) {
		err = PTR_ERR(rx->tfm);
		rx->tfm = NULL;
	} else if (!down_write_trylock(&ctx->clear)) {
		err = -EBUSY;		/* cipher text would come as clear text */
	} else {
		lock_sock(sk);
		if (ctx->rx)
			err = -EBUSY;
		else if (sk->sk_state == TCP_CLOSE)
			err = -ENOTCONN;
		else
			smp_store_release(&ctx->rx, rx);	/* readers look without a lock */
		release_sock(sk);
		up_write(&ctx->clear);
	}
	if (err) {
		soc_stream_free(rx);
		kfree_sensitive(rx);
	}
	return err;
}

static int soc_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval,
			  unsigned int optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_set set;
	int err;

	if (level != SOL_SO_CRYPT)
		return ctx->base->setsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_SET && optname != SO_CRYPT_SET_RX)
		return -ENOPROTOOPT;
	/* Pair with soc_set_tx() and soc_set_rx(). */
	if (optname == SO_CRYPT_SET ? !!smp_load_acquire(&ctx->tx.tfm) : !!smp_load_acquire(&ctx->rx))
		return -EBUSY;
	if (optlen != sizeof(set))
		return -EINVAL;
	if (copy_from_sockptr(&set, optval, sizeof(set)))
		err = -EFAULT;
	else if (optname == SO_CRYPT_SET)
		err = soc_set_tx(sk, ctx, &set);
	else
		err = soc_set_rx(sk, ctx, &set);
	memzero_explicit(&set, sizeof(set));
	return err;
}

static void soc_fill_info(struct soc_stream *st, struct so_crypt_info *info)
{
	struct crypto_skcipher *tfm = st ? smp_load_acquire(&st->tfm) : NULL;	/* pairs with soc_set_tx() */
	unsigned int fill, skip;

	if (!tfm)
		return;
	fill = READ_ONCE(st->fill);
	skip = READ_ONCE(st->skip);
	strscpy(info->driver, crypto_tfm_alg_driver_name(crypto_skcipher_tfm(tfm)),
		sizeof(info->driver));
	info->async = !!(crypto_skcipher_tfm(tfm)->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC);
	info->blocksize = crypto_skcipher_blocksize(tfm);
	info->bytes_in = READ_ONCE(st->bytes_in);
	info->bytes_out = READ_ONCE(st->bytes_out);
	info->requests = READ_ONCE(st->requests);
	info->pending = fill > skip ? fill - skip : 0;
}

static int soc_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
			  int __user *optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_info info = {};
	int len;

	if (level == SOL_TCP && optname == TCP_ZEROCOPY_RECEIVE && smp_load_acquire(&ctx->rx))
		return -EOPNOTSUPP;	/* it would be cipher text */
	if (level != SOL_SO_CRYPT)
		return ctx->base->getsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_INFO && optname != SO_CRYPT_INFO_RX)
		return -ENOPROTOOPT;
	if (get_user(len, optlen))
		return -EFAULT;
	if (len < (int)sizeof(info))
		return -EINVAL;
	/* Pairs with soc_set_rx(). */
	soc_fill_info(optname == SO_CRYPT_INFO ? &ctx->tx : smp_load_acquire(&ctx->rx), &info);
	if (put_user((int)sizeof(info), optlen) || copy_to_user(optval, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}

static void soc_build(unsigned int family, const struct proto *base, const struct proto_ops *ops)
{
	struct proto *prot = &soc_prots[family];

	soc_ops[family] = *ops;
	soc_ops[family].splice_read = soc_splice_read;
	*prot = *base;
	prot->sendmsg = soc_sendmsg;
#ifdef SOC_HAVE_SENDPAGE
	prot->sendpage = soc_sendpage;
#endif
#ifdef SOC_HAVE_SPLICE_EOF
	prot->splice_eof = soc_splice_eof;
#endif
	prot->recvmsg = soc_recvmsg;
	prot->sock_is_readable = soc_readable;
	prot->shutdown = soc_shutdown;
	prot->close = soc_close;
	prot->disconnect = soc_disconnect;
	prot->setsockopt = soc_setsockopt;
	prot->getsockopt = soc_getsockopt;
}

/* The socket lock is held. */
static int soc_init(struct sock *sk)
{
	int family = sk->sk_family == AF_INET6;
	const struct proto_ops *ops = READ_ONCE(sk->sk_socket->ops);
	struct proto *base = READ_ONCE(sk->sk_prot);
	struct soc_ctx *ctx;
	int err = 0;

	if (!soc_can_send(sk))
		return -ENOTCONN;
	/* Only over TCP itself: a sockmap or the like was here before. */
	if (base->sendmsg != tcp_sendmsg || base->close != tcp_close || !base->diag_destroy)
		return -EBUSY;

	/* tcpv6_prot is not exported, so it is copied when it is first seen. */
	mutex_lock(&soc_prots_lock);
	if (!soc_bases[family]) {
		soc_build(family, base, ops);
		soc_bases[family] = base;
		soc_base_ops[family] = ops;
	} else if (soc_bases[family] != base || soc_base_ops[family] != ops) {
		err = -EBUSY;
	}
	mutex_unlock(&soc_prots_lock);
	if (err)
		return err;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	soc_stream_init(&ctx->tx, false);
	init_rwsem(&ctx->clear);
	INIT_DELAYED_WORK(&ctx->retry, soc_retry);
	ctx->sk = sk;
	ctx->base = base;
	ctx->base_ops = ops;
	ctx->held = jiffies - SOC_CORK;

	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(inet_csk(sk)->icsk_ulp_data, ctx);
	smp_store_release(&sk->sk_prot, &soc_prots[family]);	/* pairs with soc_get_ctx() */
	write_unlock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_socket->ops, &soc_ops[family]);
	return 0;
}

/*
 * No clone: TCP refuses listening sockets then.  TCP holds a reference on
 * the module for as long as a socket has this protocol, so that it is in use,
 * and not to be unloaded, until the last of them is destroyed.
 */
static struct tcp_ulp_ops soc_ulp_ops __read_mostly = {
	.name	= "so_crypt",
	.owner	= THIS_MODULE,
	.init	= soc_init,
};

static int __init soc_register(void)
{
	BUILD_BUG_ON(sizeof(struct so_crypt_set) != 160);
	BUILD_BUG_ON(sizeof(struct so_crypt_info) != 168);
	/* Without symbol versions a module of another build loads too. */
	if (tcp_prot.obj_size != sizeof(struct tcp_sock) || strcmp(tcp_prot.name, "TCP") ||
	    tcp_prot.sendmsg != tcp_sendmsg || tcp_prot.close != tcp_close)
		return -ENOEXEC;
	return tcp_register_ulp(&soc_ulp_ops);
}

static void __exit soc_unregister(void)
{
	tcp_unregister_ulp(&soc_ulp_ops);
	/* TCP's last reference went within soc_close(): let all of these return. */
	wait_var_event(&soc_closing, !atomic_read(&soc_closing));
	synchronize_rcu_tasks();
}

module_init(soc_register);
module_exit(soc_unregister);

MODULE_DESCRIPTION("SO_CRYPT: TCP sockets that encrypt and decipher in the kernel (research use)");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
MODULE_ALIAS_TCP_ULP("so_crypt");
