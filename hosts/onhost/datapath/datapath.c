// SPDX-License-Identifier: GPL-2.0-only
/*
 * datapath: command line. See README.md for the JSON that each command writes, and datapath.h for the reading order.
 *
 *   cc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -I ../modules/devcrypto [-I ../modules/so_crypt] -o datapath *.c
 */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const struct mode *const modes[] = {
	&mode_plain, &mode_afalg_copy, &mode_afalg_splice, &mode_so_crypt, &mode_so_crypt_send,
	&mode_devcrypto_copy, &mode_devcrypto_mapped, &mode_rehearse_sendfile, &mode_rehearse_send,
	&mode_rehearse_records, NULL,
};

struct options {
	const char *mode, *address, *port, *root, *cipher, *op;
	long chunk, watchdog, dearer, work, size, batch, key_bytes, aad, depth;	/* 0: not given; key_bytes: -1 */
	long connections, workers;
	unsigned int by;				/* interfaces; 0: not given */
	bool mapped;
	double seconds;
};

static void help(void)
{
	int i;

	puts("usage:\n"
	     "  datapath serve --mode MODE --address ADDRESS --port PORT --root DIR\n"
	     "                 [--cipher NAME] [--chunk BYTES=65536] [--watchdog SECONDS=10]\n"
	     "                 [--dearer PER_MILLE] [--work COUNTS=0] [--connections N=1] [--workers N]\n"
	     "      Serve the files beneath DIR over HTTP/1.1 (GET, HEAD). With a cipher, standard input has the key and\n"
	     "      the IV in hexadecimal, a line each (empty lines for the null cipher). Every answer starts anew from\n"
	     "      that IV: this is for measuring and keeps nothing secret. Block ciphers: PKCS#7 padding, 1 to one block\n"
	     "      of bytes; block size 1: none. Port 0 takes a free one. SIGTERM: finish, summary, exit 0.\n"
	     "      --connections: bodies of so many side by side, else one at a time. --workers: so many processes, each on a processor.\n"
	     "      --dearer: bodies take that much longer, on purpose. For tests of what measures them.\n"
	     "  datapath probe --cipher NAME [--cipher NAME ...] [--interface I] [--key-bytes N] [--aad BYTES=0]\n"
	     "      What the interface offers here.\n"
	     "  datapath costs [--cipher NAME [--interface I ...] [--key-bytes N] [--aad BYTES=0]] [--chunk BYTES]\n"
	     "                 [--op encrypt|decrypt] [--seconds S=5]\n"
	     "      What system calls and copies cost here, and the cipher by each interface, in calls of --chunk bytes\n"
	     "      and smaller ones: 65536, for an AEAD 16384, where --chunk does not say.\n"
	     "  datapath raw --cipher NAME --op encrypt|decrypt --size BYTES [--key-bytes N] [--aad BYTES=0]\n"
	     "               [--interface I] [--mapped] [--seconds S=1] [--depth N=1] [--batch N]\n"
	     "      Operations with one buffer size, --depth of them under way at once, --batch between two looks at\n"
	     "      the clock (1, with a depth over 1 sixteen times the depth). All results must be the same.\n\n"
	     "I is af_alg, which it is where nothing is said, or devcrypto: /dev/crypto, made by the module devcrypto,\n"
	     "      with copies of the buffers, or --mapped.\n"
	     "NAME is an algorithm (cbc(aes), gcm(aes)), a driver (cbc-aes-aesni) or ecb(cipher_null). serve: no AEAD.\n"
	     "--key-bytes: the size of the made-up key (16: AES-128); the largest where it is not given.\n"
	     "--aad: bytes of associated data in each request of an AEAD; its tags have 16 bytes.\n"
	     "Output: JSON lines. Exit status: 0, 1 (runtime), 2 (usage).\n\nmodes:");
	for (i = 0; modes[i]; i++)
		printf("  %-17s %s\n", modes[i]->name, modes[i]->help);
}

static long number(const char *text, const char *what, long low, long high)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < low || v > high)
		die(EXIT_USAGE, "--%s %s: wanted a whole number from %ld to %ld", what, text, low, high);
	return v;
}

static double duration(const char *text)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= 0.01 && v <= 600))
		die(EXIT_USAGE, "--seconds %s: wanted a number from 0.01 to 600", text);
	return v;
}

static unsigned int interface(const char *text)
{
	if (!strcmp(text, "af_alg"))
		return BY_AF_ALG;
	if (!strcmp(text, "devcrypto"))
		return BY_DEVCRYPTO;
	die(EXIT_USAGE, "--interface %s: wanted af_alg or devcrypto", text);
}

static void parse(int argc, char **argv, struct options *o, char **ciphers, int *n_ciphers)
{
	static const struct option longs[] = {
		{ "mode", 1, NULL, 'm' }, { "address", 1, NULL, 'a' }, { "port", 1, NULL, 'p' },
		{ "root", 1, NULL, 'r' }, { "cipher", 1, NULL, 'c' }, { "chunk", 1, NULL, 'k' },
		{ "watchdog", 1, NULL, 'w' }, { "op", 1, NULL, 'o' }, { "size", 1, NULL, 's' },
		{ "seconds", 1, NULL, 't' }, { "batch", 1, NULL, 'b' }, { "key-bytes", 1, NULL, 'y' },
		{ "aad", 1, NULL, 'd' }, { "depth", 1, NULL, 'n' }, { "dearer", 1, NULL, 'e' },
		{ "work", 1, NULL, 'u' }, { "connections", 1, NULL, 'l' }, { "workers", 1, NULL, 'x' },
		{ "work", 1, NULL, 'u' }, { "interface", 1, NULL, 'i' }, { "mapped", 0, NULL, 'q' },
		{ "help", 0, NULL, 'h' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'm': o->mode = optarg; break;
		case 'a': o->address = optarg; break;
		case 'p': o->port = optarg; number(optarg, "port", 0, 65535); break;
		case 'r': o->root = optarg; break;
		case 'c': o->cipher = ciphers[(*n_ciphers)++] = optarg; break;
		case 'k': o->chunk = number(optarg, "chunk", 16, MAX_REQUEST); break;
		case 'w': o->watchdog = number(optarg, "watchdog", 1, 3600); break;
		case 'o': o->op = optarg; break;
		case 's': o->size = number(optarg, "size", 1, MAX_CHUNK); break;
		case 't': o->seconds = duration(optarg); break;
		case 'b': o->batch = number(optarg, "batch", 1, 10000); break;
		case 'y': o->key_bytes = number(optarg, "key-bytes", 0, MAX_BLOCK); break;
		case 'd': o->aad = number(optarg, "aad", 0, MAX_AAD); break;
		case 'u': o->work = number(optarg, "work", 1, 1000000000); break;
		case 'l': o->connections = number(optarg, "connections", 1, MAX_CONNECTIONS); break;
		case 'x': o->workers = number(optarg, "workers", 1, MAX_WORKERS); break;
		case 'n': o->depth = number(optarg, "depth", 1, MAX_DEPTH); break;
		case 'e': o->dearer = number(optarg, "dearer", 1, 1000); break;
		case 'i': o->by |= interface(optarg); break;
		case 'q': o->mapped = true; break;
		case 'h': help(); exit(0);
		default: exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		die(EXIT_USAGE, "unexpected argument %s (try --help)", argv[optind]);
}

static void set_cipher(struct cipher *c, const struct options *o)
{
	const char *name = o->cipher;

	if (!name)
		die(EXIT_USAGE, "--cipher is needed");
	if (!*name || strlen(name) >= sizeof(c->name))
		die(EXIT_USAGE, "--cipher: a name of 1 to %zu characters", sizeof(c->name) - 1);
	strcpy(c->name, name);
	c->key_wanted = (int)o->key_bytes;
	c->aad = (uint32_t)o->aad;
}

static void read_secret(const char *what, unsigned char *out, size_t room, size_t *len)
{
	int err = read_hex_line(STDIN_FILENO, out, room, len);

	if (err)
		die(EXIT_USAGE, "the %s on standard input: %s", what,
		    err == -E2BIG ? "too long" : err == -EINVAL ? "not hexadecimal, whole bytes" : strerror(-err));
}

/* openat2 is what keeps paths beneath the root: without it there is no serving. */
static int open_root(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), self;

	if (fd < 0)
		die(EXIT_RUNTIME, "root %s: %s", path, strerror(errno));
	self = open_beneath(fd, ".");
	if (self < 0)
		die(EXIT_RUNTIME, "root %s: %s", path,
		    self == -ENOSYS ? "this kernel has no openat2 (it needs Linux 5.6)" : strerror(-self));
	close(self);
	return fd;
}

static int run_serve(const struct options *o)
{
	static struct server s = { .tfm = -1 };
	int i, r;

	if (!o->mode || !o->address || !o->port || !o->root)
		die(EXIT_USAGE, "serve needs --mode, --address, --port and --root");
	for (i = 0; modes[i] && strcmp(modes[i]->name, o->mode); i++)
		;
	s.mode = modes[i];
	if (!s.mode)
		die(EXIT_USAGE, "unknown mode %s (try --help)", o->mode);
	if (o->key_bytes >= 0 || o->aad)
		die(EXIT_USAGE, "serve takes no --key-bytes and no --aad: the key on standard input has its size");
	if (!s.mode->cipher && o->cipher)
		die(EXIT_USAGE, "mode %s takes no cipher", o->mode);
	if (!s.mode->rehearses && o->work)
		die(EXIT_USAGE, "mode %s takes no --work", o->mode);
	s.work = (uint64_t)o->work;
	s.address = o->address;
	s.port_text = o->port;
	s.root = open_root(o->root);
	s.chunk = o->chunk ? (size_t)o->chunk : DEFAULT_CHUNK;
	s.watchdog = (unsigned int)o->watchdog;
	s.dearer = (unsigned int)o->dearer;
	s.connections = o->connections ? (unsigned int)o->connections : 1;
	s.workers = o->workers ? (unsigned int)o->workers : 1;
	s.pinned = o->workers;
	if (s.mode->cipher) {
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });	/* a core file would have the key in it */
		set_cipher(&s.cipher, o);
		read_secret("key", s.cipher.key, sizeof(s.cipher.key), &s.cipher.key_len);
		read_secret("IV", s.cipher.iv, sizeof(s.cipher.iv), &s.cipher.iv_len);
	}
	r = serve(&s);
	cipher_wipe(&s.cipher);
	return r;
}

/* The one interface that is asked for. */
static unsigned int one_interface(const struct options *o)
{
	if (o->by == (BY_AF_ALG | BY_DEVCRYPTO))
		die(EXIT_USAGE, "one --interface is enough");
	return o->by ? o->by : BY_AF_ALG;
}

static int run_probe(const struct options *o, char *const *ciphers, int n)
{
	struct cipher like = { .key_wanted = (int)o->key_bytes, .aad = (uint32_t)o->aad };

	return probe(&like, one_interface(o), ciphers, n);
}

static int run_costs(const struct options *o)
{
	struct cipher c = { 0 };

	if (o->chunk > MAX_CHUNK)
		die(EXIT_USAGE, "--chunk %ld: wanted at most %d", o->chunk, MAX_CHUNK);
	if (!o->cipher && (o->by || o->aad || o->key_bytes >= 0))
		die(EXIT_USAGE, "--interface, --key-bytes and --aad are for a --cipher");
	if (o->op && strcmp(o->op, "encrypt") && (strcmp(o->op, "decrypt") || o->by != BY_DEVCRYPTO || o->aad))
		die(EXIT_USAGE, "--op: wanted encrypt, or by --interface devcrypto alone decrypt");
	if (o->cipher)
		set_cipher(&c, o);
	return costs(o->cipher ? &c : NULL, o->by ? o->by : BY_AF_ALG, o->op && !strcmp(o->op, "decrypt"), (size_t)o->chunk, o->seconds ? o->seconds : 5);
}

static int run_raw(const struct options *o)
{
	struct cipher c = { 0 };
	struct job j = { .cipher = &c, .seconds = o->seconds ? o->seconds : 1, .batch = (unsigned int)o->batch };

	set_cipher(&c, o);
	if (!o->op || (strcmp(o->op, "encrypt") && strcmp(o->op, "decrypt")))
		die(EXIT_USAGE, "--op encrypt or --op decrypt is needed");
	if (!o->size)
		die(EXIT_USAGE, "--size is needed");
	j.by = one_interface(o) == BY_DEVCRYPTO ? &by_devcrypto : &by_af_alg;
	j.mapped = o->mapped;
	j.encrypt = !strcmp(o->op, "encrypt");
	j.size = (size_t)o->size;
	j.depth = o->depth ? (unsigned int)o->depth : 1;
	return raw(&j);
}

static int run(const char *command, const struct options *o, char *const *ciphers, int n)
{
	bool is_raw = !strcmp(command, "raw");

	if (o->depth && !is_raw)
		die(EXIT_USAGE, "--depth is for raw");
	if (o->mapped && (!is_raw || o->by != BY_DEVCRYPTO))
		die(EXIT_USAGE, "--mapped is for raw by --interface devcrypto");
	if (o->by && !strcmp(command, "serve"))
		die(EXIT_USAGE, "serve takes no --interface: its mode says it");
	if (o->dearer && strcmp(command, "serve"))
		die(EXIT_USAGE, "--dearer is for serve");
	if ((o->connections || o->workers) && strcmp(command, "serve"))
		die(EXIT_USAGE, "--connections and --workers are for serve");
	if (!strcmp(command, "probe"))
		return run_probe(o, ciphers, n);
	if (n > 1)
		die(EXIT_USAGE, "one --cipher is enough");
	if (!strcmp(command, "serve"))
		return run_serve(o);
	if (!strcmp(command, "costs"))
		return run_costs(o);
	if (is_raw)
		return run_raw(o);
	die(EXIT_USAGE, "unknown command %s (try --help)", command);
}

int main(int argc, char **argv)
{
	struct options o = { .watchdog = 10, .key_bytes = -1 };
	char **ciphers;
	int n = 0, r;

	if (argc < 2)
		die(EXIT_USAGE, "a command is needed: serve, probe, costs or raw (try --help)");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return 0;
	}
	ciphers = calloc((size_t)argc, sizeof(*ciphers));
	if (!ciphers)
		die(EXIT_RUNTIME, "out of memory");
	parse(argc - 1, argv + 1, &o, ciphers, &n);
	r = run(argv[1], &o, ciphers, n);
	free(ciphers);
	return r;
}
