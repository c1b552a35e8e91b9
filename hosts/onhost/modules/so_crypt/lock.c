// SPDX-License-Identifier: GPL-2.0
/* tx_lock, and what those who may not wait for it leave to its holder. */
#include "internal.h"

/* Where this fails, the holder's soc_unlock() sees the bit. */
bool soc_trylock(struct soc_ctx *ctx, int bit)
{
	if (mutex_trylock(&ctx->tx_lock))
		return true;
	set_bit(bit, &ctx->state);
	smp_mb__after_atomic();	/* pairs with test_and_clear_bit() in soc_unlock() */
	return mutex_trylock(&ctx->tx_lock);
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
