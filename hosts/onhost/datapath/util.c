// SPDX-License-Identifier: GPL-2.0-only
/* Small things: dying with one clear line, clocks, hex lines, JSON lines. */
#define _GNU_SOURCE		/* program_invocation_short_name */

#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(status);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		die(EXIT_RUNTIME, "clock_gettime: %s", strerror(errno));
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void count(uint64_t n)
{
	for (volatile uint64_t i = 0; i < n; i++)
		;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t median_u64(uint64_t *values, size_t n)
{
	if (!n)
		return 0;
	qsort(values, n, sizeof(*values), compare_u64);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void on_signal(int sig, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler };	/* no SA_RESTART: a blocked call must come back */

	if (sigaction(sig, &sa, NULL))
		die(EXIT_RUNTIME, "sigaction: %s", strerror(errno));
}

void ignore_signal(int sig)
{
	(void)sig;
}

void every_ms(unsigned int ms)
{
	struct itimerval it = { .it_interval = { ms / 1000, ms % 1000 * 1000 } };

	it.it_value = it.it_interval;
	if (setitimer(ITIMER_REAL, &it, NULL))
		die(EXIT_RUNTIME, "setitimer: %s", strerror(errno));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte at a time and unbuffered, so that no copy of a key stays in a stdio buffer. End of file ends a line. */
int read_hex_line(int fd, unsigned char *out, size_t room, size_t *len)
{
	size_t digits = 0;
	int err = 0;

	for (;;) {
		char c = 0;
		ssize_t n = read(fd, &c, 1);
		int d;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0 || c == '\n')
			break;
		if (c == '\r')
			continue;
		d = hex_digit(c);
		if (d < 0 || digits / 2 >= room) {
			err = d < 0 ? -EINVAL : -E2BIG;
			break;
		}
		out[digits / 2] = (unsigned char)(digits % 2 ? out[digits / 2] | d : d << 4);
		digits++;
	}
	*len = digits / 2;
	return err ? err : digits % 2 ? -EINVAL : 0;
}

/* A line holds at most one path (cut to 512 bytes) and otherwise short fixed fields: it cannot outgrow its buffer. */
static void json_put(struct json *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void json_put(struct json *j, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(j->text + j->len, sizeof(j->text) - j->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(j->text) - j->len)
		die(EXIT_RUNTIME, "a JSON line grew too long");
	j->len += (size_t)n;
}

static void json_key(struct json *j, const char *key)
{
	json_put(j, "%s\"%s\":", j->comma ? "," : "", key);
	j->comma = true;
}

void json_begin(struct json *j, const char *event)
{
	j->len = 0;
	j->comma = false;
	json_put(j, "{");
	json_str(j, "event", event);
}

/* Bytes beyond ASCII are written as the Latin-1 characters of the same number: any path makes valid JSON. */
void json_str(struct json *j, const char *key, const char *value)
{
	size_t i;

	json_key(j, key);
	json_put(j, "\"");
	for (i = 0; value[i] && i < 512; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c == '"' || c == '\\')
			json_put(j, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			json_put(j, "\\u%04x", c);
		else
			json_put(j, "%c", c);
	}
	json_put(j, "\"");
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	json_key(j, key);
	json_put(j, "%llu", (unsigned long long)value);
}

void json_int(struct json *j, const char *key, long long value)
{
	json_key(j, key);
	json_put(j, "%lld", value);
}

void json_num(struct json *j, const char *key, double value)
{
	json_key(j, key);
	json_put(j, "%.9g", value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	json_key(j, key);
	json_put(j, "%s", value ? "true" : "false");
}

void json_open(struct json *j, const char *key)
{
	json_key(j, key);
	json_put(j, "{");
	j->comma = false;
}

void json_close(struct json *j)
{
	json_put(j, "}");
	j->comma = true;
}

void json_end(struct json *j)
{
	size_t done = 0;

	json_put(j, "}\n");
	while (done < j->len) {
		ssize_t n = write(STDOUT_FILENO, j->text + done, j->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die(EXIT_RUNTIME, "stdout: %s", strerror(errno));
		done += (size_t)n;
	}
}

void need_descriptors(unsigned int n)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		die(EXIT_RUNTIME, "getrlimit: %s", strerror(errno));
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur < n)
		die(EXIT_RUNTIME, "%u descriptors are needed, and %llu may be had", n, (unsigned long long)r.rlim_cur);
}
