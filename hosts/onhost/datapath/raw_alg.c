// SPDX-License-Identifier: GPL-2.0-only
/* raw by AF_ALG: a request is sendmsg(), which copies it, and recv(), where the driver has it. */
#include "datapath.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void open_cipher(struct job *j)
{
	alg_ready(j->cipher, &j->fd, true);
}

static void open_slots(struct job *j)
{
	size_t most = j->in_len > j->out_len ? j->in_len : j->out_len;
	unsigned int i;

	for (i = 0; i < j->depth; i++) {
		j->slots[i].op = accept4(j->fd, NULL, NULL, SOCK_CLOEXEC);
		if (j->slots[i].op < 0)
			die(EXIT_RUNTIME, "accept on AF_ALG: %s", strerror(errno));
		if (most > alg_limit(j->slots[i].op))
			die(EXIT_USAGE, "--size %zu would hang: this socket holds %zu bytes", j->size,
			    alg_limit(j->slots[i].op));
	}
}

static int hand_in(const struct job *j, unsigned int slot, bool encrypt, size_t in_len)
{
	ssize_t n = alg_submit(j->slots[slot].op, j->cipher, encrypt, j->in, in_len, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == in_len ? 0 : -EMSGSIZE;
}

static int answer(const struct job *j, unsigned int slot, bool encrypt, size_t in_len, size_t out_len)
{
	(void)encrypt;
	(void)in_len;
	return alg_receive(j->slots[slot].op, j->slots[slot].out, out_len);
}

static bool queues(const struct job *j)
{
	(void)j;
	return false;
}

static void say(const struct job *j, uint64_t asked, struct json *out)
{
	(void)asked;
	json_str(out, "driver", j->cipher->driver);
}

static void close_all(struct job *j)
{
	unsigned int i;

	for (i = 0; i < j->depth; i++)
		close(j->slots[i].op);
	close(j->fd);
}

const struct interface by_af_alg = {
	.name = "AF_ALG",
	.open = open_cipher,
	.open_slots = open_slots,
	.hand_in = hand_in,
	.answer = answer,
	.queues = queues,
	.say = say,
	.explain = alg_explain,
	.close = close_all,
};
