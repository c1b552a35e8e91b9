// SPDX-License-Identifier: GPL-2.0-only
/*
 * workers: several requests under way at once, by a thread for each. A thread makes the calls that raw makes without
 * --depth, and sleeps in the last of them while its request is with an asynchronous driver. One that is not asynchronous
 * keeps the thread busy instead: the threads then share the processors, and nothing is queued. workers_say() tells the
 * two apart.
 *
 * The main thread waits, and ends the process when nothing is answered for STALL_SECONDS. But a driver that never
 * completes a request holds up the end of the process too: the kernel's wait for it cannot be interrupted.
 */
#include "datapath.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct worker {
	struct workers *all;
	pthread_t thread;
	unsigned int slot;
};

struct workers {
	const struct job *job;
	int done;					/* eventfd: the batch is answered, or failed */
	atomic_int left;				/* requests of the batch that nobody has taken */
	atomic_uint inside;				/* threads whose requests are in the kernel now */
	atomic_uint_least64_t answered;			/* so far, in all batches */
	pthread_cond_t go;
	pthread_mutex_t lock;				/* for everything below */
	unsigned int batch, busy;			/* number of the batch, threads that are still at it */
	bool quit;
	uint64_t end;					/* of the batch: when the last of its answers was there */
	const char *failed;				/* what failed first, and how */
	int err;
	unsigned int most;				/* inside at once, so far */
	uint64_t sleeps;				/* of the threads, while they were at their batches */
	struct worker each[MAX_DEPTH];
};

/* What a thread found out during a batch. */
struct tally {
	const char *failed;
	int err;
	unsigned int most;
	uint64_t sleeps, end;
};

/* How often this thread gave up its processor to wait for something. */
uint64_t sleeps(void)
{
	struct rusage r = { 0 };

	getrusage(RUSAGE_THREAD, &r);			/* of a right who and where it never fails */
	return (uint64_t)r.ru_nvcsw;
}

static void request(struct workers *w, unsigned int slot, struct tally *t)
{
	const struct job *j = w->job;
	unsigned int inside;

	t->err = j->by->hand_in(j, slot, j->encrypt, j->in_len);
	if (t->err) {
		t->failed = "send";
		return;
	}
	inside = atomic_fetch_add(&w->inside, 1) + 1;
	t->err = j->by->answer(j, slot, j->encrypt, j->in_len, j->out_len);
	atomic_fetch_sub(&w->inside, 1);
	if (t->err)
		t->failed = "answer";
	else
		atomic_fetch_add(&w->answered, 1);
	if (inside > t->most)
		t->most = inside;
}

/* Every thread has one request of each batch for certain, and then takes what is left as fast as it gets answers. */
static struct tally take_part(struct workers *w, unsigned int slot)
{
	struct tally t = { 0 };
	uint64_t before = sleeps();

	do
		request(w, slot, &t);
	while (!t.failed && atomic_fetch_sub(&w->left, 1) > 0);
	t.end = now_ns();
	t.sleeps = sleeps() - before;
	return t;
}

static void hand_in(struct workers *w, const struct tally *t)
{
	bool tell;

	pthread_mutex_lock(&w->lock);
	if (t->failed && !w->failed) {
		w->failed = t->failed;
		w->err = t->err;
	}
	if (t->most > w->most)
		w->most = t->most;
	if (t->end > w->end)
		w->end = t->end;
	w->sleeps += t->sleeps;
	w->busy--;
	tell = !w->busy || t->failed;
	pthread_mutex_unlock(&w->lock);
	if (tell && eventfd_write(w->done, 1))
		die(EXIT_RUNTIME, "eventfd: %s", strerror(errno));
}

/* False when there will be no other batch. */
static bool next_batch(struct workers *w, unsigned int *batch)
{
	bool quit;

	pthread_mutex_lock(&w->lock);
	while (w->batch == *batch && !w->quit)
		pthread_cond_wait(&w->go, &w->lock);
	*batch = w->batch;
	quit = w->quit;
	pthread_mutex_unlock(&w->lock);
	return !quit;
}

static void *work(void *argument)
{
	const struct worker *me = argument;
	unsigned int batch = 0;

	while (next_batch(me->all, &batch)) {
		struct tally t = take_part(me->all, me->slot);

		hand_in(me->all, &t);
	}
	return NULL;
}

/* Looks once a second whether anything was answered since. */
static void wait_for_answers(struct workers *w)
{
	struct pollfd done = { .fd = w->done, .events = POLLIN };
	struct timespec second = { .tv_sec = 1 };
	uint64_t seen = 0, now;
	unsigned int quiet = 0;
	eventfd_t times;
	int n;

	while (!(n = ppoll(&done, 1, &second, NULL)) && quiet < STALL_SECONDS) {
		now = atomic_load(&w->answered);
		quiet = now == seen ? quiet + 1 : 0;
		seen = now;
	}
	if (!n)
		die(EXIT_RUNTIME, "%s, %u requests at once: none was answered within %d s", w->job->cipher->driver,
		    w->job->depth, STALL_SECONDS);
	if (n < 0 || eventfd_read(w->done, &times))
		die(EXIT_RUNTIME, "eventfd: %s", strerror(errno));
}

uint64_t workers_batch(struct workers *w, unsigned int requests)
{
	uint64_t start;

	atomic_store(&w->left, (int)(requests - w->job->depth));
	pthread_mutex_lock(&w->lock);
	w->busy = w->job->depth;
	w->end = 0;
	w->batch++;
	start = now_ns();
	pthread_cond_broadcast(&w->go);
	pthread_mutex_unlock(&w->lock);
	wait_for_answers(w);
	pthread_mutex_lock(&w->lock);
	if (w->failed)
		die(EXIT_RUNTIME, "%s, %u requests at once: %s: %s", w->job->cipher->driver, w->job->depth, w->failed,
		    w->job->by->explain(w->err));
	start = w->end - start;
	pthread_mutex_unlock(&w->lock);
	return start;
}

unsigned int workers_most(const struct workers *w)
{
	return w->most;
}

uint64_t workers_say(const struct workers *w, struct json *out)
{
	uint64_t answered = atomic_load(&w->answered);

	json_num(out, "sleeps_per_operation", (double)w->sleeps / (double)answered);
	return answered;
}

struct workers *workers_open(const struct job *j)
{
	struct workers *w = calloc(1, sizeof(*w));
	unsigned int i;
	int err;

	if (!w)
		die(EXIT_RUNTIME, "out of memory");
	w->job = j;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->go, NULL);
	w->done = eventfd(0, EFD_CLOEXEC);
	if (w->done < 0)
		die(EXIT_RUNTIME, "eventfd: %s", strerror(errno));
	for (i = 0; i < j->depth; i++) {
		w->each[i].all = w;
		w->each[i].slot = i;
		err = pthread_create(&w->each[i].thread, NULL, work, &w->each[i]);
		if (err)
			die(EXIT_RUNTIME, "--depth %u: thread %u: %s", j->depth, i + 1, strerror(err));
	}
	return w;
}

void workers_close(struct workers *w)
{
	unsigned int i;

	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_broadcast(&w->go);
	pthread_mutex_unlock(&w->lock);
	for (i = 0; i < w->job->depth; i++)
		pthread_join(w->each[i].thread, NULL);
	pthread_cond_destroy(&w->go);
	pthread_mutex_destroy(&w->lock);
	close(w->done);
	free(w);
}
