// SPDX-License-Identifier: GPL-2.0
/* One direction's bytes: collected by reference, done by the cipher to fresh pages. */
#include "internal.h"

void soc_stream_init(struct soc_stream *st, bool decrypt)
{
	mutex_init(&st->lock);
	st->decrypt = decrypt;
	sg_init_table(st->src, ARRAY_SIZE(st->src));
	sg_init_table(st->dst, ARRAY_SIZE(st->dst));
	/* soc_crypt() marks where a request ends. */
	sg_unmark_end(&st->src[ARRAY_SIZE(st->src) - 1]);
	sg_unmark_end(&st->dst[ARRAY_SIZE(st->dst) - 1]);
}

/* Append to what is collected; takes a reference of its own. */
void soc_collect(struct soc_stream *st, struct page *page, unsigned int off, unsigned int len)
{
	struct scatterlist *last = st->nsrc ? &st->src[st->nsrc - 1] : NULL;

	if (last && sg_page(last) == page && last->offset + last->length == off) {
		last->length += len;
	} else {
		get_page(page);
		sg_set_page(&st->src[st->nsrc++], page, len, off);
	}
	st->fill += len;
}

static void soc_put_pages(struct scatterlist *sg, unsigned int n)
{
	while (n--)
		put_page(sg_page(sg++));
}

void soc_drop_src(struct soc_stream *st)
{
	soc_put_pages(st->src, st->nsrc);
	st->nsrc = 0;
	st->fill = 0;
	st->skip = 0;
}

void soc_drop_dst(struct soc_stream *st)
{
	soc_put_pages(&st->dst[st->dfirst], st->ndst - st->dfirst);
	st->dfirst = 0;
	st->ndst = 0;
}

/* Bytes to be handed on. */
int soc_left(const struct soc_stream *st)
{
	unsigned int i, left = 0;

	for (i = st->dfirst; i < st->ndst; i++)
		left += st->dst[i].length;
	return left;
}

/* @len bytes of dst[], or less than all of it, were handed on. */
void soc_passed(struct soc_stream *st, unsigned int len)
{
	WRITE_ONCE(st->bytes_out, st->bytes_out + len);
	while (len) {
		struct scatterlist *sg = &st->dst[st->dfirst];
		unsigned int n = min(len, sg->length);

		sg->offset += n;
		sg->length -= n;
		len -= n;
		if (!sg->length) {
			put_page(sg_page(sg));
			st->dfirst++;
		}
	}
	if (st->dfirst == st->ndst)
		st->dfirst = st->ndst = 0;
}

/* Append pages for @len bytes to dst[]. */
static int soc_alloc_dst(struct sock *sk, struct soc_stream *st, unsigned int len)
{
	unsigned int n = st->ndst;

	while (len) {
		struct page_frag *out = &st->out;
		unsigned int take;

		out->offset = ALIGN(out->offset, SOC_ALIGN);
		if (n == ARRAY_SIZE(st->dst) ||
		    !skb_page_frag_refill(SOC_ALIGN, out, sk->sk_allocation)) {
			soc_put_pages(&st->dst[st->ndst], n - st->ndst);
			return -ENOMEM;
		}
		take = min(len, round_down(out->size - out->offset, st->unit));
		get_page(out->page);
		sg_set_page(&st->dst[n++], out->page, take, out->offset);
		out->offset += take;
		len -= take;
	}
	st->ndst = n;
	return 0;
}

/* Do the first @len collected bytes, to the end of dst[]. */
static int soc_crypt(struct sock *sk, struct soc_stream *st, unsigned int len, u8 *iv)
{
	struct scatterlist *dst = &st->dst[st->ndst], *dlast, *slast = st->src;
	unsigned int left = len, cut;
	int err;

	err = soc_alloc_dst(sk, st, len);
	if (err)
		return err;

	/* End the lists exactly here: some drivers map entries as they stand. */
	while (left > slast->length)
		left -= slast++->length;
	cut = slast->length - left;
	slast->length = left;
	sg_mark_end(slast);
	dlast = &st->dst[st->ndst - 1];
	sg_mark_end(dlast);

	skcipher_request_set_crypt(st->req, st->src, dst, len, iv);
	err = crypto_wait_req(st->decrypt ? crypto_skcipher_decrypt(st->req) :
			      crypto_skcipher_encrypt(st->req), &st->wait);
	WRITE_ONCE(st->requests, st->requests + 1);

	sg_unmark_end(dlast);
	sg_unmark_end(slast);
	slast->length += cut;
	if (err) {
		soc_drop_dst(st);
		st->err = -EIO;
		return -EIO;
	}
	dst->offset += st->skip;	/* shorter than a unit, so than an entry */
	dst->length -= st->skip;
	return 0;
}

/*
 * Do all that is collected but the last @rest bytes: whole units.  The rest moves to
 * the front, copied.
 */
int soc_crypt_units(struct sock *sk, struct soc_stream *st, unsigned int rest)
{
	unsigned int len = st->fill - rest;
	struct page_frag *in = &st->in;
	int err;

	if (!len)
		return 0;
	if (rest) {
		if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
			return -ENOMEM;
		sg_pcopy_to_buffer(st->src, st->nsrc, page_address(in->page) + in->offset,
				   rest, len);
	}
	err = soc_crypt(sk, st, len, st->iv);
	if (err)
		return err;
	soc_drop_src(st);
	if (rest) {
		soc_collect(st, in->page, in->offset, rest);
		in->offset += rest;
	}
	return 0;
}

/*
 * The part of a unit that a stream cipher can do now.  It stays collected:
 * the next request begins with it again, from the same IV, and the bytes that
 * have gone are skipped.
 */
int soc_crypt_rest(struct sock *sk, struct soc_stream *st)
{
	int err;

	if (!st->stream || st->fill == st->skip)
		return 0;
	memcpy(st->rest_iv, st->iv, sizeof(st->iv));
	err = soc_crypt(sk, st, st->fill, st->rest_iv);
	if (!err)
		st->skip = st->fill;
	return err;
}

void soc_stream_free(struct soc_stream *st)
{
	soc_drop_src(st);
	soc_drop_dst(st);
	skcipher_request_free(st->req);
	crypto_free_skcipher(st->tfm);
	if (st->in.page)
		put_page(st->in.page);
	if (st->out.page)
		put_page(st->out.page);
	mutex_destroy(&st->lock);
}
