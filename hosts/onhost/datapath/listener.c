// SPDX-License-Identifier: GPL-2.0-only
/* A server's listener, and what it says of itself when it begins and when it ends. */
#include "datapath.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void open_listener(struct server *s, bool listens)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct sockaddr_in6 bound;			/* large enough for both families, the port at the same place */
	socklen_t len = sizeof(bound);
	struct addrinfo *a;
	int err = getaddrinfo(s->address, s->port_text, &hints, &a), one = 1;

	if (err)
		die(EXIT_USAGE, "address %s port %s: %s", s->address, s->port_text, gai_strerror(err));
	s->listener = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->port)					/* of the workers' first socket, which took it */
		((struct sockaddr_in *)a->ai_addr)->sin_port = htons((uint16_t)s->port);
	if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    (s->workers > 1 && setsockopt(s->listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one))) ||
	    bind(s->listener, a->ai_addr, a->ai_addrlen) || (listens && listen(s->listener, SOMAXCONN)) ||
	    getsockname(s->listener, (struct sockaddr *)&bound, &len))
		die(EXIT_RUNTIME, "cannot listen on %s port %s: %s", s->address, s->port_text, strerror(errno));
	s->port = ntohs(bound.sin6_port);
	freeaddrinfo(a);
}

void say_listening(struct server *s)
{
	struct json j;

	json_begin(&j, "listening");
	json_str(&j, "mode", s->mode->name);
	json_str(&j, "address", s->address);
	json_u64(&j, "port", s->port);
	json_int(&j, "pid", getpid());
	json_u64(&j, "chunk", s->chunk);
	json_u64(&j, "watchdog_seconds", s->watchdog);
	if (s->connections > 1)
		json_u64(&j, "connections", s->connections);
	if (s->workers > 1)
		json_u64(&j, "workers", s->workers);
	if (s->dearer)
		json_u64(&j, "dearer_per_mille", s->dearer);
	if (s->mode->cipher) {
		json_str(&j, "cipher", s->cipher.name);
		json_str(&j, "algorithm", s->cipher.algorithm);
		json_str(&j, "driver", s->cipher.driver);
		json_u64(&j, "key_bytes", s->cipher.key_len);
		json_str(&j, "module", s->cipher.module);
		json_int(&j, "priority", s->cipher.priority);
		json_bool(&j, "async", s->cipher.async);
		json_u64(&j, "block_bytes", s->cipher.block);
		json_str(&j, "padding", s->cipher.block > 1 ? "pkcs7" : "none");
	}
	if (s->mode == &mode_afalg_splice)
		json_str(&j, "splice", s->splice_copies ? "copy" : "zero-copy");
	json_end(&j);
}

void say_summary(struct server *s)
{
	struct totals *sum = &s->totals;
	struct rusage used;
	struct json j;
	int i;

	if (s->connections > 1 && !getrusage(RUSAGE_SELF, &used)) {	/* of single bodies it is not known */
		sum->user_seconds = (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6;
		sum->system_seconds = (double)used.ru_stime.tv_sec + (double)used.ru_stime.tv_usec / 1e6;
	}
	json_begin(&j, "summary");
	if (s->worker)
		json_u64(&j, "worker", s->worker);
	json_str(&j, "mode", s->mode->name);
	if (s->mode->cipher)
		json_str(&j, "driver", s->cipher.driver);
	json_u64(&j, "connections", sum->connections);
	json_u64(&j, "http_requests", sum->requests);
	json_u64(&j, "failed", sum->failed);
	if (sum->put_off)
		json_u64(&j, "put_off", sum->put_off);
	json_u64(&j, "bytes", sum->bytes);
	json_u64(&j, "plain_bytes", sum->plain_bytes);
	json_u64(&j, "requests", sum->crypto_requests);
	json_num(&j, "user_seconds", sum->user_seconds);
	json_num(&j, "system_seconds", sum->system_seconds);
	json_open(&j, "calls");
	for (i = 0; i < CALLS; i++)
		json_u64(&j, call_names[i], sum->calls[i]);
	json_close(&j);
	json_u64(&j, "crossing_bytes", sum->crossing);
	json_u64(&j, "copied_bytes", sum->copied);
	json_end(&j);
}
