/* SPDX-License-Identifier: GPL-2.0-only */
/* The head of an answer (answer.c); pure. */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_ROOM	4096

struct answer {
	int status;
	uint64_t length;					/* Content-Length */
	bool closes;
};

/* Length of the whole head in buf, 0 if more is needed, -1 if it is no answer that can be counted. */
int answer_parse(const char *buf, size_t len, struct answer *out);

#endif
