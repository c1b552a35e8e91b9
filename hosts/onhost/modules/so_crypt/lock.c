// SPDX-License-Identifier: GPL-2.0
/* tx_lock and rx.lock, and what those who may not wait for them leave to their holders. */
#include "internal.h"

/* Where this fails, the holder's soc_unlock() or soc_unlock_rx() sees the bit. */
static bool soc_try(struct soc_ctx *ctx, struct mutex *lock, int bit)
{
	if (mutex_trylock(lock))
		return true;
	set_bit(bit, &ctx->state);
	smp_mb__after_atomic();	/* pairs with test_and_clear_bit() where it is unlocked */
	return mutex_trylock(lock);
}

bool soc_trylock(struct soc_ctx *ctx, int bit)
{
	return soc_try(ctx, &ctx->tx_lock, bit);
}

int soc_lock(struct soc_ctx *ctx, int flags)
{
	if (flags & MSG_DONTWAIT)
		return soc_trylock(ctx, SOC_CONTENDED) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&ctx->tx_lock) ? -ERESTARTSYS : 0;
}

void soc_unlock(struct soc_ctx *ctx)
{
	struct sock *sk = ctx->sk;

	mutex_unlock(&ctx->tx_lock);
	if (test_and_clear_bit(SOC_OWED, &ctx->state))
		schedule_delayed_work(&ctx->retry, 0);
	/*
	 * Edge-triggered epoll waits for an event after that EAGAIN: it comes now if
	 * there is room, else from TCP, which looks at the flag, when there is.
	 */
	if (test_and_clear_bit(SOC_CONTENDED, &ctx->state)) {
		set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		smp_mb__after_atomic();	/* pairs with TCP's, as in tcp_poll() */
		READ_ONCE(sk->sk_write_space)(sk);
	}
}

int soc_lock_rx(struct soc_ctx *ctx, int flags)
{
	if (flags & MSG_DONTWAIT)
		return soc_try(ctx, &ctx->rx.lock, SOC_RX_NEWS) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&ctx->rx.lock) ? -ERESTARTSYS : 0;
}

void soc_unlock_rx(struct soc_ctx *ctx)
{
	mutex_unlock(&ctx->rx.lock);
	/* As above: whoever was sent away, or polls, looks again. */
	if (test_and_clear_bit(SOC_RX_NEWS, &ctx->state))
		READ_ONCE(ctx->sk->sk_data_ready)(ctx->sk);
}
