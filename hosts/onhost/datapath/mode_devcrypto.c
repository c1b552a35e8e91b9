// SPDX-License-Identifier: GPL-2.0-only
/*
 * devcrypto-copy: the traditional scheme as the paper had it. read, an ioctl of /dev/crypto that copies in and out,
 * write to the socket: every byte crosses between user and kernel four times, in 3p/n calls for a file of p bytes and
 * buffers of n.
 *
 * devcrypto-mapped: the same calls in a session whose requests work on the buffer's own pages: two crossings.
 *
 * As a connection would have its key, a body has its session, and the session's own account is the witness.
 */
#include "datapath.h"

#include <errno.h>
#include <string.h>

static bool is_aead(const struct server *s)
{
	struct cipher c = s->cipher;

	return !devcrypto_find(s->device, &c) && c.aead;
}

/* A session, tried out with the longest request; what it says of itself goes to *said. */
static void try_session(struct server *s, struct session *said)
{
	struct room room;				/* bodies have theirs later */
	uint32_t ses;
	size_t most;
	int err = devcrypto_session(s->device, &s->cipher, s->mode->maps, &ses);

	if ((err == -ENOENT || err == -EINVAL) && is_aead(s))
		die(EXIT_USAGE, AEAD_REFUSED, s->cipher.name);
	if (err == -EINVAL || err == -ENOKEY)
		die(EXIT_USAGE, "the key is %zu bytes long, %s refuses it (%s)", s->cipher.key_len, s->cipher.name,
		    strerror(-err));
	if (!err)
		err = devcrypto_info(s->device, ses, said);
	if (err)
		die(EXIT_RUNTIME, "cipher %s: %s", s->cipher.name, devcrypto_explain(err));
	if (s->cipher.iv_len != said->iv_size)
		die(EXIT_USAGE, "the IV is %zu bytes long, %s wants %u", s->cipher.iv_len, said->driver,
		    said->iv_size);
	if (!said->block || said->block > MAX_BLOCK || s->chunk % said->block)
		die(EXIT_USAGE, "--chunk %zu is no multiple of %s's block size %u", s->chunk, said->driver,
		    said->block);
	most = s->chunk + (said->block > 1 ? said->block : 0);
	room_open(s, &room);
	memset(room.buf, 0, most);
	err = devcrypto_request(s->device, ses, &s->cipher, true, s->cipher.iv, room.buf, most, room.buf);
	room_close(&room);
	if (err)
		die(err == -E2BIG ? EXIT_USAGE : EXIT_RUNTIME, "%s: a trial with %zu bytes failed: %s", said->driver,
		    most, devcrypto_explain(err));
	devcrypto_end(s->device, ses);
}

static void setup(struct server *s)
{
	struct session said;

	s->device = devcrypto_open();
	if (s->device < 0)
		die(EXIT_RUNTIME, "/dev/crypto: %s", devcrypto_explain(s->device));
	try_session(s, &said);
	memcpy(s->cipher.driver, said.driver, NAME_LEN);
	s->cipher.block = said.block;
	s->cipher.async = said.async;
	cipher_of_driver(&s->cipher);
}

static int encrypt_chunk(struct transfer *t, uint32_t ses, uint64_t left)
{
	struct server *s = t->server;
	bool last = left <= s->chunk;
	char *buf = t->room->buf;
	ssize_t n = tx_read_chunk(t, buf, left);

	if (n <= 0)
		return (int)n;
	if (tx_devcrypto(t, ses, left == t->plain, buf, (size_t)n))
		return -1;
	return tx_send(t, buf, (size_t)n, !last);
}

/* The witness: the module's account of the session must be what the path promises. */
static int witness(struct transfer *t)
{
	const struct session *said = &t->session;
	bool maps = t->server->mode->maps;
	uint64_t copied = maps ? 0 : t->padded, pinned = t->padded - copied;

	if (strcmp(said->driver, t->server->cipher.driver) || said->mapped != maps || said->failed ||
	    said->requests != t->requests || said->bytes != t->padded || said->copied_in != copied ||
	    said->copied_out != copied || said->pinned != pinned) {
		if (!t->error[0])
			strcpy(t->error, "devcrypto's witness does not agree");
		return -1;
	}
	return 0;
}

static int body(struct transfer *t)
{
	uint64_t left = t->plain;
	uint32_t ses;
	int err;

	if (tx_devcrypto_open(t, &ses))
		return -1;
	do {
		err = encrypt_chunk(t, ses, left);
		left -= left < t->server->chunk ? left : t->server->chunk;
	} while (!err && left);
	return tx_devcrypto_close(t, ses) || err ? -1 : witness(t);
}

const struct mode mode_devcrypto_copy = {
	.name = "devcrypto-copy",
	.help = "read, ioctl of /dev/crypto with copies in and out, send: the paper's traditional scheme",
	.cipher = true,
	.setup = setup,
	.body = body,
};

const struct mode mode_devcrypto_mapped = {
	.name = "devcrypto-mapped",
	.help = "the same calls, and /dev/crypto works on the buffer's own pages",
	.cipher = true,
	.maps = true,
	.setup = setup,
	.body = body,
};
