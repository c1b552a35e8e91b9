// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rehearsals: a path's transfer in clear, with work (--work, so many counts for each chunk) in the place of its cipher.
 * What is left is what the rest of the path costs at the pace of that cipher: TCP, its acknowledgements and the
 * interrupts they are, waking up on both hosts, the copies.
 *
 *   rehearse-sendfile  each chunk by sendfile(), as a socket that encrypts takes it from the file
 *   rehearse-send      read() and send() of each chunk, telling TCP that more follows
 *   rehearse-records   the same, each chunk sent off by itself as TLS records are
 *
 * Like a cipher, counting takes longer where something slows this host down. What a count takes is a price, which
 * `costs` takes in turn with the cipher's; a request's line tells what its work took.
 */
#include "datapath.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static void work(struct transfer *t, size_t n)
{
	uint64_t start;

	if (!t->server->work)
		return;
	start = now_ns();
	count(t->server->work * n / t->server->chunk);
	t->worked += now_ns() - start;
}

static size_t next(const struct transfer *t, uint64_t left)
{
	return left < t->server->chunk ? (size_t)left : t->server->chunk;
}

static int cork(struct transfer *t, int on)
{
	return tx_setsockopt(t, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static int body_sendfile(struct transfer *t)
{
	uint64_t left;

	if (cork(t, 1))
		return -1;
	for (left = t->plain; left; left -= next(t, left)) {
		work(t, next(t, left));
		if (tx_sendfile(t, next(t, left)))
			return -1;
	}
	return cork(t, 0);
}

static int body_read(struct transfer *t, bool together)
{
	uint64_t left;

	for (left = t->plain; left; left -= next(t, left)) {
		size_t n = next(t, left);

		if (tx_read(t, t->room->buf, n) < 0)
			return -1;
		work(t, n);
		if (tx_send(t, t->room->buf, n, together && left > n))
			return -1;
	}
	return 0;
}

static int body_send(struct transfer *t)
{
	return body_read(t, true);
}

static int body_records(struct transfer *t)
{
	return body_read(t, false);
}

const struct mode mode_rehearse_sendfile = {
	.name = "rehearse-sendfile",
	.help = "counts of --work and sendfile for each chunk, clear text",
	.rehearses = true,
	.body = body_sendfile,
};

const struct mode mode_rehearse_send = {
	.name = "rehearse-send",
	.help = "read, such counts, send for each chunk",
	.rehearses = true,
	.body = body_send,
};

const struct mode mode_rehearse_records = {
	.name = "rehearse-records",
	.help = "the same, each chunk sent off by itself",
	.rehearses = true,
	.body = body_records,
};
