// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lanes: bodies of several connections side by side in one process. Each has a stack of its own; where its socket takes
 * no more it gives way (lane_wait), and goes on there when the socket takes some. So a mode's body is the same straight
 * code whether it is alone and blocks, or one of many.
 *
 * A context is made once for each lane. From then on control goes back and forth by _setjmp() and _longjmp(), which
 * leave the signal mask alone: swapcontext() would make a system call each time, a price that no other server pays.
 */
#undef _FORTIFY_SOURCE			/* its longjmp() takes another stack for a mistake */
#include "datapath.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define LEAVE(save, stack, size)	__sanitizer_start_switch_fiber(save, stack, size)
#define ARRIVE(save, stack, size)	__sanitizer_finish_switch_fiber(save, stack, size)
#else
#define LEAVE(save, stack, size)	((void)(stack), (void)(size))
#define ARRIVE(save, stack, size)	((void)0)
#endif

#define STACK		(128 * 1024)

struct lane {
	struct room room;
	struct lane *next;				/* of the free ones */
	void (*work)(struct lane *l, void *argument);
	void *argument;
	bool busy;
	char *stack;					/* above a page that nobody may touch */
	jmp_buf here, back;
	ucontext_t made;				/* only to get onto the stack */
	void *fake, *fake_back;				/* the address sanitizer's */
	const void *loop_stack;
	size_t loop_size;
};

static struct lane *free_lanes, *starting;

void room_open(const struct server *s, struct room *r)
{
	r->pipe[0] = r->pipe[1] = -1;
	r->buf = aligned_alloc(PAGE, (s->chunk + 2 * PAGE - 1) / PAGE * PAGE);
	if (!r->buf)
		die(EXIT_RUNTIME, "out of memory");
	if (s->mode->furnish)
		s->mode->furnish(s, r);
}

void room_close(struct room *r)
{
	int i;

	free(r->buf);
	for (i = 0; i < 2; i++)
		if (r->pipe[i] >= 0)
			close(r->pipe[i]);
}

static void give_way(struct lane *l)
{
	LEAVE(&l->fake, l->loop_stack, l->loop_size);
	if (!_setjmp(l->here))
		_longjmp(l->back, 1);
	ARRIVE(l->fake, &l->loop_stack, &l->loop_size);
}

/* A lane's whole life: work after work. */
static void live(void)
{
	struct lane *l = starting;

	ARRIVE(NULL, &l->loop_stack, &l->loop_size);
	for (;;) {
		l->work(l, l->argument);
		l->busy = false;
		give_way(l);
	}
}

static struct lane *make(const struct server *s)
{
	struct lane *l = calloc(1, sizeof(*l));
	char *mapped = mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (!l || mapped == MAP_FAILED || mprotect(mapped, PAGE, PROT_NONE) || getcontext(&l->made))
		die(EXIT_RUNTIME, "no memory for another transfer: %s", strerror(errno));
	l->stack = mapped + PAGE;
	l->made.uc_stack.ss_sp = l->stack;
	l->made.uc_stack.ss_size = STACK;
	makecontext(&l->made, live, 0);
	room_open(s, &l->room);
	return l;
}

/* Lets it work until it gives way; its context is entered the first time, and gone on with from then on. */
static void go_on(struct lane *l, bool first)
{
	LEAVE(&l->fake_back, l->stack, STACK);
	if (!_setjmp(l->back)) {
		if (!first)
			_longjmp(l->here, 1);
		starting = l;
		setcontext(&l->made);
		die(EXIT_RUNTIME, "setcontext: %s", strerror(errno));
	}
	ARRIVE(l->fake_back, NULL, NULL);
}

static bool ended(struct lane *l)
{
	if (l->busy)
		return false;
	l->next = free_lanes;
	free_lanes = l;
	return true;
}

struct lane *lane_begin(const struct server *s, void (*work)(struct lane *l, void *argument), void *argument)
{
	struct lane *l = free_lanes;
	bool first = !l;

	if (l)
		free_lanes = l->next;
	else
		l = make(s);
	l->work = work;
	l->argument = argument;
	l->busy = true;
	go_on(l, first);
	return ended(l) ? NULL : l;
}

bool lane_resume(struct lane *l)
{
	go_on(l, false);
	return ended(l);
}

void lane_wait(struct lane *l)
{
	give_way(l);
}

struct room *lane_room(struct lane *l)
{
	return &l->room;
}

void lanes_close(void)
{
	while (free_lanes) {
		struct lane *l = free_lanes;

		free_lanes = l->next;
		room_close(&l->room);
		munmap(l->stack - PAGE, STACK + PAGE);
		free(l);
	}
}
