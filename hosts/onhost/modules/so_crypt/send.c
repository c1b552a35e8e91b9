// SPDX-License-Identifier: GPL-2.0
/*
 * Sending: plain text is collected, by reference from sendfile() and splice(), by copy
 * from send().  When a chunk is full, or a call ends without MSG_MORE, it is encrypted
 * and the fresh pages go to TCP by reference.
 *
 * Back-pressure: a chunk is begun only when the send buffer has room, as TCP
 * does with its segments.  A chunk that was encrypted is queued whole, past the
 * limit by at most one chunk: its plain text is gone, so nobody could be told to
 * try again.  Only want of memory can leave anything here that ought to go: plain
 * text that could not be encrypted, cipher text that TCP did not take.  The next call,
 * or a timer, brings it to TCP before anything else.
 *
 * The end: TCP's FIN is sent by shutdown() and close() alone, after what belongs
 * before it, or the connection is reset.
 */
#include <linux/bvec.h>
#include <linux/uio.h>
#include "internal.h"

#define SOC_RETRY	(HZ / 20)	/* for what was left for want of memory */
#define SOC_PATIENCE	(2 * HZ)	/* for the same at the end of the stream */

#ifdef SOC_HAVE_SENDPAGE
#define SOC_MSG_SPLICE	0		/* the flag may exist, without a meaning */
#else
#define SOC_MSG_SPLICE	MSG_SPLICE_PAGES
#endif

/* soc_ctx.state */
#define SOC_CONTENDED	0	/* someone got EAGAIN for tx.lock */
#define SOC_OWED	1	/* soc_retry() is to run when tx.lock is free */

/* Where this fails, the holder's soc_unlock() sees the bit. */
static bool soc_trylock(struct soc_ctx *ctx, int bit)
{
	if (mutex_trylock(&ctx->tx.lock))
		return true;
	set_bit(bit, &ctx->state);
	smp_mb__after_atomic();	/* pairs with test_and_clear_bit() in soc_unlock() */
	return mutex_trylock(&ctx->tx.lock);
}

static int soc_lock(struct soc_ctx *ctx, int flags)
{
	if (flags & MSG_DONTWAIT)
		return soc_trylock(ctx, SOC_CONTENDED) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&ctx->tx.lock) ? -ERESTARTSYS : 0;
}

void soc_unlock(struct soc_ctx *ctx)
{
	struct sock *sk = ctx->sk;

	mutex_unlock(&ctx->tx.lock);
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

/* Hand cipher text to TCP, as much as it takes at once; socket lock held. */
#ifdef SOC_HAVE_SENDPAGE
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct scatterlist *sg = &ctx->tx.dst[ctx->tx.dfirst];

	if (ctx->tx.dfirst + 1 < ctx->tx.ndst)
		flags |= MSG_MORE | MSG_SENDPAGE_NOTLAST;
	return do_tcp_sendpages(sk, sg_page(sg), sg->offset, sg->length, flags);
}
#else
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct msghdr msg = { .msg_flags = flags | SOC_MSG_SPLICE };
	struct bio_vec bvec[ARRAY_SIZE(ctx->tx.dst)];
	unsigned int i, n = 0;
	size_t len = 0;

	for (i = ctx->tx.dfirst; i < ctx->tx.ndst; i++) {
		struct scatterlist *sg = &ctx->tx.dst[i];

		bvec_set_page(&bvec[n++], sg_page(sg), sg->length, sg->offset);
		len += sg->length;
	}
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, bvec, n, len);
	return tcp_sendmsg_locked(sk, &msg, len);
}
#endif

/*
 * Queue all cipher text; both locks held.  The limits of the send buffer were
 * respected when the chunk was begun (soc_wait_room()) and are lifted here, by not
 * more than what is queued needs: getsockopt() and poll() look without a lock, and
 * TCP may sleep for a page.
 *
 * SEND_SHUTDOWN means a shutdown() that waits for tx.lock: these bytes come before
 * its FIN.
 *
 * Returns -EAGAIN if TCP is short of memory: dst[] keeps the rest.
 */
static int soc_push(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	int sndbuf = READ_ONCE(sk->sk_sndbuf), shut = sk->sk_shutdown & SEND_SHUTDOWN, err = 0;
	struct tcp_sock *tp = tcp_sk(sk);
	u32 lowat = READ_ONCE(tp->notsent_lowat);

	if (ctx->tx.dfirst == ctx->tx.ndst)
		return 0;

	flags &= MSG_MORE;
	ctx->corked = flags;
	/* The pages are ours alone: no need to copy them for a checksum. */
	flags |= MSG_DONTWAIT | MSG_NOSIGNAL | MSG_NO_SHARED_FRAGS;

	if (sk->sk_err || !soc_can_send(sk))
		err = -EPIPE;		/* and leave sk_err to the caller's report */
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~shut);
	WRITE_ONCE(tp->notsent_lowat, U32_MAX);
	while (!err && ctx->tx.dfirst < ctx->tx.ndst) {
		/* Twice: short segments have more headers. */
		int most = READ_ONCE(sk->sk_wmem_queued) + 2 * soc_left(&ctx->tx), n;

		most = max(sndbuf, most);
		WRITE_ONCE(sk->sk_sndbuf, most);
		n = soc_tcp_send(sk, ctx, flags);
		if (n > 0)
			soc_passed(&ctx->tx, n);
		else
			err = n ?: -EAGAIN;
		if (READ_ONCE(sk->sk_sndbuf) < most) {	/* memory pressure lowers it for good */
			sndbuf = min(sndbuf, READ_ONCE(sk->sk_sndbuf));
			if (!err && ctx->tx.dfirst < ctx->tx.ndst)
				err = -EAGAIN;
		}
	}
	WRITE_ONCE(tp->notsent_lowat, lowat);
	WRITE_ONCE(sk->sk_sndbuf, sndbuf);
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | shut);

	if (err == -EAGAIN)
		return err;
	soc_drop_dst(&ctx->tx);
	if (err)
		ctx->tx.err = sk->sk_err || !soc_can_send(sk) ? -EPIPE : -EIO;
	return err ? ctx->tx.err : 0;
}

/*
 * Encrypt and queue what can be; tx.lock held, and @locked: the socket lock too.
 * Without MSG_MORE in @flags nothing waits for company.  What cannot go for want of
 * memory goes later, by soc_retry(): plain text with -ENOMEM, since no more of it
 * can be taken; cipher text without, since the caller's bytes are accepted.
 */
static int soc_flush(struct sock *sk, struct soc_ctx *ctx, int flags, bool locked)
{
	bool more = flags & MSG_MORE, uncork;
	int err, pushed;

	if (ctx->tx.err)
		return ctx->tx.err;
	err = soc_crypt_units(sk, &ctx->tx, ctx->tx.fill % ctx->tx.unit);
	if (!err && !more)
		err = soc_crypt_rest(sk, &ctx->tx);
	if (ctx->tx.err)
		return ctx->tx.err;
	uncork = ctx->corked && !more && ctx->tx.dfirst == ctx->tx.ndst;

	if (!locked)
		lock_sock(sk);
	pushed = soc_push(sk, ctx, flags);
	if (!locked)
		release_sock(sk);
#ifdef SOC_HAVE_SPLICE_EOF
	if (uncork && !locked && ctx->base->splice_eof) {
		ctx->corked = false;
		ctx->base->splice_eof(sk->sk_socket);
	}
#endif
	if (err == -ENOMEM || pushed == -EAGAIN)
		schedule_delayed_work(&ctx->retry, SOC_RETRY);
	return pushed && pushed != -EAGAIN ? pushed : err;
}

/* Nobody calls, and what was accepted goes all the same. */
void soc_retry(struct work_struct *work)
{
	struct soc_ctx *ctx = container_of(to_delayed_work(work), struct soc_ctx, retry);
	unsigned long due;

	if (!soc_trylock(ctx, SOC_OWED))
		return;
	due = ctx->held + SOC_CORK;
	if (time_before(jiffies, due))
		schedule_delayed_work(&ctx->retry, due - jiffies);
	else
		soc_flush(ctx->sk, ctx, 0, false);
	soc_unlock(ctx);
}

/* Wait until a chunk may be begun: all cipher text queued, and room for more. */
static int soc_wait_room(struct sock *sk, struct soc_ctx *ctx, long *timeo)
{
	int err;

	if (ctx->tx.err)
		return ctx->tx.err;
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
	struct page_frag *in = &ctx->tx.in;

	if (!ctx->tx.fill)
		in->offset = ALIGN(in->offset, SOC_ALIGN);
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation | __GFP_ACCOUNT))
		return -ENOMEM;
	len = min_t(size_t, len, in->size - in->offset);
	len = copy_page_from_iter(in->page, in->offset, len, from);
	if (!len)
		return -EFAULT;
	soc_collect(&ctx->tx, in->page, in->offset, len);
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
	soc_collect(&ctx->tx, page, off, n);
	return n;
}
#endif

int soc_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int flags = msg->msg_flags, err;
	size_t copied = 0;
	long timeo;

	if (!smp_load_acquire(&ctx->tx.tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tx.tfm) {
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

		if (soc_full(&ctx->tx)) {
			/* Not whether it is the last: whether a unit follows. */
			bool more = (flags & MSG_MORE) || msg_data_left(msg) >= ctx->tx.unit;

			err = soc_flush(sk, ctx, more ? MSG_MORE : 0, false);
			if (err)
				break;
		}
		if (ctx->tx.fill < ctx->tx.unit) {
			err = soc_wait_room(sk, ctx, &timeo);
			if (err)
				break;
		}
		n = min_t(size_t, msg_data_left(msg), ctx->tx.chunk - ctx->tx.fill);
		if (flags & SOC_MSG_SPLICE)
			n = soc_splice_in(ctx, &msg->msg_iter, n);
		else
			n = soc_copy_in(sk, ctx, &msg->msg_iter, n);
		if (n < 0) {
			err = n;
			break;
		}
		copied += n;
		WRITE_ONCE(ctx->tx.bytes_in, ctx->tx.bytes_in + n);
	}
	/* What was accepted goes on its way, also if the call was cut short. */
	if (err ? copied && !ctx->tx.err : !(flags & MSG_MORE) || soc_full(&ctx->tx)) {
		int ret = soc_flush(sk, ctx, err ? 0 : flags, false);

		err = err ?: ret;
	}
	if (ctx->tx.err) {		/* accepted bytes are lost, and the caller must know */
		err = ctx->tx.err;
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

	if (!smp_load_acquire(&ctx->tx.tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tx.tfm) {
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
	if (soc_full(&ctx->tx))		/* only if memory was short the last time */
		err = soc_flush(sk, ctx, MSG_MORE, false);
	if (!err && ctx->tx.fill < ctx->tx.unit)
		err = soc_wait_room(sk, ctx, &timeo);
	if (!err) {
		size = min_t(size_t, size, ctx->tx.chunk - ctx->tx.fill);
		soc_collect(&ctx->tx, page, off, size);
		WRITE_ONCE(ctx->tx.bytes_in, ctx->tx.bytes_in + size);
		if (soc_full(&ctx->tx) || !more)
			soc_flush(sk, ctx, more, false);
		else
			soc_hold(ctx);
		err = ctx->tx.err;
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

	if (smp_load_acquire(&ctx->tx.tfm)) {	/* pairs with soc_set() */
		if (soc_trylock(ctx, SOC_OWED)) {
			soc_flush(sk, ctx, 0, false);
			soc_unlock(ctx);
		}
	} else if (ctx->base->splice_eof) {
		ctx->base->splice_eof(sock);
	}
}
#endif

/* Pad the last block; tx.lock and socket lock held. */
static int soc_pad(struct sock *sk, struct soc_ctx *ctx)
{
	struct page_frag *in = &ctx->tx.in;
	unsigned int n = ctx->tx.unit - ctx->tx.fill;

	if (ctx->tx.stream || ctx->tx.unit == 1 || ctx->tx.pad == SO_CRYPT_PAD_NONE ||
	    (ctx->tx.pad == SO_CRYPT_PAD_ZERO && !ctx->tx.fill))
		return 0;
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
		return -ENOMEM;
	memset(page_address(in->page) + in->offset,
	       ctx->tx.pad == SO_CRYPT_PAD_PKCS7 ? n : 0, n);
	soc_collect(&ctx->tx, in->page, in->offset, n);
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
void soc_end(struct sock *sk, struct soc_ctx *ctx)
{
	long timeo = SOC_PATIENCE;
	int err;

	if (!ctx->tx.tfm || ctx->tx.ended || !soc_can_send(sk))
		return;
	ctx->tx.ended = true;
	err = soc_flush(sk, ctx, 0, true);
	if (!err)
		err = soc_pad(sk, ctx);
	if (!err)
		err = soc_flush(sk, ctx, 0, true);
	while (!err && soc_push(sk, ctx, 0) == -EAGAIN)
		err = sk_stream_wait_memory(sk, &timeo);
	if ((err || ctx->tx.err) && soc_can_send(sk))
		soc_reset(sk, ctx);
}

/* Arrives with the socket lock held and sk_shutdown set. */
void soc_shutdown(struct sock *sk, int how)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);

	if ((how & SEND_SHUTDOWN) && ctx->tx.tfm) {
		int err = 0;

		if (!mutex_trylock(&ctx->tx.lock)) {
			/* A sender that waits for room leaves now, with EPIPE. */
			sk->sk_state_change(sk);
			release_sock(sk);
			err = mutex_lock_killable(&ctx->tx.lock);
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
