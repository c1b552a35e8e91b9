// SPDX-License-Identifier: GPL-2.0-only
/*
 * The traditional scheme's receiving end: each chunk is received, deciphered by an ioctl of /dev/crypto that copies in
 * and out, and written: every byte crosses between user and kernel memory four times.
 */
#include "receive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devcrypto.h"

#define DEVICE	"/dev/crypto"

static unsigned char buf[CIPHER_CHUNK];

static void __attribute__((noreturn)) refused(const char *what)
{
	die(EXIT_RUNTIME, DEVICE ": %s: %s", what, strerror(errno));
}

static uint32_t begin(struct fetch *f, int device)
{
	const struct cipher *c = &f->r->cipher;
	struct devcrypto_session op = {
		.key = (uintptr_t)c->key, .keylen = (__u32)c->key_len, .kind = DEVCRYPTO_CIPHER, .memory = DEVCRYPTO_COPIED,
	};

	snprintf(op.name, sizeof(op.name), "%s", c->name);
	if (ioctl(device, DEVCRYPTO_SESSION, &op))
		refused("a session");
	return op.ses;
}

static void look(struct fetch *f, int device, uint32_t ses)
{
	struct devcrypto_info info = { .ses = ses };

	if (ioctl(device, DEVCRYPTO_INFO, &info))
		refused("what a session did");
	f->done = (struct deciphered){
		.block = info.blocksize, .async = info.async, .requests = info.requests, .in = info.copied_in,
		.out = info.copied_out, .pending = info.bytes - info.copied_out, .failed = info.failed,
	};
	snprintf(f->done.driver, sizeof(f->done.driver), "%.*s", NAME_ROOM - 1, info.driver);
	if (info.ivsize != f->r->cipher.iv_len)
		die(EXIT_USAGE, "the IV is %zu bytes long, %s wants %u", f->r->cipher.iv_len, f->done.driver, info.ivsize);
}

/* In place. The first request has the IV, the others carry on. */
static void decipher(struct fetch *f, int device, uint32_t ses, size_t n, bool first)
{
	struct crypt_op op = {
		.ses = ses, .op = COP_DECRYPT, .len = (__u32)n, .src = buf, .dst = buf,
		.iv = first ? (__u8 *)f->r->cipher.iv : NULL,
	};

	if (ioctl(device, CIOCCRYPT, &op))
		refused("a request");
	f->calls[IOCTL]++;
	f->crossed += 2 * n;
}

/* Bytes of the last chunk that are no padding (RFC 5652, 6.3). */
static size_t stripped(const struct fetch *f, size_t n)
{
	size_t pad = f->done.block > 1 ? buf[n - 1] : 0, i;

	if (f->done.block > 1 && (!pad || pad > f->done.block || pad > n))
		pad = 0;
	for (i = 1; i <= pad; i++)
		if (buf[n - i] != pad)
			pad = 0;
	if (f->done.block > 1 && !pad)
		die(EXIT_RUNTIME, "the padding is none: " NOT_THE_STREAM);
	return n - pad;
}

void by_devcrypto(struct fetch *f)
{
	int device = open(DEVICE, O_RDWR | O_CLOEXEC);
	uint64_t left = f->due;
	uint32_t ses;

	if (device < 0)
		refused("open");
	ses = begin(f, device);
	look(f, device, ses);
	check_padded(f);
	while (left) {
		size_t n = left < CIPHER_CHUNK ? (size_t)left : CIPHER_CHUNK, got = 0;

		expect(f, left);
		while (got < n)
			got += take(f, buf + got, n - got, MSG_WAITALL);
		decipher(f, device, ses, n, left == f->due);
		left -= n;
		put(f, buf, left ? n : stripped(f, n));
	}
	look(f, device, ses);
	close(device);
}
