// SPDX-License-Identifier: GPL-2.0-only
/* /dev/crypto, as the module devcrypto makes it: sessions of a driver by name, their requests, what they have done. */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define DEVICE	"/dev/crypto"

const char *devcrypto_explain(int err)
{
	switch (-err) {
	case ENOSYS: return "not compiled in (devcrypto.h was not found: cc -I hosts/onhost/modules/devcrypto)";
	case ENOENT: return "no such algorithm or driver in this kernel (see /proc/crypto)";
	case E2BIG: return "more than a request may have (an asynchronous driver: too many pieces of mapped memory)";
	case EPERM: return "sessions by name need CAP_NET_ADMIN";
	case ENODEV:
	case ENXIO: return "there is no " DEVICE " (load the module devcrypto)";
	case ENOTTY: return DEVICE " is not the module devcrypto's";
	default: return strerror(-err);
	}
}

#if __has_include("devcrypto.h")
#include "devcrypto.h"

_Static_assert(DEVCRYPTO_MAX_LEN == MAX_REQUEST, "the longest request");

int devcrypto_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	return fd;
}

int devcrypto_session(int fd, const struct cipher *c, bool mapped, uint32_t *ses)
{
	struct devcrypto_session op = {
		.key = (uintptr_t)c->key,
		.keylen = (__u32)c->key_len,
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

int devcrypto_end(int fd, uint32_t ses)
{
	return ioctl(fd, CIOCFSESSION, &ses) ? -errno : 0;
}

/* Without a key, an AEAD is found and then wants one; of the wrong kind, a name is not found. */
bool devcrypto_is_aead(int fd, const char *name)
{
	struct cipher c = { .aead = true };
	uint32_t ses;
	int err;

	snprintf(c.name, sizeof(c.name), "%s", name);
	err = devcrypto_session(fd, &c, false, &ses);
	if (!err)
		devcrypto_end(fd, ses);
	return !err || err == -ENOKEY;
}

int devcrypto_encrypt(int fd, uint32_t ses, const void *iv, void *src, void *dst, size_t n)
{
	struct crypt_op op = {
		.ses = ses,
		.op = COP_ENCRYPT,
		.len = (__u32)n,
		.src = src,
		.dst = dst,
		.iv = (__u8 *)iv,
	};

	return ioctl(fd, CIOCCRYPT, &op) ? -errno : 0;
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

#else

int devcrypto_open(void)
{
	return -ENOSYS;
}

int devcrypto_session(int fd, const struct cipher *c, bool mapped, uint32_t *ses)
{
	(void)fd, (void)c, (void)mapped, (void)ses;
	return -ENOSYS;
}

int devcrypto_end(int fd, uint32_t ses)
{
	(void)fd, (void)ses;
	return -ENOSYS;
}

bool devcrypto_is_aead(int fd, const char *name)
{
	(void)fd, (void)name;
	return false;
}

int devcrypto_encrypt(int fd, uint32_t ses, const void *iv, void *src, void *dst, size_t n)
{
	(void)fd, (void)ses, (void)iv, (void)src, (void)dst, (void)n;
	return -ENOSYS;
}

int devcrypto_info(int fd, uint32_t ses, struct session *said)
{
	(void)fd, (void)ses, (void)said;
	return -ENOSYS;
}

#endif
