/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loaded before a program that knows nothing of so_crypt (ld.so(8), LD_PRELOAD): each TCP connection that it makes or
 * accepts is enciphered and deciphered by its socket, with ctr(aes), which needs no padding. What is said in the one
 * direction has another IV than in the other. A byte goes to the file SO_CRYPT_COUNT for each such socket, so that a
 * program that was not reached by this is found; one whose socket cannot be such ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "so_crypt.h"

#ifndef TCP_ULP
#define TCP_ULP		31
#endif

static char count[256];				/* programs clear their environment */

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("SO_CRYPT_COUNT");

	snprintf(count, sizeof(count), "%s", name ? name : "/dev/null");
}

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "so_crypt: %s: %s\n", what, strerror(errno));
	abort();
}

static void set(int fd, int option, unsigned char direction)
{
	struct so_crypt_set s = { .alg = "ctr(aes)", .keylen = 16, .ivlen = 16, .pad = SO_CRYPT_PAD_NONE };

	memset(s.key, 0x5a, s.keylen);
	s.iv[0] = direction;
	if (setsockopt(fd, SOL_SO_CRYPT, option, &s, sizeof(s)))
		die(option == SO_CRYPT_SET ? "SO_CRYPT_SET" : "SO_CRYPT_SET_RX");
}

static void make(int fd, unsigned char made_it)
{
	int file, type = 0, family = 0;
	socklen_t a = sizeof(type), b = sizeof(family);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &a) || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &b) ||
	    type != SOCK_STREAM || (family != AF_INET && family != AF_INET6))
		return;
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "so_crypt", sizeof("so_crypt")))
		die("TCP_ULP");
	set(fd, SO_CRYPT_SET, made_it);
	set(fd, SO_CRYPT_SET_RX, !made_it);
	file = open(count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (file < 0 || write(file, "x", 1) != 1)
		die(count);
	close(file);
}

/* Whoever does not wait for a connection waits here: it is to be there before anything is sent. */
int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect"), r = next(fd, to, len);

	if (r && errno == EINPROGRESS) {
		struct pollfd ready = { .fd = fd, .events = POLLOUT };
		socklen_t n = sizeof(errno);
		int err = 0;

		if (poll(&ready, 1, 10000) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n))
			err = ETIMEDOUT;
		errno = err;
		r = err ? -1 : 0;
	}
	if (!r)
		make(fd, 1);
	return r;
}

int accept4(int fd, struct sockaddr *from, socklen_t *len, int flags)
{
	int (*next)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4"), r = next(fd, from, len, flags);

	if (r >= 0)
		make(r, 0);
	return r;
}

int accept(int fd, struct sockaddr *from, socklen_t *len)
{
	return accept4(fd, from, len, 0);
}
