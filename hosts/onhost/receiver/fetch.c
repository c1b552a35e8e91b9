// SPDX-License-Identifier: GPL-2.0-only
/*
 * One connection: it is opened, secured where TLS was asked for, asks, and takes the answer's head and body. A way that
 * has the kernel decipher goes on only where the socket itself says that the kernel does.
 */
#include "receive.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS		282		/* linux/socket.h */
#endif

#define PATIENCE_SECONDS	10
#define HEAD_STEP		256	/* of a head are looked at at once: as little as may be of what follows it */

static void open_connection(struct fetch *f)
{
	struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
	int one = 1;

	f->begun = now_ns();
	f->fd = socket(f->r->place.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		die(EXIT_RUNTIME, "socket: %s", strerror(errno));
	if (setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)))
		die(EXIT_RUNTIME, "setsockopt: %s", strerror(errno));
	if (connect(f->fd, (const struct sockaddr *)&f->r->place, f->r->place_len))
		die(EXIT_RUNTIME, "connect: %s", errno == EINPROGRESS ? "nobody answered" : strerror(errno));
	(void)setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	f->connected = now_ns();
}

static const char *named(uint16_t cipher)
{
	switch (cipher) {
	case TLS_CIPHER_AES_GCM_128: return "TLS_CIPHER_AES_GCM_128";
#ifdef TLS_CIPHER_AES_GCM_256
	case TLS_CIPHER_AES_GCM_256: return "TLS_CIPHER_AES_GCM_256";
#endif
#ifdef TLS_CIPHER_CHACHA20_POLY1305
	case TLS_CIPHER_CHACHA20_POLY1305: return "TLS_CIPHER_CHACHA20_POLY1305";
#endif
	default: return "another";
	}
}

/* What the kernel deciphers on this socket, by its own word (Documentation/networking/tls.rst). */
static void ask_kernel(struct fetch *f)
{
	struct tls_crypto_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(f->fd, SOL_TLS, TLS_RX, &info, &len))
		return;
	f->kernel_version = info.version == 0x0304 ? "1.3" : info.version == 0x0303 ? "1.2" : "another";
	f->kernel_cipher = named(info.cipher_type);
}

static void __attribute__((noreturn)) failed(const struct fetch *f, enum io r, const char *what)
{
	char text[200] = "the sender closed the connection";

	if (r == IO_READ || r == IO_WRITE)
		snprintf(text, sizeof(text), "nothing went on for %d s", PATIENCE_SECONDS);
	else if (r == IO_FAILED)
		f->r->tls->why(f->secured, text, sizeof(text));
	die(EXIT_RUNTIME, "%s: %s", what, text);
}

static void secure(struct fetch *f)
{
	const struct tls *tls = f->r->tls;
	enum io r;

	f->secured = tls->open(f->fd, NULL);
	if (!f->secured)
		die(EXIT_RUNTIME, "out of memory");
	r = tls->handshake(f->secured);
	if (r != IO_DONE)
		failed(f, r, "handshake");
	f->ready = now_ns();
	tls->describe(f->secured, f->version, f->suite, NAME_ROOM);
	f->handshake = tls->took(f->secured);
	ask_kernel(f);
	if (f->r->way != LIBRARY && !f->kernel_version)
		die(EXIT_RUNTIME, "the kernel does not decipher this connection: OpenSSL did not hand it the keys of %s %s, or it did not take them",
		    f->version, f->suite);
}

static void ask(struct fetch *f, const char *path)
{
	bool v6 = f->r->place.ss_family == AF_INET6;
	char text[1024];
	size_t sent = 0, n;
	int len = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: receive\r\nConnection: close\r\n\r\n",
			   path, v6 ? "[" : "", f->r->address, v6 ? "]" : "");

	if (len < 0 || (size_t)len >= sizeof(text))
		die(EXIT_USAGE, "the path is too long");
	while (sent < (size_t)len) {
		if (f->secured) {
			enum io r = f->r->tls->write(f->secured, text + sent, (size_t)len - sent, &n);

			if (r != IO_DONE)
				failed(f, r, "asking");
			sent += n;
			continue;
		}
		ssize_t r = send(f->fd, text + sent, (size_t)len - sent, MSG_NOSIGNAL);

		if (r < 0)
			die(EXIT_RUNTIME, "asking: %s", strerror(errno));
		sent += (size_t)r;
	}
}

static void check(struct fetch *f, const struct answer *a)
{
	uint64_t most = f->size + (f->r->cipher.name ? MAX_BLOCK : 0);

	if (a->status != 200 || a->length < f->size || a->length > most)
		die(EXIT_RUNTIME, "status %d with %llu bytes came, not 200 with %llu", a->status, (unsigned long long)a->length,
		    (unsigned long long)f->size);
	f->due = a->length;
}

void check_padded(const struct fetch *f)
{
	unsigned int block = f->done.block;
	uint64_t padded = block > 1 ? (f->size / block + 1) * block : f->size;

	if (block > MAX_BLOCK || f->due != padded)
		die(EXIT_RUNTIME, "%llu bytes came of a file of %llu, not %llu in blocks of %u", (unsigned long long)f->due,
		    (unsigned long long)f->size, (unsigned long long)padded, block);
}

/* The length of a head that is whole, 0 where more is to come. */
static size_t whole(struct fetch *f, const char *buf, size_t len)
{
	struct answer a;
	int n = answer_parse(buf, len, &a);

	if (n < 0)
		die(EXIT_RUNTIME, "what came is no answer: %.40s", buf);
	if (n)
		check(f, &a);
	return (size_t)n;
}

/* By the library: what came with the head is the body's beginning. */
static void head_by_library(struct fetch *f)
{
	static char buf[HEAD_ROOM + 1];
	size_t len = 0, n = 0;

	while (!n) {
		len += take_by_library(f, buf + len, HEAD_ROOM - len);
		n = whole(f, buf, len);
	}
	if (len - n > f->size)
		die(EXIT_RUNTIME, "%zu bytes came after the answer's end", len - n - (size_t)f->size);
	if (len > n)
		put(f, buf + n, len - n);
}

/* By the kernel: looked at before it is taken, so that nothing of the body is. */
static void head_by_kernel(struct fetch *f)
{
	static char buf[HEAD_ROOM + 1];
	size_t len = 0, n = 0, due;

	while (!n) {
		size_t room = HEAD_ROOM - len < HEAD_STEP ? HEAD_ROOM - len : HEAD_STEP;

		due = len + take(f, buf + len, room, MSG_PEEK);
		n = whole(f, buf, due);
		due = n ? n : due;
		while (len < due)
			len += take(f, buf + len, due - len, 0);
	}
}

static uint64_t switches(void)
{
	struct rusage r;

	if (getrusage(RUSAGE_SELF, &r))
		die(EXIT_RUNTIME, "getrusage: %s", strerror(errno));
	return (uint64_t)r.ru_nvcsw;
}

void fetch(struct fetch *f, const char *path)
{
	bool sockets = f->r->cipher.name && f->r->way != DEVCRYPTO;

	f->switches = switches();
	open_connection(f);
	if (f->r->tls)
		secure(f);
	ask(f, path);
	if (f->r->way == LIBRARY)
		head_by_library(f);
	else
		head_by_kernel(f);
	if (sockets)
		so_crypt_begin(f);
	body(f);
	if (f->r->synced)
		sync_file(f);
	f->ended = now_ns();
	f->switches = switches() - f->switches;
	if (sockets)
		so_crypt_end(f);
}
