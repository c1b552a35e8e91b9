// SPDX-License-Identifier: GPL-2.0-only
/* The command line, what is asked on standard input, and the line that is told of each transfer. */
#include "receive.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM_OF_PIPE	(1024 * 1024)
#define MOST_FRAGMENTS	17	/* of what one splice takes from a socket: MAX_SKB_FRAGS, each a page of the pipe's */
#define MOST_BYTES	1000000000000000ull

const struct tls *const tls_libraries[] = { &tls_openssl, NULL };

static const char *const ways[WAYS] = { "library", "recv", "splice", "devcrypto" };
static const char *const call_names[CALLS] = { "recvmsg", "write", "splice", "library_read", "ioctl", "fsync" };

struct options {
	const char *way, *address, *port, *tls, *ca, *version, *suite, *cipher, *key, *most;
	bool synced, chunked;
};

static void help(void)
{
	puts("usage: receive --way library|recv|splice|devcrypto --address ADDRESS --port PORT\n"
	     "               [--tls openssl --ca FILE --tls-version 1.2|1.3 --suite SUITE | --cipher NAME --key FILE]\n"
	     "               [--sync] [--at-most BYTES] [--chunks]\n\n"
	     "Fetches files over HTTP/1.1, each over a new connection. What to fetch comes on standard input, a line each:\n"
	     "PATH BYTES FILE, where FILE is there and is written over from its start. library: the TLS library deciphers and\n"
	     "the file is written; recv, splice: the kernel deciphers (or there is no TLS), and what it gives is read and\n"
	     "written, or spliced into the file through a pipe. --suite is the one cipher suite, by OpenSSL's name.\n"
	     "--cipher NAME: the body is cipher text of what /proc/crypto calls so, under the key and IV that FILE has in hex,\n"
	     "a line each: with recv and splice the socket deciphers (so_crypt), with devcrypto an ioctl of /dev/crypto.\n"
	     "--sync: a transfer ends when its file is on its disk (fsync). --at-most: no call of recv or splice takes more bytes.\n"
	     "--chunks: without TLS or a cipher, wait for 64 KiB at a time, as with a cipher.\n"
	     "Output: JSON lines: that it is ready, and how each file came. Exit status: 0 (end of input), 1 (a transfer went wrong), 2 (usage).");
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "way", 1, NULL, 'y' }, { "address", 1, NULL, 'a' }, { "port", 1, NULL, 'p' }, { "tls", 1, NULL, 'l' },
		{ "ca", 1, NULL, 'c' }, { "tls-version", 1, NULL, 'v' }, { "suite", 1, NULL, 'e' }, { "cipher", 1, NULL, 'i' },
		{ "key", 1, NULL, 'k' }, { "sync", 0, NULL, 's' }, { "at-most", 1, NULL, 'm' }, { "help", 0, NULL, 'h' },
		{ "chunks", 0, NULL, 'u' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'y': o->way = optarg; break;
		case 'a': o->address = optarg; break;
		case 'p': o->port = optarg; break;
		case 'l': o->tls = optarg; break;
		case 'c': o->ca = optarg; break;
		case 'v': o->version = optarg; break;
		case 'e': o->suite = optarg; break;
		case 'i': o->cipher = optarg; break;
		case 'k': o->key = optarg; break;
		case 's': o->synced = true; break;
		case 'u': o->chunked = true; break;
		case 'm': o->most = optarg; break;
		case 'h': help(); exit(0);
		default: exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		die(EXIT_USAGE, "unexpected argument %s (try --help)", argv[optind]);
	if (!o->way || !o->address || !o->port)
		die(EXIT_USAGE, "an option is missing (try --help)");
}

static void take_place(struct receive *r, const struct options *o)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *a;
	int err = getaddrinfo(o->address, o->port, &hints, &a);

	if (err)
		die(EXIT_USAGE, "address %s port %s: %s", o->address, o->port, gai_strerror(err));
	memcpy(&r->place, a->ai_addr, a->ai_addrlen);
	r->place_len = a->ai_addrlen;
	r->address = o->address;
	freeaddrinfo(a);
}

static void take_tls(struct receive *r, const struct options *o)
{
	struct tls_wanted w = { .ca = o->ca, .version = o->version, .suite = o->suite, .host = o->address,
				.hands_over = r->way != LIBRARY };

	if (!o->tls) {
		if (r->way == LIBRARY)
			die(EXIT_USAGE, "--way library needs --tls: without it there is no library to take the bytes");
		return;
	}
	r->tls = tls_set_up(o->tls, &w);
}

static void take_cipher(struct receive *r, const struct options *o)
{
	struct cipher *c = &r->cipher;
	int fd;

	if (!o->cipher && r->way == DEVCRYPTO)
		die(EXIT_USAGE, "--way devcrypto needs --cipher");
	if (!o->cipher)
		return;
	if (o->tls || r->way == LIBRARY || !o->key)
		die(EXIT_USAGE, "--cipher goes with --key, and neither with --tls nor --way library");
	fd = open(o->key, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(EXIT_USAGE, "%s: %s", o->key, strerror(errno));
	if (read_hex_line(fd, c->key, sizeof(c->key), &c->key_len) || read_hex_line(fd, c->iv, sizeof(c->iv), &c->iv_len))
		die(EXIT_USAGE, "%s: wanted a key and an IV in hex, a line each", o->key);
	close(fd);
	c->name = o->cipher;
}

static void take_most(struct receive *r, const struct options *o)
{
	char *end;

	r->most = r->way == SPLICE ? SIZE_MAX : READ_ROOM;
	if (!o->most)
		return;
	if (r->way != RECV && r->way != SPLICE)
		die(EXIT_USAGE, "--at-most is for --way recv and splice");
	r->most = strtoul(o->most, &end, 10);
	if (*end || !r->most || r->most > READ_ROOM)
		die(EXIT_USAGE, "--at-most %s: wanted 1 to %d bytes", o->most, READ_ROOM);
}

static void prepare(struct receive *r, const struct options *o)
{
	unsigned int way = 0;

	while (way < WAYS && strcmp(ways[way], o->way))
		way++;
	if (way == WAYS)
		die(EXIT_USAGE, "--way %s: wanted library, recv, splice or devcrypto", o->way);
	r->way = (enum way)way;
	r->synced = o->synced;
	r->chunked = o->chunked;
	if (r->chunked && (o->tls || o->cipher))
		die(EXIT_USAGE, "--chunks is for a connection in clear");
	take_most(r, o);
	take_place(r, o);
	take_tls(r, o);
	take_cipher(r, o);
	if (r->way != SPLICE)
		return;
	if (pipe2(r->pipe, O_CLOEXEC))
		die(EXIT_RUNTIME, "pipe2: %s", strerror(errno));
	(void)fcntl(r->pipe[1], F_SETPIPE_SZ, ROOM_OF_PIPE);	/* a smaller one takes more calls */
	r->most_spliced = fcntl(r->pipe[1], F_GETPIPE_SZ) / (int)sysconf(_SC_PAGESIZE) / MOST_FRAGMENTS;
	if (r->cipher.name)
		r->most_spliced = 1;			/* a call of such a socket takes all that there is */
}

static void say_deciphered(struct json *j, const struct deciphered *done)
{
	json_open(j, "deciphered");
	json_str(j, "driver", done->driver);
	json_bool(j, "async", done->async);
	json_u64(j, "block", done->block);
	json_u64(j, "requests", done->requests);
	json_u64(j, "bytes_in", done->in);
	json_u64(j, "bytes_out", done->out);
	json_u64(j, "pending", done->pending);
	json_u64(j, "failed", done->failed);
	json_close(j);
}

static void say(const struct fetch *f)
{
	static struct json j;
	int i;

	json_begin(&j, "received");
	json_str(&j, "way", ways[f->r->way]);
	json_u64(&j, "bytes", f->taken);
	json_u64(&j, "ns", f->ended - f->begun);
	if (f->secured) {
		json_u64(&j, "handshake_ns", f->ready - f->connected);
		json_str(&j, "version", f->version);
		json_str(&j, "suite", f->suite);
		json_u64(&j, "library_bytes", f->r->tls->took(f->secured) - f->handshake);
	}
	if (f->kernel_version) {
		json_str(&j, "kernel_version", f->kernel_version);
		json_str(&j, "kernel_cipher", f->kernel_cipher);
	}
	if (f->r->cipher.name)
		say_deciphered(&j, &f->done);
	json_u64(&j, "crossing_bytes", f->crossed);
	json_u64(&j, "voluntary_switches", f->switches);
	json_open(&j, "calls");
	for (i = 0; i < CALLS; i++)
		if (f->calls[i])
			json_u64(&j, call_names[i], f->calls[i]);
	json_close(&j);
	json_end(&j);
}

/* A line of standard input is done. */
static void serve(const struct receive *r, char *line)
{
	struct fetch f = { .r = r, .fd = -1 };
	char *path = strtok(line, " \n"), *size = strtok(NULL, " \n"), *file = strtok(NULL, " \n"), *end;

	if (!path || !size || !file || strtok(NULL, " \n"))
		die(EXIT_USAGE, "wanted on standard input: PATH BYTES FILE");
	f.size = strtoull(size, &end, 10);
	if (*end || !f.size || f.size > MOST_BYTES)
		die(EXIT_USAGE, "a file of %s bytes is none to fetch", size);
	f.out = open(file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (f.out < 0)
		die(EXIT_RUNTIME, "%s: %s", file, strerror(errno));
	fetch(&f, path);
	say(&f);
	if (f.secured)
		r->tls->close(f.secured);
	close(f.fd);
	close(f.out);
}

int main(int argc, char **argv)
{
	static struct json j;
	struct options o = { 0 };
	struct receive r = { 0 };
	char *line = NULL;
	size_t room = 0;

	parse(argc, argv, &o);
	on_signal(SIGPIPE, ignore_signal);
	prepare(&r, &o);
	json_begin(&j, "ready");
	json_end(&j);
	while (getline(&line, &room, stdin) > 0)
		serve(&r, line);
	free(line);
	return 0;
}
