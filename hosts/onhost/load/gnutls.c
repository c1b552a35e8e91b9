// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLS by GnuTLS 3.6 or newer, which alone still has 3DES. What is declared here is what its manual says; numbers are
 * those of gnutls/gnutls.h.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gnutls_session_int *gnutls_session_t;
typedef void *gnutls_credentials_t;
typedef struct gnutls_priority_st *gnutls_priority_t;
typedef struct {
	unsigned char *data;
	unsigned int size;
} gnutls_datum_t;

#define GNUTLS_CLIENT		(1u << 1)
#define GNUTLS_NONBLOCK		(1u << 3)
#define GNUTLS_NO_SIGNAL	(1u << 6)
#define GNUTLS_CRD_CERTIFICATE	1
#define GNUTLS_X509_FMT_PEM	1
#define GNUTLS_E_AGAIN		(-28)
#define GNUTLS_E_INTERRUPTED	(-52)
#define GNUTLS_E_PREMATURE	(-110)

static int (*gnutls_certificate_allocate_credentials)(gnutls_credentials_t *);
static int (*gnutls_certificate_set_x509_trust_file)(gnutls_credentials_t, const char *, int);
static int (*gnutls_priority_init)(gnutls_priority_t *, const char *, const char **);
static int (*gnutls_init)(gnutls_session_t *, unsigned int);
static void (*gnutls_deinit)(gnutls_session_t);
static int (*gnutls_priority_set)(gnutls_session_t, gnutls_priority_t);
static int (*gnutls_credentials_set)(gnutls_session_t, int, void *);
static void (*gnutls_session_set_verify_cert)(gnutls_session_t, const char *, unsigned int);
static void (*gnutls_transport_set_int2)(gnutls_session_t, int, int);
static int (*gnutls_handshake)(gnutls_session_t);
static ssize_t (*gnutls_record_recv)(gnutls_session_t, void *, size_t);
static ssize_t (*gnutls_record_send)(gnutls_session_t, const void *, size_t);
static int (*gnutls_record_get_direction)(gnutls_session_t);
static int (*gnutls_error_is_fatal)(int);
static const char *(*gnutls_strerror)(int);
static int (*gnutls_session_is_resumed)(gnutls_session_t);
static char *(*gnutls_session_get_desc)(gnutls_session_t);
static int (*gnutls_session_get_data2)(gnutls_session_t, gnutls_datum_t *);
static int (*gnutls_session_set_data)(gnutls_session_t, const void *, size_t);
static void (**gnutls_free)(void *);

static gnutls_credentials_t trusted;
static gnutls_priority_t priority;
static const char *host;
static bool resumes;
static int last;

static void take_all(void)
{
	static const char *const names[] = { "libgnutls.so.30", NULL };
	void *l = tls_library(names);

	TAKE(l, gnutls_certificate_allocate_credentials);
	TAKE(l, gnutls_certificate_set_x509_trust_file);
	TAKE(l, gnutls_priority_init);
	TAKE(l, gnutls_init);
	TAKE(l, gnutls_deinit);
	TAKE(l, gnutls_priority_set);
	TAKE(l, gnutls_credentials_set);
	TAKE(l, gnutls_session_set_verify_cert);
	TAKE(l, gnutls_transport_set_int2);
	TAKE(l, gnutls_handshake);
	TAKE(l, gnutls_record_recv);
	TAKE(l, gnutls_record_send);
	TAKE(l, gnutls_record_get_direction);
	TAKE(l, gnutls_error_is_fatal);
	TAKE(l, gnutls_strerror);
	TAKE(l, gnutls_session_is_resumed);
	TAKE(l, gnutls_session_get_desc);
	TAKE(l, gnutls_session_get_data2);
	TAKE(l, gnutls_session_set_data);
	TAKE(l, gnutls_free);
}

static void must(int r, const char *what, const char *value)
{
	if (r < 0)
		die(EXIT_USAGE, "GnuTLS refuses the %s %s: %s", what, value, gnutls_strerror(r));
}

static void setup(const struct tls_wanted *w)
{
	take_all();
	must(gnutls_certificate_allocate_credentials(&trusted), "memory for", "credentials");
	must(gnutls_certificate_set_x509_trust_file(trusted, w->ca, GNUTLS_X509_FMT_PEM) - 1, "certificate", w->ca);
	must(gnutls_priority_init(&priority, w->suite, NULL), "priority", w->suite);
	host = w->host;
	resumes = w->resumes;
}

static void forget(void *kept)
{
	gnutls_datum_t *session = kept;

	(*gnutls_free)(session->data);
	free(session);
}

static void *open_it(int fd, void **kept)
{
	gnutls_session_t c;

	if (gnutls_init(&c, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL))
		return NULL;
	gnutls_priority_set(c, priority);
	gnutls_credentials_set(c, GNUTLS_CRD_CERTIFICATE, trusted);
	gnutls_session_set_verify_cert(c, host, 0);
	gnutls_transport_set_int2(c, fd, fd);
	if (kept && *kept) {
		gnutls_datum_t *session = *kept;

		gnutls_session_set_data(c, session->data, session->size);
		forget(session);
		*kept = NULL;
	}
	return c;
}

static enum io became(gnutls_session_t c, ssize_t r)
{
	if (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)
		return gnutls_record_get_direction(c) ? IO_WRITE : IO_READ;
	last = (int)r;
	return r == 0 || r == GNUTLS_E_PREMATURE ? IO_END : IO_FAILED;
}

static enum io handshake(void *c)
{
	int r;

	do
		r = gnutls_handshake(c);
	while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
	return r ? became(c, r) : IO_DONE;
}

/* What is no error and no data either (a session ticket, an alert that only warns) is read over. */
static enum io read_some(void *c, void *buf, size_t room, size_t *n)
{
	ssize_t r;

	do
		r = gnutls_record_recv(c, buf, room);
	while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)r));
	if (r <= 0)
		return became(c, r);
	*n = (size_t)r;
	return IO_DONE;
}

static enum io write_some(void *c, const void *buf, size_t len, size_t *n)
{
	ssize_t r = gnutls_record_send(c, buf, len);

	if (r <= 0)
		return became(c, r);
	*n = (size_t)r;
	return IO_DONE;
}

static bool resumed(void *c)
{
	return gnutls_session_is_resumed(c);
}

/* "(TLS1.2-X.509)-(ECDHE-…)-(3DES-CBC)-(SHA1)" */
static void describe(void *c, char *version, char *suite, size_t room)
{
	char *said = gnutls_session_get_desc(c);

	snprintf(version, room, "%s", said && *said == '(' ? said + 1 : "");
	version[strcspn(version, ")")] = 0;
	snprintf(suite, room, "%s", said ? said : "");
	if (said)
		(*gnutls_free)(said);
}

static void keep(void *c, void **kept)
{
	gnutls_datum_t *session;

	if (!resumes || *kept || !(session = malloc(sizeof(*session))))
		return;
	if (gnutls_session_get_data2(c, session)) {
		free(session);
		return;
	}
	*kept = session;
}

static void close_it(void *c)
{
	gnutls_deinit(c);
}

static void why(void *c, char *out, size_t room)
{
	(void)c;
	snprintf(out, room, "%s", last ? gnutls_strerror(last) : "the connection ended");
}

const struct tls tls_gnutls = {
	.name = "gnutls",
	.setup = setup,
	.open = open_it,
	.handshake = handshake,
	.read = read_some,
	.write = write_some,
	.resumed = resumed,
	.describe = describe,
	.keep = keep,
	.close = close_it,
	.forget = forget,
	.why = why,
};
