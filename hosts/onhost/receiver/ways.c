// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the connection into the file, in three ways (a fourth: devcrypto.c). The kernel's two use nothing but recvmsg and
 * splice: the library reads ahead. What is no data of the file ends the transfer, but for session tickets, which follow a handshake of
 * TLS 1.3 (RFC 8446, 4.6.1).
 */
#include "receive.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <string.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS		282		/* linux/socket.h */
#endif

enum record { ALERT = 21, HANDSHAKE = 22, DATA = 23 };		/* RFC 8446, 5.1 */
enum message { NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };	/* RFC 8446, 4 */

static unsigned char room[READ_ROOM];

void ended_early(const struct fetch *f)
{
	die(EXIT_RUNTIME, "the connection ended after %llu of %llu bytes", (unsigned long long)f->taken,
	    (unsigned long long)f->size);
}

static void __attribute__((noreturn)) failed(const struct fetch *f, const char *call)
{
	if (errno == EBADMSG && f->r->cipher.name)
		die(EXIT_RUNTIME, "%s: the stream does not end as it should: " NOT_THE_STREAM, call);
	if (errno == EBADMSG)
		die(EXIT_RUNTIME, "%s: a record does not decipher: it was changed on the way, or the key is another's", call);
	if (errno == EAGAIN)
		die(EXIT_RUNTIME, "%s: nothing came for too long", call);
	die(EXIT_RUNTIME, "%s: %s", call, strerror(errno));
}

/* Whole handshake messages of one record. */
static void pass_over(const unsigned char *buf, size_t len)
{
	while (len >= 4) {
		size_t n = 4 + ((size_t)buf[1] << 16 | (size_t)buf[2] << 8 | buf[3]);

		if (buf[0] == KEY_UPDATE)
			die(EXIT_RUNTIME, "the sender changed its keys in mid-transfer (KeyUpdate): the kernel was given no newer ones, and this way of receiving ends there");
		if (buf[0] != NEW_SESSION_TICKET || n > len)
			break;
		buf += n;
		len -= n;
	}
	if (len)
		die(EXIT_RUNTIME, "a handshake message of type %u came in mid-transfer", buf[0]);
}

/* Once. A record of another type than data comes alone. */
static ssize_t receive(struct fetch *f, void *buf, size_t len, int flags, unsigned char *type)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(unsigned char))];
	} control;
	struct iovec v = { .iov_base = buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n;

	do {
		n = recvmsg(f->fd, &m, flags);
		f->calls[RECVMSG]++;
	} while (n < 0 && errno == EINTR);
	*type = DATA;
	if (n < 0)
		failed(f, "recvmsg");
	f->crossed += (uint64_t)n;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE)
		*type = *CMSG_DATA(c);
	return n;
}

/* A whole record that is no data. */
static void not_data(const struct fetch *f, unsigned char type, const unsigned char *buf, size_t len)
{
	if (type == ALERT)
		die(EXIT_RUNTIME, "the sender ended TLS after %llu of %llu bytes: alert %u", (unsigned long long)f->taken,
		    (unsigned long long)f->size, len > 1 ? buf[1] : 0);
	if (type != HANDSHAKE)
		die(EXIT_RUNTIME, "a record of type %u came in mid-transfer", type);
	pass_over(buf, len);
}

static void take_other(struct fetch *f)
{
	static unsigned char buf[READ_ROOM];
	unsigned char type;
	ssize_t n = receive(f, buf, sizeof(buf), 0, &type);

	if (!n)
		ended_early(f);
	if (type == DATA)
		die(EXIT_RUNTIME, "splice takes no data of this connection: %s", strerror(EINVAL));
	not_data(f, type, buf, (size_t)n);
}

size_t take(struct fetch *f, void *buf, size_t len, int flags)
{
	for (;;) {
		unsigned char type;
		ssize_t n = receive(f, buf, len, flags, &type);

		if (!n)
			ended_early(f);
		if (type == DATA)
			return (size_t)n;
		if (flags & MSG_PEEK)
			take_other(f);
		else
			not_data(f, type, buf, (size_t)n);
	}
}

size_t take_or_end(struct fetch *f, void *buf, size_t len)
{
	unsigned char type;

	return (size_t)receive(f, buf, len, 0, &type);
}

size_t take_by_library(struct fetch *f, void *buf, size_t len)
{
	const struct tls *tls = f->r->tls;
	uint64_t before = tls->took(f->secured);
	char text[200] = "nothing came for too long";
	size_t n = 0;
	enum io r = tls->read(f->secured, buf, len, &n);

	f->calls[LIBRARY_READ]++;
	f->crossed += tls->took(f->secured) - before;
	if (r == IO_DONE)
		return n;
	if (r == IO_END)
		ended_early(f);
	if (r == IO_FAILED)
		tls->why(f->secured, text, sizeof(text));
	die(EXIT_RUNTIME, "the library's read: %s", text);
}

/*
 * TCP wakes for no less than the mark (tcp_data_ready), but counts anew from what a call has taken meanwhile: so much
 * must be left then, since a sender need not close.
 */
void expect(struct fetch *f, uint64_t left)
{
	uint64_t beyond = left > CIPHER_CHUNK ? left - CIPHER_CHUNK : 1;
	int mark = beyond < CIPHER_CHUNK ? (int)beyond : CIPHER_CHUNK;

	if (mark == f->mark)
		return;
	if (setsockopt(f->fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)))
		die(EXIT_RUNTIME, "SO_RCVLOWAT: %s", strerror(errno));
	f->mark = mark;
}

void put(struct fetch *f, const void *buf, size_t len)
{
	const char *from = buf;

	while (len) {
		ssize_t n = write(f->out, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			failed(f, "write");
		f->calls[WRITE]++;
		f->crossed += (uint64_t)n;
		f->taken += (uint64_t)n;
		from += n;
		len -= (size_t)n;
	}
}

void sync_file(struct fetch *f)
{
	if (fsync(f->out))
		failed(f, "fsync");
	f->calls[FSYNC]++;
}

static void check_end(const struct fetch *f, size_t more)
{
	if (more > f->size - f->taken)
		die(EXIT_RUNTIME, "%llu bytes came after the answer's end", (unsigned long long)(f->taken + more - f->size));
}

/* As much as there is without waiting, then written at once: so does the kernel's recvmsg. */
static void by_library(struct fetch *f)
{
	while (f->taken < f->size) {
		size_t n = take_by_library(f, room, READ_ROOM);

		while (n < READ_ROOM && n < f->size - f->taken && f->r->tls->holds(f->secured))
			n += take_by_library(f, room + n, READ_ROOM - n);
		check_end(f, n);
		put(f, room, n);
	}
}

static void by_recv(struct fetch *f)
{
	while (f->taken < f->size) {
		size_t left = f->size - f->taken, n;

		if (f->r->chunked)
			expect(f, left);
		/* A socket that deciphers waits for as much as is asked for, and is asked for its end (so_crypt_end). */
		n = take(f, room, f->r->cipher.name && left < f->r->most ? left : f->r->most, 0);
		check_end(f, n);
		put(f, room, n);
	}
}

static ssize_t spliced(struct fetch *f, int from, int to, size_t len, unsigned int flags)
{
	ssize_t n;

	do {
		n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | flags);
		f->calls[SPLICED]++;
	} while (n < 0 && errno == EINTR);
	return n;
}

/*
 * The pipe is filled with what there is, then emptied into the file. There is always room in it for a whole record: of
 * one that does not fit, kernels (6.12 is one) lose the rest (tls_sw_splice_read).
 */
static void by_splice(struct fetch *f)
{
	while (f->taken < f->size) {
		size_t in = 0, left = f->size - f->taken;
		ssize_t n;
		int calls = 0;

		if (f->r->chunked)
			expect(f, left);
		do {
			size_t due = left - in < f->r->most ? left - in : f->r->most;

			n = spliced(f, f->fd, f->r->pipe[1], due, in ? SPLICE_F_NONBLOCK : 0);
			in += n > 0 ? (size_t)n : 0;
		} while (n > 0 && in < left && ++calls < f->r->most_spliced);
		if (!in && !n)
			ended_early(f);
		if (n < 0 && errno == EINVAL && !in)
			take_other(f);			/* a record that is no data has to be taken by recvmsg */
		else if (n < 0 && errno != EINVAL && (errno != EAGAIN || !in))
			failed(f, "splice from the connection");
		for (; in; in -= (size_t)n, f->taken += (size_t)n) {
			n = spliced(f, f->r->pipe[0], f->out, in, 0);
			if (n <= 0)
				failed(f, "splice into the file");
		}
	}
}

void body(struct fetch *f)
{
	static void (*const ways[WAYS])(struct fetch *) = { by_library, by_recv, by_splice, by_devcrypto };

	ways[f->r->way](f);
}
