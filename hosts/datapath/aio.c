// SPDX-License-Identifier: GPL-2.0-only
/*
 * aio: several AF_ALG requests under way at once, by Linux AIO. sendmsg() hands a request's data over; the read that
 * io_submit() starts on the same socket is the operation, and an asynchronous driver returns before it is done. One
 * that is not asynchronous has answered by then: aio_most() tells the two apart.
 *
 * Nothing here waits for ever: sendmsg() does not wait at all, io_getevents() at most STALL_SECONDS. But a driver that
 * never completes a request holds up the end of this process too: the kernel lets go of no AIO context before.
 */
#include "datapath.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct aio {
	struct job *job;
	aio_context_t context;
	struct iocb iocbs[MAX_DEPTH];			/* one for each slot */
	struct iocb *idle[MAX_DEPTH];			/* the first of them are started next */
	struct io_event events[MAX_DEPTH];
	unsigned int most;				/* requests without answer when another one's was there */
};

static void failed(const struct aio *a, const char *what, int err)
{
	die(EXIT_RUNTIME, "%s, %u requests at once: %s: %s", a->job->cipher->driver, a->job->depth, what,
	    alg_explain(err));
}

static void start(struct aio *a, unsigned int n)
{
	const struct job *j = a->job;
	unsigned int i;
	long r;

	for (i = 0; i < n; i++) {
		int op = (int)a->idle[i]->aio_fildes;
		ssize_t sent = alg_submit(op, j->cipher, j->encrypt, j->in, j->in_len, MSG_DONTWAIT);

		if (sent != (ssize_t)j->in_len)
			failed(a, "send", sent < 0 ? -errno : -EIO);
	}
	for (i = 0; i < n; i += (unsigned int)r) {
		r = syscall(SYS_io_submit, a->context, (long)(n - i), a->idle + i);
		if (r <= 0)
			failed(a, "io_submit", r ? -errno : -EAGAIN);
	}
}

/* Waits for answers and takes all there are; their slots are idle again. */
static unsigned int reap(struct aio *a)
{
	struct timespec wait = { .tv_sec = STALL_SECONDS };
	long i, n = syscall(SYS_io_getevents, a->context, 1L, (long)a->job->depth, a->events, &wait);

	if (n < 0)
		failed(a, "io_getevents", -errno);
	if (!n)
		die(EXIT_RUNTIME, "%s, %u requests at once: none was answered within %d s", a->job->cipher->driver,
		    a->job->depth, STALL_SECONDS);
	for (i = 0; i < n; i++) {
		const struct io_event *e = &a->events[i];

		if (e->res != (int64_t)a->job->out_len)
			failed(a, "answer", e->res < 0 ? (int)e->res : -EIO);
		a->idle[i] = &a->iocbs[e->data];
	}
	return (unsigned int)n;
}

void aio_batch(struct aio *a, unsigned int requests)
{
	unsigned int n = a->job->depth, under_way = 0, i;

	for (i = 0; i < n; i++)
		a->idle[i] = &a->iocbs[i];
	while (requests || under_way) {
		if (n > requests)
			n = requests;
		start(a, n);
		requests -= n;
		under_way += n;
		n = reap(a);
		under_way -= n;
		if (under_way > a->most)
			a->most = under_way;
	}
}

unsigned int aio_most(const struct aio *a)
{
	return a->most;
}

struct aio *aio_open(struct job *j)
{
	struct aio *a = calloc(1, sizeof(*a));
	unsigned int i;

	if (!a)
		die(EXIT_RUNTIME, "out of memory");
	a->job = j;
	if (syscall(SYS_io_setup, j->depth, &a->context))
		die(EXIT_RUNTIME, "--depth %u: io_setup: %s", j->depth,
		    errno == EAGAIN ? "the host's AIO requests are used up (see fs.aio-max-nr)" : strerror(errno));
	for (i = 0; i < j->depth; i++) {
		struct iocb *cb = a->idle[i] = &a->iocbs[i];

		cb->aio_data = i;
		cb->aio_lio_opcode = IOCB_CMD_PREAD;
		cb->aio_fildes = (uint32_t)j->slots[i].op;
		cb->aio_buf = (uintptr_t)j->slots[i].out;
		cb->aio_nbytes = j->out_len;
	}
	return a;
}

void aio_close(struct aio *a)
{
	syscall(SYS_io_destroy, a->context);
	free(a);
}
