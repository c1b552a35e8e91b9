// SPDX-License-Identifier: GPL-2.0-only
/* The calls that costs takes the prices of; costs.c says what each one is. */
#include "costs.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void drain_tcp(struct bench *b, size_t n)
{
	while (n) {
		ssize_t r = recv(b->rx, b->buf, n, MSG_TRUNC);

		if (r <= 0)
			die(EXIT_RUNTIME, "loopback: %s", r ? strerror(errno) : "closed");
		n -= (size_t)r;
	}
}

static void drain_alg(struct bench *b, size_t n)
{
	n = cipher_out(b->cipher, n, true);
	must(recv(b->op, b->buf, n, 0), n, "receive from AF_ALG");
}

static uint64_t time_clock(struct bench *b, size_t n)
{
	uint64_t start = now_ns();

	(void)b;
	(void)n;
	return now_ns() - start;
}

static uint64_t time_syscall(struct bench *b, size_t n)
{
	uint64_t start = now_ns();

	(void)b;
	(void)n;
	syscall(SYS_getppid);
	return now_ns() - start;
}

static uint64_t time_count(struct bench *b, size_t n)
{
	uint64_t start = now_ns();

	(void)b;
	count(n);
	return now_ns() - start;
}

static uint64_t time_read(struct bench *b, size_t n)
{
	uint64_t start = now_ns();

	must(pread(b->file, b->buf, n, 0), n, "read");
	return now_ns() - start;
}

static uint64_t time_tcp_send(struct bench *b, size_t n)
{
	uint64_t start = now_ns(), ns;

	must(send(b->tx, b->buf, n, MSG_NOSIGNAL), n, "send");
	ns = now_ns() - start;
	drain_tcp(b, n);
	return ns;
}

static uint64_t time_tcp_sendfile(struct bench *b, size_t n)
{
	off_t off = 0;
	uint64_t start = now_ns(), ns;

	must(sendfile(b->tx, b->file, &off, n), n, "sendfile");
	ns = now_ns() - start;
	drain_tcp(b, n);
	return ns;
}

static void begin_request(struct bench *b)
{
	size_t aad = cipher_in(b->cipher, 0, true);

	must(alg_submit(b->op, b->cipher, true, b->buf, aad, MSG_MORE), aad, "AF_ALG");
}

static uint64_t time_record_send(struct bench *b, size_t n)
{
	size_t in = cipher_in(b->cipher, n, true);
	uint64_t start = now_ns(), ns;

	must(alg_submit(b->op, b->cipher, true, b->buf, in, 0), in, "send to AF_ALG");
	ns = now_ns() - start;
	drain_alg(b, n);
	return ns;
}

static uint64_t time_alg_send(struct bench *b, size_t n)
{
	uint64_t start, ns;

	if (b->cipher->aead)
		return time_record_send(b, n);
	begin_request(b);
	start = now_ns();
	must(send(b->op, b->buf, n, 0), n, "send to AF_ALG");
	ns = now_ns() - start;
	drain_alg(b, n);
	return ns;
}

static uint64_t time_alg_sendfile(struct bench *b, size_t n)
{
	off_t off = 0;
	uint64_t start, ns;

	begin_request(b);
	start = now_ns();
	must(sendfile(b->op, b->file, &off, n), n, "sendfile to AF_ALG");
	ns = now_ns() - start;
	drain_alg(b, n);
	return ns;
}

static uint64_t time_alg_recv(struct bench *b, size_t n)
{
	uint64_t start;

	begin_request(b);
	must(send(b->op, b->buf, n, 0), n, "send to AF_ALG");
	start = now_ns();
	drain_alg(b, n);
	return now_ns() - start;
}

static uint64_t time_devcrypto(struct bench *b, uint32_t ses, const struct cipher *c, bool encrypt, const char *in,
			       size_t n, char *out)
{
	const void *iv = c->iv_len ? c->iv : NULL;
	uint64_t start = now_ns(), ns;
	int err = devcrypto_request(b->device, ses, c, encrypt, iv, in, cipher_in(c, n, encrypt), out);

	ns = now_ns() - start;
	if (err)
		die(EXIT_RUNTIME, "request to /dev/crypto: %s", devcrypto_explain(err));
	return ns;
}

static uint64_t time_devcrypto_copy(struct bench *b, size_t n)
{
	return time_devcrypto(b, b->null_copied, &b->null, true, b->buf, n, b->buf);
}

static uint64_t time_devcrypto_map(struct bench *b, size_t n)
{
	return time_devcrypto(b, b->null_mapped, &b->null, true, b->buf, n, b->buf);
}

static uint64_t time_devcrypto_cipher(struct bench *b, size_t n)
{
	const char *in = b->buf;

	if (b->decrypts && b->cipher->aead) {			/* only what an AEAD sealed can be deciphered */
		memcpy(b->sealed, b->buf, b->cipher->aad);
		time_devcrypto(b, b->mapped, b->cipher, true, b->buf, n, b->sealed);
		in = b->sealed;
	}
	return time_devcrypto(b, b->mapped, b->cipher, !b->decrypts, in, n, b->other);
}

const struct price prices[N_PRICES] = {
	{ "clock", time_clock, false, 0 },
	{ "syscall", time_syscall, false, 0 },
	{ "count", time_count, true, 0 },
	{ "read", time_read, true, 0 },
	{ "tcp_send", time_tcp_send, true, 0 },
	{ "tcp_sendfile", time_tcp_sendfile, true, 0 },
	{ "alg_send", time_alg_send, true, BY_AF_ALG },
	{ "alg_sendfile", time_alg_sendfile, true, BY_AF_ALG },
	{ "alg_recv", time_alg_recv, true, BY_AF_ALG },
	{ "devcrypto_copy", time_devcrypto_copy, true, BY_DEVCRYPTO },
	{ "devcrypto_map", time_devcrypto_map, true, BY_DEVCRYPTO },
	{ "devcrypto_cipher", time_devcrypto_cipher, true, BY_DEVCRYPTO },
};
