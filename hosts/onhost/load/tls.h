/* SPDX-License-Identifier: GPL-2.0-only */
/* TLS (tls.c, and a file for each library): libraries are loaded when asked for, so that compiling needs no headers. */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum io { IO_DONE, IO_READ, IO_WRITE, IO_END, IO_FAILED };	/* IO_READ, IO_WRITE: what is waited for */

struct tls_wanted {
	const char *ca, *version, *suite, *host;		/* suite: in the library's own words */
	const char *group;					/* the one that is offered; NULL: its own choice */
	bool resumes;
	bool hands_over;					/* its keys to the kernel, where that takes them */
};

/* A library. Sessions are kept in *kept of the connection that got them, until a newer one comes. */
struct tls {
	const char *name;
	void (*setup)(const struct tls_wanted *w);		/* dies with a reason */
	void *(*open)(int fd, void **kept);			/* NULL: no memory; resumes *kept where there is one */
	enum io (*handshake)(void *c);
	enum io (*read)(void *c, void *buf, size_t room, size_t *n);
	enum io (*write)(void *c, const void *buf, size_t len, size_t *n);
	bool (*resumed)(void *c);
	bool (*holds)(void *c);					/* some of what came, so that reading need not wait for all */
	uint64_t (*took)(void *c);				/* bytes that it has read from the descriptor; OpenSSL's only */
	void (*describe)(void *c, char *version, char *suite, size_t room);
	void (*exchange)(void *c, char *group, char *key, size_t room);	/* group and server's key; OpenSSL's only */
	void (*close)(void *c);
	void (*forget)(void *kept);
	void (*why)(void *c, char *out, size_t room);		/* the last failure */
};

extern const struct tls tls_openssl, tls_gnutls;
extern const struct tls *const tls_libraries[];			/* a program's own, up to NULL */
/* The library of this name, set up; dies with a reason, as where something that it needs is not wanted. */
const struct tls *tls_set_up(const char *name, const struct tls_wanted *w);
void *tls_library(const char *const *names);			/* the first that loads; dies where none does */
void *tls_function(void *library, const char *name);		/* dies where it has none */
#define TAKE(library, name) (*(void **)&name = tls_function(library, #name))

#endif
