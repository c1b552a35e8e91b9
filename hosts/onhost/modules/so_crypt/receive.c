// SPDX-License-Identifier: GPL-2.0
/* recvmsg(), splice() and poll() of a socket that deciphers. */
#include <linux/fs.h>
#include <linux/sockios.h>
#include <linux/splice.h>
#include <linux/uio.h>
#include <asm/ioctls.h>
#include "internal.h"

/* Whether a call begins that reads clear text; SO_CRYPT_SET_RX has to know of it. */
static bool soc_begin_clear(struct sock *sk, struct soc_ctx *ctx)
{
	bool clear;

	if (smp_load_acquire(&ctx->rx.tfm))	/* pairs with soc_set_rx() */
		return false;
	lock_sock(sk);
	clear = !ctx->rx.tfm;
	ctx->rx.clear += clear;
	release_sock(sk);
	return clear;
}

static void soc_end_clear(struct sock *sk, struct soc_ctx *ctx)
{
	lock_sock(sk);
	ctx->rx.clear--;
	release_sock(sk);
}

static void soc_taken(struct soc_rx *rx, unsigned int n)
{
	WRITE_ONCE(rx->from, rx->from + n);
	WRITE_ONCE(rx->bytes_out, rx->bytes_out + n);
}

/* Copy plain text to a reader's buffer; with MSG_TRUNC nothing is copied, as on any TCP socket. */
static ssize_t soc_copy_out(struct soc_rx *rx, struct iov_iter *to, size_t len, int flags)
{
	size_t left = min_t(size_t, len, rx->to - rx->from), done = 0;

	while (left) {
		unsigned int at = rx->from + done, in = offset_in_page(at);
		size_t n = min_t(size_t, left, PAGE_SIZE - in), some = n;

		if (!(flags & MSG_TRUNC))
			some = copy_page_to_iter(rx->pages[at / PAGE_SIZE], in, n, to);
		done += some;
		left -= some;
		if (some < n)
			break;
	}
	if (!(flags & MSG_PEEK))
		soc_taken(rx, done);
	return done ?: -EFAULT;
}

/* Plain text by reference: its pages are the pipe's from now on, and are not written to again. */
static ssize_t soc_splice_out(struct soc_rx *rx, struct pipe_inode_info *pipe, size_t len)
{
	size_t left = min_t(size_t, len, rx->to - rx->from), done = 0;

	while (left) {
		unsigned int in = offset_in_page(rx->from);
		struct pipe_buffer buf = {
			.page	= rx->pages[rx->from / PAGE_SIZE],
			.offset	= in,
			.len	= min_t(size_t, left, PAGE_SIZE - in),
			.ops	= &nosteal_pipe_buf_ops,
		};
		unsigned int n = buf.len;
		ssize_t err;

		get_page(buf.page);
		err = add_to_pipe(pipe, &buf);	/* where there is no room it lets go of it */
		if (err < 0)
			return done ?: err;
		soc_taken(rx, n);
		done += n;
		left -= n;
	}
	return done;
}

/*
 * While a call deciphers what it has from TCP, poll() sees it nowhere, and TCP wakes nobody
 * for it again: what the call leaves is news.
 */
static void soc_done(struct soc_ctx *ctx)
{
	struct soc_rx *rx = &ctx->rx;

	if (rx->fetched && (rx->from < rx->to || rx->err))
		set_bit(SOC_RX_NEWS, &ctx->state);
	rx->fetched = false;
	soc_trim(rx);		/* a reader may not come again soon */
	soc_unlock_rx(ctx);
}

static int soc_recv(struct sock *sk, struct soc_ctx *ctx, struct msghdr *msg, size_t size, int flags)
{
	size_t copied = 0, target = sock_rcvlowat(sk, flags & MSG_WAITALL, size);
	ssize_t n;
	int err;

	err = soc_lock_rx(ctx, flags);
	if (err)
		return err;
	while (copied < size) {
		if (copied < target)
			err = soc_fill(sk, ctx, target - copied, flags);
		else
			err = soc_fill(sk, ctx, 1, flags | MSG_DONTWAIT);
		if (err <= 0)
			break;
		n = soc_copy_out(&ctx->rx, &msg->msg_iter, size - copied, flags);
		if (n < 0) {
			err = n;
			break;
		}
		copied += n;
		if (flags & MSG_PEEK)
			break;
	}
	soc_done(ctx);
	return copied ?: err;
}

int soc_recvmsg(struct sock *sk, struct msghdr *msg, size_t size, int flags SOC_ADDR_LEN_PARAMETER)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int ret;

	if (flags & MSG_ERRQUEUE)
		return ctx->base->recvmsg(sk, msg, size, flags SOC_ADDR_LEN_ARGUMENT);
	if (soc_begin_clear(sk, ctx)) {
		ret = ctx->base->recvmsg(sk, msg, size, flags SOC_ADDR_LEN_ARGUMENT);
		soc_end_clear(sk, ctx);
		return ret;
	}
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	return soc_recv(sk, ctx, msg, min_t(size_t, size, INT_MAX), flags);
}

/* Many chunks in a call, as long as there is room in the pipe; waits for the first alone. */
ssize_t soc_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe, size_t len,
			unsigned int flags)
{
	struct sock *sk = sock->sk;
	struct soc_ctx *ctx = soc_get_ctx(sk);
	bool waits = !(flags & SPLICE_F_NONBLOCK) && !(sock->file->f_flags & O_NONBLOCK);
	size_t done = 0, target = sock_rcvlowat(sk, 0, min_t(size_t, len, INT_MAX));
	ssize_t n;

	if (unlikely(*ppos))
		return -ESPIPE;
	n = soc_lock_rx(ctx, waits ? 0 : MSG_DONTWAIT);
	if (n)
		return n;
	while (done < len) {
		n = soc_fill(sk, ctx, target, waits && !done ? 0 : MSG_DONTWAIT);
		if (n <= 0)
			break;
		n = soc_splice_out(&ctx->rx, pipe, len - done);
		if (n < 0)
			break;
		done += n;
	}
	soc_done(ctx);
	return done ?: n;
}

/*
 * As TCP's, but for cipher text that is no plain text yet.  SO_RCVLOWAT is of what TCP has, since
 * TCP wakes for no less: plain text that is left would wait for ever for the mark's other part.
 */
__poll_t soc_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait)
{
	const __poll_t in = EPOLLIN | EPOLLRDNORM;
	struct sock *sk = sock->sk;
	struct soc_ctx *ctx = soc_get_ctx(sk);
	__poll_t mask = ctx->rx.base_ops->poll(file, sock, wait);
	struct soc_rx *rx = &ctx->rx;

	if (!smp_load_acquire(&rx->tfm))	/* pairs with soc_set_rx() */
		return mask;
	if (READ_ONCE(rx->from) < READ_ONCE(rx->to) || READ_ONCE(rx->err) ||
	    ((mask & in) && soc_readable(sk, rx)))
		return mask | in;
	return READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN ? mask : mask & ~in;
}

/* SIOCINQ tells of plain text: who reads by epoll's edges stops where it says that nothing is left. */
int soc_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct soc_ctx *ctx = soc_get_ctx(sock->sk);
	int readable;

	if (cmd != SIOCINQ || !smp_load_acquire(&ctx->rx.tfm))	/* pairs with soc_set_rx() */
		return ctx->rx.base_ops->ioctl(sock, cmd, arg);
	readable = min_t(unsigned int, soc_readable(sock->sk, &ctx->rx), INT_MAX);
	return put_user(readable, (int __user *)arg);
}
