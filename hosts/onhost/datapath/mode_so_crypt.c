// SPDX-License-Identifier: GPL-2.0-only
/*
 * so-crypt, so-crypt-send: the socket itself encrypts (kernel/so_crypt). The answer's head has gone out in clear when
 * the body starts; from SO_CRYPT_SET on everything sent is encrypted, so such a connection ends with its body.
 *
 * The padding is sent from here rather than left to the socket's shutdown: a file that shrank during the transfer must
 * not end in a well-padded stream.
 */
#include "datapath.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if __has_include("so_crypt.h")
#include "so_crypt.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#define ULP "so_crypt"

bool so_crypt_compiled_in(void)
{
	return true;
}

static void fill(struct so_crypt_set *set, const struct server *s)
{
	memset(set, 0, sizeof(*set));
	memcpy(set->alg, s->cipher.name, strnlen(s->cipher.name, sizeof(set->alg) - 1));
	memcpy(set->key, s->cipher.key, s->cipher.key_len);
	memcpy(set->iv, s->cipher.iv, s->cipher.iv_len);
	set->keylen = (__u32)s->cipher.key_len;
	set->ivlen = (__u32)s->cipher.iv_len;
	set->chunk = (__u32)s->chunk;
	set->pad = SO_CRYPT_PAD_NONE;
}

/* A connection with itself on the loopback interface: what the module says to this cipher, key and IV. */
static int loopback(int fds[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1] = -1;
	if (l < 0 || fds[0] < 0 || bind(l, (struct sockaddr *)&a, n) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&a, &n) || connect(fds[0], (struct sockaddr *)&a, n) ||
	    (fds[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC)) < 0)
		err = -errno;
	if (l >= 0)
		close(l);
	return err;
}

static void try_socket(struct server *s, int fd, struct so_crypt_info *info)
{
	struct so_crypt_set set;
	socklen_t n = sizeof(*info);
	int err;

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, ULP, sizeof(ULP) - 1))
		die(EXIT_RUNTIME, "the kernel has no so_crypt sockets (try: modprobe so_crypt): %s", strerror(errno));
	fill(&set, s);
	err = setsockopt(fd, SOL_SO_CRYPT, SO_CRYPT_SET, &set, sizeof(set)) ? errno : 0;
	explicit_bzero(&set, sizeof(set));
	if (err && alg_is_aead(s->cipher.name))
		die(EXIT_USAGE, AEAD_REFUSED, s->cipher.name);
	if (err)
		die(err == EINVAL ? EXIT_USAGE : EXIT_RUNTIME,
		    "so_crypt refuses cipher %s with a key of %zu, an IV of %zu bytes and chunks of %zu: %s",
		    s->cipher.name, s->cipher.key_len, s->cipher.iv_len, s->chunk, strerror(err));
	if (getsockopt(fd, SOL_SO_CRYPT, SO_CRYPT_INFO, info, &n))
		die(EXIT_RUNTIME, "SO_CRYPT_INFO: %s", strerror(errno));
}

static void setup(struct server *s)
{
	struct so_crypt_info info = { 0 };
	int fds[2], err = loopback(fds);

	if (s->cipher.iv_len > 16 || s->cipher.key_len > 64)
		die(EXIT_USAGE, "so_crypt takes keys of at most 64 and IVs of at most 16 bytes");
	if (err)
		die(EXIT_RUNTIME, "loopback connection: %s", strerror(-err));
	try_socket(s, fds[0], &info);
	close(fds[0]);
	close(fds[1]);
	snprintf(s->cipher.driver, NAME_LEN, "%.*s", NAME_LEN - 1, info.driver);
	s->cipher.block = info.blocksize;
	s->cipher.async = info.async;
	if (!s->cipher.block || s->cipher.block > MAX_BLOCK || s->chunk % s->cipher.block)
		die(EXIT_USAGE, "--chunk %zu is no multiple of %s's block size %u", s->chunk, s->cipher.driver,
		    s->cipher.block);
	if (s->chunk > DEFAULT_CHUNK && !strncmp(s->cipher.driver, "virtio_crypto", 13))
		die(EXIT_USAGE, "--chunk %zu: virtio_crypto is known to hang above %d", s->chunk, DEFAULT_CHUNK);
	cipher_of_driver(&s->cipher);
}

static int switch_on(struct transfer *t)
{
	struct so_crypt_set set;
	int err = tx_setsockopt(t, IPPROTO_TCP, TCP_ULP, ULP, sizeof(ULP) - 1);

	if (err)
		return err;
	fill(&set, t->server);
	err = tx_setsockopt(t, SOL_SO_CRYPT, SO_CRYPT_SET, &set, sizeof(set));
	explicit_bzero(&set, sizeof(set));
	return err;
}

/* Where TCP had no memory, the module hands it the last bytes by itself a moment after the last call. */
static int account(struct transfer *t, struct so_crypt_info *info)
{
	const struct timespec moment = { .tv_nsec = 10000000 };

	for (;;) {
		socklen_t n = sizeof(*info);

		if (getsockopt(t->sock, SOL_SO_CRYPT, SO_CRYPT_INFO, info, &n))
			return transfer_fail(t, "SO_CRYPT_INFO", errno);
		if (info->bytes_in < t->padded || info->bytes_out >= t->padded)
			return 0;
		if (!transfer_alive(t))
			return -1;
		nanosleep(&moment, NULL);
	}
}

/* The witness: the socket's own account of driver and bytes must agree with what was promised. */
static int witness(struct transfer *t)
{
	struct so_crypt_info info = { 0 };

	if (account(t, &info))
		return -1;
	t->has_info = true;
	t->info_async = info.async;
	t->info_in = info.bytes_in;
	t->info_out = info.bytes_out;
	t->info_pending = info.pending;
	t->requests = info.requests;
	snprintf(t->info_driver, NAME_LEN, "%.*s", NAME_LEN - 1, info.driver);
	if (strcmp(t->info_driver, t->server->cipher.driver) || info.bytes_out != t->padded || info.pending) {
		snprintf(t->error, sizeof(t->error), "so_crypt's witness does not agree");
		return -1;
	}
	return 0;
}

static int body_sendfile(struct transfer *t)
{
	unsigned char padding[MAX_BLOCK];
	size_t pad = (size_t)(t->padded - t->plain);

	memset(padding, (int)pad, pad);
	if (switch_on(t) || tx_sendfile(t, t->plain) || tx_send(t, padding, pad, false))
		return -1;
	return witness(t);
}

static int body_send(struct transfer *t)
{
	struct server *s = t->server;
	uint64_t left = t->plain;

	if (switch_on(t))
		return -1;
	do {
		size_t n = left < s->chunk ? (size_t)left : s->chunk, pad = 0;

		if (n && tx_read(t, t->room->buf, n) < 0)
			return -1;
		left -= n;
		if (!left) {
			pad = (size_t)(t->padded - t->plain);
			memset(t->room->buf + n, (int)pad, pad);
		}
		if (tx_send(t, t->room->buf, n + pad, left > 0))
			return -1;
	} while (left);
	return witness(t);
}

#else

bool so_crypt_compiled_in(void)
{
	return false;
}

static void setup(struct server *s)
{
	die(EXIT_RUNTIME, "mode %s is not compiled in (so_crypt.h was not found: cc -I hosts/onhost/modules/so_crypt)",
	    s->mode->name);
}

static int body_sendfile(struct transfer *t)
{
	return transfer_fail(t, "so_crypt", ENOSYS);
}

#define body_send body_sendfile
#endif

const struct mode mode_so_crypt = {
	.name = "so-crypt",
	.help = "sendfile on a socket that encrypts (module so_crypt): the scheme itself",
	.cipher = true,
	.closes = true,
	.setup = setup,
	.body = body_sendfile,
};

const struct mode mode_so_crypt_send = {
	.name = "so-crypt-send",
	.help = "read and send on such a socket",
	.cipher = true,
	.closes = true,
	.setup = setup,
	.body = body_send,
};
