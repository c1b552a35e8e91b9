// SPDX-License-Identifier: GPL-2.0-only
/*
 * serve --dearer: every body costs a known share of its own time more. For tests of the harness and for measuring what
 * it resolves: a path beside its twin, with a difference that is known beforehand.
 *
 * What has passed since the request, less what was spent here, is the body's own time. Its share is spent at once, right
 * before the call that hands the last bytes to TCP: spent in pieces it would cost a look at the clock for each, which is
 * a system call on some hosts and would make the path dearer by more than the share. It is spent in user mode, by
 * counting.
 */
#include "datapath.h"

#define COUNT	1000		/* between two looks at the clock: a microsecond or two */

static void spin_until(uint64_t end)
{
	while (now_ns() < end)
		for (volatile unsigned int i = 0; i < COUNT; i++)
			;
}

/* Before n bytes are handed to TCP. */
void dearer_spend(struct transfer *t, size_t n)
{
	uint64_t now, due;

	if (!t->server->dearer || t->sent + n < t->padded)
		return;
	now = now_ns();
	due = (now - t->started - t->spent) * t->server->dearer / 1000;
	if (due <= t->spent)
		return;
	spin_until(now + due - t->spent);
	t->spent += now_ns() - now;
}

/* How much of the file to hand to TCP at once: where nothing else follows, the last page waits for its share. */
size_t dearer_piece(const struct transfer *t, size_t n)
{
	return t->server->dearer && n > PAGE && t->sent + n == t->padded ? n - PAGE : n;
}
