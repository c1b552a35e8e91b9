// SPDX-License-Identifier: GPL-2.0-only
/*
 * raw: one buffer size through AF_ALG again and again. An operation is what one ioctl was on /dev/crypto: a request
 * with its own IV goes in (sendmsg) and its result comes out (recv); with --depth in a thread for each that is under way
 * at once: see workers.c. All operations of a run are the same, so all results must be: whether they are is looked at
 * when the clock has stopped.
 */
#include "datapath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_BATCHES	100000
#define BATCH_PER_DEPTH	16		/* as a batch begins and ends with nothing under way */

/* A request that is sent and answered, in slot 0. */
static void operation(const struct job *j, bool encrypt, const char *in, size_t in_len, size_t out_len)
{
	int op = j->slots[0].op, err;
	ssize_t n = alg_submit(op, j->cipher, encrypt, in, in_len, 0);

	if (n < 0 || (size_t)n != in_len)
		die(EXIT_RUNTIME, "%s: send of %zu bytes: %s", j->cipher->driver, in_len,
		    n < 0 ? alg_explain(-errno) : "cut short");
	err = alg_receive(op, j->slots[0].out, out_len);
	if (err)
		die(EXIT_RUNTIME, "%s: receive: %s", j->cipher->driver,
		    err == -EIO ? "nothing came" : alg_explain(err));
}

/* The time it took, in ns. */
static uint64_t batch_in_turn(const struct job *j)
{
	uint64_t start;
	unsigned int i;

	every_ms(STALL_SECONDS * 1000);				/* wound up anew, outside of the time taken */
	start = now_ns();
	for (i = 0; i < j->batch; i++)
		operation(j, j->encrypt, j->in, j->in_len, j->out_len);
	return now_ns() - start;
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
	operation(j, true, j->in, plain, encrypted);
	memcpy(j->in + aad, j->slots[0].out + aad, encrypted - aad);
}

/* One request in each slot, warming up: it does not count. */
static void first_round(struct job *j, struct workers *w)
{
	if (w)
		workers_batch(w, j->depth);
	else
		operation(j, j->encrypt, j->in, j->in_len, j->out_len);
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

static void open_slots(struct job *j, int tfm)
{
	size_t room = cipher_out(j->cipher, j->size, true), most = j->in_len > j->out_len ? j->in_len : j->out_len;
	unsigned int i;

	j->in = pages(room);
	j->wanted = pages(room);
	for (i = 0; i < j->depth; i++) {
		j->slots[i].out = pages(room);
		j->slots[i].op = accept4(tfm, NULL, NULL, SOCK_CLOEXEC);
		if (j->slots[i].op < 0)
			die(EXIT_RUNTIME, "accept on AF_ALG: %s", strerror(errno));
		if (most > alg_limit(j->slots[i].op))
			die(EXIT_USAGE, "--size %zu would hang: this socket holds %zu bytes", j->size,
			    alg_limit(j->slots[i].op));
	}
}

static void close_slots(struct job *j)
{
	unsigned int i;

	for (i = 0; i < j->depth; i++) {
		close(j->slots[i].op);
		free(j->slots[i].out);
	}
	free(j->in);
	free(j->wanted);
}

static void say(const struct job *j, const struct workers *w, uint64_t *ns, size_t n, uint64_t sum)
{
	double seconds = (double)sum / 1e9, operations = (double)n * j->batch;
	uint64_t median = median_u64(ns, n);
	struct json out;

	json_begin(&out, "raw");
	json_str(&out, "cipher", j->cipher->name);
	json_str(&out, "driver", j->cipher->driver);
	json_str(&out, "type", alg_type(j->cipher));
	json_u64(&out, "key_bytes", j->cipher->key_len);
	json_u64(&out, "tag_bytes", cipher_out(j->cipher, j->size, true) - cipher_in(j->cipher, j->size, true));
	json_str(&out, "op", j->encrypt ? "encrypt" : "decrypt");
	json_u64(&out, "size", j->size);
	json_u64(&out, "aad", j->cipher->aad);
	json_u64(&out, "depth", j->depth);
	if (w)
		workers_say(w, &out);
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
		ns[n] = w ? workers_batch(w, j->batch) : batch_in_turn(j);
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
	int tfm;

	if (!j->batch)
		j->batch = j->depth > 1 ? j->depth * BATCH_PER_DEPTH : 1;
	if (j->batch < j->depth)
		die(EXIT_USAGE, "--batch %u: so few are never %u under way at once (--depth)", j->batch, j->depth);
	alg_ready(j->cipher, &tfm, true);
	if (j->size % j->cipher->block)
		die(EXIT_USAGE, "--size %zu is no multiple of %s's block size %u", j->size, j->cipher->driver,
		    j->cipher->block);
	j->in_len = cipher_in(j->cipher, j->size, j->encrypt);
	j->out_len = cipher_out(j->cipher, j->size, j->encrypt);
	open_slots(j, tfm);
	on_signal(SIGALRM, ignore_signal);
	every_ms(STALL_SECONDS * 1000);
	make_input(j);
	if (j->depth > 1) {
		every_ms(0);					/* they are watched over otherwise */
		w = workers_open(j);
	}
	measure(j, w);
	if (w)
		workers_close(w);
	close_slots(j);
	cipher_wipe(j->cipher);
	close(tfm);
	return 0;
}
