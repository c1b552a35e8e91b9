// SPDX-License-Identifier: GPL-2.0-only
/*
 * AEADs: what AF_ALG wants of them beyond a cipher. To encrypt is AAD || plain in, AAD || cipher || tag out; to decrypt
 * is AAD || cipher || tag in, AAD || plain out, or EBADMSG. The tag's size belongs to the bound socket, the AAD's to
 * each request (alg_submit).
 */
#include "datapath.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_alg.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define MAC_KEY			20
#define AUTHENC_KEY_PARAM	1	/* the kernel's crypto/authenc.h, which user space does not get */

/* authenc() takes two keys as one: a struct rtattr with the size of the cipher's, then the MAC's, then the cipher's. */
static int set_authenc_key(int tfm, const struct cipher *c)
{
	struct {
		struct rtattr attribute;
		uint32_t cipher_key_size;
		unsigned char keys[MAC_KEY + MAX_BLOCK];
	} k = { .attribute = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = AUTHENC_KEY_PARAM } };
	int err = 0;

	k.cipher_key_size = htonl((uint32_t)c->key_len);
	if (getrandom(k.keys, MAC_KEY, 0) < 0)
		return -errno;
	memcpy(k.keys + MAC_KEY, c->key, c->key_len);
	if (setsockopt(tfm, SOL_ALG, ALG_SET_KEY, &k, (socklen_t)(offsetof(typeof(k), keys) + MAC_KEY + c->key_len)))
		err = -errno;
	explicit_bzero(&k, sizeof(k));
	return err;
}

int aead_set_key(int tfm, const struct cipher *c)
{
	if (strstr(c->algorithm, "authenc"))
		return set_authenc_key(tfm, c);
	return setsockopt(tfm, SOL_ALG, ALG_SET_KEY, c->key, (socklen_t)c->key_len) ? -errno : 0;
}

/* /proc/crypto does not tell an AEAD's key sizes: the first that is taken, going from one size to another. */
static int first_size(int tfm, struct cipher *c, int from, int to)
{
	int step = from < to ? 1 : -1, size;

	for (size = from; size != to + step; size += step) {
		c->key_len = (size_t)size;
		if (!aead_set_key(tfm, c))
			return size;
	}
	return -1;
}

int aead_prepare(int tfm, struct cipher *c)
{
	int min, max;

	if (setsockopt(tfm, SOL_ALG, ALG_SET_AEAD_AUTHSIZE, NULL, AEAD_TAG))
		return -errno;
	if (getrandom(c->key, sizeof(c->key), 0) < 0)
		return -errno;
	max = first_size(tfm, c, (int)sizeof(c->key), 0);
	if (max < 0)
		return -EKEYREJECTED;
	min = first_size(tfm, c, 0, max);
	c->min_key = (unsigned int)min;
	c->max_key = (unsigned int)max;
	return 0;
}
