// SPDX-License-Identifier: GPL-2.0-only
/*
 * raw: one buffer size through AF_ALG again and again. An operation is what one ioctl was on /dev/crypto: a request
 * with its own IV goes in (sendmsg) and its result comes out (recv).
 */
#include "datapath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_BATCHES	100000
#define STALL_SECONDS	60		/* for a batch; not reached by anything that works */

static void operation(int op, const struct cipher *c, bool encrypt, char *buf, size_t size)
{
	ssize_t n = alg_submit(op, c, encrypt, buf, size, 0);
	size_t got;

	if (n < 0 || (size_t)n != size)
		die(EXIT_RUNTIME, "%s: send of %zu bytes: %s", c->driver, size, n < 0 ? strerror(errno) : "cut short");
	for (got = 0; got < size; got += (size_t)n) {
		n = recv(op, buf + got, size - got, 0);
		if (n <= 0)
			die(EXIT_RUNTIME, "%s: receive: %s", c->driver, n ? strerror(errno) : "nothing came");
	}
}

int raw(struct cipher *c, bool encrypt, size_t size, double seconds, unsigned int batch)
{
	char *buf = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
	uint64_t *ns = calloc(MAX_BATCHES, sizeof(*ns)), start, end, sum = 0, median;
	size_t n = 0;
	int tfm, op;
	unsigned int i;
	struct json j;

	if (!buf || !ns)
		die(EXIT_RUNTIME, "out of memory");
	alg_ready(c, &tfm, true);
	if (size % c->block)
		die(EXIT_USAGE, "--size %zu is no multiple of %s's block size %u", size, c->driver, c->block);
	op = accept4(tfm, NULL, NULL, SOCK_CLOEXEC);
	if (op < 0)
		die(EXIT_RUNTIME, "accept on AF_ALG: %s", strerror(errno));
	if (size > alg_limit(op))
		die(EXIT_USAGE, "--size %zu would hang: this socket holds %zu bytes", size, alg_limit(op));
	memset(buf, 0x55, size);
	on_signal(SIGALRM, ignore_signal);
	every_ms(STALL_SECONDS * 1000);
	operation(op, c, encrypt, buf, size);		/* the first one, warming up, does not count */
	end = now_ns() + (uint64_t)(seconds * 1e9);
	do {
		every_ms(STALL_SECONDS * 1000);		/* wound up anew, outside of the time taken */
		start = now_ns();
		for (i = 0; i < batch; i++)
			operation(op, c, encrypt, buf, size);
		ns[n] = now_ns() - start;
		sum += ns[n++];
	} while (now_ns() < end && n < MAX_BATCHES);
	every_ms(0);
	median = median_u64(ns, n);
	json_begin(&j, "raw");
	json_str(&j, "cipher", c->name);
	json_str(&j, "driver", c->driver);
	json_str(&j, "op", encrypt ? "encrypt" : "decrypt");
	json_u64(&j, "size", size);
	json_u64(&j, "batch", batch);
	json_u64(&j, "batches", n);
	json_u64(&j, "operations", n * batch);
	json_u64(&j, "bytes", n * batch * size);
	json_num(&j, "seconds", (double)sum / 1e9);
	json_num(&j, "min_ns_per_operation", (double)ns[0] / batch);
	json_num(&j, "median_ns_per_operation", (double)median / batch);
	json_end(&j);
	cipher_wipe(c);
	close(op);
	close(tfm);
	free(ns);
	free(buf);
	return 0;
}
