/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * receive: a client that fetches files over HTTP/1.1 into files, each over a connection of its own, and says how they
 * came. See README.md.
 *
 * Reading order: receive.c (command line, what is asked and told), fetch.c (a connection and an answer's head), ways.c
 * (from the connection into the file). The head's parser and TLS are those of ../load.
 */
#ifndef RECEIVE_H
#define RECEIVE_H

#define _GNU_SOURCE		/* so this header comes first everywhere */

#include <sys/socket.h>
#include <sys/types.h>

#include "answer.h"
#include "tls.h"
#include "util.h"

#define READ_ROOM	(256 * 1024)
#define NAME_ROOM	96

/* Who takes the bytes from the socket: the TLS library; recv; splice through a pipe. The last two have the kernel
 * decipher where there is TLS. */
enum way { LIBRARY, RECV, SPLICE, WAYS };

struct receive {
	enum way way;
	const char *address;
	struct sockaddr_storage place;
	socklen_t place_len;
	const struct tls *tls;					/* NULL: none */
	int pipe[2];						/* of SPLICE */
	int most_spliced;					/* calls that surely fit into the pipe */
};

enum call { RECVMSG, WRITE, SPLICED, LIBRARY_READ, CALLS };

/* One transfer, and what is told of it. */
struct fetch {
	const struct receive *r;
	int fd, out;
	void *secured;						/* TLS: its connection */
	uint64_t size, taken;					/* bytes of the body: due, and in the file */
	uint64_t begun, connected, ready, ended;		/* ns; ready: TLS is there */
	uint64_t handshake;					/* bytes that the library had read by then */
	uint64_t crossed;					/* bytes between user and kernel memory, from then on */
	uint64_t calls[CALLS];
	const char *kernel_version, *kernel_cipher;		/* what the socket says that the kernel deciphers; NULL: nothing */
	char version[NAME_ROOM], suite[NAME_ROOM];
};

/* fetch.c */
void fetch(struct fetch *f, const char *path);

/*
 * ways.c. Data of the connection by the kernel's calls, at least a byte. Session tickets are passed over; any other
 * record that is no data ends the program with what it was.
 */
size_t take(struct fetch *f, void *buf, size_t room, int flags);
size_t take_by_library(struct fetch *f, void *buf, size_t room);
void put(struct fetch *f, const void *buf, size_t len);	/* into the file */
void body(struct fetch *f);				/* all that is left of it */
void ended_early(const struct fetch *f) __attribute__((noreturn));

#endif
