// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's ciphers: what /proc/crypto says of them, and operations on them through AF_ALG. */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- /proc/crypto -------------------------------------------------------------------------------------------- */

struct entry {
	struct cipher c;
	char type[32];
	bool passed, internal;
};

static void entry_field(struct entry *e, const char *key, const char *value)
{
	if (!strcmp(key, "name"))
		snprintf(e->c.algorithm, NAME_LEN, "%s", value);
	else if (!strcmp(key, "driver"))
		snprintf(e->c.driver, NAME_LEN, "%s", value);
	else if (!strcmp(key, "module"))
		snprintf(e->c.module, NAME_LEN, "%s", value);
	else if (!strcmp(key, "type"))
		snprintf(e->type, sizeof(e->type), "%s", value);
	else if (!strcmp(key, "priority"))
		e->c.priority = atoi(value);
	else if (!strcmp(key, "selftest"))
		e->passed = !strcmp(value, "passed");
	else if (!strcmp(key, "internal"))
		e->internal = !strcmp(value, "yes");
	else if (!strcmp(key, "async"))
		e->c.async = !strcmp(value, "yes");
	else if (!strcmp(key, "blocksize"))
		e->c.block = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "min keysize"))
		e->c.min_key = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "max keysize"))
		e->c.max_key = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "ivsize"))
		e->c.iv_size = (unsigned int)strtoul(value, NULL, 10);
}

/* The kernel's own rule: an exact driver name, else the highest priority of that algorithm that passed its test. */
static bool entry_better(const struct entry *e, const char *name, const struct cipher *best)
{
	if (!strstr(e->type, "kcipher") || !e->passed || e->internal)	/* skcipher, lskcipher, ablkcipher … */
		return false;
	if (!strcmp(e->c.driver, name))
		return true;
	return !strcmp(e->c.algorithm, name) && strcmp(best->driver, name) &&
	       (!best->driver[0] || e->c.priority > best->priority);
}

static void take(struct cipher *c, const struct cipher *from)
{
	memcpy(c->algorithm, from->algorithm, NAME_LEN);
	memcpy(c->driver, from->driver, NAME_LEN);
	memcpy(c->module, from->module, NAME_LEN);
	c->priority = from->priority;
	c->async = from->async;
	c->block = from->block;
	c->iv_size = from->iv_size;
	c->min_key = from->min_key;
	c->max_key = from->max_key;
}

bool cipher_lookup(struct cipher *c)
{
	struct entry e = { 0 };
	struct cipher best = { 0 };
	char line[256], *colon, *value;
	size_t end;
	FILE *f = fopen("/proc/crypto", "re");

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		colon = strchr(line, ':');
		if (!colon) {				/* an empty line ends an entry */
			if (entry_better(&e, c->name, &best))
				best = e.c;
			memset(&e, 0, sizeof(e));
			continue;
		}
		value = colon + 1 + strspn(colon + 1, " \t");
		for (end = (size_t)(colon - line); end && (line[end - 1] == ' ' || line[end - 1] == '\t'); end--)
			;
		line[end] = 0;
		entry_field(&e, line, value);
	}
	if (entry_better(&e, c->name, &best))
		best = e.c;
	fclose(f);
	if (!best.driver[0])
		return false;
	take(c, &best);
	return true;
}

uint64_t cipher_padded(const struct cipher *c, uint64_t plain)
{
	return c->block > 1 ? (plain / c->block + 1) * c->block : plain;
}

int cipher_made_up_key(struct cipher *c)
{
	c->key_len = c->max_key < sizeof(c->key) ? c->max_key : sizeof(c->key);
	c->iv_len = c->iv_size;
	if (c->iv_len > sizeof(c->iv))
		return -EINVAL;
	if (getrandom(c->key, sizeof(c->key), 0) < 0 || getrandom(c->iv, sizeof(c->iv), 0) < 0)
		return -errno;
	return 0;
}

void cipher_wipe(struct cipher *c)
{
	explicit_bzero(c->key, sizeof(c->key));
	explicit_bzero(c->iv, sizeof(c->iv));
}

/* --- AF_ALG ---------------------------------------------------------------------------------------------------- */

int alg_bind(const char *name)
{
	struct sockaddr_alg sa = { .salg_family = AF_ALG, .salg_type = "skcipher" };
	int fd, err;

	if (strlen(name) >= sizeof(sa.salg_name))
		return -ENAMETOOLONG;
	strcpy((char *)sa.salg_name, name);
	fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int alg_set_key(int tfm, const struct cipher *c)
{
	if (!c->key_len)				/* the null cipher takes no key, not even an empty one */
		return 0;
	return setsockopt(tfm, SOL_ALG, ALG_SET_KEY, c->key, (socklen_t)c->key_len) ? -errno : 0;
}

/*
 * Nobody else drains an operation socket: what a thread sends beyond this limit, it waits for for ever.
 * The kernel takes a page if one fits below sk_sndbuf, and maps result pages up to sk_rcvbuf.
 */
size_t alg_limit(int op)
{
	int snd = 0, rcv = 0;
	socklen_t n = sizeof(int), m = sizeof(int);

	if (getsockopt(op, SOL_SOCKET, SO_SNDBUF, &snd, &n) || getsockopt(op, SOL_SOCKET, SO_RCVBUF, &rcv, &m))
		return PAGE;
	return (size_t)(snd < rcv ? snd : rcv) & ~(size_t)(PAGE - 1);
}

static void *control(struct cmsghdr *h, int type, size_t len)
{
	h->cmsg_level = SOL_ALG;
	h->cmsg_type = type;
	h->cmsg_len = CMSG_LEN(len);
	return CMSG_DATA(h);
}

/* Send with the control data that begins a request: direction and IV. */
ssize_t alg_submit(int op, const struct cipher *c, bool encrypt, const void *data, size_t n, int flags)
{
	union {
		char space[CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct af_alg_iv) + MAX_BLOCK)];
		struct cmsghdr first;
	} u = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.space };
	uint32_t direction = encrypt ? ALG_OP_ENCRYPT : ALG_OP_DECRYPT;
	struct cmsghdr *h;
	struct af_alg_iv *iv;

	msg.msg_controllen = CMSG_SPACE(sizeof(direction));
	if (c->iv_len)
		msg.msg_controllen += CMSG_SPACE(sizeof(*iv) + c->iv_len);
	memcpy(control(&u.first, ALG_SET_OP, sizeof(direction)), &direction, sizeof(direction));
	h = CMSG_NXTHDR(&msg, &u.first);		/* none for a cipher without IV */
	if (h) {
		iv = control(h, ALG_SET_IV, sizeof(*iv) + c->iv_len);
		iv->ivlen = (uint32_t)c->iv_len;
		memcpy(iv->iv, c->iv, c->iv_len);
	}
	return sendmsg(op, &msg, flags | MSG_NOSIGNAL);
}

static int receive_all(int op, char *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = recv(op, buf + got, n - got, 0);

		if (r <= 0)
			return r ? -errno : -EIO;	/* EINTR too: the caller's timer says it takes too long */
		got += (size_t)r;
	}
	return 0;
}

int alg_trial(int tfm, const struct cipher *c, size_t n)
{
	char *buf = calloc(1, n);
	int op = accept4(tfm, NULL, NULL, SOCK_CLOEXEC), err;
	ssize_t r;

	if (op < 0 || !buf) {
		err = -errno;
	} else {
		r = alg_submit(op, c, true, buf, n, 0);
		err = r < 0 ? -errno : (size_t)r == n ? receive_all(op, buf, n) : -EAGAIN;
	}
	if (op >= 0)
		close(op);
	free(buf);
	return err;
}

/* Splice a page in, change the file's page, then look whether the cipher saw the change. */
static int splice_test(int op, int mem, const struct cipher *c)
{
	char before[PAGE], after[PAGE];
	off_t off = 0;
	ssize_t n;

	memset(before, 'a', sizeof(before));
	if (pwrite(mem, before, PAGE, 0) != PAGE || alg_submit(op, c, true, before, PAGE, 0) != PAGE)
		return -EIO;
	if (receive_all(op, before, PAGE) || alg_submit(op, c, true, NULL, 0, MSG_MORE) < 0)
		return -EIO;
	n = sendfile(op, mem, &off, PAGE);
	if (n != PAGE)
		return n < 0 ? -errno : -EIO;
	if (pwrite(mem, "b", 1, 0) != 1 || receive_all(op, after, PAGE))
		return -EIO;
	return !memcmp(before, after, PAGE);
}

int alg_splice_copies(int tfm, const struct cipher *c)
{
	int mem = memfd_create("splice", MFD_CLOEXEC), op = accept4(tfm, NULL, NULL, SOCK_CLOEXEC), r = -EIO;

	if (mem >= 0 && op >= 0)
		r = splice_test(op, mem, c);
	if (op >= 0)
		close(op);
	if (mem >= 0)
		close(mem);
	return r;
}

const char *alg_explain(int err)
{
	switch (-err) {
	case EAFNOSUPPORT: return "the kernel has no AF_ALG (CONFIG_CRYPTO_USER_API; try: modprobe af_alg algif_skcipher)";
	case EPROTONOSUPPORT: return "this sandbox or kernel refuses AF_ALG sockets";
	case ENOENT: return "no such algorithm or driver in this kernel, or AF_ALG has no skcipher type "
			    "(see /proc/crypto; try: modprobe algif_skcipher, and the cipher's module, such as "
			    "des_generic, aes_generic, cbc, ecb or crypto_null)";
	case ENAMETOOLONG: return "the name is too long for AF_ALG";
	default: return strerror(-err);
	}
}

void alg_ready(struct cipher *c, int *tfm, bool make_key)
{
	int err;

	*tfm = alg_bind(c->name);
	if (*tfm < 0)
		die(EXIT_RUNTIME, "cipher %s: %s", c->name, alg_explain(*tfm));
	if (!cipher_lookup(c))
		die(EXIT_RUNTIME, "cipher %s: bound, but /proc/crypto does not tell the driver", c->name);
	if (!c->block || c->block > MAX_BLOCK || c->iv_size > MAX_BLOCK)
		die(EXIT_RUNTIME, "cipher %s: block size %u, IV size %u not supported", c->name, c->block, c->iv_size);
	if (make_key && (err = cipher_made_up_key(c)))
		die(EXIT_RUNTIME, "cipher %s: made-up key: %s", c->name, strerror(-err));
	if (c->iv_len != c->iv_size)
		die(EXIT_USAGE, "the IV is %zu bytes long, %s wants %u", c->iv_len, c->driver, c->iv_size);
	err = alg_set_key(*tfm, c);
	if (err || c->key_len < c->min_key || c->key_len > c->max_key)
		die(EXIT_USAGE, "the key is %zu bytes long, %s wants %u to %u (%s)", c->key_len, c->driver, c->min_key,
		    c->max_key, err ? strerror(-err) : "length");
}
