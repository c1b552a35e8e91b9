// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLS by OpenSSL 1.1.1 or newer. What is declared here is what its manual pages say; numbers are those of openssl/ssl.h,
 * which it does not change within a version of the library's name.
 */
#include "tls.h"
#include "util.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;
typedef struct ssl_session_st SSL_SESSION;
typedef struct ssl_cipher_st SSL_CIPHER;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct x509_st X509;
typedef struct evp_pkey_st EVP_PKEY;

#define SSL_VERIFY_PEER			1
#define SSL_ERROR_WANT_READ		2
#define SSL_ERROR_WANT_WRITE		3
#define SSL_ERROR_ZERO_RETURN		6
#define SSL_CTRL_SET_READ_AHEAD		41
#define SSL_CTRL_SET_SESS_CACHE_MODE	44
#define SSL_CTRL_SET_MIN_PROTO_VERSION	123
#define SSL_CTRL_SET_MAX_PROTO_VERSION	124
#define SSL_CTRL_SET_GROUPS_LIST	92
#define SSL_CTRL_GET_NEGOTIATED_GROUP	134
#define SSL_SESS_CACHE_CLIENT		0x1
#define SSL_SESS_CACHE_NO_INTERNAL	0x300
#define SSL_OP_ENABLE_KTLS		(1u << 3)
#define SSL_SENT_SHUTDOWN		1
#define SSL_RECEIVED_SHUTDOWN		2
#define NID_X9_62_prime256v1		415
#define NID_X25519			1034
#define TLS1_2_VERSION			0x303
#define TLS1_3_VERSION			0x304

static const SSL_METHOD *(*TLS_client_method)(void);
static SSL_CTX *(*SSL_CTX_new)(const SSL_METHOD *);
static long (*SSL_CTX_ctrl)(SSL_CTX *, int, long, void *);
static uint64_t (*SSL_CTX_set_options)(SSL_CTX *, uint64_t);
static int (*SSL_CTX_set_cipher_list)(SSL_CTX *, const char *);
static int (*SSL_CTX_set_ciphersuites)(SSL_CTX *, const char *);
static int (*SSL_CTX_load_verify_locations)(SSL_CTX *, const char *, const char *);
static void (*SSL_CTX_set_verify)(SSL_CTX *, int, void *);
static void (*SSL_CTX_set_default_read_buffer_len)(SSL_CTX *, size_t);
static void (*SSL_CTX_sess_set_new_cb)(SSL_CTX *, int (*)(SSL *, SSL_SESSION *));
static X509_VERIFY_PARAM *(*SSL_CTX_get0_param)(SSL_CTX *);
static int (*X509_VERIFY_PARAM_set1_ip_asc)(X509_VERIFY_PARAM *, const char *);
static SSL *(*SSL_new)(SSL_CTX *);
static void (*SSL_free)(SSL *);
static int (*SSL_set_fd)(SSL *, int);
static int (*SSL_set_ex_data)(SSL *, int, void *);
static void *(*SSL_get_ex_data)(const SSL *, int);
static int (*SSL_connect)(SSL *);
static int (*SSL_read)(SSL *, void *, int);
static int (*SSL_write)(SSL *, const void *, int);
static int (*SSL_has_pending)(const SSL *);
static BIO *(*SSL_get_rbio)(const SSL *);
static uint64_t (*BIO_number_read)(BIO *);
static int (*SSL_get_error)(const SSL *, int);
static int (*SSL_set_session)(SSL *, SSL_SESSION *);
static int (*SSL_session_reused)(const SSL *);
static void (*SSL_SESSION_free)(SSL_SESSION *);
static void (*SSL_set_shutdown)(SSL *, int);
static const char *(*SSL_get_version)(const SSL *);
static const SSL_CIPHER *(*SSL_get_current_cipher)(const SSL *);
static const char *(*SSL_CIPHER_get_name)(const SSL_CIPHER *);
static unsigned long (*ERR_get_error)(void);
static void (*ERR_error_string_n)(unsigned long, char *, size_t);
static void (*ERR_clear_error)(void);

static const char *(*SSL_get0_group_name)(SSL *);			/* since 3.2; NULL: an older one */
static X509 *(*SSL_get1_peer_certificate)(const SSL *);		/* since 3.0, as those below */
static EVP_PKEY *(*X509_get0_pubkey)(const X509 *);
static const char *(*EVP_PKEY_get0_type_name)(const EVP_PKEY *);
static int (*EVP_PKEY_get_bits)(const EVP_PKEY *);
static void (*X509_free)(X509 *);
static long (*SSL_ctrl)(SSL *, int, long, void *);

static SSL_CTX *context;
static int last_errno;

static void take_all(void)
{
	static const char *const names[] = { "libssl.so.3", "libssl.so.1.1", NULL };
	void *l = tls_library(names);

	TAKE(l, TLS_client_method);
	TAKE(l, SSL_CTX_new);
	TAKE(l, SSL_CTX_ctrl);
	TAKE(l, SSL_CTX_set_options);
	TAKE(l, SSL_CTX_set_cipher_list);
	TAKE(l, SSL_CTX_set_ciphersuites);
	TAKE(l, SSL_CTX_load_verify_locations);
	TAKE(l, SSL_CTX_set_verify);
	TAKE(l, SSL_CTX_set_default_read_buffer_len);
	TAKE(l, SSL_CTX_sess_set_new_cb);
	TAKE(l, SSL_CTX_get0_param);
	TAKE(l, X509_VERIFY_PARAM_set1_ip_asc);
	TAKE(l, SSL_new);
	TAKE(l, SSL_free);
	TAKE(l, SSL_set_fd);
	TAKE(l, SSL_set_ex_data);
	TAKE(l, SSL_get_ex_data);
	TAKE(l, SSL_connect);
	TAKE(l, SSL_read);
	TAKE(l, SSL_write);
	TAKE(l, SSL_has_pending);
	TAKE(l, SSL_get_rbio);
	TAKE(l, BIO_number_read);
	TAKE(l, SSL_get_error);
	TAKE(l, SSL_set_session);
	TAKE(l, SSL_session_reused);
	TAKE(l, SSL_SESSION_free);
	TAKE(l, SSL_set_shutdown);
	TAKE(l, SSL_get_version);
	TAKE(l, SSL_get_current_cipher);
	TAKE(l, SSL_CIPHER_get_name);
	TAKE(l, ERR_get_error);
	TAKE(l, ERR_error_string_n);
	TAKE(l, ERR_clear_error);
}

static void take_exchange(void)
{
	static const char *const names[] = { "libssl.so.3", NULL };
	void *l = tls_library(names);

	TAKE(l, SSL_ctrl);
	TAKE(l, SSL_get1_peer_certificate);
	TAKE(l, X509_get0_pubkey);
	TAKE(l, EVP_PKEY_get0_type_name);
	TAKE(l, EVP_PKEY_get_bits);
	TAKE(l, X509_free);
	*(void **)&SSL_get0_group_name = dlsym(l, "SSL_get0_group_name");
}

static void forget(void *kept)
{
	SSL_SESSION_free(kept);
}

/* With TLS 1.3 a session comes after the handshake, and a server may send several: the last one is kept. */
static int got_session(SSL *c, SSL_SESSION *session)
{
	void **kept = SSL_get_ex_data(c, 0);

	if (!kept)
		return 0;
	if (*kept)
		SSL_SESSION_free(*kept);
	*kept = session;
	return 1;
}

static void why(void *c, char *out, size_t room)
{
	unsigned long code = ERR_get_error();

	(void)c;
	if (code)
		ERR_error_string_n(code, out, room);
	else
		snprintf(out, room, "%s", last_errno ? strerror(last_errno) : "the connection ended");
}

static void must(bool ok, const char *what, const char *value)
{
	char text[256];

	if (ok)
		return;
	why(NULL, text, sizeof(text));
	die(EXIT_USAGE, "OpenSSL refuses the %s %s: %s", what, value, text);
}

static void setup(const struct tls_wanted *w)
{
	bool newest = !strcmp(w->version, "1.3");
	long version = newest ? TLS1_3_VERSION : TLS1_2_VERSION;

	take_all();
	context = SSL_CTX_new(TLS_client_method());
	must(context && SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, version, NULL) &&
	     SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, version, NULL), "TLS version", w->version);
	must(newest ? SSL_CTX_set_ciphersuites(context, w->suite) : SSL_CTX_set_cipher_list(context, w->suite),
	     "cipher suite", w->suite);
	must(SSL_CTX_load_verify_locations(context, w->ca, NULL) == 1, "certificate", w->ca);
	must(X509_VERIFY_PARAM_set1_ip_asc(SSL_CTX_get0_param(context), w->host), "address", w->host);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	if (w->group) {
		take_exchange();
		must(SSL_CTX_ctrl(context, SSL_CTRL_SET_GROUPS_LIST, 0, (void *)(uintptr_t)w->group), "group", w->group);
	}
	if (w->hands_over) {		/* what it had read ahead by then would be lost to the kernel */
		SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
	} else {			/* fewer system calls for each byte: what reads must not be what limits */
		SSL_CTX_ctrl(context, SSL_CTRL_SET_READ_AHEAD, 1, NULL);
		SSL_CTX_set_default_read_buffer_len(context, 65536);
	}
	if (w->resumes) {
		SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL, NULL);
		SSL_CTX_sess_set_new_cb(context, got_session);
	}
}

static void *open_it(int fd, void **kept)
{
	SSL *c = SSL_new(context);

	if (!c)
		return NULL;
	SSL_set_fd(c, fd);
	SSL_set_ex_data(c, 0, kept);
	if (kept && *kept)
		SSL_set_session(c, *kept);		/* with TLS 1.2 it serves until the server gives a new one */
	return c;
}

static enum io became(SSL *c, int r)
{
	last_errno = errno;
	switch (SSL_get_error(c, r)) {
	case SSL_ERROR_WANT_READ: return IO_READ;
	case SSL_ERROR_WANT_WRITE: return IO_WRITE;
	case SSL_ERROR_ZERO_RETURN: return IO_END;
	default: return IO_FAILED;
	}
}

static enum io handshake(void *c)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_connect(c);
	return r == 1 ? IO_DONE : became(c, r);
}

static enum io read_some(void *c, void *buf, size_t room, size_t *n)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_read(c, buf, (int)room);
	if (r <= 0)
		return became(c, r);
	*n = (size_t)r;
	return IO_DONE;
}

static enum io write_some(void *c, const void *buf, size_t len, size_t *n)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_write(c, buf, (int)len);
	if (r <= 0)
		return became(c, r);
	*n = (size_t)r;
	return IO_DONE;
}

static bool resumed(void *c)
{
	return SSL_session_reused(c);
}

static bool holds(void *c)
{
	return SSL_has_pending(c);
}

static uint64_t took(void *c)
{
	return BIO_number_read(SSL_get_rbio(c));
}

static void describe(void *c, char *version, char *suite, size_t room)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(c);

	snprintf(version, room, "%s", SSL_get_version(c));
	snprintf(suite, room, "%s", cipher ? SSL_CIPHER_get_name(cipher) : "");
}

static const char *group_name(SSL *c)
{
	if (SSL_get0_group_name)
		return SSL_get0_group_name(c);
	switch (SSL_ctrl(c, SSL_CTRL_GET_NEGOTIATED_GROUP, 0, NULL)) {
	case NID_X25519: return "x25519";
	case NID_X9_62_prime256v1: return "secp256r1";
	default: return NULL;
	}
}

static void exchange(void *c, char *group, char *key, size_t room)
{
	const char *name = group_name(c);
	X509 *certificate = SSL_get1_peer_certificate(c);
	EVP_PKEY *its = certificate ? X509_get0_pubkey(certificate) : NULL;

	snprintf(group, room, "%s", name ? name : "unknown");
	if (its)
		snprintf(key, room, "%s-%d", EVP_PKEY_get0_type_name(its), EVP_PKEY_get_bits(its));
	if (certificate)
		X509_free(certificate);
}

/* Not "bad": a session whose connection ended without a word may not be resumed. */
static void close_it(void *c)
{
	SSL_set_ex_data(c, 0, NULL);
	SSL_set_shutdown(c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c);
}

const struct tls tls_openssl = {
	.name = "openssl",
	.setup = setup,
	.open = open_it,
	.handshake = handshake,
	.read = read_some,
	.write = write_some,
	.resumed = resumed,
	.holds = holds,
	.took = took,
	.describe = describe,
	.exchange = exchange,
	.close = close_it,
	.forget = forget,
	.why = why,
};
