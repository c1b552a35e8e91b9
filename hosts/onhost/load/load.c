// SPDX-License-Identifier: GPL-2.0-only
/* The command line, and the one line that is told. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct tls *const tls_libraries[] = { &tls_openssl, &tls_gnutls, NULL };
static const char *const reuses[] = { "new", "resumed", "kept", NULL };

struct options {
	const char *address, *port, *path, *reuse, *tls, *ca, *version, *suite, *group;
	double size, connections, seconds, warm, rate, patience;
};

static void help(void)
{
	puts("usage: load --address ADDRESS --port PORT[,PORT...] --path PATH --size BYTES --connections N --reuse new|resumed|kept\n"
	     "            --seconds S [--warm S=0.3] [--rate REQUESTS] [--patience S=10]\n"
	     "            [--tls openssl|gnutls --ca FILE --tls-version 1.2|1.3 --suite SUITE [--group GROUP]]\n\n"
	     "Asks an HTTP/1.1 server for PATH over N connections for S seconds, after all of them had an answer each and a\n"
	     "while to settle. Answers must have BYTES. Without --rate each connection asks again when served (closed loop);\n"
	     "with it requests start at that rate a second whatever became of those before, and their latency counts from\n"
	     "when they were to start (open loop). --suite is the one cipher suite, by OpenSSL's name or as a priority\n"
	     "string of GnuTLS; --group the one group of its key exchange that is offered. Connections are dealt to the PORTs\n"
	     "in turn.\n"
	     "Output: JSON lines: when the measured time begins, and at the end what came. Exit status: 0 (errors of single requests are in the line), 1 (runtime), 2 (usage).");
}

static double number(const char *text, const char *what, double low, double high, bool whole)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= low && v <= high) || (whole && v != (double)(long long)v))
		die(EXIT_USAGE, "--%s %s: wanted a %snumber from %.15g to %.15g", what, text, whole ? "whole " : "", low, high);
	return v;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "address", 1, NULL, 'a' }, { "port", 1, NULL, 'p' }, { "path", 1, NULL, 'f' },
		{ "size", 1, NULL, 's' }, { "connections", 1, NULL, 'n' }, { "reuse", 1, NULL, 'u' },
		{ "seconds", 1, NULL, 't' }, { "warm", 1, NULL, 'w' }, { "rate", 1, NULL, 'r' },
		{ "patience", 1, NULL, 'i' }, { "tls", 1, NULL, 'l' }, { "ca", 1, NULL, 'c' },
		{ "tls-version", 1, NULL, 'v' }, { "suite", 1, NULL, 'e' }, { "group", 1, NULL, 'g' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'a': o->address = optarg; break;
		case 'p': o->port = optarg; break;
		case 'f': o->path = optarg; break;
		case 's': o->size = number(optarg, "size", 1, 1e15, true); break;
		case 'n': o->connections = number(optarg, "connections", 1, MAX_CONNECTIONS, true); break;
		case 'u': o->reuse = optarg; break;
		case 't': o->seconds = number(optarg, "seconds", 0.05, 3600, false); break;
		case 'w': o->warm = number(optarg, "warm", 0.01, 60, false); break;
		case 'r': o->rate = number(optarg, "rate", 0.1, 1e7, false); break;
		case 'i': o->patience = number(optarg, "patience", 0.1, 600, false); break;
		case 'l': o->tls = optarg; break;
		case 'c': o->ca = optarg; break;
		case 'v': o->version = optarg; break;
		case 'e': o->suite = optarg; break;
		case 'g': o->group = optarg; break;
		case 'h': help(); exit(0);
		default: exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		die(EXIT_USAGE, "unexpected argument %s (try --help)", argv[optind]);
	if (!o->address || !o->port || !o->path || !o->size || !o->connections || !o->reuse || !o->seconds)
		die(EXIT_USAGE, "an option is missing (try --help)");
}

static void take_address(struct load *l, const struct options *o, const char *port)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *a;
	int err;

	number(port, "port", 1, 65535, true);
	if (l->n_addresses == MAX_PORTS)
		die(EXIT_USAGE, "--port: %d ports at the most", MAX_PORTS);
	err = getaddrinfo(o->address, port, &hints, &a);
	if (err)
		die(EXIT_USAGE, "address %s port %s: %s", o->address, port, gai_strerror(err));
	memcpy(&l->addresses[l->n_addresses++], a->ai_addr, a->ai_addrlen);
	l->address_len = a->ai_addrlen;
	freeaddrinfo(a);
}

static void take_addresses(struct load *l, const struct options *o)
{
	char ports[8 * MAX_PORTS], *rest = ports, *port;

	if (snprintf(ports, sizeof(ports), "%s", o->port) >= (int)sizeof(ports))
		die(EXIT_USAGE, "--port: %d ports at the most", MAX_PORTS);
	while ((port = strsep(&rest, ",")))
		take_address(l, o, port);
}

static void take_tls(struct load *l, const struct options *o)
{
	struct tls_wanted w = { .ca = o->ca, .version = o->version, .suite = o->suite, .host = o->address, .group = o->group,
				.resumes = l->reuse == RESUMED };

	if (!o->tls)
		return;
	l->tls = tls_set_up(o->tls, &w);
	l->one_group = o->group;
}

static void prepare(struct load *l, const struct options *o)
{
	unsigned int reuse = 0;
	bool v6 = strchr(o->address, ':') != NULL;
	int n;

	while (reuses[reuse] && strcmp(reuses[reuse], o->reuse))
		reuse++;
	if (!reuses[reuse])
		die(EXIT_USAGE, "--reuse %s: wanted new, resumed or kept", o->reuse);
	l->reuse = (enum reuse)reuse;
	if (l->reuse == RESUMED && !o->tls)
		die(EXIT_USAGE, "--reuse resumed needs --tls: without it there is no session");
	n = snprintf(l->request, sizeof(l->request), "GET %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: load\r\n%s\r\n", o->path,
		     v6 ? "[" : "", o->address, v6 ? "]" : "", l->reuse == KEPT ? "" : "Connection: close\r\n");
	if (n < 0 || (size_t)n >= sizeof(l->request))
		die(EXIT_USAGE, "--path is too long");
	l->request_len = (size_t)n;
	l->size = (uint64_t)o->size;
	l->connections = (unsigned int)o->connections;
	l->rate = o->rate;
	l->warm_ns = (uint64_t)(o->warm * 1e9);
	l->window_ns = (uint64_t)(o->seconds * 1e9);
	l->patience_ns = (uint64_t)(o->patience * 1e9);
	take_addresses(l, o);
	/* A slot, what waits to be closed, and a few. */
	need_descriptors(2 * l->connections + 64);
	l->slots = calloc(l->connections, sizeof(*l->slots));
	l->free_slots = calloc(l->connections, sizeof(*l->free_slots));
	l->buf = malloc(READ_ROOM);
	if (!l->slots || !l->free_slots || !l->buf)
		die(EXIT_RUNTIME, "out of memory");
	take_tls(l, o);
}

static void tell(const struct load *l)
{
	static struct json j;
	int i;

	json_begin(&j, "load");
	json_u64(&j, "connections", l->connections);
	json_str(&j, "reuse", reuses[l->reuse]);
	json_str(&j, "tls", l->tls ? l->tls->name : "none");
	json_str(&j, "version", l->version);
	json_str(&j, "suite", l->suite);
	if (l->one_group) {
		json_str(&j, "group", l->group);
		json_str(&j, "key", l->key);
	}
	json_u64(&j, "other_suites", l->other_suites);
	json_u64(&j, "requests", l->requests);
	json_u64(&j, "responses", l->responses);
	json_u64(&j, "bytes", l->bytes);
	json_u64(&j, "opened", l->opened);
	json_u64(&j, "handshakes", l->handshakes);
	json_u64(&j, "resumed", l->resumed);
	json_u64(&j, "at_once", l->at_once);
	json_open(&j, "window");
	json_num(&j, "seconds", l->window_to ? (double)(l->window_to - l->window_from) / 1e9 : 0);
	json_u64(&j, "responses", l->window_responses);
	json_u64(&j, "bytes", l->window_to ? l->window_bytes : 0);
	json_num(&j, "cpu_seconds", l->window_to ? l->window_cpu : 0);
	json_close(&j);
	json_open(&j, "errors");
	for (i = 0; i < KINDS; i++)
		if (l->errors[i])
			json_u64(&j, kind_names[i], l->errors[i]);
	json_close(&j);
	if (l->n_errors)
		json_str(&j, "first_error", l->first_error[0] ? l->first_error : "a request was never started");
	latency_say(&j, "latency", &l->latency);
	if (l->tls)
		latency_say(&j, "handshake", &l->handshake);
	if (l->rate > 0) {
		json_num(&j, "rate", l->rate);
		json_u64(&j, "planned", l->planned);
		latency_say(&j, "late", &l->late);
	}
	json_end(&j);
}

int main(int argc, char **argv)
{
	static struct load l;
	struct options o = { .warm = 0.3, .patience = 10 };

	parse(argc, argv, &o);
	signal(SIGPIPE, SIG_IGN);				/* a library writes where the other side may have gone */
	prepare(&l, &o);
	run(&l);
	tell(&l);
	free(l.slots);
	free(l.free_slots);
	free(l.buf);
	return 0;
}
