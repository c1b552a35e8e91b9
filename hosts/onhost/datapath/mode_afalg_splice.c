// SPDX-License-Identifier: GPL-2.0-only
/*
 * afalg-splice: file -> AF_ALG -> pipe -> TCP, the payload never in user memory.
 *
 * Full chunks go in by sendfile(). A partial last block must wait for its padding, so the last piece goes in through
 * the pipe with SPLICE_F_MORE (the end of a sendfile() would close the cipher request), then the padding by sendmsg().
 * The pipe is empty between chunks and serves both directions.
 */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void open_pipe(const struct server *s, struct room *r)
{
	if (pipe2(r->pipe, O_CLOEXEC))
		die(EXIT_RUNTIME, "pipe: %s", strerror(errno));
	if (s->chunk > DEFAULT_CHUNK && fcntl(r->pipe[1], F_SETPIPE_SZ, (int)s->chunk) < 0)
		die(EXIT_RUNTIME, "pipe of %zu bytes: %s", s->chunk, strerror(errno));
}

static void setup(struct server *s)
{
	afalg_setup(s);
	s->splice_copies = alg_splice_copies(s->tfm, &s->cipher);
	if (s->splice_copies < 0)
		die(EXIT_RUNTIME, "%s: splicing a file into AF_ALG failed: %s", s->cipher.driver,
		    strerror(-s->splice_copies));
}

static void recover(struct transfer *t)			/* what a failed body left in the pipe is thrown away */
{
	close(t->room->pipe[0]);
	close(t->room->pipe[1]);
	open_pipe(t->server, t->room);
}

/* n bytes of cipher text: AF_ALG -> pipe -> TCP */
static int drain(struct transfer *t, int op, size_t n, bool last)
{
	int *fds = t->room->pipe;

	while (n) {
		int in_pipe = tx_splice(t, op, false, fds[1], n, false);

		if (in_pipe < 0)
			return -1;
		t->requests++;
		n -= (size_t)in_pipe;
		while (in_pipe) {
			int r = tx_splice(t, fds[0], false, t->sock, (size_t)in_pipe, !last || n);

			if (r < 0)
				return -1;
			in_pipe -= r;
		}
	}
	return 0;
}

/* fewer bytes than a chunk: file -> pipe -> AF_ALG, leaving the cipher request open */
static int feed_tail(struct transfer *t, int op, size_t n)
{
	int *fds = t->room->pipe;

	while (n) {
		int in_pipe = tx_splice(t, t->file, true, fds[1], n, true);

		if (in_pipe < 0)
			return -1;
		n -= (size_t)in_pipe;
		if (t->server->splice_copies)
			t->copied += (uint64_t)in_pipe;
		while (in_pipe) {
			int r = tx_splice(t, fds[0], false, op, (size_t)in_pipe, true);

			if (r < 0)
				return -1;
			in_pipe -= r;
		}
	}
	return 0;
}

static int stream(struct transfer *t, int op)
{
	size_t chunk = t->server->chunk, pad = (size_t)(t->padded - t->plain);
	unsigned char padding[MAX_BLOCK];
	uint64_t left = t->plain;

	if (tx_alg_send(t, op, true, NULL, 0, true))	/* direction and IV, no data yet */
		return -1;
	while (left >= chunk || (left && !pad)) {
		size_t n = left < chunk ? (size_t)left : chunk;

		left -= n;
		if (tx_alg_sendfile(t, op, n) || drain(t, op, n, !left && !pad))
			return -1;
	}
	if (!pad)
		return 0;
	memset(padding, (int)pad, pad);
	if (feed_tail(t, op, (size_t)left) || tx_alg_send(t, op, false, padding, pad, false))
		return -1;
	return drain(t, op, (size_t)left + pad, true);
}

static int body(struct transfer *t)
{
	int op, err;

	if (!t->padded)
		return 0;
	op = tx_alg_open(t);
	if (op < 0)
		return -1;
	err = stream(t, op);
	tx_alg_close(t, op);
	return err;
}

const struct mode mode_afalg_splice = {
	.name = "afalg-splice",
	.help = "sendfile into AF_ALG, splice to a pipe, splice to TCP: nothing in user memory",
	.cipher = true,
	.setup = setup,
	.furnish = open_pipe,
	.body = body,
	.recover = recover,
};
