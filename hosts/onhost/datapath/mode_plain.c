// SPDX-License-Identifier: GPL-2.0-only
/* plain: sendfile() from the page cache to TCP, no cipher; as many bytes a call as the kernel takes. */
#include "datapath.h"

static int body(struct transfer *t)
{
	return tx_sendfile(t, t->plain);
}

const struct mode mode_plain = {
	.name = "plain",
	.help = "sendfile, clear text",
	.body = body,
};
