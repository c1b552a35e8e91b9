// SPDX-License-Identifier: GPL-2.0-only
/* The head of an answer: status, length, whether the connection ends. An answer without a length is none to count. */
#define _GNU_SOURCE		/* memmem */

#include "answer.h"

#include <string.h>
#include <strings.h>

static bool field(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
	size_t wide = strlen(name);

	if (n <= wide || line[wide] != ':' || strncasecmp(line, name, wide))
		return false;
	*value = line + wide + 1;
	*len = n - wide - 1;
	while (*len && (**value == ' ' || **value == '\t')) {
		(*value)++;
		(*len)--;
	}
	return true;
}

static bool number(const char *s, size_t n, uint64_t *out)
{
	uint64_t found = 0;
	size_t i;

	for (i = 0; i < n && s[i] >= '0' && s[i] <= '9'; i++) {
		if (found > UINT64_MAX / 10 - 1)
			return false;
		found = 10 * found + (uint64_t)(s[i] - '0');
	}
	*out = found;
	return n && i == n;
}

int answer_parse(const char *buf, size_t len, struct answer *out)
{
	const char *end = memmem(buf, len, "\r\n\r\n", 4), *line, *eol, *value;
	bool has_length = false;
	uint64_t status;
	size_t n;

	if (!end)
		return len >= HEAD_ROOM ? -1 : 0;
	memset(out, 0, sizeof(*out));
	if (end - buf < 12 || memcmp(buf, "HTTP/1.1 ", 9) || !number(buf + 9, 3, &status))
		return -1;
	out->status = (int)status;
	eol = memmem(buf, (size_t)(end + 2 - buf), "\r\n", 2);
	for (line = eol + 2; line < end; line = eol + 2) {
		eol = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		n = (size_t)(eol - line);
		if (field(line, n, "Transfer-Encoding", &value, &n))
			return -1;
		n = (size_t)(eol - line);
		if (field(line, n, "Content-Length", &value, &n)) {
			if (has_length || !number(value, n, &out->length))
				return -1;
			has_length = true;
		}
		n = (size_t)(eol - line);
		if (field(line, n, "Connection", &value, &n))
			out->closes = n == 5 && !strncasecmp(value, "close", 5);
	}
	return has_length ? (int)(end - buf) + 4 : -1;
}
