/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * receive: a client that fetches files over HTTP/1.1 into files, each over a connection of its own, and says how they
 * came. See README.md.
 *
 * Reading order: receive.c (command line, what is asked and told), fetch.c (a connection and an answer's head), ways.c
 * (from the connection into the file), so_crypt.c and devcrypto.c (who deciphers, where that is not TLS). The head's
 * parser and TLS are those of ../load.
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
#define MAX_BLOCK	16
#define CIPHER_CHUNK	65536		/* of cipher text that is waited for at once: the sender's */
#define NOT_THE_STREAM	"it was cut or changed on the way, or the key is another's"

/* Who takes the bytes from the socket: the TLS library; recv; splice through a pipe; recv, and /dev/crypto deciphers.
 * The second and third have the kernel decipher where there is TLS, or the socket where there is a cipher. */
enum way { LIBRARY, RECV, SPLICE, DEVCRYPTO, WAYS };

/* Of a body that is one stream of cipher text, with PKCS#7 padding. */
struct cipher {
	const char *name;					/* NULL: none */
	unsigned char key[64], iv[MAX_BLOCK];
	size_t key_len, iv_len;
};

/* What the socket, or a session of /dev/crypto, says that it did. */
struct deciphered {
	char driver[NAME_ROOM];
	unsigned int block;
	bool async;
	uint64_t requests, in, out, pending, failed;		/* bytes taken; given; neither */
};

struct receive {
	enum way way;
	size_t most;						/* bytes that a call takes from the connection */
	bool synced;						/* the file is on its disk when a transfer ends */
	bool chunked;						/* a clear connection is waited for as a cipher's is */
	struct cipher cipher;
	const char *address;
	struct sockaddr_storage place;
	socklen_t place_len;
	const struct tls *tls;					/* NULL: none */
	int pipe[2];						/* of SPLICE */
	int most_spliced;					/* calls that surely fit into the pipe */
};

enum call { RECVMSG, WRITE, SPLICED, LIBRARY_READ, IOCTL, FSYNC, CALLS };

/* One transfer, and what is told of it. */
struct fetch {
	const struct receive *r;
	int fd, out;
	void *secured;						/* TLS: its connection */
	uint64_t size, taken;					/* bytes of the file: due, and there */
	uint64_t due;						/* bytes of the body: more, where it is padded */
	uint64_t begun, connected, ready, ended;		/* ns; ready: TLS is there */
	uint64_t handshake;					/* bytes that the library had read by then */
	uint64_t crossed;					/* bytes between user and kernel memory, from then on */
	uint64_t calls[CALLS];
	uint64_t switches;					/* of the processor while it waited: voluntary ones */
	int mark;						/* bytes that TCP wakes for */
	const char *kernel_version, *kernel_cipher;		/* what the socket says that the kernel deciphers; NULL: nothing */
	char version[NAME_ROOM], suite[NAME_ROOM];
	struct deciphered done;
};

/* fetch.c */
void fetch(struct fetch *f, const char *path);
void check_padded(const struct fetch *f);		/* that the body is as long as the driver's blocks make it */

/* so_crypt.c */
void so_crypt_begin(struct fetch *f);
void so_crypt_end(struct fetch *f);

/* devcrypto.c */
void by_devcrypto(struct fetch *f);

/*
 * ways.c. Data of the connection by the kernel's calls, at least a byte. Session tickets are passed over; any other
 * record that is no data ends the program with what it was.
 */
size_t take(struct fetch *f, void *buf, size_t room, int flags);
size_t take_or_end(struct fetch *f, void *buf, size_t room);	/* 0 at the connection's end */
size_t take_by_library(struct fetch *f, void *buf, size_t room);
void expect(struct fetch *f, uint64_t left);		/* no wake for less than a chunk, of what is left */
void put(struct fetch *f, const void *buf, size_t len);	/* into the file */
void sync_file(struct fetch *f);			/* until it is on its disk */
void body(struct fetch *f);				/* all that is left of it */
void ended_early(const struct fetch *f) __attribute__((noreturn));

#endif
