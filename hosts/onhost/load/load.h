/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * load: many clients at once. It asks an HTTP/1.1 server for one file over many connections, in a closed loop (each
 * asks again when served) or an open one (at a fixed rate, whatever became of the requests before), and tells at the end
 * how many answers came how late. See README.md.
 *
 * Reading order: load.c (command line, the line that is told), run.c (phases, schedule, the loop), slot.c (one
 * connection), answer.c (an answer's head), tls.c, openssl.c and gnutls.c (libraries of this host), latency.c.
 */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE		/* so this header comes first everywhere */

#include <sys/socket.h>
#include <sys/types.h>

#include "answer.h"
#include "tls.h"
#include "util.h"

#define MAX_CONNECTIONS	8192
#define READ_ROOM	(256 * 1024)
#define NAME_ROOM	96
#define MAX_PORTS	64
#define MAX_ERRORS	100	/* one is enough to spoil a run; a hundred end it */

/* --- latency.c: counts in buckets as wide as 1/64 of what they hold ------------------------------------------- */

#define LATENCY_BITS	6
#define LATENCY_BUCKETS	((41 - LATENCY_BITS) << LATENCY_BITS)	/* up to 2^40 ns, 18 minutes */

struct latency {
	uint64_t total, most;					/* most: the longest one itself, in ns */
	uint64_t counts[LATENCY_BUCKETS];
};

unsigned int latency_bucket(uint64_t ns);
void latency_add(struct latency *l, uint64_t ns);
void latency_say(struct json *j, const char *key, const struct latency *l);

/* --- slot.c: one connection --------------------------------------------------------------------------------- */

enum state { FREE, CONNECTING, SECURING, ASKING, HEAD, BODY };

struct slot {
	enum state state;
	int fd;							/* -1: none */
	uint32_t watched;					/* what epoll looks for */
	bool begun;						/* it has had an answer */
	uint64_t due;						/* when its request was to start */
	uint64_t freed;						/* since when it waits for one */
	uint64_t connecting;					/* when it began to connect */
	void *secured, *kept;					/* TLS: its connection, a session */
	size_t sent, head_len;
	uint64_t left;						/* bytes of the body to come */
	bool closes;						/* the server said so */
	char head[HEAD_ROOM];
};

enum kind { NO_PORTS, NO_DESCRIPTORS, NOT_CONNECTED, NOT_SECURED, CLOSED, NO_ANSWER, WRONG_ANSWER, TIMED_OUT, KINDS };
extern const char *const kind_names[KINDS];

enum reuse { NEW, RESUMED, KEPT };
enum phase { RAMP, WARM, WINDOW, DRAIN, OVER };

/* The whole run. */
struct load {
	/* what was asked for */
	struct sockaddr_storage addresses[MAX_PORTS];		/* one for each port; slots take them in turn */
	unsigned int n_addresses;
	socklen_t address_len;
	char request[1024];
	size_t request_len;
	uint64_t size;						/* of an answer's body on the wire */
	unsigned int connections;
	enum reuse reuse;
	const struct tls *tls;					/* NULL: none */
	bool one_group;						/* its key exchange is asked for */
	double rate;						/* requests/s of an open loop; 0: a closed one */
	uint64_t warm_ns, window_ns, patience_ns;
	/* the loop */
	int epoll, phase_timer, start_timer;
	enum phase phase;
	uint64_t now;						/* the last look at the clock */
	struct slot *slots;
	unsigned int *free_slots, first_free, n_free;		/* a ring: who is free longest comes first */
	unsigned int begun, busy, open, leaving;
	char *buf;
	/* an open loop's schedule */
	uint64_t first_due, interval_ns, planned;		/* planned: requests of the whole schedule */
	uint64_t due, started;					/* those that were due so far, and that were started */
	/* what is told */
	uint64_t requests, responses, bytes, opened, handshakes, resumed, other_suites;
	unsigned int at_once;					/* the most connections that were there within the window */
	uint64_t errors[KINDS], n_errors;
	char first_error[256], version[NAME_ROOM], suite[NAME_ROOM], group[NAME_ROOM], key[NAME_ROOM];
	uint64_t window_from, window_to, window_responses, window_bytes;
	double window_cpu;
	struct latency latency, late, handshake;
};

void slot_start(struct load *l, struct slot *s, uint64_t due);
void slot_drive(struct load *l, struct slot *s, uint32_t events);
void slot_fail(struct load *l, struct slot *s, enum kind kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void slot_close(struct load *l, struct slot *s);
void left_readable(struct load *l, int fd);			/* a connection that was left: whether its end has come */

/* --- run.c ---------------------------------------------------------------------------------------------------- */

#define LEFT_TAG	(1ull << 32)				/* of epoll's data: a descriptor that was left, else a slot */
#define TIMER_TAG	(1ull << 33)

/* An answer is whole: counts it. True if the slot is to ask again at once, with its due time set. */
bool run_answered(struct load *l, struct slot *s);
void run_idle(struct load *l, struct slot *s);			/* a slot without anything to do */
void run(struct load *l);

#endif
