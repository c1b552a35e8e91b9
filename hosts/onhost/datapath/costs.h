/* SPDX-License-Identifier: GPL-2.0-only */
/* What costs measures with: the calls whose prices it takes (prices.c), and what they are made on (bench.c). */
#ifndef COSTS_H
#define COSTS_H

#include "datapath.h"

struct bench {
	struct cipher *cipher;				/* NULL: prices without one */
	unsigned int by;				/* the interfaces */
	bool decrypts;					/* devcrypto_cipher does */
	int file, tx, rx;
	int tfm, op;					/* AF_ALG */
	int device;					/* /dev/crypto, and its sessions */
	uint32_t null_copied, null_mapped, mapped;
	struct cipher null;
	char *buf, *other, *sealed;
};

/* Dies when a call did less than it was to do. */
void must(ssize_t n, size_t wanted, const char *what);
void open_interfaces(struct bench *b);			/* those of bench.by, for its cipher */
void open_bench(struct bench *b, size_t chunk);
void close_bench(struct bench *b);

struct price {
	const char *name;
	uint64_t (*time)(struct bench *b, size_t n);
	bool sizes;
	unsigned int by;				/* the interface that it is of; 0: of none */
};
#define N_PRICES	12
extern const struct price prices[N_PRICES];		/* the first is the clock's */

#endif
