// SPDX-License-Identifier: GPL-2.0-only
/*
 * A run's phases: every slot has one answer (RAMP), a while to settle (WARM), the time that is measured (WINDOW), and
 * what is still due is waited for (DRAIN), so that the server's counts and these agree to the request.
 *
 * An open loop's requests are due at fixed moments from the settling on. One that finds no free slot waits, and what it
 * waits is part of its latency: that is what a client would have waited who came then.
 */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH		256
#define LEAVE_MS	1000

static double own_seconds(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static struct timespec spec(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

/* From so many ns from the clock's beginning on (0: never), and then every so many. */
static void timer(int fd, uint64_t at, uint64_t every)
{
	struct itimerspec t = { .it_value = spec(at), .it_interval = spec(every) };

	if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL))
		die(EXIT_RUNTIME, "timerfd_settime: %s", strerror(errno));
}

static int new_timer(struct load *l, uint64_t tag)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = TIMER_TAG | tag };

	if (fd < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e))
		die(EXIT_RUNTIME, "timerfd: %s", strerror(errno));
	return fd;
}

static uint64_t expired(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static bool open_loop(const struct load *l)
{
	return l->rate > 0;
}

void run_idle(struct load *l, struct slot *s)
{
	s->freed = l->now;
	l->free_slots[(l->first_free + l->n_free++) % l->connections] = (unsigned int)(s - l->slots);
}

/*
 * When the next request of the schedule was due; it is started now. It is late since then, or since this slot was free
 * for it where that came later. Without one it waited for a slot, not for this program.
 */
static uint64_t next_due(struct load *l, const struct slot *free)
{
	uint64_t due = l->first_due + l->started++ * l->interval_ns;

	latency_add(&l->late, free ? l->now - (due > free->freed ? due : free->freed) : 0);
	return due;
}

/* Whether there is something to do for a free slot. */
static bool wanted(const struct load *l)
{
	if (l->phase == RAMP)
		return l->n_free > l->begun;		/* who had an answer is free until all had one */
	return open_loop(l) ? l->started < l->due : l->phase != DRAIN;
}

/* Free slots get what there is to do. */
static void dispatch(struct load *l)
{
	unsigned int left = l->n_free;			/* those that fail come back to the list: not in this round */

	while (left-- && l->phase != OVER && wanted(l)) {
		struct slot *s = &l->slots[l->free_slots[l->first_free]];

		l->n_free--;
		l->first_free = (l->first_free + 1) % l->connections;
		if (l->phase == RAMP && s->begun) {
			run_idle(l, s);
			continue;
		}
		l->now = now_ns();			/* starting the one before took its time */
		slot_start(l, s, l->phase != RAMP && open_loop(l) ? next_due(l, s) : l->now);
	}
}

static void settle(struct load *l)
{
	l->phase = WARM;
	l->now = now_ns();
	timer(l->phase_timer, l->now + l->warm_ns, 0);
	if (open_loop(l)) {
		l->first_due = l->now;
		l->interval_ns = (uint64_t)(1e9 / l->rate);
		l->planned = (l->warm_ns + l->window_ns) / l->interval_ns;
		timer(l->start_timer, l->first_due + 1, l->interval_ns);
	}
}

/* Whether this request is one of those whose latency counts. */
static bool counts(const struct load *l, const struct slot *s)
{
	uint64_t from = l->first_due + l->warm_ns;

	if (!open_loop(l) || !l->first_due)
		return !open_loop(l) && l->phase == WINDOW;
	return s->due >= from && s->due < from + l->window_ns;
}

bool run_answered(struct load *l, struct slot *s)
{
	bool again;

	l->now = now_ns();
	l->responses++;
	if (l->phase == WINDOW)
		l->window_responses++;
	if (counts(l, s))
		latency_add(&l->latency, l->now - s->due);
	if (!s->begun) {
		s->begun = true;
		l->begun++;
		run_idle(l, s);
		if (l->begun == l->connections && l->phase == RAMP)
			settle(l);
		return false;
	}
	again = open_loop(l) ? l->started < l->due : l->phase == WARM || l->phase == WINDOW;
	if (!again) {
		run_idle(l, s);
		return false;
	}
	if (open_loop(l))
		s->due = next_due(l, l->n_free ? &l->slots[l->free_slots[l->first_free]] : NULL);
	else
		s->due = l->now;
	return true;
}

static void time_out(struct load *l)
{
	unsigned int i;

	for (i = 0; i < l->connections; i++)
		if (l->slots[i].state != FREE)
			slot_fail(l, &l->slots[i], TIMED_OUT, "no answer within %.3g s of %s", (double)l->patience_ns / 1e9,
				  l->phase == RAMP ? "the beginning" : "the end");
	l->errors[TIMED_OUT] += l->due - l->started;
	l->n_errors += l->due - l->started;
	l->phase = OVER;
}

/* For whoever looks at both hosts meanwhile. */
static void say_window(void)
{
	static struct json j;

	json_begin(&j, "window");
	json_end(&j);
}

static void advance(struct load *l)
{
	l->now = now_ns();
	switch (l->phase) {
	case WARM:
		say_window();
		l->now = now_ns();
		l->phase = WINDOW;
		l->window_from = l->now;
		l->window_bytes = l->bytes;
		l->window_cpu = own_seconds();
		l->at_once = l->open;
		timer(l->phase_timer, l->now + l->window_ns, 0);
		break;
	case WINDOW:
		l->phase = DRAIN;
		l->window_to = l->now;
		l->window_bytes = l->bytes - l->window_bytes;
		l->window_cpu = own_seconds() - l->window_cpu;
		timer(l->start_timer, 0, 0);
		l->due = l->planned;
		timer(l->phase_timer, l->now + l->patience_ns, 0);
		break;
	default:
		time_out(l);
	}
}

static void became_due(struct load *l)
{
	uint64_t n = expired(l->start_timer);

	l->now = now_ns();
	l->due = l->due + n < l->planned ? l->due + n : l->planned;
}

static void handle(struct load *l, const struct epoll_event *e)
{
	uint64_t what = e->data.u64;

	if (what & LEFT_TAG)
		left_readable(l, (int)(uint32_t)what);
	else if (what == (TIMER_TAG | 1))
		became_due(l);
	else if (what & TIMER_TAG)
		expired(l->phase_timer) ? advance(l) : (void)0;
	else
		slot_drive(l, &l->slots[what], e->events);
}

static int wait_for_work(struct load *l, struct epoll_event *found, int ms)
{
	int n = epoll_wait(l->epoll, found, BATCH, ms);

	if (n < 0 && errno != EINTR)
		die(EXIT_RUNTIME, "epoll_wait: %s", strerror(errno));
	return n < 0 ? 0 : n;
}

static bool drained(const struct load *l)
{
	return l->phase == DRAIN && !l->busy && l->started >= l->due;
}

/* Servers close what was left to them; kept connections are closed here. */
static void end(struct load *l)
{
	struct epoll_event found[BATCH];
	uint64_t until = now_ns() + LEAVE_MS * 1000000ull;
	unsigned int i;
	int n;

	for (i = 0; i < l->connections; i++) {
		slot_close(l, &l->slots[i]);
		if (l->slots[i].kept)
			l->tls->forget(l->slots[i].kept);
	}
	while (l->leaving && now_ns() < until && (n = wait_for_work(l, found, LEAVE_MS)) >= 0)
		while (n--)
			if (found[n].data.u64 & LEFT_TAG)
				left_readable(l, (int)(uint32_t)found[n].data.u64);
}

void run(struct load *l)
{
	struct epoll_event found[BATCH];
	unsigned int i;
	int n;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		die(EXIT_RUNTIME, "epoll_create1: %s", strerror(errno));
	l->phase_timer = new_timer(l, 0);
	l->start_timer = new_timer(l, 1);
	l->now = now_ns();
	for (i = 0; i < l->connections; i++) {
		l->slots[i].fd = -1;
		run_idle(l, &l->slots[i]);
	}
	timer(l->phase_timer, l->now + l->patience_ns, 0);
	if (open_loop(l))				/* its schedule before what else this host does, where that may be had */
		(void)setpriority(PRIO_PROCESS, 0, -15);
	while (l->phase != OVER && !drained(l)) {
		dispatch(l);
		n = wait_for_work(l, found, -1);
		for (i = 0; i < (unsigned int)n && l->phase != OVER; i++)
			handle(l, &found[i]);
		if (l->n_errors >= MAX_ERRORS)
			l->phase = OVER;
	}
	end(l);
}
