// SPDX-License-Identifier: GPL-2.0-only
/*
 * raw by /dev/crypto: a request is an ioctl, as in the paper. All are of one session: its requests do not wait for one
 * another. Several are under way at once without threads where the driver is asynchronous: CIOCASYNCCRYPT hands them to
 * it and CIOCASYNCFETCH takes the answers as they come. There is no such ioctl for AEADs: theirs is threads.
 *
 * The session's own counts are the witness: it made the requests that were asked for, and none of them failed; and so
 * many were the driver's at once. From outside nobody can tell: answers that nobody fetched yet look the same.
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

static void *next_answer(const struct job *j)
{
	void *out;
	int err;

	while ((err = devcrypto_fetch(j->fd, &out)) == -EBUSY) {
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
	unsigned int sent = 0, got;
	uint64_t start, slept = sleeps();

	every_ms(STALL_SECONDS * 1000);
	start = now_ns();
	while (sent < j->depth)
		submit(j, j->slots[sent++].out);
	for (got = 0; got < requests; got++) {
		void *out = next_answer(j);

		if (sent < requests) {
			submit(j, out);
			sent++;
		}
	}
	start = now_ns() - start;
	j->slept += sleeps() - slept;
	return start;
}

static struct session told(const struct job *j)
{
	struct session said;
	int err = devcrypto_info(j->fd, j->ses, &said);

	if (err)
		die(EXIT_RUNTIME, "what /dev/crypto says of its session: %s", devcrypto_explain(err));
	return said;
}

static unsigned int most(const struct job *j)
{
	return told(j).most;
}

static void say(const struct job *j, uint64_t asked, struct json *out)
{
	struct session said = told(j);

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
	.most = most,
	.explain = devcrypto_explain,
	.close = close_all,
};
