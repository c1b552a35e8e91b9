// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections: heads are collected from all of them side by side, bodies are sent one at a time (so that the counters
 * of a request are its own). An idle or slow client therefore holds up nobody before it has sent a whole head.
 *
 * SIGTERM and SIGINT are let in only while waiting here: a transfer under way is finished first. SIGALRM comes four
 * times per watchdog period (see transfer.c); here it ends the wait, so that connections that have been idle for long
 * are ended also when nobody else comes.
 */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNS	64
#define IDLE_NS		(60 * 1000000000ull)
#define LINGER_NS	(2 * 1000000000ull)
#define PAUSE_NS	100000000ull			/* for a machine that is short of memory or descriptors */

struct conn {
	int fd;						/* -1: free */
	bool draining;					/* answered for good: wait for the client's end, discard */
	uint64_t id, since;
	size_t len;
	char buf[HEAD_MAX];
};

static struct conn conns[MAX_CONNS];
static uint64_t paused_until;				/* nobody is welcomed before */
static volatile sig_atomic_t stop;

static void on_stop(int sig)
{
	(void)sig;
	stop = 1;
}

static void on_tick(int sig)
{
	(void)sig;
	tick = 1;
}

static void drop(struct conn *c, bool reset)
{
	struct linger hard = { .l_onoff = 1 };

	if (reset)					/* a client must not take an aborted body for a whole one */
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(c->fd);
	c->fd = -1;
}

/* Closing with unread input would reset the connection and may destroy the answer's end on its way. */
static void drain_and_close(struct conn *c)
{
	if (shutdown(c->fd, SHUT_WR)) {
		drop(c, false);
		return;
	}
	c->draining = true;
	c->len = 0;
	c->since = now_ns();
}

static void finish(struct conn *c, bool keep, bool reset)
{
	if (reset)
		drop(c, true);
	else if (!keep)
		drain_and_close(c);
	else
		c->since = now_ns();
}

static void refuse(struct server *s, struct conn *c, int status)
{
	static const struct http_request nothing;
	bool reset;

	answer_request(s, c->fd, c->id, status, &nothing, &reset);
	finish(c, false, reset);
}

/* Every whole head in the buffer; a client may send several at once. */
static void take_requests(struct server *s, struct conn *c)
{
	static struct http_request req;
	int head;

	while (c->fd >= 0 && !c->draining && !stop && (head = http_head_length(c->buf, c->len))) {
		bool keep, reset;
		int status;

		if (head < 0) {
			refuse(s, c, 431);
			return;
		}
		status = http_parse(c->buf, (size_t)head, &req);
		c->len -= (size_t)head;
		memmove(c->buf, c->buf + head, c->len);
		keep = answer_request(s, c->fd, c->id, status, &req, &reset);
		finish(c, keep, reset);
	}
}

static void readable(struct server *s, struct conn *c)
{
	char waste[HEAD_MAX];
	char *to = c->draining ? waste : c->buf + c->len;
	size_t room = c->draining ? sizeof(waste) : sizeof(c->buf) - c->len;
	ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c, false);
		return;
	}
	if (c->draining)
		return;
	c->len += (size_t)n;
	take_requests(s, c);
}

/* The one that has been idle for longest, or NULL. */
static struct conn *oldest(void)
{
	struct conn *found = NULL;
	int i;

	for (i = 0; i < MAX_CONNS; i++)
		if (conns[i].fd >= 0 && (!found || conns[i].since < found->since))
			found = &conns[i];
	return found;
}

static struct conn *free_slot(void)
{
	struct conn *c;
	int i;

	for (i = 0; i < MAX_CONNS; i++)
		if (conns[i].fd < 0)
			return &conns[i];
	c = oldest();
	drop(c, false);
	return c;
}

/* A client waits meanwhile. Our own limit is met by ending who is idle; what the machine lacks comes again. */
static void put_off(struct server *s, int err)
{
	struct conn *c = err == EMFILE ? oldest() : NULL;

	s->totals.put_off++;
	if (c)
		drop(c, false);
	else
		paused_until = now_ns() + PAUSE_NS;
}

static void welcome(struct server *s)
{
	int one = 1, fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	struct conn *c;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			put_off(s, errno);
		return;					/* else the client gave up, or a signal */
	}
	/* With MSG_MORE where more follows, no packet is left waiting for an acknowledgement. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = free_slot();
	c->fd = fd;
	c->draining = false;
	c->len = 0;
	c->since = now_ns();
	c->id = ++s->totals.connections;
}

static void end_idle(void)
{
	uint64_t now = now_ns();
	int i;

	for (i = 0; i < MAX_CONNS; i++)
		if (conns[i].fd >= 0 && now - conns[i].since > (conns[i].draining ? LINGER_NS : IDLE_NS))
			drop(&conns[i], false);
}

static void wait_for_work(struct server *s, const sigset_t *waiting)
{
	struct pollfd fds[MAX_CONNS + 1] = { { .fd = s->listener, .events = POLLIN } };
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct conn *of[MAX_CONNS + 1];
	nfds_t n = 1, i;
	bool paused;

	end_idle();
	paused = now_ns() < paused_until;
	if (paused)
		fds[0].fd = -1;
	for (i = 0; i < MAX_CONNS; i++) {		/* no more than there are: ppoll() compares with the limit */
		if (conns[i].fd < 0)
			continue;
		of[n] = &conns[i];
		fds[n++] = (struct pollfd){ .fd = conns[i].fd, .events = POLLIN };
	}
	if (ppoll(fds, n, paused ? &pause : NULL, waiting) < 0) {
		if (errno != EINTR && errno != ENOMEM)
			die(EXIT_RUNTIME, "poll: %s", strerror(errno));
		return;
	}
	for (i = 1; i < n && !stop; i++)
		if (fds[i].revents && of[i]->fd == fds[i].fd)
			readable(s, of[i]);
	if (fds[0].revents && !stop)
		welcome(s);
}

static void open_listener(struct server *s)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct sockaddr_in6 bound;			/* large enough for both families, the port at the same place */
	socklen_t len = sizeof(bound);
	struct addrinfo *a;
	int err = getaddrinfo(s->address, s->port_text, &hints, &a), one = 1;

	if (err)
		die(EXIT_USAGE, "address %s port %s: %s", s->address, s->port_text, gai_strerror(err));
	s->listener = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(s->listener, a->ai_addr, a->ai_addrlen) || listen(s->listener, 128) ||
	    getsockname(s->listener, (struct sockaddr *)&bound, &len))
		die(EXIT_RUNTIME, "cannot listen on %s port %s: %s", s->address, s->port_text, strerror(errno));
	s->port = ntohs(bound.sin6_port);
	freeaddrinfo(a);
}

static void say_listening(struct server *s)
{
	struct json j;

	json_begin(&j, "listening");
	json_str(&j, "mode", s->mode->name);
	json_str(&j, "address", s->address);
	json_u64(&j, "port", s->port);
	json_int(&j, "pid", getpid());
	json_u64(&j, "chunk", s->chunk);
	json_u64(&j, "watchdog_seconds", s->watchdog);
	if (s->dearer)
		json_u64(&j, "dearer_per_mille", s->dearer);
	if (s->mode->cipher) {
		json_str(&j, "cipher", s->cipher.name);
		json_str(&j, "algorithm", s->cipher.algorithm);
		json_str(&j, "driver", s->cipher.driver);
		json_u64(&j, "key_bytes", s->cipher.key_len);
		json_str(&j, "module", s->cipher.module);
		json_int(&j, "priority", s->cipher.priority);
		json_bool(&j, "async", s->cipher.async);
		json_u64(&j, "block_bytes", s->cipher.block);
		json_str(&j, "padding", s->cipher.block > 1 ? "pkcs7" : "none");
	}
	if (s->mode == &mode_afalg_splice)
		json_str(&j, "splice", s->splice_copies ? "copy" : "zero-copy");
	json_end(&j);
}

static void say_summary(const struct server *s)
{
	const struct totals *sum = &s->totals;
	struct json j;
	int i;

	json_begin(&j, "summary");
	json_str(&j, "mode", s->mode->name);
	if (s->mode->cipher)
		json_str(&j, "driver", s->cipher.driver);
	json_u64(&j, "connections", sum->connections);
	json_u64(&j, "http_requests", sum->requests);
	json_u64(&j, "failed", sum->failed);
	if (sum->put_off)
		json_u64(&j, "put_off", sum->put_off);
	json_u64(&j, "bytes", sum->bytes);
	json_u64(&j, "plain_bytes", sum->plain_bytes);
	json_u64(&j, "requests", sum->crypto_requests);
	json_num(&j, "user_seconds", sum->user_seconds);
	json_num(&j, "system_seconds", sum->system_seconds);
	json_open(&j, "calls");
	for (i = 0; i < CALLS; i++)
		json_u64(&j, call_names[i], sum->calls[i]);
	json_close(&j);
	json_u64(&j, "crossing_bytes", sum->crossing);
	json_u64(&j, "copied_bytes", sum->copied);
	json_end(&j);
}

int serve(struct server *s)
{
	sigset_t blocked, waiting;
	int i;

	for (i = 0; i < MAX_CONNS; i++)
		conns[i].fd = -1;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	if (sigprocmask(SIG_BLOCK, &blocked, &waiting))
		die(EXIT_RUNTIME, "sigprocmask: %s", strerror(errno));
	sigdelset(&waiting, SIGTERM);
	sigdelset(&waiting, SIGINT);
	on_signal(SIGTERM, on_stop);
	on_signal(SIGINT, on_stop);
	on_signal(SIGALRM, on_tick);
	signal(SIGPIPE, SIG_IGN);
	open_listener(s);
	if (s->mode->setup)
		s->mode->setup(s);
	every_ms(s->watchdog * 250);
	say_listening(s);
	while (!stop)
		wait_for_work(s, &waiting);
	for (i = 0; i < MAX_CONNS; i++)
		if (conns[i].fd >= 0)
			drop(&conns[i], false);
	every_ms(0);
	say_summary(s);
	return 0;
}
