// SPDX-License-Identifier: GPL-2.0-only
/*
 * raw: one buffer size through the kernel's cipher again and again. An operation is a request with its own IV, and its
 * result: what one ioctl is on /dev/crypto, and AF_ALG does in two calls. With --depth several are under way at once, by
 * threads (workers.c) or, where an interface can, without. All operations of a run are the same, so all results must be:
 * whether they are is looked at when the clock has stopped.
 */
#include "datapath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BATCHES	100000
#define BATCH_PER_DEPTH	16		/* as a batch begins and ends with nothing under way */

/* A request that is answered, in slot 0. */
static void operation(struct job *j, bool encrypt, size_t in_len, size_t out_len)
{
	int err = j->by->hand_in(j, 0, encrypt, in_len);

	if (err)
		die(EXIT_RUNTIME, "%s: send of %zu bytes: %s", j->cipher->driver, in_len, j->by->explain(err));
	err = j->by->answer(j, 0, encrypt, in_len, out_len);
	if (err)
		die(EXIT_RUNTIME, "%s: receive: %s", j->cipher->driver,
		    err == -EIO ? "nothing came" : j->by->explain(err));
	j->asked++;
}

/* The time it took, in ns. */
static uint64_t batch_in_turn(struct job *j, unsigned int requests)
{
	uint64_t start;
	unsigned int i;

	every_ms(STALL_SECONDS * 1000);				/* wound up anew, outside of the time taken */
	start = now_ns();
	for (i = 0; i < requests; i++)
		operation(j, j->encrypt, j->in_len, j->out_len);
	return now_ns() - start;
}

static uint64_t batch(struct job *j, struct workers *w, unsigned int requests)
{
	if (w)
		return workers_batch(w, requests);
	return j->depth > 1 ? j->by->batch(j, requests) : batch_in_turn(j, requests);
}

static char *pages(size_t size)
{
	size_t whole = (size + PAGE - 1) / PAGE * PAGE;
	char *p = aligned_alloc(PAGE, whole);

	if (!p)
		die(EXIT_RUNTIME, "out of memory");
	memset(p, 0, whole);
	return p;
}

/* Encrypting: a constant plain text. Decrypting: what that was encrypted to, once. */
static void make_input(struct job *j)
{
	size_t plain = cipher_in(j->cipher, j->size, true), encrypted = cipher_out(j->cipher, j->size, true);
	size_t aad = plain - j->size;

	memset(j->in, 0x55, plain);
	if (j->encrypt)
		return;
	memcpy(j->wanted, j->in, plain);
	operation(j, true, plain, encrypted);
	memcpy(j->in + aad, j->slots[0].out + aad, encrypted - aad);
}

/* One request in each slot, warming up: it does not count. */
static void first_round(struct job *j, struct workers *w)
{
	batch(j, w, j->depth);
	if (j->encrypt)
		memcpy(j->wanted, j->slots[0].out, j->out_len);
}

static void check_results(const struct job *j)
{
	size_t aad = j->cipher->aead ? j->cipher->aad : 0;	/* some kernels leave its place in the answer alone */
	unsigned int i;

	for (i = 0; i < j->depth; i++)
		if (memcmp(j->slots[i].out + aad, j->wanted + aad, j->out_len - aad))
			die(EXIT_RUNTIME, "%s: results differ: not all answers to the same request are the same",
			    j->cipher->driver);
}

static void open_slots(struct job *j)
{
	size_t room = cipher_out(j->cipher, j->size, true);
	unsigned int i;

	j->in = pages(room);
	j->wanted = pages(room);
	for (i = 0; i < j->depth; i++)
		j->slots[i].out = pages(room);
	j->by->open_slots(j);
}

static void close_slots(struct job *j)
{
	unsigned int i;

	j->by->close(j);
	for (i = 0; i < j->depth; i++)
		free(j->slots[i].out);
	free(j->in);
	free(j->wanted);
}

/* How several were under way at once, and what shows it; how many requests were made in all. */
static uint64_t say_depth(const struct job *j, const struct workers *w, struct json *out)
{
	if (j->depth < 2)
		return j->asked;
	json_str(out, "submission", w ? "threads" : "asynchronous");
	json_u64(out, "under_way", j->by->most ? j->by->most(j) : workers_most(w));
	if (w)
		return j->asked + workers_say(w, out);
	json_num(out, "sleeps_per_operation", (double)j->slept / (double)j->asked);
	return j->asked;
}

static void say(const struct job *j, const struct workers *w, uint64_t *ns, size_t n, uint64_t sum)
{
	double seconds = (double)sum / 1e9, operations = (double)n * j->batch;
	uint64_t median = median_u64(ns, n);
	struct json out;

	json_begin(&out, "raw");
	json_str(&out, "interface", j->by->name);
	json_str(&out, "cipher", j->cipher->name);
	json_str(&out, "type", alg_type(j->cipher));
	json_u64(&out, "key_bytes", j->cipher->key_len);
	json_u64(&out, "tag_bytes", cipher_out(j->cipher, j->size, true) - cipher_in(j->cipher, j->size, true));
	json_str(&out, "op", j->encrypt ? "encrypt" : "decrypt");
	json_u64(&out, "size", j->size);
	json_u64(&out, "aad", j->cipher->aad);
	json_u64(&out, "depth", j->depth);
	j->by->say(j, say_depth(j, w, &out), &out);
	json_u64(&out, "batch", j->batch);
	json_u64(&out, "batches", n);
	json_u64(&out, "operations", n * j->batch);
	json_u64(&out, "bytes", n * j->batch * j->size);
	json_num(&out, "seconds", seconds);
	json_num(&out, "operations_per_second", operations / seconds);
	json_num(&out, "bytes_per_second", operations * (double)j->size / seconds);
	json_num(&out, "min_ns_per_operation", (double)ns[0] / j->batch);
	json_num(&out, "median_ns_per_operation", (double)median / j->batch);
	json_bool(&out, "consistent", true);			/* or this line would not be written */
	json_end(&out);
}

static void measure(struct job *j, struct workers *w)
{
	uint64_t *ns = calloc(MAX_BATCHES, sizeof(*ns)), end, sum = 0;
	size_t n = 0;

	if (!ns)
		die(EXIT_RUNTIME, "out of memory");
	first_round(j, w);
	end = now_ns() + (uint64_t)(j->seconds * 1e9);
	do {
		ns[n] = batch(j, w, j->batch);
		sum += ns[n++];
	} while (now_ns() < end && n < MAX_BATCHES);
	every_ms(0);
	check_results(j);
	if (!sum)
		die(EXIT_RUNTIME, "the clock did not move: take a larger --batch");
	say(j, w, ns, n, sum);
	free(ns);
}

int raw(struct job *j)
{
	struct workers *w = NULL;

	if (!j->batch)
		j->batch = j->depth > 1 ? j->depth * BATCH_PER_DEPTH : 1;
	if (j->batch < j->depth)
		die(EXIT_USAGE, "--batch %u: so few are never %u under way at once (--depth)", j->batch, j->depth);
	j->by->open(j);
	if (j->size % j->cipher->block)
		die(EXIT_USAGE, "--size %zu is no multiple of %s's block size %u", j->size, j->cipher->driver,
		    j->cipher->block);
	j->in_len = cipher_in(j->cipher, j->size, j->encrypt);
	j->out_len = cipher_out(j->cipher, j->size, j->encrypt);
	open_slots(j);
	on_signal(SIGALRM, ignore_signal);
	every_ms(STALL_SECONDS * 1000);
	make_input(j);
	if (j->depth > 1 && !j->by->queues(j)) {
		every_ms(0);					/* threads are watched over otherwise */
		w = workers_open(j);
	}
	measure(j, w);
	if (w)
		workers_close(w);
	close_slots(j);
	cipher_wipe(j->cipher);
	return 0;
}
