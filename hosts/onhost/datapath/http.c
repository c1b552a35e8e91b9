// SPDX-License-Identifier: GPL-2.0-only
/*
 * The head of an HTTP/1.x request: strict, bounded, without side effects.
 *
 * Refused with 400: bare line feeds, control characters, folded lines, a missing or second Host in HTTP/1.1, a
 * request body, percent escapes that are broken or mean NUL. What follows '?' in a target is ignored.
 */
#include "datapath.h"

#include <string.h>
#include <strings.h>

int http_head_length(const char *buf, size_t len)
{
	const char *end = memmem(buf, len, "\r\n\r\n", 4);

	if (end)
		return (int)(end - buf) + 4;
	return len >= HEAD_MAX ? -1 : 0;
}

const char *http_reason(int status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 431: return "Request Header Fields Too Large";
	case 505: return "HTTP Version Not Supported";
	default: return "Internal Server Error";
	}
}

static bool token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!token_char(s[i]))
			return false;
	return n > 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_path(const char *s, size_t n, char *out)
{
	size_t i, len = 0;

	for (i = 0; i < n && s[i] != '?'; i++) {
		int c = (unsigned char)s[i];

		if (c <= ' ' || c == 0x7f || c == '#')
			return false;
		if (c == '%') {
			if (i + 2 >= n || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0)
				return false;
			c = hex(s[i + 1]) << 4 | hex(s[i + 2]);
			i += 2;
		}
		if (!c)
			return false;
		out[len++] = (char)c;			/* never longer than the head it came from */
	}
	out[len] = 0;
	return len && out[0] == '/';
}

/* origin-form, or absolute-form as sent to a proxy: its scheme and authority are skipped */
static bool parse_target(const char *s, size_t n, char *out)
{
	if (n > 7 && !strncasecmp(s, "http://", 7)) {
		const char *slash = memchr(s + 7, '/', n - 7);

		if (!slash)
			return decode_path("/", 1, out);
		n -= (size_t)(slash - s);
		s = slash;
	}
	return decode_path(s, n, out);
}

static int parse_request_line(const char *line, size_t n, struct http_request *req, int *minor)
{
	const char *sp = memchr(line, ' ', n), *sp2;
	size_t method, rest;

	if (!sp || !is_token(line, (size_t)(sp - line)))
		return 400;
	method = (size_t)(sp - line);
	rest = n - method - 1;
	sp2 = memchr(sp + 1, ' ', rest);
	if (!sp2 || (size_t)(line + n - sp2) != 9 || memcmp(sp2, " HTTP/", 6) || sp2[7] != '.')
		return 400;
	if (sp2[6] != '1' || sp2[8] < '0' || sp2[8] > '9')
		return 505;
	*minor = sp2[8] - '0';
	if (!parse_target(sp + 1, (size_t)(sp2 - sp - 1), req->path))
		return 400;
	req->head_only = method == 4 && !memcmp(line, "HEAD", 4);
	return req->head_only || (method == 3 && !memcmp(line, "GET", 3)) ? 0 : 405;
}

static bool has_word(const char *s, size_t n, const char *word)
{
	size_t len = strlen(word), i = 0;

	while (i < n) {
		size_t start, end;

		while (i < n && (s[i] == ',' || s[i] == ' ' || s[i] == '\t'))
			i++;
		start = i;
		while (i < n && s[i] != ',')
			i++;
		for (end = i; end > start && (s[end - 1] == ' ' || s[end - 1] == '\t'); end--)
			;
		if (end - start == len && !strncasecmp(s + start, word, len))
			return true;
	}
	return false;
}

struct fields {
	unsigned int hosts;
	bool body, close, keep;
};

static bool name_is(const char *line, size_t n, const char *name)
{
	return n == strlen(name) && !strncasecmp(line, name, n);
}

static bool parse_field(const char *line, size_t n, struct fields *f)
{
	const char *colon = memchr(line, ':', n), *value;
	size_t name_len, len, i;

	if (!colon || !is_token(line, (size_t)(colon - line)))
		return false;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	len = n - name_len - 1;
	for (i = 0; i < len; i++)
		if (((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
			return false;
	for (; len && (*value == ' ' || *value == '\t'); len--)
		value++;
	if (name_is(line, name_len, "Host"))
		f->hosts++;
	if (name_is(line, name_len, "Transfer-Encoding"))
		f->body = true;
	if (name_is(line, name_len, "Content-Length") && !(len == 1 && *value == '0'))
		f->body = true;
	if (name_is(line, name_len, "Connection")) {
		f->close |= has_word(value, len, "close");
		f->keep |= has_word(value, len, "keep-alive");
	}
	return true;
}

int http_parse(const char *head, size_t head_len, struct http_request *req)
{
	const char *end = head + head_len - 2, *line = head, *eol;	/* end: the empty line's CR LF */
	struct fields f = { 0 };
	int status, minor = 0;

	memset(req, 0, sizeof(*req));
	eol = memmem(line, (size_t)(end - line), "\r\n", 2);
	if (!eol || memchr(head, 0, head_len))
		return 400;
	status = parse_request_line(line, (size_t)(eol - line), req, &minor);
	if (status && status != 405)
		return status;
	for (line = eol + 2; line < end; line = eol + 2) {
		eol = memmem(line, (size_t)(end - line), "\r\n", 2);
		if (!eol || !parse_field(line, (size_t)(eol - line), &f))
			return 400;
	}
	if (f.hosts > 1 || (minor >= 1 && !f.hosts))
		return 400;
	if (status)					/* 405: its body, if any, is not read, so the connection ends */
		return status;
	if (f.body)
		return 400;
	req->keep_alive = !f.close && (minor >= 1 || f.keep);
	return 0;
}
