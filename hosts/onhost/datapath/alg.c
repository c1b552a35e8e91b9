// SPDX-License-Identifier: GPL-2.0-only
/* AF_ALG: binding a cipher, its key, its requests, and what goes wrong. */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

static int bind_type(const char *type, const char *name)
{
	struct sockaddr_alg sa = { .salg_family = AF_ALG };
	int fd, err;

	if (strlen(name) >= sizeof(sa.salg_name))
		return -ENAMETOOLONG;
	strcpy((char *)sa.salg_type, type);
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

/* No name is of both types. */
int alg_bind(struct cipher *c)
{
	int fd = bind_type("skcipher", c->name), second;

	c->aead = false;
	if (fd >= 0 || fd == -EAFNOSUPPORT || fd == -EPROTONOSUPPORT)
		return fd;
	second = bind_type("aead", c->name);
	c->aead = second >= 0;
	return c->aead ? second : cipher_telling(fd, second);
}

bool alg_is_aead(const char *name)
{
	int fd = bind_type("aead", name);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int alg_set_key(int tfm, const struct cipher *c)
{
	unsigned char key[KEY_ROOM];
	int n = cipher_key(c, key), err = n < 0 ? n : 0;

	/* the null cipher takes no key, not even an empty one */
	if (n > 0 && setsockopt(tfm, SOL_ALG, ALG_SET_KEY, key, (socklen_t)n))
		err = -errno;
	explicit_bzero(key, sizeof(key));
	return err;
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

/* Send with the control data that begins a request: direction, IV if there is one, of an AEAD the size of the AAD. */
ssize_t alg_submit(int op, const struct cipher *c, bool encrypt, const void *data, size_t n, int flags)
{
	union {
		char space[2 * CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct af_alg_iv) + MAX_BLOCK)];
		struct cmsghdr first;
	} u = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.space };
	uint32_t direction = encrypt ? ALG_OP_ENCRYPT : ALG_OP_DECRYPT;
	struct cmsghdr *h = &u.first;
	struct af_alg_iv *iv;

	msg.msg_controllen = CMSG_SPACE(sizeof(direction));
	if (c->aead)
		msg.msg_controllen += CMSG_SPACE(sizeof(c->aad));
	if (c->iv_len)
		msg.msg_controllen += CMSG_SPACE(sizeof(*iv) + c->iv_len);
	memcpy(control(h, ALG_SET_OP, sizeof(direction)), &direction, sizeof(direction));
	if (c->aead) {
		h = CMSG_NXTHDR(&msg, h);
		memcpy(control(h, ALG_SET_AEAD_ASSOCLEN, sizeof(c->aad)), &c->aad, sizeof(c->aad));
	}
	if (c->iv_len) {
		h = CMSG_NXTHDR(&msg, h);
		iv = control(h, ALG_SET_IV, sizeof(*iv) + c->iv_len);
		iv->ivlen = (uint32_t)c->iv_len;
		memcpy(iv->iv, c->iv, c->iv_len);
	}
	return sendmsg(op, &msg, flags | MSG_NOSIGNAL);
}

int alg_receive(int op, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = recv(op, (char *)buf + got, n - got, 0);

		if (r <= 0)
			return r ? -errno : -EIO;	/* EINTR too: the caller's timer says it takes too long */
		got += (size_t)r;
	}
	return 0;
}

int alg_trial(int tfm, const struct cipher *c, size_t n)
{
	size_t in = cipher_in(c, n, true), out = cipher_out(c, n, true);
	int op = accept4(tfm, NULL, NULL, SOCK_CLOEXEC), err;
	char *buf = calloc(1, out);
	ssize_t r;

	if (op < 0 || !buf) {
		err = -errno;
	} else {
		r = alg_submit(op, c, true, buf, in, 0);
		err = r < 0 ? -errno : (size_t)r == in ? alg_receive(op, buf, out) : -EAGAIN;
	}
	if (op >= 0)
		close(op);
	free(buf);
	return err;
}

/* Splice a page in behind the AAD, change the file's page, then look whether the cipher saw the change. */
static int splice_test(int op, int mem, const struct cipher *c)
{
	size_t in = cipher_in(c, PAGE, true), out = cipher_out(c, PAGE, true);
	char plain[MAX_AAD + PAGE], before[MAX_AAD + PAGE + AEAD_TAG], after[sizeof(before)];
	size_t aad = in - PAGE;
	off_t off = 0;
	ssize_t n;

	memset(plain, 'a', sizeof(plain));
	if (pwrite(mem, plain, PAGE, 0) != PAGE || alg_submit(op, c, true, plain, in, 0) != (ssize_t)in)
		return -EIO;
	if (alg_receive(op, before, out) || alg_submit(op, c, true, plain, aad, MSG_MORE) < 0)
		return -EIO;
	n = sendfile(op, mem, &off, PAGE);
	if (n != PAGE)
		return n < 0 ? -errno : -EIO;
	if (pwrite(mem, "b", 1, 0) != 1 || alg_receive(op, after, out))
		return -EIO;
	return !memcmp(before + aad, after + aad, out - aad);
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

const char *alg_type(const struct cipher *c)
{
	return c->aead ? "aead" : "skcipher";
}

/* crypto.af_alg_restrict (admin-guide/sysctl/crypto), or '0' where the kernel has no such file */
static char restriction(void)
{
	char level = '0';
	int fd = open("/proc/sys/crypto/af_alg_restrict", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return level;
	if (read(fd, &level, 1) != 1)
		level = '0';
	close(fd);
	return level;
}

const char *alg_explain(int err)
{
	if (err == -EAFNOSUPPORT && restriction() == '2')
		return "AF_ALG is switched off (crypto.af_alg_restrict is 2)";
	if (err == -ENOENT && restriction() == '1')
		return "AF_ALG is restricted (crypto.af_alg_restrict is 1) and this name is not on its list, "
		       "or no such algorithm or driver is in this kernel";
	switch (-err) {
	case EAFNOSUPPORT: return "the kernel has no AF_ALG (CONFIG_CRYPTO_USER_API; try: modprobe af_alg algif_skcipher)";
	case EPROTONOSUPPORT: return "this sandbox or kernel refuses AF_ALG sockets";
	case ENOENT: return "no such algorithm or driver in this kernel, or AF_ALG lacks its type (see /proc/crypto; "
			    "try: modprobe algif_skcipher or algif_aead, and the cipher's module, such as "
			    "des_generic, aes_generic, cbc, gcm, ecb or crypto_null)";
	case ENAMETOOLONG: return "the name is too long for AF_ALG";
	case EINTR: return "no answer in time";		/* a timer's signal ended the wait */
	case EKEYREJECTED: return "no key of up to 64 bytes is taken";
	case EBADMSG: return "the tag is wrong (EBADMSG)";
	default: return strerror(-err);
	}
}

int alg_make_key(int tfm, struct cipher *c)
{
	if (c->aead && setsockopt(tfm, SOL_ALG, ALG_SET_AEAD_AUTHSIZE, NULL, AEAD_TAG))
		return -errno;
	return cipher_make_key(c, alg_set_key, tfm);
}

void alg_ready(struct cipher *c, int *tfm, bool make_key)
{
	int err;

	*tfm = alg_bind(c);
	if (*tfm < 0)
		die(EXIT_RUNTIME, "cipher %s: %s", c->name, alg_explain(*tfm));
	if (!cipher_lookup(c))
		die(EXIT_RUNTIME, "cipher %s: bound, but /proc/crypto does not tell the driver", c->name);
	cipher_usable(c, make_key);
	if (!make_key) {
		cipher_give_key(c, alg_set_key, *tfm);
		return;
	}
	err = alg_make_key(*tfm, c);
	if (err)
		die(EXIT_RUNTIME, "cipher %s: made-up key: %s", c->name, alg_explain(err));
}
