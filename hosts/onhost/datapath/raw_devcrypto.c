// SPDX-License-Identifier: GPL-2.0-only
/*
 * raw by /dev/crypto: a request is an ioctl, as in the paper. All are of one session: its requests do not wait for one
 * another. Several are under way at once without threads where the driver is asynchronous: CIOCASYNCCRYPT hands them to
 * it and CIOCASYNCFETCH takes the answers as they come. There is no such ioctl for AEADs: theirs is threads.
 *
 * The session's own counts are the witness: it made the requests that were asked for, and none of them failed.
 */
#include "datapath.h"

#include <errno.h>
#include <unistd.h>

static void open_cipher(struct job *j)
{
	devcrypto_ready(j->cipher, &j->fd);
}

static void open_slots(struct job *j)
{
	int err = devcrypto_session(j->fd, j->cipher, j->mapped, &j->ses);

	if (err)
		die(EXIT_RUNTIME, "%s: a session of /dev/crypto: %s", j->cipher->driver, devcrypto_explain(err));
}

static int hand_in(const struct job *j, unsigned int slot, bool encrypt, size_t in_len)
{
	(void)j;
	(void)slot;
	(void)encrypt;
	(void)in_len;
	return 0;
}

static int answer(const struct job *j, unsigned int slot, bool encrypt, size_t in_len, size_t out_len)
{
	(void)out_len;
	return devcrypto_request(j->fd, j->ses, j->cipher, encrypt, j->cipher->iv, j->in, in_len, j->slots[slot].out);
}

static bool queues(const struct job *j)
{
	return j->cipher->async && !j->cipher->aead;
}

static void submit(struct job *j, void *out)
{
	int err = devcrypto_submit(j->fd, j->ses, j->encrypt, j->cipher->iv, j->in, j->in_len, out);

	if (err)
		die(EXIT_RUNTIME, "%s, %u requests at once: %s", j->cipher->driver, j->depth, devcrypto_explain(err));
	j->asked++;
}

/* The answer that comes next. While none is there, all that were handed over and not fetched are the driver's. */
static void *next_answer(struct job *j, unsigned int under_way)
{
	void *out;
	int err;

	while ((err = devcrypto_fetch(j->fd, &out)) == -EBUSY) {
		if (under_way > j->most)
			j->most = under_way;
		err = devcrypto_wait(j->fd);
		if (err)
			break;
	}
	if (err)
		die(EXIT_RUNTIME, "%s, %u requests at once: answer: %s", j->cipher->driver, j->depth,
		    devcrypto_explain(err));
	return out;
}

static uint64_t batch(struct job *j, unsigned int requests)
{
	unsigned int sent, got;
	uint64_t start, slept = sleeps();

	every_ms(STALL_SECONDS * 1000);
	start = now_ns();
	for (sent = 0; sent < j->depth; sent++)
		submit(j, j->slots[sent].out);
	for (got = 0; got < requests; got++) {
		void *out = next_answer(j, sent - got);

		if (sent < requests) {
			submit(j, out);
			sent++;
		}
	}
	start = now_ns() - start;
	j->slept += sleeps() - slept;
	return start;
}

static void say(const struct job *j, uint64_t asked, struct json *out)
{
	struct session said;
	int err = devcrypto_info(j->fd, j->ses, &said);

	if (err)
		die(EXIT_RUNTIME, "what /dev/crypto says of its session: %s", devcrypto_explain(err));
	if (said.requests != asked || said.failed || said.mapped != j->mapped)
		die(EXIT_RUNTIME, "%s: %llu requests were made and the session counted %llu, of which %llu failed",
		    said.driver, (unsigned long long)asked, (unsigned long long)said.requests,
		    (unsigned long long)said.failed);
	json_str(out, "driver", said.driver);
	json_str(out, "memory", said.mapped ? "mapped" : "copied");
	json_u64(out, "session_requests", said.requests);
	json_num(out, "later_per_operation", (double)said.later / (double)said.requests);
}

static void close_all(struct job *j)
{
	devcrypto_end(j->fd, j->ses);
	close(j->fd);
}

const struct interface by_devcrypto = {
	.name = "/dev/crypto",
	.open = open_cipher,
	.open_slots = open_slots,
	.hand_in = hand_in,
	.answer = answer,
	.queues = queues,
	.batch = batch,
	.say = say,
	.explain = devcrypto_explain,
	.close = close_all,
};
