// SPDX-License-Identifier: GPL-2.0
/* From cipher text that TCP has to plain text in pages of ours; rx.lock is held throughout. */
#include <linux/bvec.h>
#include <linux/uio.h>
#include "internal.h"

#ifndef ITER_DEST
#define ITER_DEST READ
#endif

static bool soc_strips(const struct soc_rx *rx)
{
	return rx->pad == SO_CRYPT_PAD_PKCS7 && !rx->stream && rx->unit > 1;
}

/* How many of @avail cipher bytes have to wait: a part of a block, and what may be the padding. */
static unsigned int soc_waits(const struct soc_rx *rx, unsigned int avail)
{
	if (rx->stream || !avail)
		return 0;
	return soc_strips(rx) ? (avail - 1) % rx->unit + 1 : avail % rx->unit;
}

/* Plain bytes that a call would get now; a guess where the lock is not held. */
unsigned int soc_readable(struct sock *sk, const struct soc_rx *rx)
{
	unsigned int from = READ_ONCE(rx->from), to = READ_ONCE(rx->to), nrest = READ_ONCE(rx->nrest);
	unsigned int avail = max(tcp_inq(sk), 0) + (rx->stream ? 0 : nrest);

	return (to > from ? to - from : 0) + avail - soc_waits(rx, avail);
}

/*
 * Pages for the first @len bytes of a chunk.  Those that a pipe has, too, are left to it.
 * Fewer where memory is short.
 */
static unsigned int soc_get_pages(struct soc_rx *rx, unsigned int len)
{
	unsigned int i;

	for (i = 0; i * PAGE_SIZE < len; i++) {
		struct page **page = &rx->pages[i];

		if (*page && page_count(*page) > 1) {
			put_page(*page);
			*page = NULL;
		}
		if (!*page)
			*page = alloc_page(GFP_KERNEL_ACCOUNT);
		if (!*page)
			break;
	}
	return min_t(unsigned int, len, i * PAGE_SIZE);
}

/* Keep no page but those that have plain text. */
void soc_trim(struct soc_rx *rx)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rx->pages); i++) {
		if (!rx->pages[i] ||
		    (rx->from < rx->to && i >= rx->from / PAGE_SIZE && i * PAGE_SIZE < rx->to))
			continue;
		put_page(rx->pages[i]);
		rx->pages[i] = NULL;
	}
}

/* Bytes from @at to the end of its page, or to @end. */
static unsigned int soc_piece(unsigned int at, unsigned int end)
{
	return min_t(unsigned int, end - at, PAGE_SIZE - offset_in_page(at));
}

/* What TCP has, to @off of the chunk; its own recvmsg() waits, fails, and ends (0). */
static int soc_take(struct sock *sk, struct soc_ctx *ctx, unsigned int off, unsigned int len,
		    int flags)
{
	struct bio_vec bvec[SOC_MAX_PAGES];
	unsigned int n = 0, at = off, end = off + len;
	struct msghdr msg = {};

	while (at < end) {
		struct bio_vec *v = &bvec[n++];

		v->bv_page = ctx->rx.pages[at / PAGE_SIZE];
		v->bv_offset = offset_in_page(at);
		v->bv_len = soc_piece(at, end);
		at += v->bv_len;
	}
	iov_iter_bvec(&msg.msg_iter, ITER_DEST, bvec, n, len);
	return soc_base_recvmsg(ctx, sk, &msg, len, flags & MSG_DONTWAIT);
}

/* Decipher @len bytes of the chunk where they are. */
static int soc_decipher(struct soc_rx *rx, unsigned int off, unsigned int len, u8 *iv)
{
	unsigned int n = 0, at = off, end = off + len;

	sg_init_table(rx->sg, DIV_ROUND_UP(end, PAGE_SIZE) - off / PAGE_SIZE);
	while (at < end) {
		unsigned int some = soc_piece(at, end);

		sg_set_page(&rx->sg[n++], rx->pages[at / PAGE_SIZE], some, offset_in_page(at));
		at += some;
	}
	skcipher_request_set_crypt(rx->req, rx->sg, rx->sg, len, iv);
	WRITE_ONCE(rx->requests, rx->requests + 1);
	if (crypto_wait_req(crypto_skcipher_decrypt(rx->req), &rx->wait))
		WRITE_ONCE(rx->err, -EIO);
	return rx->err;
}

/*
 * Of a counter all, its last part of a block with a request of its own: that block's rest
 * is deciphered with the next.
 */
static int soc_decrypt_stream(struct soc_rx *rx, unsigned int avail)
{
	unsigned int rest = avail % rx->unit;
	int err = 0;

	if (avail > rest)
		err = soc_decipher(rx, 0, avail - rest, rx->iv);
	if (rest && !err) {
		memcpy(rx->rest_iv, rx->iv, sizeof(rx->iv));
		err = soc_decipher(rx, avail - rest, rest, rx->rest_iv);
	}
	return err;
}

/*
 * @n more bytes of cipher text are in the chunk, after rx->nrest that waited, or of a
 * counter after as many zeros, which stand for what has gone of its block.
 */
static int soc_decrypt(struct soc_rx *rx, unsigned int n)
{
	unsigned int first = rx->stream ? rx->nrest : 0, avail = rx->nrest + n;
	unsigned int waits = soc_waits(rx, avail);
	char *head = page_address(rx->pages[0]);
	int err = 0;

	memcpy(head, rx->rest, rx->nrest);
	WRITE_ONCE(rx->bytes_in, rx->bytes_in + n);
	if (waits) {		/* from a block's start: within a page */
		unsigned int at = avail - waits;

		memcpy(rx->rest, page_address(rx->pages[at / PAGE_SIZE]) + offset_in_page(at), waits);
	}
	if (rx->stream)
		err = soc_decrypt_stream(rx, avail);
	else if (avail > waits)
		err = soc_decipher(rx, 0, avail - waits, rx->iv);
	if (err)
		return err;
	WRITE_ONCE(rx->nrest, rx->stream ? avail % rx->unit : waits);
	WRITE_ONCE(rx->from, first);
	WRITE_ONCE(rx->to, avail - waits);
	return 0;
}

/* The last block, whose last byte says how many bytes of it are padding, each of that value. */
static int soc_strip(struct soc_rx *rx)
{
	unsigned int pad, i;
	u8 *block;

	if (rx->nrest != rx->unit)
		return -EBADMSG;
	if (soc_get_pages(rx, rx->unit) < rx->unit)
		return -ENOMEM;
	block = page_address(rx->pages[0]);
	memcpy(block, rx->rest, rx->unit);
	if (soc_decipher(rx, 0, rx->unit, rx->iv))
		return rx->err;
	pad = block[rx->unit - 1];
	if (!pad || pad > rx->unit)
		return -EBADMSG;
	for (i = rx->unit - pad; i < rx->unit; i++)
		if (block[i] != pad)
			return -EBADMSG;
	WRITE_ONCE(rx->nrest, 0);
	WRITE_ONCE(rx->from, 0);
	WRITE_ONCE(rx->to, rx->unit - pad);
	return 0;
}

/* TCP gives nothing more: the peer said so, or this end, or the connection is no more. */
static int soc_finish(struct sock *sk, struct soc_rx *rx)
{
	int err = 0;

	if (!sock_flag(sk, SOCK_DONE) || tcp_inq(sk)) {		/* not by a FIN */
		if (sk->sk_state == TCP_CLOSE)
			WRITE_ONCE(rx->err, -ECONNRESET);	/* another call was told why */
		return rx->err;
	}
	if (soc_strips(rx))
		err = soc_strip(rx);
	else if (rx->nrest && !rx->stream)
		err = -EBADMSG;
	if (err == -ENOMEM)
		return err;
	WRITE_ONCE(rx->err, err);
	rx->ended = true;
	return err;
}

/* Cipher bytes that it takes to give @least plain ones. */
static unsigned int soc_needed(const struct soc_rx *rx, size_t least)
{
	least = min_t(size_t, least, rx->chunk);
	return rx->stream ? least : round_up(least, rx->unit) + soc_strips(rx) - rx->nrest;
}

/*
 * Bytes to ask TCP for: as many as are there.  Where it has to wait it does so for
 * SO_RCVLOWAT, or for all where that is less, and more may come meanwhile.
 */
static unsigned int soc_worth(struct sock *sk, const struct soc_rx *rx, size_t least, int flags)
{
	unsigned int most = rx->chunk - rx->nrest, inq = max(tcp_inq(sk), 0);
	unsigned int lowat = max(READ_ONCE(sk->sk_rcvlowat), 1), needed = soc_needed(rx, least);

	if (!(flags & MSG_DONTWAIT) && inq < min(lowat, needed))
		inq = needed < lowat ? needed : most;
	return clamp(inq, 1u, most);
}

/*
 * Have plain text: 1, or 0 at the end of the stream, or an error, which stays if the stream
 * cannot go on after it.
 * Waits unless MSG_DONTWAIT is in @flags.  @least: bytes that its caller waits for; fewer
 * may be had.
 */
int soc_fill(struct sock *sk, struct soc_ctx *ctx, size_t least, int flags)
{
	struct soc_rx *rx = &ctx->rx;
	unsigned int room;
	int n;

	while (rx->from == rx->to) {
		if (rx->err || rx->ended)
			return rx->err;
		room = soc_get_pages(rx, rx->nrest + soc_worth(sk, rx, least, flags));
		if (room <= rx->nrest)
			return -ENOMEM;
		n = soc_take(sk, ctx, rx->nrest, room - rx->nrest, flags);
		if (n > 0) {
			rx->fetched = true;
			n = soc_decrypt(rx, n);
			if (n)
				return n;
			continue;
		}
		if (!n) {
			n = soc_finish(sk, rx);
			if (n || rx->from == rx->to)
				return n;
			continue;
		}
		/* TCP tells an error once, and afterwards an end that is none. */
		if (n != -EAGAIN && n != -EINTR && n != -ERESTARTSYS && sk->sk_state == TCP_CLOSE)
			WRITE_ONCE(rx->err, n);
		return n;
	}
	return 1;
}
