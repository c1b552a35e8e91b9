// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/crypto, as the module devcrypto makes it: sessions of a driver by name, their requests, what they have done. The
 * module's header is the reference.
 */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devcrypto.h"

#define DEVICE	"/dev/crypto"

_Static_assert(DEVCRYPTO_MAX_LEN == MAX_REQUEST, "the longest request");
_Static_assert(MAX_DEPTH <= DEVCRYPTO_DEPTH, "requests of one open file under way at once");

const char *devcrypto_explain(int err)
{
	switch (-err) {
	case ENOENT: return "no such algorithm or driver in this kernel (see /proc/crypto)";
	case EINVAL: return "the module refuses a size: of the key, the IV or the request (EINVAL)";
	case E2BIG: return "more than a request may have (an asynchronous driver: too many pieces of mapped memory)";
	case EPERM: return "sessions by name need CAP_NET_ADMIN";
	case ENODEV:
	case ENXIO: return "there is no " DEVICE " (load the module devcrypto)";
	case ENOTTY: return DEVICE " is not the module devcrypto's";
	case ENODATA: return "found, but /proc/crypto does not tell the driver";
	case EINTR: return "no answer in time";		/* a timer's signal ended the wait */
	case EKEYREJECTED: return "no key of up to 64 bytes is taken";
	case EBADMSG: return "the tag is wrong (EBADMSG)";
	default: return strerror(-err);
	}
}

int devcrypto_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	return fd;
}

static int open_session(int fd, const struct cipher *c, const unsigned char *key, size_t key_len, bool mapped,
			uint32_t *ses)
{
	struct devcrypto_session op = {
		.key = (uintptr_t)key,
		.keylen = (__u32)key_len,
		.kind = c->aead ? DEVCRYPTO_AEAD : DEVCRYPTO_CIPHER,
		.memory = mapped ? DEVCRYPTO_MAPPED : DEVCRYPTO_COPIED,
		.taglen = c->aead ? AEAD_TAG : 0,
	};

	snprintf(op.name, sizeof(op.name), "%s", c->name);
	if (ioctl(fd, DEVCRYPTO_SESSION, &op))
		return -errno;
	*ses = op.ses;
	return 0;
}

int devcrypto_session(int fd, const struct cipher *c, bool mapped, uint32_t *ses)
{
	unsigned char key[KEY_ROOM];
	int n = cipher_key(c, key), err = n;

	if (n >= 0)
		err = open_session(fd, c, key, (size_t)n, mapped, ses);
	explicit_bzero(key, sizeof(key));
	return err;
}

int devcrypto_end(int fd, uint32_t ses)
{
	return ioctl(fd, CIOCFSESSION, &ses) ? -errno : 0;
}

/* Without a key, what wants one is found and says so; of the wrong kind, a name is not found. */
static int find_as(int fd, struct cipher *c, bool aead)
{
	uint32_t ses;
	int err;

	c->aead = aead;
	err = open_session(fd, c, NULL, 0, false, &ses);
	if (!err)
		devcrypto_end(fd, ses);
	return err == -ENOKEY ? 0 : err;
}

int devcrypto_find(int fd, struct cipher *c)
{
	int one = find_as(fd, c, false), other = one ? find_as(fd, c, true) : 0;

	if (other)
		return cipher_telling(one, other);
	return cipher_lookup(c) ? 0 : -ENODATA;
}

static int takes(int fd, const struct cipher *c)
{
	uint32_t ses;
	int err = devcrypto_session(fd, c, false, &ses);

	if (!err)
		devcrypto_end(fd, ses);
	return err;
}

int devcrypto_make_key(int fd, struct cipher *c)
{
	return cipher_make_key(c, takes, fd);
}

static struct crypt_op operation(uint32_t ses, bool encrypt, const void *iv, const void *in, size_t n, void *out)
{
	return (struct crypt_op){
		.ses = ses,
		.op = encrypt ? COP_ENCRYPT : COP_DECRYPT,
		.len = (__u32)n,
		.src = (__u8 *)in,
		.dst = out,
		.iv = (__u8 *)iv,
	};
}

static int record(int fd, uint32_t ses, const struct cipher *c, bool encrypt, const void *iv, const void *in, size_t n,
		  void *out)
{
	struct crypt_auth_op op = {
		.ses = ses,
		.op = encrypt ? COP_ENCRYPT : COP_DECRYPT,
		.len = (__u32)n - c->aad,
		.auth_len = c->aad,
		.auth_src = (__u8 *)in,
		.src = (__u8 *)in + c->aad,
		.dst = (__u8 *)out + c->aad,
		.iv = (__u8 *)iv,
		.iv_len = (__u32)c->iv_len,
	};

	size_t plain = n - c->aad - (encrypt ? 0 : AEAD_TAG);

	if (ioctl(fd, CIOCAUTHCRYPT, &op))
		return -errno;
	return c->aad + op.len == cipher_out(c, plain, encrypt) ? 0 : -EIO;
}

int devcrypto_request(int fd, uint32_t ses, const struct cipher *c, bool encrypt, const void *iv, const void *in, size_t n,
		      void *out)
{
	struct crypt_op op;

	if (c->aead)
		return record(fd, ses, c, encrypt, iv, in, n, out);
	op = operation(ses, encrypt, iv, in, n, out);
	return ioctl(fd, CIOCCRYPT, &op) ? -errno : 0;
}

int devcrypto_submit(int fd, uint32_t ses, bool encrypt, const void *iv, const void *in, size_t n, void *out)
{
	struct crypt_op op = operation(ses, encrypt, iv, in, n, out);

	return ioctl(fd, CIOCASYNCCRYPT, &op) ? -errno : 0;
}

/* *out: where the answer that came first was to go. */
int devcrypto_fetch(int fd, void **out)
{
	struct crypt_op op = { 0 };

	if (ioctl(fd, CIOCASYNCFETCH, &op))
		return -errno;
	*out = op.dst;
	return 0;
}

int devcrypto_wait(int fd)
{
	struct pollfd answer = { .fd = fd, .events = POLLIN };

	return poll(&answer, 1, -1) < 0 ? -errno : 0;
}

int devcrypto_info(int fd, uint32_t ses, struct session *said)
{
	struct devcrypto_info info = { .ses = ses };

	if (ioctl(fd, DEVCRYPTO_INFO, &info))
		return -errno;
	*said = (struct session){
		.told = true,
		.async = info.async,
		.mapped = info.memory == DEVCRYPTO_MAPPED,
		.block = info.blocksize,
		.iv_size = info.ivsize,
		.most = info.most,
		.requests = info.requests,
		.later = info.later,
		.failed = info.failed,
		.bytes = info.bytes,
		.copied_in = info.copied_in,
		.copied_out = info.copied_out,
		.pinned = info.mapped,
	};
	snprintf(said->driver, NAME_LEN, "%.*s", NAME_LEN - 1, info.driver);
	return 0;
}

void devcrypto_ready(struct cipher *c, int *fd)
{
	int err;

	*fd = devcrypto_open();
	if (*fd < 0)
		die(EXIT_RUNTIME, DEVICE ": %s", devcrypto_explain(*fd));
	err = devcrypto_find(*fd, c);
	if (err)
		die(EXIT_RUNTIME, "cipher %s: %s", c->name, devcrypto_explain(err));
	cipher_usable(c, true);
	err = devcrypto_make_key(*fd, c);
	if (err)
		die(EXIT_RUNTIME, "cipher %s: made-up key: %s", c->name, devcrypto_explain(err));
}
