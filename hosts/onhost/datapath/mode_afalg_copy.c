// SPDX-License-Identifier: GPL-2.0-only
/*
 * afalg-copy: the traditional scheme by AF_ALG. read, send to AF_ALG, receive from AF_ALG, send to TCP: every byte
 * crosses between user and kernel four times, in 4p/n calls for a file of p bytes and buffers of n.
 */
#include "datapath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Refuse at the start what would hang or fail in every request. */
void afalg_setup(struct server *s)
{
	size_t most = s->chunk + s->cipher.block;
	int err;

	alg_ready(&s->cipher, &s->tfm, false);
	explicit_bzero(s->cipher.key, sizeof(s->cipher.key));		/* the kernel has it now */
	if (s->chunk % s->cipher.block)
		die(EXIT_USAGE, "--chunk %zu is no multiple of %s's block size %u", s->chunk, s->cipher.driver,
		    s->cipher.block);
	if (s->chunk > MAX_CHUNK)
		die(EXIT_USAGE, "--chunk %zu: AF_ALG takes %d from one thread", s->chunk, MAX_CHUNK);
	if (s->chunk > DEFAULT_CHUNK && !strncmp(s->cipher.driver, "virtio_crypto", 13))
		die(EXIT_USAGE, "--chunk %zu: virtio_crypto is known to hang above %d", s->chunk, DEFAULT_CHUNK);
	every_ms(s->watchdog * 1000);
	err = alg_trial(s->tfm, &s->cipher, most - most % s->cipher.block);
	every_ms(0);
	if (err)
		die(EXIT_RUNTIME, "%s: a trial with %zu bytes failed: %s", s->cipher.driver, most,
		    err == -EINTR ? "no answer (a smaller --chunk may work)" : strerror(-err));
}

static int copy_chunk(struct transfer *t, int op, uint64_t left)
{
	struct server *s = t->server;
	bool last = left <= s->chunk;
	char *buf = t->room->buf;
	ssize_t n = tx_read_chunk(t, buf, left);

	if (n <= 0)
		return (int)n;
	if (tx_alg_send(t, op, left == t->plain, buf, (size_t)n, !last) || tx_alg_recv(t, op, buf, (size_t)n))
		return -1;
	return tx_send(t, buf, (size_t)n, !last);
}

static int body(struct transfer *t)
{
	uint64_t left = t->plain;
	int op = tx_alg_open(t), err = 0;

	if (op < 0)
		return -1;
	do {
		err = copy_chunk(t, op, left);
		left -= left < t->server->chunk ? left : t->server->chunk;
	} while (!err && left);
	tx_alg_close(t, op);
	return err;
}

const struct mode mode_afalg_copy = {
	.name = "afalg-copy",
	.help = "read, AF_ALG send, AF_ALG recv, send: the traditional scheme by AF_ALG",
	.cipher = true,
	.setup = afalg_setup,
	.body = body,
};
