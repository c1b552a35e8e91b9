// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connections: heads are collected from all of them side by side. Bodies are sent one at a time, so that the counters of
 * a request are its own, or with --connections side by side too, each in a lane (lanes.c). An idle or slow client
 * therefore holds up nobody before it has sent a whole head.
 *
 * SIGTERM and SIGINT are let in only while waiting here: transfers under way are finished first. SIGALRM comes four
 * times per watchdog period (see transfer.c); here it serves to end connections that have been idle for long, and to
 * let the watchdog look at bodies that wait for room.
 */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MORE_CONNS	64				/* beyond those whose bodies are sent side by side */
#define BATCH		64				/* of epoll's events */
#define IDLE_NS		(60 * 1000000000ull)
#define LINGER_NS	(2 * 1000000000ull)
#define PAUSE_MS	100				/* for a machine that is short of memory or descriptors */

struct conn {
	int fd;						/* -1: free */
	bool draining;					/* answered for good: wait for the client's end, discard */
	uint64_t id, since;
	struct server *server;
	struct lane *lane;				/* a body that waits for room */
	struct asked asked;				/* what is being answered */
	size_t len;
	char buf[HEAD_MAX];
};

static struct conn *conns;
static unsigned int n_conns, under_way;
static int epoll;
static uint64_t paused_until;				/* nobody is welcomed before; 0: all are */
static volatile sig_atomic_t stop, ticked;

static void on_stop(int sig)
{
	(void)sig;
	stop = 1;
}

static void on_tick(int sig)
{
	(void)sig;
	tick = ticked = 1;
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

static void finish(struct conn *c)
{
	if (c->asked.reset)
		drop(c, true);
	else if (!c->asked.keep)
		drain_and_close(c);
	else
		c->since = now_ns();
}

static void work(struct lane *l, void *conn)
{
	struct conn *c = conn;

	answer_request(c->server, &c->asked, l);
}

/* An answer; afterwards the connection may have a lane. */
static void answer(struct conn *c, int status)
{
	struct server *s = c->server;

	c->asked.sock = c->fd;
	c->asked.connection = c->id;
	c->asked.status = status;
	if (s->connections == 1) {
		answer_request(s, &c->asked, NULL);
		finish(c);
		return;
	}
	c->lane = lane_begin(s, work, c);
	if (c->lane)
		under_way++;
	else
		finish(c);
}

/* Every whole head in the buffer; a client may send several at once. */
static void take_requests(struct conn *c)
{
	int head;

	while (c->fd >= 0 && !c->draining && !c->lane && !stop && (head = http_head_length(c->buf, c->len))) {
		int status;

		if (head < 0) {
			memset(&c->asked.req, 0, sizeof(c->asked.req));
			answer(c, 431);
			return;
		}
		status = http_parse(c->buf, (size_t)head, &c->asked.req);
		c->len -= (size_t)head;
		memmove(c->buf, c->buf + head, c->len);
		answer(c, status);
	}
}

/* All that is there, as epoll tells of it once; its end too, where that came with it. */
static void readable(struct conn *c, bool ended)
{
	char waste[HEAD_MAX];

	while (c->fd >= 0 && !c->lane) {
		size_t room = c->draining ? sizeof(waste) : sizeof(c->buf) - c->len;
		ssize_t n = recv(c->fd, c->draining ? waste : c->buf + c->len, room, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			drop(c, false);
			return;
		}
		if (!c->draining) {
			c->len += (size_t)n;
			take_requests(c);
		}
		if ((size_t)n < room && !ended)
			return;
	}
}

/* A body may go on; when it is done, what came meanwhile is looked at. */
static void resume(struct conn *c)
{
	if (!lane_resume(c->lane))
		return;
	c->lane = NULL;
	under_way--;
	finish(c);
	take_requests(c);
	readable(c, true);
}

/* The one that has been idle for longest, or NULL. */
static struct conn *oldest(void)
{
	struct conn *found = NULL;
	unsigned int i;

	for (i = 0; i < n_conns; i++)
		if (conns[i].fd >= 0 && !conns[i].lane && (!found || conns[i].since < found->since))
			found = &conns[i];
	return found;
}

/* One that is free, or made free; NULL where a body is under way in each. */
static struct conn *free_slot(void)
{
	struct conn *c;
	unsigned int i;

	for (i = 0; i < n_conns; i++)
		if (conns[i].fd < 0)
			return &conns[i];
	c = oldest();
	if (c)
		drop(c, false);
	return c;
}

/* Whether epoll tells of clients that come. */
static void expect(const struct server *s, bool clients)
{
	struct epoll_event e = { .events = clients ? EPOLLIN : 0 };

	if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->listener, &e))
		die(EXIT_RUNTIME, "epoll_ctl: %s", strerror(errno));
}

/* A client waits meanwhile. Our own limit is met by ending who is idle; what the machine lacks comes again. */
static void put_off(struct server *s, int err)
{
	struct conn *c = err == EMFILE ? oldest() : NULL;

	s->totals.put_off++;
	if (c) {
		drop(c, false);
		return;
	}
	paused_until = now_ns() + PAUSE_MS * 1000000;
	expect(s, false);
}

static void welcome(struct server *s)
{
	int kind = SOCK_CLOEXEC | (s->connections > 1 ? SOCK_NONBLOCK : 0);
	int one = 1, fd = accept4(s->listener, NULL, NULL, kind);
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET };
	struct conn *c;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			put_off(s, errno);
		return;					/* else the client gave up, or a signal */
	}
	c = free_slot();
	if (!c) {
		close(fd);
		return;
	}
	/* With MSG_MORE where more follows, no packet is left waiting for an acknowledgement. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (s->connections > 1)
		e.events |= EPOLLOUT;
	e.data.ptr = c;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e)) {	/* of memory, too */
		put_off(s, errno);
		close(fd);
		return;
	}
	c->fd = fd;
	c->draining = false;
	c->len = 0;
	c->since = now_ns();
	c->server = s;
	c->id = ++s->totals.connections;
}

static void end_idle(void)
{
	uint64_t now = now_ns();
	unsigned int i;

	for (i = 0; i < n_conns; i++)
		if (conns[i].fd >= 0 && !conns[i].lane &&
		    now - conns[i].since > (conns[i].draining ? LINGER_NS : IDLE_NS))
			drop(&conns[i], false);
}

/* The watchdog looks at bodies that wait: each makes its call again. */
static void look_at_lanes(void)
{
	unsigned int i;

	for (i = 0; i < n_conns && under_way; i++) {
		if (!conns[i].lane)
			continue;
		tick = 1;
		resume(&conns[i]);
	}
	tick = 0;
}

static void wait_for_work(struct server *s, const sigset_t *waiting)
{
	struct epoll_event found[BATCH];
	bool somebody = false;
	int n, i;

	if (paused_until && now_ns() >= paused_until) {
		paused_until = 0;
		expect(s, true);
	}
	n = epoll_pwait(epoll, found, BATCH, paused_until ? PAUSE_MS : -1, waiting);
	if (n < 0 && errno != EINTR)
		die(EXIT_RUNTIME, "epoll_pwait: %s", strerror(errno));
	if (ticked) {
		ticked = 0;
		end_idle();
		look_at_lanes();
	}
	for (i = 0; i < n && (!stop || under_way); i++) {
		struct conn *c = found[i].data.ptr;

		if (!c)
			somebody = true;
		else if (c->lane)
			resume(c);
		else if (c->fd >= 0 && !stop)
			readable(c, found[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
	}
	if (somebody && !stop)				/* last: a slot that is reused has no event of its old connection */
		welcome(s);
}

static void prepare(struct server *s)
{
	struct epoll_event e = { .events = EPOLLIN };
	unsigned int i;

	n_conns = (s->connections > 1 ? s->connections : 0) + MORE_CONNS;
	/* Of each: a connection, its file, what AF_ALG needs, a pipe. */
	if (s->connections > 1)
		need_descriptors(5 * n_conns + 64);
	conns = calloc(n_conns, sizeof(*conns));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!conns || epoll < 0)
		die(EXIT_RUNTIME, "connections: %s", strerror(errno));
	for (i = 0; i < n_conns; i++)
		conns[i].fd = -1;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->listener, &e))
		die(EXIT_RUNTIME, "epoll_ctl: %s", strerror(errno));
}

void serve_alone(struct server *s)
{
	sigset_t blocked, waiting;
	unsigned int i;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	if (sigprocmask(SIG_BLOCK, &blocked, &waiting))
		die(EXIT_RUNTIME, "sigprocmask: %s", strerror(errno));
	sigdelset(&waiting, SIGTERM);
	sigdelset(&waiting, SIGINT);
	prepare(s);
	room_open(s, &s->room);
	every_ms(s->watchdog * 250);
	if (!s->worker)
		say_listening(s);
	while (!stop || under_way)
		wait_for_work(s, &waiting);
	for (i = 0; i < n_conns; i++)
		if (conns[i].fd >= 0)
			drop(&conns[i], false);
	every_ms(0);
	say_summary(s);
	lanes_close();
	room_close(&s->room);
	free(conns);
	close(epoll);
}

int serve(struct server *s)
{
	on_signal(SIGTERM, on_stop);
	on_signal(SIGINT, on_stop);
	on_signal(SIGALRM, on_tick);
	signal(SIGPIPE, SIG_IGN);
	open_listener(s, s->workers == 1);
	if (s->mode->setup)
		s->mode->setup(s);
	if (s->workers > 1)
		return serve_by_workers(s);
	if (s->pinned)
		pin(0);
	serve_alone(s);
	return 0;
}
