// SPDX-License-Identifier: GPL-2.0-only
/* The TLS libraries by name. They are loaded from this host, so that compiling needs no headers of theirs. */
#include "tls.h"
#include "util.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

const struct tls *tls_set_up(const char *name, const struct tls_wanted *w)
{
	const struct tls *found = NULL;
	int i;

	for (i = 0; tls_libraries[i] && !found; i++)
		if (!strcmp(name, tls_libraries[i]->name))
			found = tls_libraries[i];
	if (!found || !w->ca || !w->version || !w->suite)
		die(EXIT_USAGE, "--tls needs %s, --ca, --tls-version and --suite",
		    tls_libraries[1] ? "openssl or gnutls" : "openssl");
	if (strcmp(w->version, "1.2") && strcmp(w->version, "1.3"))
		die(EXIT_USAGE, "--tls-version %s: wanted 1.2 or 1.3", w->version);
	found->setup(w);
	return found;
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
