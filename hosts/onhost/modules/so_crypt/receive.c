// SPDX-License-Identifier: GPL-2.0
/*
 * Receiving: what TCP has is taken when somebody reads, up to a chunk, by reference to
 * the pages it lies in, and deciphered to fresh ones.  recv() copies from these,
 * splice() hands them on.  Nobody reads: TCP's window closes, as it always does.
 *
 * rx->lock serialises readers for the whole of a call.  The socket lock nests inside,
 * and is not held while the cipher works.
 *
 * The end is told when TCP's FIN has come and all before it is whole: blocks and, with
 * PKCS#7, their padding, for which the last block is kept until more comes or nothing.
 * What ends otherwise ends with an error, and goes on doing so.
 */
#include <linux/fs.h>
#include <linux/pipe_fs_i.h>
#include <linux/splice.h>
#include "internal.h"

/* What lies in a page of TCP's: by reference.  0 if it does not. */
static int soc_take_page(struct soc_stream *rx, const struct sk_buff *skb, unsigned int offset,
			 unsigned int len)
{
	unsigned int i;

	if (offset < skb_headlen(skb))
		return 0;
	offset -= skb_headlen(skb);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];
		unsigned int size = skb_frag_size(frag);

		if (offset < size) {
			if (!skb_frag_page(frag))
				return -EIO;
			len = min(len, size - offset);
			soc_collect(rx, skb_frag_page(frag), skb_frag_off(frag) + offset, len);
			return len;
		}
		offset -= size;
	}
	return 0;
}

/* And what lies elsewhere: by copy. */
static int soc_take_copy(struct sock *sk, struct soc_stream *rx, const struct sk_buff *skb,
			 unsigned int offset, unsigned int len)
{
	struct page_frag *in = &rx->in;

	if (!rx->fill)
		in->offset = ALIGN(in->offset, SOC_ALIGN);
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
		return -ENOMEM;
	len = min(len, in->size - in->offset);
	if (offset < skb_headlen(skb))
		len = min(len, skb_headlen(skb) - offset);
	if (skb_copy_bits(skb, offset, page_address(in->page) + in->offset, len))
		return -EIO;
	soc_collect(rx, in->page, in->offset, len);
	in->offset += len;
	return len;
}

/* Called by TCP for each of its buffers; returns how much of it was taken. */
static int soc_take(read_descriptor_t *desc, struct sk_buff *skb, unsigned int offset, size_t len)
{
	struct sock *sk = desc->arg.data;
	struct soc_stream *rx = soc_get_ctx(sk)->rx;
	unsigned int taken = 0;

	while (taken < len && !soc_full(rx)) {
		unsigned int most = min_t(size_t, len - taken, rx->chunk - rx->fill);
		int n = soc_take_page(rx, skb, offset + taken, most);

		if (!n)
			n = soc_take_copy(sk, rx, skb, offset + taken, most);
		if (n < 0) {
			desc->error = n;
			break;
		}
		taken += n;
	}
	if (soc_full(rx) || desc->error)
		desc->count = 0;
	WRITE_ONCE(rx->bytes_in, rx->bytes_in + taken);
	return taken;
}

/*
 * Take what TCP has, or wait for it; rx->lock held.  Returns 1 if there is more, 0 if
 * no more will come.
 */
static int soc_more(struct sock *sk, struct soc_ctx *ctx, long *timeo)
{
	read_descriptor_t desc = { .count = 1, .arg.data = sk };
	struct soc_stream *rx = ctx->rx;
	int n, err = 0;

	lock_sock(sk);
	n = ctx->base_ops->read_sock(sk, &desc, soc_take);
	if (n > 0) {
		err = 1;
	} else if (desc.error) {
		err = desc.error;
	} else if (tcp_sk(sk)->urg_data) {
		err = rx->err = -EBADMSG;	/* whether its byte is one of ours, nobody says */
	} else if (sock_flag(sk, SOCK_DONE)) {
		err = 0;
	} else if (sk->sk_err) {
		err = rx->err = sock_error(sk);
	} else if (sk->sk_state == TCP_CLOSE) {
		err = rx->err = -ECONNRESET;
	} else if (sk->sk_shutdown & RCV_SHUTDOWN) {
		err = -ESHUTDOWN;
	} else if (!*timeo) {
		err = -EAGAIN;
	} else if (signal_pending(current)) {
		err = sock_intr_errno(*timeo);
	} else {
		err = sk_wait_data(sk, timeo, NULL);
		err = err < 0 ? err : 1;
	}
	release_sock(sk);
	return err;
}

/* The last block: take off its padding. */
static int soc_unpad(struct soc_stream *rx)
{
	struct scatterlist *last;
	unsigned int n, i;
	u8 *end;

	if (rx->stream || rx->unit == 1)
		return 0;
	if (rx->fill)
		return -EBADMSG;
	if (rx->pad != SO_CRYPT_PAD_PKCS7)
		return 0;
	if (rx->dfirst == rx->ndst)
		return -EBADMSG;
	last = &rx->dst[rx->ndst - 1];
	end = page_address(sg_page(last)) + last->offset + last->length;
	n = end[-1];
	if (!n || n > rx->unit)
		return -EBADMSG;
	for (i = 1; i <= n; i++)
		if (end[-(int)i] != n)
			return -EBADMSG;
	last->length -= n;
	if (!last->length) {
		put_page(sg_page(last));
		rx->ndst--;
	}
	return 0;
}

/* Decipher what is collected; @over: all of it, for nothing follows. */
static int soc_decipher(struct sock *sk, struct soc_stream *rx, bool over)
{
	unsigned int rest = rx->fill % rx->unit;
	int err;

	if (!rest && !over && rx->fill && rx->pad == SO_CRYPT_PAD_PKCS7 && rx->unit > 1 && !rx->stream)
		rest = rx->unit;
	err = soc_crypt_units(sk, rx, rest);
	if (!err)
		err = soc_crypt_rest(sk, rx);
	if (!err && over) {
		WRITE_ONCE(rx->ended, true);
		err = soc_unpad(rx);
		if (err) {
			soc_drop_dst(rx);
			WRITE_ONCE(rx->err, err);
		}
	}
	return err;
}

/* Wait until there is plain text: 1; or its end: 0.  rx->lock held. */
static int soc_ready(struct sock *sk, struct soc_ctx *ctx, long *timeo)
{
	struct soc_stream *rx = ctx->rx;

	while (!soc_left(rx)) {
		int err;

		if (rx->err)
			return rx->err;
		if (rx->ended)
			return 0;
		err = soc_full(rx) ? 1 : soc_more(sk, ctx, timeo);
		if (err == -ESHUTDOWN)
			return 0;
		if (err >= 0)
			err = soc_decipher(sk, rx, !err);
		if (err < 0)
			return err;
	}
	return 1;
}

static int soc_give(struct soc_stream *rx, struct msghdr *msg, size_t len, int flags)
{
	unsigned int i, done = 0;

	for (i = rx->dfirst; i < rx->ndst && done < len; i++) {
		struct scatterlist *sg = &rx->dst[i];
		unsigned int n = min_t(size_t, len - done, sg->length);

		if (!(flags & MSG_TRUNC) &&
		    copy_page_to_iter(sg_page(sg), sg->offset, n, &msg->msg_iter) != n)
			break;
		done += n;
	}
	if (!(flags & MSG_PEEK))
		soc_passed(rx, done);
	return done ?: -EFAULT;
}

static int soc_lock_rx(struct soc_stream *rx, bool wait)
{
	if (!wait)
		return mutex_trylock(&rx->lock) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&rx->lock) ? -ERESTARTSYS : 0;
}

static void soc_unlock_rx(struct sock *sk, struct soc_stream *rx)
{
	bool left = rx->dfirst != rx->ndst;

	mutex_unlock(&rx->lock);
	if (left)		/* also for those who got EAGAIN meanwhile */
		READ_ONCE(sk->sk_data_ready)(sk);
}

int soc_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags SOC_ADDR_LEN)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct soc_stream *rx = smp_load_acquire(&ctx->rx);	/* pairs with soc_set_rx() */
	long timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT), none = 0;
	int target = sock_rcvlowat(sk, flags & MSG_WAITALL, len);
	int copied = 0, err;

	if (!rx) {
		down_read(&ctx->clear);
		rx = ctx->rx;
		err = rx ? 0 : ctx->base->recvmsg(sk, msg, len, flags SOC_ADDR);
		up_read(&ctx->clear);
		if (!rx)
			return err;
	}
	if (flags & MSG_ERRQUEUE)
		return ctx->base->recvmsg(sk, msg, len, flags SOC_ADDR);
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	err = soc_lock_rx(rx, !(flags & MSG_DONTWAIT));
	if (err)
		return err;
	while (copied < len) {
		err = soc_ready(sk, ctx, copied < target ? &timeo : &none);
		if (err > 0)
			err = soc_give(rx, msg, len - copied, flags);
		if (err <= 0)
			break;
		copied += err;
		if (flags & MSG_PEEK)
			break;
	}
	soc_unlock_rx(sk, rx);
	return copied ?: err;
}

static void soc_not_spliced(struct splice_pipe_desc *spd, unsigned int i)
{
	put_page(spd->pages[i]);
}

static ssize_t soc_to_pipe(struct soc_stream *rx, struct pipe_inode_info *pipe, size_t len)
{
	struct partial_page partial[PIPE_DEF_BUFFERS];
	struct page *pages[PIPE_DEF_BUFFERS];
	struct splice_pipe_desc spd = {
		.pages		= pages,
		.partial	= partial,
		.nr_pages_max	= PIPE_DEF_BUFFERS,
		.ops		= &nosteal_pipe_buf_ops,
		.spd_release	= soc_not_spliced,
	};
	unsigned int i, at;
	ssize_t n;

	for (i = rx->dfirst; i < rx->ndst; i++) {
		struct scatterlist *sg = &rx->dst[i];

		for (at = 0; at < sg->length && len && spd.nr_pages < PIPE_DEF_BUFFERS; at += n) {
			unsigned int off = sg->offset + at;

			n = min3(len, (size_t)sg->length - at, PAGE_SIZE - offset_in_page(off));
			pages[spd.nr_pages] = sg_page(sg) + (off >> PAGE_SHIFT);
			get_page(pages[spd.nr_pages]);
			partial[spd.nr_pages].offset = offset_in_page(off);
			partial[spd.nr_pages++].len = n;
			len -= n;
		}
	}
	n = splice_to_pipe(pipe, &spd);
	if (n > 0)
		soc_passed(rx, n);
	return n;
}

ssize_t soc_splice_read(struct socket *sock, loff_t *pos, struct pipe_inode_info *pipe,
			size_t len, unsigned int flags)
{
	bool wait = !(flags & SPLICE_F_NONBLOCK) && !(sock->file->f_flags & O_NONBLOCK);
	struct sock *sk = sock->sk;
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct soc_stream *rx = smp_load_acquire(&ctx->rx);	/* pairs with soc_set_rx() */
	long timeo = sock_rcvtimeo(sk, !wait);
	ssize_t n;

	if (!rx) {
		down_read(&ctx->clear);
		rx = ctx->rx;
		n = rx ? 0 : ctx->base_ops->splice_read(sock, pos, pipe, len, flags);
		up_read(&ctx->clear);
		if (!rx)
			return n;
	}
	if (!len)
		return 0;
	n = soc_lock_rx(rx, wait);
	if (n)
		return n;
	n = soc_ready(sk, ctx, &timeo);
	if (n > 0)
		n = soc_to_pipe(rx, pipe, len);
	soc_unlock_rx(sk, rx);
	return n;
}

/* For poll(): plain text that TCP does not know of. */
bool soc_readable(struct sock *sk)
{
	struct soc_stream *rx = smp_load_acquire(&soc_get_ctx(sk)->rx);	/* pairs with soc_set_rx() */

	return rx && (READ_ONCE(rx->dfirst) != READ_ONCE(rx->ndst) || READ_ONCE(rx->err));
}
