// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLS by GnuTLS 3.6 or newer, for cipher suites that OpenSSL has no more. What is declared here is what its manual says;
 * numbers are those of gnutls/gnutls.h, which it does not change within a version of the library's name. A suite is asked
 * for by a priority string, and told as "ECDHE_RSA_3DES_EDE_CBC_SHA1".
 */
#include "tls.h"
#include "util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gnutls_session_int *gnutls_session_t;
typedef struct gnutls_certificate_credentials_st *gnutls_certificate_credentials_t;
typedef struct gnutls_priority_st *gnutls_priority_t;
typedef struct { unsigned char *data; unsigned int size; } gnutls_datum_t;

#define GNUTLS_CLIENT			(1u << 1)
#define GNUTLS_NONBLOCK			(1u << 3)
#define GNUTLS_X509_FMT_PEM		1
#define GNUTLS_CRD_CERTIFICATE		1
#define GNUTLS_E_AGAIN			(-28)
#define GNUTLS_E_INTERRUPTED		(-52)
#define GNUTLS_E_PREMATURE_TERMINATION	(-110)

static int (*gnutls_certificate_allocate_credentials)(gnutls_certificate_credentials_t *);
static int (*gnutls_certificate_set_x509_trust_file)(gnutls_certificate_credentials_t, const char *, int);
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
static size_t (*gnutls_record_check_pending)(gnutls_session_t);
static int (*gnutls_session_is_resumed)(gnutls_session_t);
static int (*gnutls_session_get_data2)(gnutls_session_t, gnutls_datum_t *);
static int (*gnutls_session_set_data)(gnutls_session_t, const void *, size_t);
static int (*gnutls_protocol_get_version)(gnutls_session_t);
static const char *(*gnutls_protocol_get_name)(int);
static int (*gnutls_kx_get)(gnutls_session_t);
static int (*gnutls_cipher_get)(gnutls_session_t);
static int (*gnutls_mac_get)(gnutls_session_t);
static const char *(*gnutls_cipher_suite_get_name)(int, int, int);
static const char *(*gnutls_strerror)(int);

/* A connection, and where its session is to be kept. */
struct secured {
	gnutls_session_t session;
	void **kept;
};

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;
static const char *host;
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
	TAKE(l, gnutls_record_check_pending);
	TAKE(l, gnutls_session_is_resumed);
	TAKE(l, gnutls_session_get_data2);
	TAKE(l, gnutls_session_set_data);
	TAKE(l, gnutls_protocol_get_version);
	TAKE(l, gnutls_protocol_get_name);
	TAKE(l, gnutls_kx_get);
	TAKE(l, gnutls_cipher_get);
	TAKE(l, gnutls_mac_get);
	TAKE(l, gnutls_cipher_suite_get_name);
	TAKE(l, gnutls_strerror);
}

static void why(void *c, char *out, size_t room)
{
	(void)c;
	snprintf(out, room, "%s", gnutls_strerror(last));
}

static void setup(const struct tls_wanted *w)
{
	const char *where = "";

	take_all();
	if (strcmp(w->version, "1.2") || w->group)
		die(EXIT_USAGE, "--tls gnutls is for --tls-version 1.2, not %s, and has no --group", w->version);
	if (gnutls_priority_init(&priority, w->suite, &where))
		die(EXIT_USAGE, "GnuTLS refuses the cipher suite %s at \"%s\"", w->suite, where);
	if (gnutls_certificate_allocate_credentials(&credentials))
		die(EXIT_RUNTIME, "out of memory");
	last = gnutls_certificate_set_x509_trust_file(credentials, w->ca, GNUTLS_X509_FMT_PEM);
	if (last < 1)
		die(EXIT_USAGE, "GnuTLS refuses the certificate %s: %s", w->ca, gnutls_strerror(last));
	host = w->host;
}

static void forget(void *kept)
{
	gnutls_datum_t *session = kept;

	free(session->data);
	free(session);
}

static void close_it(void *c)
{
	struct secured *s = c;

	gnutls_deinit(s->session);
	free(s);
}

static void *open_it(int fd, void **kept)
{
	struct secured *s = calloc(1, sizeof(*s));
	const gnutls_datum_t *session = kept ? *kept : NULL;

	if (!s || gnutls_init(&s->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK)) {
		free(s);
		return NULL;
	}
	s->kept = kept;
	gnutls_transport_set_int2(s->session, fd, fd);
	gnutls_session_set_verify_cert(s->session, host, 0);
	if (gnutls_priority_set(s->session, priority) ||
	    gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, credentials) ||
	    (session && gnutls_session_set_data(s->session, session->data, session->size))) {
		close_it(s);
		return NULL;
	}
	return s;
}

static enum io became(struct secured *s, ssize_t r)
{
	last = (int)r;
	if (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)
		return gnutls_record_get_direction(s->session) ? IO_WRITE : IO_READ;
	return !r || r == GNUTLS_E_PREMATURE_TERMINATION ? IO_END : IO_FAILED;
}

/* With TLS 1.2 the session is there when the handshake is over. */
static void keep(struct secured *s)
{
	gnutls_datum_t *session = calloc(1, sizeof(*session));

	if (!session || gnutls_session_get_data2(s->session, session)) {
		free(session);
		return;
	}
	if (*s->kept)
		forget(*s->kept);
	*s->kept = session;
}

static enum io handshake(void *c)
{
	struct secured *s = c;
	int r = gnutls_handshake(s->session);

	if (r)
		return became(s, r);
	if (s->kept)
		keep(s);
	return IO_DONE;
}

static enum io read_some(void *c, void *buf, size_t room, size_t *n)
{
	struct secured *s = c;
	ssize_t r = gnutls_record_recv(s->session, buf, room);

	if (r <= 0)
		return became(s, r);
	*n = (size_t)r;
	return IO_DONE;
}

static enum io write_some(void *c, const void *buf, size_t len, size_t *n)
{
	struct secured *s = c;
	ssize_t r = gnutls_record_send(s->session, buf, len);

	if (r <= 0)
		return became(s, r);
	*n = (size_t)r;
	return IO_DONE;
}

static bool resumed(void *c)
{
	return gnutls_session_is_resumed(((struct secured *)c)->session);
}

static bool holds(void *c)
{
	return gnutls_record_check_pending(((struct secured *)c)->session) > 0;
}

static void describe(void *c, char *version, char *suite, size_t room)
{
	gnutls_session_t s = ((struct secured *)c)->session;
	const char *name = gnutls_cipher_suite_get_name(gnutls_kx_get(s), gnutls_cipher_get(s), gnutls_mac_get(s));

	snprintf(version, room, "%s", gnutls_protocol_get_name(gnutls_protocol_get_version(s)));
	if (name && !strncmp(name, "TLS_", 4))
		name += 4;
	snprintf(suite, room, "%s", name ? name : "");
}

const struct tls tls_gnutls = {
	.name = "gnutls",
	.setup = setup,
	.open = open_it,
	.handshake = handshake,
	.read = read_some,
	.write = write_some,
	.resumed = resumed,
	.holds = holds,
	.describe = describe,
	.close = close_it,
	.forget = forget,
	.why = why,
};
