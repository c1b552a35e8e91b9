// SPDX-License-Identifier: GPL-2.0
/* The chunk: plain text collected, cipher text handed to TCP. */
#include <linux/bvec.h>
#include <linux/uio.h>
#include "internal.h"

/* Append plain text to the chunk; takes a reference of its own. */
void soc_collect(struct soc_ctx *ctx, struct page *page, unsigned int off,
			unsigned int len)
{
	struct scatterlist *last = ctx->nsrc ? &ctx->src[ctx->nsrc - 1] : NULL;

	if (last && sg_page(last) == page && last->offset + last->length == off) {
		last->length += len;
	} else {
		get_page(page);
		sg_set_page(&ctx->src[ctx->nsrc++], page, len, off);
	}
	ctx->fill += len;
}

bool soc_full(const struct soc_ctx *ctx)
{
	return ctx->fill >= ctx->chunk || ctx->nsrc >= SOC_MAX_PAGES;
}

static void soc_put_pages(struct scatterlist *sg, unsigned int n)
{
	while (n--)
		put_page(sg_page(sg++));
}

void soc_drop_src(struct soc_ctx *ctx)
{
	soc_put_pages(ctx->src, ctx->nsrc);
	ctx->nsrc = 0;
	ctx->fill = 0;
	ctx->skip = 0;
}

void soc_drop_dst(struct soc_ctx *ctx)
{
	soc_put_pages(&ctx->dst[ctx->dfirst], ctx->ndst - ctx->dfirst);
	ctx->dfirst = 0;
	ctx->ndst = 0;
}

/* Bytes of cipher text to queue. */
static int soc_left(const struct soc_ctx *ctx)
{
	unsigned int i, left = 0;

	for (i = ctx->dfirst; i < ctx->ndst; i++)
		left += ctx->dst[i].length;
	return left;
}

/* Hand cipher text to TCP, as much as it takes at once; socket lock held. */
#ifdef SOC_HAVE_SENDPAGE
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct scatterlist *sg = &ctx->dst[ctx->dfirst];

	if (ctx->dfirst + 1 < ctx->ndst)
		flags |= MSG_MORE | MSG_SENDPAGE_NOTLAST;
	return do_tcp_sendpages(sk, sg_page(sg), sg->offset, sg->length, flags);
}
#else
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct msghdr msg = { .msg_flags = flags | SOC_MSG_SPLICE };
	struct bio_vec bvec[ARRAY_SIZE(ctx->dst)];
	unsigned int i, n = 0;
	size_t len = 0;

	for (i = ctx->dfirst; i < ctx->ndst; i++) {
		struct scatterlist *sg = &ctx->dst[i];

		bvec_set_page(&bvec[n++], sg_page(sg), sg->length, sg->offset);
		len += sg->length;
	}
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, bvec, n, len);
	return tcp_sendmsg_locked(sk, &msg, len);
}
#endif

static void soc_sent(struct soc_ctx *ctx, unsigned int len)
{
	WRITE_ONCE(ctx->bytes_out, ctx->bytes_out + len);
	while (len) {
		struct scatterlist *sg = &ctx->dst[ctx->dfirst];
		unsigned int n = min(len, sg->length);

		sg->offset += n;
		sg->length -= n;
		len -= n;
		if (!sg->length) {
			put_page(sg_page(sg));
			ctx->dfirst++;
		}
	}
}

/*
 * Queue all cipher text; both locks held.  The limits of the send buffer were
 * respected when the chunk was begun (soc_wait_room()) and are lifted here, by not
 * more than what is queued needs: getsockopt() and poll() look without a lock, and
 * TCP may sleep for a page.
 *
 * SEND_SHUTDOWN means a shutdown() that waits for tx_lock: these bytes come before
 * its FIN.
 *
 * Returns -EAGAIN if TCP is short of memory: dst[] keeps the rest.
 */
int soc_push(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	int sndbuf = READ_ONCE(sk->sk_sndbuf), shut = sk->sk_shutdown & SEND_SHUTDOWN, err = 0;
	struct tcp_sock *tp = tcp_sk(sk);
	u32 lowat = READ_ONCE(tp->notsent_lowat);

	if (ctx->dfirst == ctx->ndst)
		return 0;

	flags &= MSG_MORE;
	ctx->corked = flags;
	/* The pages are ours alone: no need to copy them for a checksum. */
	flags |= MSG_DONTWAIT | MSG_NOSIGNAL | MSG_NO_SHARED_FRAGS;

	if (sk->sk_err || !soc_can_send(sk))
		err = -EPIPE;		/* and leave sk_err to the caller's report */
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~shut);
	WRITE_ONCE(tp->notsent_lowat, U32_MAX);
	while (!err && ctx->dfirst < ctx->ndst) {
		int n = 2 * soc_left(ctx);	/* with the headers of short segments */

		WRITE_ONCE(sk->sk_sndbuf, max(sndbuf, READ_ONCE(sk->sk_wmem_queued) + n));
		n = soc_tcp_send(sk, ctx, flags);
		if (n > 0)
			soc_sent(ctx, n);
		else
			err = n ?: -EAGAIN;
	}
	WRITE_ONCE(tp->notsent_lowat, lowat);
	/* Memory pressure may have lowered it for good. */
	WRITE_ONCE(sk->sk_sndbuf, min(sndbuf, READ_ONCE(sk->sk_sndbuf)));
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | shut);

	if (err == -EAGAIN)
		return err;
	soc_drop_dst(ctx);
	if (err)
		ctx->err = sk->sk_err || !soc_can_send(sk) ? -EPIPE : -EIO;
	return err ? ctx->err : 0;
}

/* Append pages for @len bytes of cipher text to dst[]. */
int soc_alloc_dst(struct sock *sk, struct soc_ctx *ctx, unsigned int len)
{
	unsigned int n = ctx->ndst;

	while (len) {
		struct page_frag *out = &ctx->out;
		unsigned int take;

		out->offset = ALIGN(out->offset, SOC_ALIGN);
		if (n == ARRAY_SIZE(ctx->dst) ||
		    !skb_page_frag_refill(SOC_ALIGN, out, sk->sk_allocation)) {
			soc_put_pages(&ctx->dst[ctx->ndst], n - ctx->ndst);
			return -ENOMEM;
		}
		take = min(len, round_down(out->size - out->offset, ctx->unit));
		get_page(out->page);
		sg_set_page(&ctx->dst[n++], out->page, take, out->offset);
		out->offset += take;
		len -= take;
	}
	ctx->ndst = n;
	return 0;
}
