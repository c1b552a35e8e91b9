// SPDX-License-Identifier: GPL-2.0
/* From the plain text collected to cipher text queued. */
#include "internal.h"

/* Encrypt the first @len collected bytes to the end of dst[]; tx_lock held. */
static int soc_encrypt(struct sock *sk, struct soc_ctx *ctx, unsigned int len, u8 *iv)
{
	struct scatterlist *dst = &ctx->dst[ctx->ndst], *dlast, *slast = ctx->src;
	unsigned int left = len, cut;
	int err;

	err = soc_alloc_dst(sk, ctx, len);
	if (err)
		return err;

	/* End the lists exactly here: some drivers map entries as they stand. */
	while (left > slast->length)
		left -= slast++->length;
	cut = slast->length - left;
	slast->length = left;
	sg_mark_end(slast);
	dlast = &ctx->dst[ctx->ndst - 1];
	sg_mark_end(dlast);

	skcipher_request_set_crypt(ctx->req, ctx->src, dst, len, iv);
	err = crypto_wait_req(crypto_skcipher_encrypt(ctx->req), &ctx->wait);
	WRITE_ONCE(ctx->requests, ctx->requests + 1);

	sg_unmark_end(dlast);
	sg_unmark_end(slast);
	slast->length += cut;
	if (err) {
		soc_drop_dst(ctx);
		ctx->err = -EIO;
		return -EIO;
	}
	dst->offset += ctx->skip;	/* shorter than a unit, so than an entry */
	dst->length -= ctx->skip;
	return 0;
}

/* Encrypt all whole units; what is left over moves to the front, copied. */
static int soc_encrypt_units(struct sock *sk, struct soc_ctx *ctx)
{
	unsigned int rest = ctx->fill % ctx->unit, len = ctx->fill - rest;
	struct page_frag *in = &ctx->in;
	int err;

	if (!len)
		return 0;
	if (rest) {
		if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
			return -ENOMEM;
		sg_pcopy_to_buffer(ctx->src, ctx->nsrc, page_address(in->page) + in->offset,
				   rest, len);
	}
	err = soc_encrypt(sk, ctx, len, ctx->iv);
	if (err)
		return err;
	soc_drop_src(ctx);
	if (rest) {
		soc_collect(ctx, in->page, in->offset, rest);
		in->offset += rest;
	}
	return 0;
}

/*
 * The part of a unit that a stream cipher can send now.  It stays collected:
 * the next request begins with it again, from the same IV, and the bytes that
 * have gone are skipped.
 */
static int soc_encrypt_rest(struct sock *sk, struct soc_ctx *ctx)
{
	int err;

	if (!ctx->stream || ctx->fill == ctx->skip)
		return 0;
	memcpy(ctx->rest_iv, ctx->iv, sizeof(ctx->iv));
	err = soc_encrypt(sk, ctx, ctx->fill, ctx->rest_iv);
	if (!err)
		ctx->skip = ctx->fill;
	return err;
}

/*
 * Encrypt and queue what can be; tx_lock held, and @locked: the socket lock too.
 * Without MSG_MORE in @flags nothing waits for company.  What cannot go for want of
 * memory goes later, by soc_retry(): plain text with -ENOMEM, since no more of it
 * can be taken; cipher text without, since the caller's bytes are accepted.
 */
int soc_flush(struct sock *sk, struct soc_ctx *ctx, int flags, bool locked)
{
	bool more = flags & MSG_MORE, uncork;
	int err, pushed;

	if (ctx->err)
		return ctx->err;
	err = soc_encrypt_units(sk, ctx);
	if (!err && !more)
		err = soc_encrypt_rest(sk, ctx);
	if (ctx->err)
		return ctx->err;
	uncork = ctx->corked && !more && ctx->dfirst == ctx->ndst;

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
