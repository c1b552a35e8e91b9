// SPDX-License-Identifier: GPL-2.0-only
/*
 * The socket itself deciphers (modules/so_crypt): from the answer's head on, with recvmsg or splice. It takes the padding
 * off, and its end is one only where the stream ends as it should: that is looked at when the file is there.
 */
#include "receive.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "so_crypt.h"

#ifndef TCP_ULP
#define TCP_ULP		31
#endif
#define ULP		"so_crypt"

static void look(struct fetch *f)
{
	struct so_crypt_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(f->fd, SOL_SO_CRYPT, SO_CRYPT_INFO_RX, &info, &len))
		die(EXIT_RUNTIME, "SO_CRYPT_INFO_RX: %s", strerror(errno));
	f->done = (struct deciphered){
		.block = info.blocksize, .async = info.async, .requests = info.requests,
		.in = info.bytes_in, .out = info.bytes_out, .pending = info.pending,
	};
	snprintf(f->done.driver, sizeof(f->done.driver), "%.*s", NAME_ROOM - 1, info.driver);
}

void so_crypt_begin(struct fetch *f)
{
	const struct cipher *c = &f->r->cipher;
	struct so_crypt_set set = { .keylen = (__u32)c->key_len, .ivlen = (__u32)c->iv_len, .pad = SO_CRYPT_PAD_PKCS7 };
	const int chunk = CIPHER_CHUNK;
	int err = 0;

	if (setsockopt(f->fd, IPPROTO_TCP, TCP_ULP, ULP, sizeof(ULP) - 1))
		die(EXIT_RUNTIME, "the kernel has no so_crypt sockets (try: modprobe so_crypt): %s", strerror(errno));
	snprintf(set.alg, sizeof(set.alg), "%s", c->name);
	memcpy(set.key, c->key, sizeof(c->key));
	memcpy(set.iv, c->iv, sizeof(c->iv));
	if (setsockopt(f->fd, SOL_SO_CRYPT, SO_CRYPT_SET_RX, &set, sizeof(set)))
		err = errno;
	explicit_bzero(&set, sizeof(set));
	if (err)
		die(EXIT_RUNTIME, "so_crypt refuses to decipher %s with a key of %zu and an IV of %zu bytes: %s", c->name,
		    c->key_len, c->iv_len, strerror(err));
	look(f);
	check_padded(f);
	/* As much at a time as the traditional scheme takes (expect). The end is this stream's: its sender closes. */
	if (setsockopt(f->fd, SOL_SOCKET, SO_RCVLOWAT, &chunk, sizeof(chunk)))
		die(EXIT_RUNTIME, "SO_RCVLOWAT: %s", strerror(errno));
}

void so_crypt_end(struct fetch *f)
{
	unsigned char more;

	if (take_or_end(f, &more, 1))
		die(EXIT_RUNTIME, "more than %llu bytes were deciphered", (unsigned long long)f->size);
	look(f);
}
