// SPDX-License-Identifier: GPL-2.0-only
/* What costs measures on: a loopback connection, cached file pages, the interfaces to the kernel's ciphers. */
#include "costs.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NULL_CIPHER	"ecb(cipher_null)"

void must(ssize_t n, size_t wanted, const char *what)
{
	if (n < 0)
		die(EXIT_RUNTIME, "%s: %s", what, strerror(errno));
	if ((size_t)n != wanted)
		die(EXIT_RUNTIME, "%s: %zd of %zu bytes", what, n, wanted);
}

static void open_loopback(struct bench *b)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, room = 4 << 20;

	b->tx = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l < 0 || b->tx < 0)
		die(EXIT_RUNTIME, "socket: %s", strerror(errno));
	/* a call must never wait for the emptying that only comes after it */
	(void)setsockopt(l, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	(void)setsockopt(b->tx, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	(void)setsockopt(b->tx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, n) || listen(l, 1) || getsockname(l, (struct sockaddr *)&a, &n) ||
	    connect(b->tx, (struct sockaddr *)&a, n) || (b->rx = accept4(l, NULL, NULL, SOCK_CLOEXEC)) < 0)
		die(EXIT_RUNTIME, "loopback connection: %s", strerror(errno));
	close(l);
}

static void open_file_pages(struct bench *b, size_t size)
{
	b->file = memfd_create("costs", MFD_CLOEXEC);
	if (b->file < 0)
		die(EXIT_RUNTIME, "memfd: %s", strerror(errno));
	must(pwrite(b->file, b->buf, size, 0), size, "memfd");
}

static void open_session(struct bench *b, const struct cipher *c, bool mapped, uint32_t *ses)
{
	int err = devcrypto_session(b->device, c, mapped, ses);

	if (err)
		die(EXIT_RUNTIME, "a session of /dev/crypto for %s: %s", c->name, devcrypto_explain(err));
}

void open_interfaces(struct bench *b)
{
	if (b->by & BY_AF_ALG) {
		alg_ready(b->cipher, &b->tfm, true);
		b->op = accept4(b->tfm, NULL, NULL, SOCK_CLOEXEC);
		if (b->op < 0)
			die(EXIT_RUNTIME, "accept on AF_ALG: %s", strerror(errno));
	}
	if (b->by & BY_DEVCRYPTO) {
		devcrypto_ready(b->cipher, &b->device);		/* another key, if AF_ALG has one: as good */
		strcpy(b->null.name, NULL_CIPHER);
		open_session(b, &b->null, false, &b->null_copied);
		open_session(b, &b->null, true, &b->null_mapped);
		open_session(b, b->cipher, true, &b->mapped);
	}
}

static char *memory(size_t room)
{
	char *p = aligned_alloc(PAGE, (room + PAGE - 1) / PAGE * PAGE);

	if (!p)
		die(EXIT_RUNTIME, "out of memory");
	memset(p, 0x55, room);
	return p;
}

void open_bench(struct bench *b, size_t chunk)
{
	size_t room = b->cipher ? cipher_out(b->cipher, chunk, true) : chunk;

	b->buf = memory(room);
	b->other = memory(room);
	b->sealed = memory(room);
	open_file_pages(b, chunk);
	open_loopback(b);
}

void close_bench(struct bench *b)
{
	if (b->by & BY_AF_ALG) {
		close(b->op);
		close(b->tfm);
	}
	if (b->by & BY_DEVCRYPTO)
		close(b->device);			/* and with it its sessions */
	close(b->file);
	close(b->tx);
	close(b->rx);
	free(b->buf);
	free(b->other);
	free(b->sealed);
}
