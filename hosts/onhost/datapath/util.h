/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs of ours share (util.c): dying, time, key lines, JSON lines. */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_RUNTIME	1
#define EXIT_USAGE	2

/* Lift the limit of open files as far as it goes; end with a message where fewer than @n may be open. */
void need_descriptors(unsigned int n);
void die(int status, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
uint64_t now_ns(void);
void count(uint64_t n);					/* work in user mode: no look at the clock, no system call */
uint64_t median_u64(uint64_t *values, size_t n);	/* sorts its argument: values[0] is the minimum afterwards */
int read_hex_line(int fd, unsigned char *out, size_t room, size_t *len);
void on_signal(int sig, void (*handler)(int));
void ignore_signal(int sig);				/* a handler: the signal only interrupts */
void every_ms(unsigned int ms);				/* SIGALRM from now on; 0 stops it */

struct json {
	char text[65536];
	size_t len;
	bool comma;
};

void json_begin(struct json *j, const char *event);
void json_str(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_int(struct json *j, const char *key, long long value);
void json_num(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_open(struct json *j, const char *key);
void json_close(struct json *j);
void json_end(struct json *j);				/* writes the line to stdout at once */

#endif
