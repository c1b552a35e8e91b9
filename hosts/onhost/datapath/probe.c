// SPDX-License-Identifier: GPL-2.0-only
/*
 * probe: what an interface to the kernel's ciphers offers here. That something is missing is an answer, not a failure: the
 * exit status is 0.
 */
#include "datapath.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

static bool ulp_loaded(const char *name)
{
	char line[256] = "", *word, *rest = line;
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_available_ulp", "re");

	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	while ((word = strsep(&rest, " \n")))
		if (!strcmp(word, name))
			return true;
	return false;
}

/* Looks at the interface asked for and no other: a look at AF_ALG loads its module. */
static void say_host(unsigned int by)
{
	int fd = by == BY_AF_ALG ? socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0) : devcrypto_open(), err = -errno;
	struct utsname u;
	struct json j;

	json_begin(&j, "probe");
	json_str(&j, "kernel", uname(&u) ? "" : u.release);
	json_bool(&j, by == BY_AF_ALG ? "af_alg" : "devcrypto", fd >= 0);
	if (fd < 0)
		json_str(&j, "reason", by == BY_AF_ALG ? alg_explain(err) : devcrypto_explain(fd));
	json_bool(&j, "so_crypt_compiled_in", so_crypt_compiled_in());
	json_bool(&j, "so_crypt_loaded", ulp_loaded("so_crypt"));
	json_end(&j);
	if (fd >= 0)
		close(fd);
}

static void say_sizes(struct json *j, const struct cipher *c)
{
	json_str(j, "type", alg_type(c));
	json_str(j, "algorithm", c->algorithm);
	json_str(j, "driver", c->driver);
	json_str(j, "module", c->module);
	json_int(j, "priority", c->priority);
	json_bool(j, "async", c->async);
	json_u64(j, "block_bytes", c->block);
	json_u64(j, "iv_bytes", c->iv_size);
	if (c->min_key > c->max_key)			/* an AEAD that took no key: not known */
		return;
	json_u64(j, "min_key_bytes", c->min_key);
	json_u64(j, "max_key_bytes", c->max_key);
}

/* Really uses it, with a made-up key: a driver may be registered and yet not work. */
static int try_alg(int tfm, struct cipher *c, int *splice)
{
	int err = alg_make_key(tfm, c);

	if (!err)
		err = alg_trial(tfm, c, PAGE);
	*splice = err ? err : alg_splice_copies(tfm, c);
	return err;
}

static int try_devcrypto(int fd, struct cipher *c)
{
	static char in[MAX_AAD + PAGE], out[MAX_AAD + PAGE + AEAD_TAG];
	int err = devcrypto_make_key(fd, c);
	uint32_t ses;

	if (!err)
		err = devcrypto_session(fd, c, false, &ses);
	if (err)
		return err;
	err = devcrypto_request(fd, ses, c, true, c->iv, in, cipher_in(c, PAGE, true), out);
	devcrypto_end(fd, ses);
	return err;
}

/* A descriptor that finds it, or -errno; loads modules and makes instances. *known: /proc/crypto tells of it. */
static int find(struct cipher *c, unsigned int by, bool *known)
{
	int fd = by == BY_AF_ALG ? alg_bind(c) : devcrypto_open(), err = 0;

	if (fd < 0)
		return fd;
	if (by == BY_AF_ALG)
		err = cipher_lookup(c) ? 0 : -ENODATA;
	else
		err = devcrypto_find(fd, c);
	*known = !err;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static void say_cipher(const struct cipher *like, unsigned int by, const char *name)
{
	const char *(*explain)(int err) = by == BY_AF_ALG ? alg_explain : devcrypto_explain;
	struct cipher c = *like;
	int fd = -ENAMETOOLONG, err, splice = -1;
	bool known = false;
	struct json j;

	json_begin(&j, "cipher");
	json_str(&j, "cipher", name);
	if (snprintf(c.name, sizeof(c.name), "%s", name) < (int)sizeof(c.name))
		fd = find(&c, by, &known);
	err = fd < 0 ? fd : 0;
	if (!err) {
		err = by == BY_AF_ALG ? try_alg(fd, &c, &splice) : try_devcrypto(fd, &c);
		cipher_wipe(&c);
		close(fd);
	}
	json_bool(&j, "available", !err);
	if (err)
		json_str(&j, "reason", err == -ENODATA ? "not in /proc/crypto" : explain(err));
	if (known)
		say_sizes(&j, &c);
	if (!err)
		json_u64(&j, "key_bytes", c.key_len);
	if (!err && by == BY_AF_ALG)
		json_str(&j, "splice", splice < 0 ? "none" : splice ? "copy" : "zero-copy");
	json_end(&j);
}

int probe(const struct cipher *like, unsigned int by, char *const *names, int n)
{
	int i;

	if (!n)
		die(EXIT_USAGE, "--cipher is needed");
	on_signal(SIGALRM, ignore_signal);			/* a trial that hangs is interrupted, and failed */
	every_ms(5000);
	say_host(by);
	for (i = 0; i < n; i++)
		say_cipher(like, by, names[i]);
	return 0;
}
