// SPDX-License-Identifier: GPL-2.0-only
/* The TLS libraries by name. They are loaded from this host, so that compiling needs no headers of theirs. */
#include "tls.h"
#include "util.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

const struct tls *tls_named(const char *name)
{
	return strcmp(name, tls_openssl.name) ? NULL : &tls_openssl;
}

void *tls_library(const char *const *names)
{
	void *found = NULL;
	int i;

	for (i = 0; names[i] && !found; i++)
		found = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
	if (!found)
		die(EXIT_RUNTIME, "this host has no TLS library %s: %s", names[0], dlerror());
	return found;
}

void *tls_function(void *library, const char *name)
{
	void *found = dlsym(library, name);

	if (!found)
		die(EXIT_RUNTIME, "this host's TLS library has no %s", name);
	return found;
}
