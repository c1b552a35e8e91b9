// SPDX-License-Identifier: GPL-2.0-only
/* Counts what OpenSSL's qatengine has encrypted with AES-GCM by itself, in its software mode; see README.md. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FUNCTION	"qat_imb_aes_gcm_enc_update"

/* As the engine (2.0) calls it: cipher, ipsec-mb's functions, key, state, buffers. For TLS: once a record. */
typedef void encrypt(int nid, void *functions, void *key, void *state, uint8_t *out, const uint8_t *in, uint64_t length);

encrypt qat_imb_aes_gcm_enc_update;

struct counts {
	_Atomic uint64_t calls, bytes;
};

static struct counts *counts;			/* the counting file, mapped */
static char engine[PATH_MAX];			/* the engine's library */
static _Atomic(encrypt *) own;			/* the engine's own function */

static void end(const char *why)
{
	fprintf(stderr, "count_gcm: %s\n", why);
	_exit(1);				/* better no server than one that nobody counts */
}

/* Now: a server may throw its environment away. */
__attribute__((constructor)) static void prepare(void)
{
	const char *library = getenv("PATHPROOF_ENGINE"), *file = getenv("PATHPROOF_COUNT");
	int fd;

	if (!library || strlen(library) >= sizeof(engine) || !file)
		end("PATHPROOF_ENGINE and PATHPROOF_COUNT must name the engine's library and the counting file");
	strcpy(engine, library);
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		end("the counting file cannot be opened");
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (counts == MAP_FAILED)
		end("the counting file cannot be mapped");
}

/* OpenSSL loads engines for itself alone, so it is not found among the names that all share. */
static encrypt *engines_own(void)
{
	void *library = dlopen(engine, RTLD_LAZY | RTLD_NOLOAD);
	encrypt *found = library ? (encrypt *)dlsym(library, FUNCTION) : NULL;

	if (!found || found == qat_imb_aes_gcm_enc_update)
		end("the engine's own " FUNCTION " is not there");
	return found;
}

void qat_imb_aes_gcm_enc_update(int nid, void *functions, void *key, void *state, uint8_t *out, const uint8_t *in,
				uint64_t length)
{
	encrypt *does = atomic_load(&own);

	if (!does) {
		does = engines_own();
		atomic_store(&own, does);
	}
	does(nid, functions, key, state, out, in, length);
	atomic_fetch_add(&counts->calls, 1);
	atomic_fetch_add(&counts->bytes, length);
}
