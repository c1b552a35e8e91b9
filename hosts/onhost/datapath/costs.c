// SPDX-License-Identifier: GPL-2.0-only
/*
 * costs: the prices on this host of what the data paths are made of. Each is the time inside one call, taken many
 * times, all of them in turn, with a small and a large buffer. min_ns and median_ns are as measured, with the clock's own price in
 * them. ns_per_byte: the median difference of the pairs by the difference of the sizes; ns_per_call: what is left of
 * the small median, the clock's price taken off. Both are noisy on a host that is: a small ns_per_byte may be negative.
 *
 *   clock         reading the clock twice: within every other min_ns and median_ns
 *   syscall       getppid(), the cheapest real system call (no sizes)
 *   count         counting in user mode, the work of rehearsals; what is elsewhere a byte is a count
 *   read          pread() of cached file pages (a memfd) into user memory
 *   tcp_send      send() of user memory on a loopback connection; includes the loopback's own delivery
 *   tcp_sendfile  sendfile() of the same file pages on it; tcp_send - tcp_sendfile: what copying into TCP costs
 *
 * With a cipher, by the interfaces that are asked for:
 *
 *   alg_send      send() of user memory to AF_ALG: a copy and its pages
 *   alg_sendfile  sendfile() of file pages to AF_ALG
 *   alg_recv      recv() from AF_ALG: the cipher itself, and mapping the result's pages
 *   devcrypto_copy    a request to /dev/crypto in place, by the null cipher, which does nothing there: the ioctl, both
 *                     copies and their pages
 *   devcrypto_map     the same in a mapped session: the ioctl, and pinning the pages
 *   devcrypto_cipher  a mapped request of the cipher from one buffer to another, as in the kernel a cipher is called;
 *                     devcrypto_cipher - devcrypto_map: the cipher itself, and pinning the other buffer; with --op decrypt
 *                     it deciphers
 *
 * An AEAD has the same prices for records rather than for pieces of one long cipher text. A record is a request of its
 * own, so its alg_send is the one sendmsg() with direction, IV, AAD and data (elsewhere that begins a transfer, once,
 * and is not in the price), and its alg_recv and devcrypto_cipher the cipher, the MAC and the tag. Bytes are plain bytes: what AAD and tag
 * cost is in ns_per_call.
 *
 * The other end is emptied between two calls, outside of the time taken (TCP: MSG_TRUNC, no copy).
 */
#include "costs.h"

#include <signal.h>
#include <stdlib.h>

#define AEAD_CHUNK	16384		/* the largest record of TLS */
#define MAX_SAMPLES	50000
#define STALL_MS	10000

static bool wanted(const struct bench *b, const struct price *p)
{
	return !p->by || (b->by & p->by);
}

struct figure {
	size_t n;
	uint64_t min, median;
};

static struct figure summarise(uint64_t *samples, size_t n)
{
	struct figure f = { .n = n, .median = median_u64(samples, n) };

	f.min = samples[0];
	return f;
}

static void say_figure(struct json *j, const char *key, size_t size, const struct figure *f)
{
	json_open(j, key);
	if (size)
		json_u64(j, "bytes", size);
	json_u64(j, "repetitions", f->n);
	json_u64(j, "min_ns", f->min);
	json_u64(j, "median_ns", f->median);
	json_close(j);
}

struct samples {
	uint64_t *small, *large;
	int64_t *extra;					/* their differences, pair by pair */
	size_t n;
};

static void take_one(struct bench *b, const struct price *p, struct samples *s, size_t small, size_t large)
{
	size_t n = s->n++;

	s->small[n] = p->time(b, small);
	if (!p->sizes)
		return;
	s->large[n] = p->time(b, large);
	s->extra[n] = (int64_t)(s->large[n] - s->small[n]);
}

/* All take turns, small and large, so that whatever slows this host down for a while slows all of them. */
static void take_turns(struct bench *b, struct samples *all, size_t small, size_t large, double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	size_t i;

	for (i = 0; i < N_PRICES; i++)
		if (wanted(b, &prices[i]))
			prices[i].time(b, large);	/* warming up */
	do {
		every_ms(STALL_MS);			/* what hangs is interrupted, and must() ends it */
		for (i = 0; i < N_PRICES; i++)
			if (wanted(b, &prices[i]))
				take_one(b, &prices[i], &all[i], small, large);
	} while (all[0].n < MAX_SAMPLES && now_ns() < end);
}

static int compare_i64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void say_price(const struct bench *b, const struct price *p, struct samples *s, size_t small, size_t large,
		      uint64_t clock)
{
	struct figure a = summarise(s->small, s->n), z;
	double slope = 0;
	struct json j;

	json_begin(&j, "cost");
	json_str(&j, "what", p->name);
	if (b->cipher)
		json_u64(&j, "key_bytes", b->cipher->key_len);
	if (p->sizes) {
		z = summarise(s->large, s->n);
		qsort(s->extra, s->n, sizeof(*s->extra), compare_i64);
		slope = (double)s->extra[s->n / 2] / (double)(large - small);
		say_figure(&j, "small", small, &a);
		say_figure(&j, "large", large, &z);
		json_num(&j, "ns_per_byte", slope);
	} else {
		say_figure(&j, "once", 0, &a);
	}
	json_num(&j, "ns_per_call", (double)a.median - (double)clock - slope * (double)(p->sizes ? small : 0));
	json_end(&j);
}

static void say_bench(const struct cipher *c, size_t chunk)
{
	struct json j;

	json_begin(&j, "costs");
	if (c) {
		json_str(&j, "cipher", c->name);
		json_str(&j, "driver", c->driver);
		json_str(&j, "type", alg_type(c));
		json_u64(&j, "key_bytes", c->key_len);
		json_u64(&j, "aad", c->aad);
	}
	json_u64(&j, "chunk", chunk);
	json_end(&j);
}

static void open_samples(struct samples *s)
{
	s->small = calloc(MAX_SAMPLES, sizeof(*s->small));
	s->large = calloc(MAX_SAMPLES, sizeof(*s->large));
	s->extra = calloc(MAX_SAMPLES, sizeof(*s->extra));
	if (!s->small || !s->large || !s->extra)
		die(EXIT_RUNTIME, "out of memory");
}

static void close_samples(struct samples *s)
{
	free(s->small);
	free(s->large);
	free(s->extra);
}

int costs(struct cipher *c, unsigned int by, bool decrypts, size_t chunk, double seconds)
{
	struct samples all[N_PRICES] = { 0 };
	struct bench b = { .cipher = c, .by = c ? by : 0, .decrypts = decrypts };
	size_t small, i, unit;
	uint64_t clock;

	open_interfaces(&b);
	if (!chunk)
		chunk = c && c->aead ? AEAD_CHUNK : DEFAULT_CHUNK;
	unit = 16 * (c ? c->block : 1);
	if (chunk < 1024 || chunk % unit)
		die(EXIT_USAGE, "--chunk: for costs, at least 1024 and a multiple of %zu", unit);
	small = chunk / 16 < 1024 ? chunk / 16 : 1024;
	on_signal(SIGALRM, ignore_signal);
	open_bench(&b, chunk);
	say_bench(c, chunk);
	for (i = 0; i < N_PRICES; i++)
		open_samples(&all[i]);
	take_turns(&b, all, small, chunk, seconds);
	clock = summarise(all[0].small, all[0].n).median;	/* the first is the clock */
	for (i = 0; i < N_PRICES; i++) {
		if (wanted(&b, &prices[i]))
			say_price(&b, &prices[i], &all[i], small, chunk, clock);
		close_samples(&all[i]);
	}
	every_ms(0);
	if (c)
		cipher_wipe(c);
	close_bench(&b);
	return 0;
}
