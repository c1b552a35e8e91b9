// SPDX-License-Identifier: GPL-2.0
/* The end of a stream: padding, shutdown(), close(). */
#include <linux/wait_bit.h>
#include "internal.h"

/* Pad the last block; tx_lock and socket lock held. */
static int soc_pad(struct sock *sk, struct soc_ctx *ctx)
{
	struct page_frag *in = &ctx->in;
	unsigned int n = ctx->unit - ctx->fill;

	if (ctx->stream || ctx->unit == 1 || ctx->pad == SO_CRYPT_PAD_NONE ||
	    (ctx->pad == SO_CRYPT_PAD_ZERO && !ctx->fill))
		return 0;
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
		return -ENOMEM;
	memset(page_address(in->page) + in->offset,
	       ctx->pad == SO_CRYPT_PAD_PKCS7 ? n : 0, n);
	soc_collect(ctx, in->page, in->offset, n);
	in->offset += n;
	return 0;
}

/* The peer must not take the stream for a whole one; socket lock held, but not throughout. */
static void soc_reset(struct sock *sk, struct soc_ctx *ctx)
{
	release_sock(sk);
	ctx->base->diag_destroy(sk, ECONNABORTED);	/* tcp_abort(), whoever else waits */
	lock_sock(sk);
}

/*
 * The end of the stream; both locks held.  A stream that cannot be ended as
 * promised is reset: it must not look complete.
 */
static void soc_end(struct sock *sk, struct soc_ctx *ctx)
{
	long timeo = SOC_PATIENCE;
	int err;

	if (!ctx->tfm || ctx->ended || !soc_can_send(sk))
		return;
	ctx->ended = true;
	err = soc_flush(sk, ctx, 0, true);
	if (!err)
		err = soc_pad(sk, ctx);
	if (!err)
		err = soc_flush(sk, ctx, 0, true);
	while (!err && soc_push(sk, ctx, 0) == -EAGAIN)
		err = sk_stream_wait_memory(sk, &timeo);
	if ((err || ctx->err) && soc_can_send(sk))
		soc_reset(sk, ctx);
}

/* Arrives with the socket lock held and sk_shutdown set. */
void soc_shutdown(struct sock *sk, int how)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);

	if ((how & SEND_SHUTDOWN) && ctx->tfm) {
		int err = 0;

		if (!mutex_trylock(&ctx->tx_lock)) {
			/* A sender that waits for room leaves now, with EPIPE. */
			sk->sk_state_change(sk);
			release_sock(sk);
			err = mutex_lock_killable(&ctx->tx_lock);
			lock_sock(sk);
		}
		if (soc_can_send(sk))
			WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~SEND_SHUTDOWN);
		if (err)		/* killed: it was not shut down, and close() will end it */
			return;
		soc_end(sk, ctx);
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | SEND_SHUTDOWN);
		soc_unlock(ctx);
	}
	ctx->base->shutdown(sk, how);
}

static void soc_free_ctx(struct soc_ctx *ctx)
{
	skcipher_request_free(ctx->req);
	crypto_free_skcipher(ctx->tfm);
	skcipher_request_free(ctx->rx.req);
	crypto_free_skcipher(ctx->rx.tfm);
	ctx->rx.from = ctx->rx.to;
	soc_trim(&ctx->rx);
	if (ctx->in.page)
		put_page(ctx->in.page);
	if (ctx->out.page)
		put_page(ctx->out.page);
	mutex_destroy(&ctx->tx_lock);
	mutex_destroy(&ctx->rx.lock);
	kfree_sensitive(ctx);
}

static atomic_t soc_closing = ATOMIC_INIT(0);	/* calls of soc_close() */

void soc_close(struct sock *sk, long timeout)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct proto *base = ctx->base;

	atomic_inc(&soc_closing);
	cancel_delayed_work_sync(&ctx->retry);
	mutex_lock(&ctx->tx_lock);
	lock_sock(sk);
	soc_end(sk, ctx);
	soc_drop_src(ctx);
	soc_drop_dst(ctx);
	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(icsk->icsk_ulp_data, NULL);
	WRITE_ONCE(sk->sk_prot, base);
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
	mutex_unlock(&ctx->tx_lock);
	cancel_delayed_work_sync(&ctx->retry);

	soc_free_ctx(ctx);
	base->close(sk, timeout);	/* may give back the last reference on this module */
	if (atomic_dec_and_test(&soc_closing))
		wake_up_var(&soc_closing);
}

int soc_disconnect(struct sock *sk, int flags)
{
	return -EOPNOTSUPP;
}

void soc_wait_closed(void)
{
	wait_var_event(&soc_closing, !atomic_read(&soc_closing));
}
