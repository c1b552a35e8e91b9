// SPDX-License-Identifier: GPL-2.0-only
/* A cipher as /proc/crypto describes it, and as it is asked for: key, IV, padding, what its buffers hold. */
#include "datapath.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct entry {
	struct cipher c;
	char type[32];
	bool passed, internal;
};

static void entry_field(struct entry *e, const char *key, const char *value)
{
	if (!strcmp(key, "name"))
		snprintf(e->c.algorithm, NAME_LEN, "%s", value);
	else if (!strcmp(key, "driver"))
		snprintf(e->c.driver, NAME_LEN, "%s", value);
	else if (!strcmp(key, "module"))
		snprintf(e->c.module, NAME_LEN, "%s", value);
	else if (!strcmp(key, "type"))
		snprintf(e->type, sizeof(e->type), "%s", value);
	else if (!strcmp(key, "priority"))
		e->c.priority = atoi(value);
	else if (!strcmp(key, "selftest"))
		e->passed = !strcmp(value, "passed");
	else if (!strcmp(key, "internal"))
		e->internal = !strcmp(value, "yes");
	else if (!strcmp(key, "async"))
		e->c.async = !strcmp(value, "yes");
	else if (!strcmp(key, "blocksize"))
		e->c.block = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "min keysize"))
		e->c.min_key = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "max keysize"))
		e->c.max_key = (unsigned int)strtoul(value, NULL, 10);
	else if (!strcmp(key, "ivsize"))
		e->c.iv_size = (unsigned int)strtoul(value, NULL, 10);
}

static bool entry_usable(const struct entry *e, bool aead)
{
	if (!e->passed || e->internal)
		return false;
	if (aead)
		return !strcmp(e->type, "aead");
	return strstr(e->type, "kcipher");		/* skcipher, lskcipher, ablkcipher … */
}

/* The kernel's own rule: an exact driver name, else the highest priority of that algorithm that passed its test. */
static bool entry_better(const struct entry *e, const struct cipher *wanted, const struct cipher *best)
{
	if (!entry_usable(e, wanted->aead))
		return false;
	if (!strcmp(e->c.driver, wanted->name))
		return true;
	return !strcmp(e->c.algorithm, wanted->name) && strcmp(best->driver, wanted->name) &&
	       (!best->driver[0] || e->c.priority > best->priority);
}

static void take(struct cipher *c, const struct cipher *from)
{
	memcpy(c->algorithm, from->algorithm, NAME_LEN);
	memcpy(c->driver, from->driver, NAME_LEN);
	memcpy(c->module, from->module, NAME_LEN);
	c->priority = from->priority;
	c->async = from->async;
	c->block = from->block;
	c->iv_size = from->iv_size;
	c->min_key = from->min_key;
	c->max_key = from->max_key;
}

bool cipher_lookup(struct cipher *c)
{
	struct entry e = { 0 };
	struct cipher best = { 0 };
	char line[256], *colon, *value;
	size_t end;
	FILE *f = fopen("/proc/crypto", "re");

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		colon = strchr(line, ':');
		if (!colon) {				/* an empty line ends an entry */
			if (entry_better(&e, c, &best))
				best = e.c;
			memset(&e, 0, sizeof(e));
			continue;
		}
		value = colon + 1 + strspn(colon + 1, " \t");
		for (end = (size_t)(colon - line); end && (line[end - 1] == ' ' || line[end - 1] == '\t'); end--)
			;
		line[end] = 0;
		entry_field(&e, line, value);
	}
	if (entry_better(&e, c, &best))
		best = e.c;
	fclose(f);
	if (!best.driver[0])
		return false;
	take(c, &best);
	if (c->aead)
		c->min_key = c->max_key + 1;		/* not told; see aead_key_sizes() */
	return true;
}

void cipher_of_driver(struct cipher *c)
{
	struct cipher found = { .aead = c->aead };

	snprintf(found.name, sizeof(found.name), "%.*s", ALG_NAME_LEN - 1, c->driver);
	if (!cipher_lookup(&found))
		return;
	c->priority = found.priority;
	memcpy(c->module, found.module, NAME_LEN);
	memcpy(c->algorithm, found.algorithm, NAME_LEN);
}

uint64_t cipher_padded(const struct cipher *c, uint64_t plain)
{
	return c->block > 1 ? (plain / c->block + 1) * c->block : plain;
}

size_t cipher_in(const struct cipher *c, size_t plain, bool encrypt)
{
	return c->aead ? c->aad + plain + (encrypt ? 0 : AEAD_TAG) : plain;
}

size_t cipher_out(const struct cipher *c, size_t plain, bool encrypt)
{
	return c->aead ? c->aad + plain + (encrypt ? AEAD_TAG : 0) : plain;
}

/* Of the wrong kind a name is unknown or, if it is a template's, invalid: whatever else one kind says tells more. */
int cipher_telling(int one, int other)
{
	if (one != -ENOENT && one != -EINVAL)
		return one;
	if (other != -ENOENT && other != -EINVAL)
		return other;
	return one == -ENOENT ? one : other;
}

void cipher_usable(const struct cipher *c, bool make_key)
{
	if (!c->block || c->block > MAX_BLOCK || c->iv_size > MAX_BLOCK)
		die(EXIT_RUNTIME, "cipher %s: block size %u, IV size %u not supported", c->name, c->block, c->iv_size);
	if (make_key && c->aad && !c->aead)
		die(EXIT_USAGE, "--aad %u: %s is no AEAD", c->aad, c->name);
	if (!make_key && c->aead)
		die(EXIT_USAGE, AEAD_REFUSED, c->name);
}

int cipher_key(const struct cipher *c, unsigned char *out)
{
	if (strstr(c->algorithm, "authenc"))
		return aead_authenc_key(c, out);
	memcpy(out, c->key, c->key_len);
	return (int)c->key_len;
}

static int made_up(struct cipher *c)
{
	c->key_len = c->max_key < sizeof(c->key) ? c->max_key : sizeof(c->key);
	if (c->key_wanted >= 0)
		c->key_len = (size_t)c->key_wanted;
	c->iv_len = c->iv_size;
	if (c->iv_len > sizeof(c->iv) || c->key_len > sizeof(c->key))
		return -EINVAL;
	if (getrandom(c->key, sizeof(c->key), 0) < 0 || getrandom(c->iv, sizeof(c->iv), 0) < 0)
		return -errno;
	if (!strncmp(c->algorithm, "ccm(", 4))
		c->iv[0] = 3;				/* not free: bytes of CCM's length field, less one */
	return 0;
}

/* A size that was asked for and is not to be had is a mistake of whoever asked, so it ends here. */
int cipher_make_key(struct cipher *c, take_key *takes, int with)
{
	int err = c->aead ? aead_key_sizes(c, takes, with) : 0, size = c->key_wanted;

	if (err)
		return err;
	if (size >= 0 && ((unsigned int)size < c->min_key || (unsigned int)size > c->max_key))
		die(EXIT_USAGE, "--key-bytes %d: %s wants %u to %u", size, c->driver, c->min_key, c->max_key);
	err = made_up(c);
	if (err)
		return err;
	err = takes(with, c);
	if (err && size >= 0)
		die(EXIT_USAGE, "--key-bytes %d: %s wants %u to %u and refuses this size (%s)", size, c->driver,
		    c->min_key, c->max_key, strerror(-err));
	return err;
}

void cipher_give_key(struct cipher *c, take_key *takes, int with)
{
	int err;

	if (c->iv_len != c->iv_size)
		die(EXIT_USAGE, "the IV is %zu bytes long, %s wants %u", c->iv_len, c->driver, c->iv_size);
	err = takes(with, c);
	if (err || c->key_len < c->min_key || c->key_len > c->max_key)
		die(EXIT_USAGE, "the key is %zu bytes long, %s wants %u to %u (%s)", c->key_len, c->driver, c->min_key,
		    c->max_key, err ? strerror(-err) : "length");
}

void cipher_wipe(struct cipher *c)
{
	explicit_bzero(c->key, sizeof(c->key));
	explicit_bzero(c->iv, sizeof(c->iv));
}
