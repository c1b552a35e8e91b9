// SPDX-License-Identifier: GPL-2.0-only
/*
 * One connection: it is opened, secured where TLS was asked for, asks, takes the answer, and is used again or left. What
 * would block waits in epoll. A connection that is not to be used again is left to the server, who closes it first
 * ("Connection: close"), so that no port of this host waits in TIME_WAIT.
 */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MOST_LEFT	2048			/* connections that may wait for the server to close them */

const char *const kind_names[KINDS] = { "no_ports", "no_descriptors", "not_connected", "not_secured", "closed", "no_answer",
					"wrong_answer", "timed_out" };

static void watch(struct load *l, struct slot *s, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = (uint64_t)(s - l->slots) };

	if (s->watched == events)
		return;
	if (epoll_ctl(l->epoll, s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e))
		die(EXIT_RUNTIME, "epoll_ctl: %s", strerror(errno));
	s->watched = events;
}

/* Whether to wait for more, as a library or the kernel says. */
static bool waits(struct load *l, struct slot *s, enum io r)
{
	if (r == IO_READ)
		watch(l, s, EPOLLIN);
	else if (r == IO_WRITE)
		watch(l, s, EPOLLOUT);
	else
		return false;
	return true;
}

static enum io by_kernel(ssize_t r, enum io wait, size_t *n)
{
	if (r > 0) {
		*n = (size_t)r;
		return IO_DONE;
	}
	if (!r)
		return IO_END;
	return errno == EAGAIN || errno == EINTR ? wait : IO_FAILED;
}

static enum io get(struct load *l, struct slot *s, size_t *n)
{
	if (l->tls)
		return l->tls->read(s->secured, l->buf, READ_ROOM, n);
	return by_kernel(recv(s->fd, l->buf, READ_ROOM, 0), IO_READ, n);
}

static enum io put(struct load *l, struct slot *s, size_t *n)
{
	const char *from = l->request + s->sent;
	size_t len = l->request_len - s->sent;

	if (l->tls)
		return l->tls->write(s->secured, from, len, n);
	return by_kernel(send(s->fd, from, len, MSG_NOSIGNAL), IO_WRITE, n);
}

void slot_close(struct load *l, struct slot *s)
{
	if (s->secured)
		l->tls->close(s->secured);
	s->secured = NULL;
	if (s->fd >= 0) {
		close(s->fd);
		l->open -= s->state != CONNECTING;
	}
	s->fd = -1;
	s->watched = 0;
}

/* The server closes it; until then it has no slot. */
static void leave(struct load *l, struct slot *s)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = LEFT_TAG | (uint32_t)s->fd };

	if (l->leaving >= MOST_LEFT || epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &e)) {
		slot_close(l, s);
		return;
	}
	if (s->secured)
		l->tls->close(s->secured);
	s->secured = NULL;
	s->fd = -1;
	s->watched = 0;
	l->open--;
	l->leaving++;
}

void left_readable(struct load *l, int fd)
{
	ssize_t n = recv(fd, l->buf, READ_ROOM, MSG_DONTWAIT);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	close(fd);
	l->leaving--;
}

void slot_fail(struct load *l, struct slot *s, enum kind kind, const char *fmt, ...)
{
	va_list ap;

	if (!l->n_errors) {
		va_start(ap, fmt);
		vsnprintf(l->first_error, sizeof(l->first_error), fmt, ap);
		va_end(ap);
	}
	l->errors[kind]++;
	l->n_errors++;
	slot_close(l, s);
	if (s->state != FREE) {
		s->state = FREE;
		l->busy--;
		run_idle(l, s);
	}
}

static void fail_io(struct load *l, struct slot *s, enum kind kind, enum io r, const char *what)
{
	char text[160] = "the server closed the connection";

	if (r == IO_FAILED && l->tls && s->secured)
		l->tls->why(s->secured, text, sizeof(text));
	else if (r == IO_FAILED)
		snprintf(text, sizeof(text), "%s", strerror(errno));
	slot_fail(l, s, kind, "%s: %s", what, text);
}

static void connected(struct load *l, struct slot *s)
{
	int one = 1;

	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	l->opened++;
	l->open++;
	if (l->phase == WINDOW && l->open > l->at_once)
		l->at_once = l->open;
	s->state = ASKING;
	if (!l->tls)
		return;
	s->secured = l->tls->open(s->fd, l->reuse == RESUMED ? &s->kept : NULL);
	if (!s->secured)
		die(EXIT_RUNTIME, "out of memory");
	s->state = SECURING;
}

static void secured(struct load *l, struct slot *s)
{
	char version[NAME_ROOM] = "", suite[NAME_ROOM] = "", group[NAME_ROOM] = "", key[NAME_ROOM] = "";

	l->handshakes++;
	if (l->phase == WINDOW)
		latency_add(&l->handshake, now_ns() - s->connecting);
	l->resumed += l->tls->resumed(s->secured);
	l->tls->describe(s->secured, version, suite, NAME_ROOM);
	if (l->one_group)
		l->tls->exchange(s->secured, group, key, NAME_ROOM);
	if (!l->suite[0]) {
		memcpy(l->version, version, NAME_ROOM);
		memcpy(l->suite, suite, NAME_ROOM);
		memcpy(l->group, group, NAME_ROOM);
		memcpy(l->key, key, NAME_ROOM);
	}
	l->other_suites += strcmp(version, l->version) || strcmp(suite, l->suite) || strcmp(group, l->group) ||
			   strcmp(key, l->key);
	s->state = ASKING;
}

static void open_connection(struct load *l, struct slot *s)
{
	const struct sockaddr_storage *to = &l->addresses[(size_t)(s - l->slots) % l->n_addresses];

	s->state = CONNECTING;
	s->connecting = now_ns();
	s->fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		slot_fail(l, s, NO_DESCRIPTORS, "socket: %s", strerror(errno));
		return;
	}
	if (!connect(s->fd, (const struct sockaddr *)to, l->address_len))
		connected(l, s);
	else if (errno == EINPROGRESS)
		watch(l, s, EPOLLOUT);
	else
		slot_fail(l, s, errno == EADDRNOTAVAIL ? NO_PORTS : NOT_CONNECTED, "connect: %s", strerror(errno));
}

/* From FREE, with its due time: opens a connection or asks on the one there is. Still FREE: it failed. */
static void begin(struct load *l, struct slot *s)
{
	l->requests++;
	l->busy++;
	s->sent = s->head_len = 0;
	if (s->fd < 0)
		open_connection(l, s);
	else
		s->state = ASKING;
}

void slot_start(struct load *l, struct slot *s, uint64_t due)
{
	s->due = due;
	begin(l, s);
	if (s->state != FREE && s->state != CONNECTING)
		slot_drive(l, s, 0);
}

/* So much of a body has come. True when it is whole, and the slot asks again. */
static bool took_body(struct load *l, struct slot *s, size_t n)
{
	if (n > s->left) {
		slot_fail(l, s, WRONG_ANSWER, "%zu bytes came after the answer's end", n - (size_t)s->left);
		return false;
	}
	s->left -= n;
	l->bytes += n;
	if (s->left)
		return false;
	s->state = FREE;
	l->busy--;
	if (l->reuse != KEPT || s->closes)
		leave(l, s);
	if (!run_answered(l, s))
		return false;
	begin(l, s);
	return true;
}

/* So much came while the head is not whole. True as took_body(). */
static bool took_head(struct load *l, struct slot *s, size_t n)
{
	size_t before = s->head_len, room = HEAD_ROOM - before, taken = n < room ? n : room;
	struct answer a;
	int len;

	memcpy(s->head + before, l->buf, taken);
	s->head_len += taken;
	len = answer_parse(s->head, s->head_len, &a);
	if (len < 0) {
		slot_fail(l, s, NO_ANSWER, "what came is no answer: %.40s", s->head_len ? s->head : "nothing");
		return false;
	}
	if (!len)
		return false;
	if (a.status != 200 || a.length != l->size) {
		slot_fail(l, s, WRONG_ANSWER, "status %d with %llu bytes came, not 200 with %llu", a.status,
			  (unsigned long long)a.length, (unsigned long long)l->size);
		return false;
	}
	s->state = BODY;
	s->left = a.length;
	s->closes = a.closes;
	return took_body(l, s, before + n - (size_t)len);
}

/* Between two requests nothing may come but the library's own: session tickets. */
static void spoke_unasked(struct load *l, struct slot *s)
{
	size_t n = 0;
	enum io r = get(l, s, &n);

	if (r == IO_DONE)
		slot_fail(l, s, WRONG_ANSWER, "%zu bytes came that nobody asked for", n);
	else if (r != IO_READ && r != IO_WRITE)
		fail_io(l, s, CLOSED, r, "between two requests");
}

static void connect_ended(struct load *l, struct slot *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err)
		slot_fail(l, s, err == EADDRNOTAVAIL ? NO_PORTS : NOT_CONNECTED, "connect: %s", strerror(err));
	else
		connected(l, s);
}

void slot_drive(struct load *l, struct slot *s, uint32_t events)
{
	if (s->state == FREE) {
		if (events && s->fd >= 0)
			spoke_unasked(l, s);
		return;
	}
	if (s->state == CONNECTING)
		connect_ended(l, s);
	while (s->state != FREE && s->state != CONNECTING) {
		enum state was = s->state;
		size_t n = 0;
		enum io r;

		if (was == SECURING)
			r = l->tls->handshake(s->secured);
		else
			r = was == ASKING ? put(l, s, &n) : get(l, s, &n);
		if (waits(l, s, r))
			return;
		if (r != IO_DONE) {
			fail_io(l, s, was == SECURING ? NOT_SECURED : CLOSED, r,
				was == SECURING ? "handshake" : was == ASKING ? "asking" : "the answer");
			return;
		}
		if (was == SECURING) {
			secured(l, s);
		} else if (was == ASKING) {
			s->sent += n;
			if (s->sent < l->request_len)
				continue;
			s->state = HEAD;
			if (l->tls)
				continue;		/* its library may hold what epoll does not see */
			watch(l, s, EPOLLIN);
			return;
		} else if (!(was == HEAD ? took_head : took_body)(l, s, n) && !l->tls) {
			return;				/* epoll tells of more, after the other connections' turn */
		}
	}
}
