// SPDX-License-Identifier: GPL-2.0-only
/*
 * Durations in buckets that are logarithmic in their size and linear within a power of two: the first 64 hold one
 * nanosecond each, then every power of two has 64. No bucket is wider than 1/64 of the durations in it.
 */
#include "load.h"

#include <stdio.h>

#define PER_POWER	(1u << LATENCY_BITS)

unsigned int latency_bucket(uint64_t ns)
{
	unsigned int power, bucket;

	if (ns < PER_POWER)
		return (unsigned int)ns;
	power = 63 - (unsigned int)__builtin_clzll(ns) - LATENCY_BITS;
	bucket = (power + 1) * PER_POWER + (unsigned int)(ns >> power) - PER_POWER;
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

void latency_add(struct latency *l, uint64_t ns)
{
	l->counts[latency_bucket(ns)]++;
	l->total++;
	if (ns > l->most)
		l->most = ns;
}

void latency_say(struct json *j, const char *key, const struct latency *l)
{
	unsigned int i;
	char name[16];

	json_open(j, key);
	json_u64(j, "total", l->total);
	json_u64(j, "most_ns", l->most);
	json_open(j, "buckets");
	for (i = 0; i < LATENCY_BUCKETS; i++) {
		if (!l->counts[i])
			continue;
		snprintf(name, sizeof(name), "%u", i);
		json_u64(j, name, l->counts[i]);
	}
	json_close(j);
	json_close(j);
}
