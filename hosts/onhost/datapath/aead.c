// SPDX-License-Identifier: GPL-2.0-only
/*
 * AEADs: what is wanted of them beyond a cipher. To encrypt is AAD || plain in, AAD || cipher || tag out; to decrypt
 * is AAD || cipher || tag in, AAD || plain out, or EBADMSG. That is AF_ALG's layout, where the tag's size belongs to the
 * bound socket and the AAD's to each request (alg_submit); /dev/crypto is told where each begins (devcrypto.c).
 */
#include "datapath.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#define AUTHENC_KEY_PARAM	1	/* the kernel's crypto/authenc.h, which user space does not get */

/* authenc() takes two keys as one: a struct rtattr with the size of the cipher's, then the MAC's, then the cipher's. */
int aead_authenc_key(const struct cipher *c, unsigned char *out)
{
	struct {
		struct rtattr attribute;
		uint32_t cipher_key_size;
		unsigned char keys[AUTHENC_MAC_KEY + MAX_BLOCK];
	} k = { .attribute = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = AUTHENC_KEY_PARAM } };
	size_t n = offsetof(typeof(k), keys) + AUTHENC_MAC_KEY + c->key_len;

	_Static_assert(sizeof(k) <= KEY_ROOM, "whoever asks has room for it");
	k.cipher_key_size = htonl((uint32_t)c->key_len);
	if (getrandom(k.keys, AUTHENC_MAC_KEY, 0) < 0)
		return -errno;
	memcpy(k.keys + AUTHENC_MAC_KEY, c->key, c->key_len);
	memcpy(out, &k, n);
	explicit_bzero(&k, sizeof(k));
	return (int)n;
}

/* /proc/crypto does not tell an AEAD's key sizes: the first that is taken, going from one size to another. */
static int first_size(struct cipher *c, take_key *takes, int with, int from, int to)
{
	int step = from < to ? 1 : -1, size;

	for (size = from; size != to + step; size += step) {
		c->key_len = (size_t)size;
		if (!takes(with, c))
			return size;
	}
	return -1;
}

int aead_key_sizes(struct cipher *c, take_key *takes, int with)
{
	int min, max;

	if (getrandom(c->key, sizeof(c->key), 0) < 0)
		return -errno;
	max = first_size(c, takes, with, (int)sizeof(c->key), 1);
	if (max < 0)
		return -EKEYREJECTED;
	min = first_size(c, takes, with, 1, max);
	c->min_key = (unsigned int)min;
	c->max_key = (unsigned int)max;
	return 0;
}
