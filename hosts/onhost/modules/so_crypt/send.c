// SPDX-License-Identifier: GPL-2.0
/* sendmsg(), sendpage(), and the end of a sendfile(). */
#include <linux/uio.h>
#include "internal.h"

/* Wait until a chunk may be begun: all cipher text queued, and room for more. */
static int soc_wait_room(struct sock *sk, struct soc_ctx *ctx, long *timeo)
{
	int err;

	if (ctx->err)
		return ctx->err;
	lock_sock(sk);
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	for (;;) {
		err = -EPIPE;
		if (sk->sk_err || (sk->sk_shutdown & SEND_SHUTDOWN))
			break;
		err = soc_push(sk, ctx, MSG_MORE);
		if (err && err != -EAGAIN)
			break;
		if (!err && sk_stream_memory_free(sk))
			break;
		set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		err = sk_stream_wait_memory(sk, timeo);
		if (err)
			break;
	}
	release_sock(sk);
	return err;
}

/* Bytes to copy into the chunk from a sender's buffer. */
static ssize_t soc_copy_in(struct sock *sk, struct soc_ctx *ctx, struct iov_iter *from,
			   size_t len)
{
	struct page_frag *in = &ctx->in;

	if (!ctx->fill)
		in->offset = ALIGN(in->offset, SOC_ALIGN);
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation | __GFP_ACCOUNT))
		return -ENOMEM;
	len = min_t(size_t, len, in->size - in->offset);
	len = copy_page_from_iter(in->page, in->offset, len, from);
	if (!len)
		return -EFAULT;
	soc_collect(ctx, in->page, in->offset, len);
	in->offset += len;
	return len;
}

#ifdef SOC_HAVE_SENDPAGE
static ssize_t soc_splice_in(struct soc_ctx *ctx, struct iov_iter *from, size_t len)
{
	return -EOPNOTSUPP;
}
#else
/* One page of a sendfile() or splice(), by reference. */
static ssize_t soc_splice_in(struct soc_ctx *ctx, struct iov_iter *from, size_t len)
{
	struct page *page, **pages = &page;
	ssize_t n;
	size_t off;

	n = iov_iter_extract_pages(from, &pages, len, 1, 0, &off);
	if (n <= 0)
		return n ?: -EIO;
	if (WARN_ON_ONCE(!sendpage_ok(page)))
		return -EIO;
	soc_collect(ctx, page, off, n);
	return n;
}
#endif

int soc_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int flags = msg->msg_flags, err;
	size_t copied = 0;
	long timeo;

	if (!smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tfm) {
			err = tcp_sendmsg_locked(sk, msg, size);
			release_sock(sk);
			return err;
		}
		release_sock(sk);
	}
	if ((flags & (MSG_OOB | MSG_FASTOPEN | MSG_ZEROCOPY)) || msg->msg_controllen)
		return -EOPNOTSUPP;
	err = soc_lock(ctx, flags);
	if (err)
		return err;

	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	while (msg_data_left(msg)) {
		ssize_t n;

		if (soc_full(ctx)) {
			/* Not whether it is the last: whether a unit follows. */
			bool more = (flags & MSG_MORE) || msg_data_left(msg) >= ctx->unit;

			err = soc_flush(sk, ctx, more ? MSG_MORE : 0, false);
			if (err)
				break;
		}
		if (ctx->fill < ctx->unit) {
			err = soc_wait_room(sk, ctx, &timeo);
			if (err)
				break;
		}
		n = min_t(size_t, msg_data_left(msg), ctx->chunk - ctx->fill);
		if (flags & SOC_MSG_SPLICE)
			n = soc_splice_in(ctx, &msg->msg_iter, n);
		else
			n = soc_copy_in(sk, ctx, &msg->msg_iter, n);
		if (n < 0) {
			err = n;
			break;
		}
		copied += n;
		WRITE_ONCE(ctx->bytes_in, ctx->bytes_in + n);
	}
	/* What was accepted goes on its way, also if the call was cut short. */
	if (err ? copied && !ctx->err : !(flags & MSG_MORE) || soc_full(ctx)) {
		int ret = soc_flush(sk, ctx, err ? 0 : flags, false);

		err = err ?: ret;
	}
	if (ctx->err) {		/* accepted bytes are lost, and the caller must know */
		err = ctx->err;
		copied = 0;
	}
	if (err && !copied)
		err = sk_stream_error(sk, flags, err);
	soc_unlock(ctx);
	return copied ?: err;
}

#ifdef SOC_HAVE_SENDPAGE
/*
 * Before there was splice_eof, nobody said that a sendfile() of more than the file
 * had came to its end: what it holds back goes when no page has come for a while.
 */
static void soc_hold(struct soc_ctx *ctx)
{
#ifndef SOC_HAVE_SPLICE_EOF
	ctx->held = jiffies;
	schedule_delayed_work(&ctx->retry, SOC_CORK);
#endif
}

int soc_sendpage(struct sock *sk, struct page *page, int off, size_t size, int flags)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int more, err;
	long timeo;

	if (!smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tfm) {
			err = tcp_sendpage_locked(sk, page, off, size, flags);
			release_sock(sk);
			return err;
		}
		release_sock(sk);
	}
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (!sendpage_ok(page))
		return sock_no_sendpage(sk->sk_socket, page, off, size, flags);
	err = soc_lock(ctx, flags);
	if (err)
		return err;

	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	more = flags & (MSG_MORE | MSG_SENDPAGE_NOTLAST) ? MSG_MORE : 0;
	if (soc_full(ctx))		/* only if memory was short the last time */
		err = soc_flush(sk, ctx, MSG_MORE, false);
	if (!err && ctx->fill < ctx->unit)
		err = soc_wait_room(sk, ctx, &timeo);
	if (!err) {
		size = min_t(size_t, size, ctx->chunk - ctx->fill);
		soc_collect(ctx, page, off, size);
		WRITE_ONCE(ctx->bytes_in, ctx->bytes_in + size);
		if (soc_full(ctx) || !more)
			soc_flush(sk, ctx, more, false);
		else
			soc_hold(ctx);
		err = ctx->err;
	}
	if (err)
		err = sk_stream_error(sk, flags, err);
	soc_unlock(ctx);
	return err ?: size;
}
#endif

#ifdef SOC_HAVE_SPLICE_EOF
/*
 * sendfile() asked for more than the file had: no more is coming after all.  It
 * cannot be interrupted here, so it does not wait for other calls.
 */
void soc_splice_eof(struct socket *sock)
{
	struct sock *sk = sock->sk;
	struct soc_ctx *ctx = soc_get_ctx(sk);

	if (smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		if (soc_trylock(ctx, SOC_OWED)) {
			soc_flush(sk, ctx, 0, false);
			soc_unlock(ctx);
		}
	} else if (ctx->base->splice_eof) {
		ctx->base->splice_eof(sock);
	}
}
#endif
