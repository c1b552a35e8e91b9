// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every system call that the body of an answer may be made of, counted where it is made.
 *
 * calls     each call, also one that failed or was interrupted: what strace shows between the answer's head and the
 *           request's JSON line, except ioctl(SIOCOUTQ), which the watchdog makes when its timer went off.
 * crossing  payload and padding bytes that went from the kernel to user memory or back.
 * copied    bytes that a processor copied on the way. AF_ALG's recv lets the cipher write into the user's own pages:
 *           a crossing, not a copy. /dev/crypto copies in and out, or maps: neither. Padding made here is counted where
 *           it is sent.
 *
 * The watchdog: a timer (util.c, every_ms) interrupts whatever call is blocked, four times per watchdog period. The
 * interrupted call comes back short or with EINTR; transfer_alive() then compares what was moved, and what TCP still
 * holds, with the last time. So a slow client is no stall as long as it acknowledges something, one mechanism covers
 * TCP, AF_ALG and the disk, and a signal that hits just before a call blocks is made good by the next one. A cipher
 * that never completes (crypto_wait_req does not listen to signals) cannot be helped from here.
 *
 * In a lane (lanes.c) the socket does not block: EAGAIN gives way to the other connections, and the call is made again
 * when there is room, or when the watchdog's timer went off.
 */
#include "datapath.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

const char *const call_names[CALLS] = { "read", "sendmsg", "recv", "send", "sendfile", "splice", "setsockopt",
					"accept", "close", "ioctl" };
volatile sig_atomic_t tick;

int transfer_fail(struct transfer *t, const char *what, int err)
{
	if (!t->error[0])
		snprintf(t->error, sizeof(t->error), "%s: %s", what, strerror(err));
	return -1;
}

bool transfer_alive(struct transfer *t)
{
	int queued = 0;
	int64_t mark;
	uint64_t now;

	if (!tick)
		return true;
	tick = 0;
	if (ioctl(t->sock, SIOCOUTQ, &queued))
		queued = 0;
	mark = (int64_t)t->moved - queued;
	now = now_ns();
	if (mark != t->mark || !t->moved_at) {
		t->mark = mark;
		t->moved_at = now;
		return true;
	}
	if (now - t->moved_at < (uint64_t)t->server->watchdog * 1000000000u)
		return true;
	snprintf(t->error, sizeof(t->error), "watchdog: no progress for %u s", t->server->watchdog);
	return false;
}

bool transfer_waits(struct transfer *t, ssize_t r)
{
	int err = errno;
	bool alive = transfer_alive(t);

	if (r >= 0 || !alive || err != EAGAIN || !t->lane) {
		errno = alive ? err : ETIME;
		return r < 0 && err == EINTR && alive;
	}
	lane_wait(t->lane);
	alive = transfer_alive(t);
	errno = ETIME;
	return alive;
}

/* Whether to make the call once more. */
static bool again(struct transfer *t, ssize_t r)
{
	if (r > 0)
		t->moved += (uint64_t)r;
	return transfer_waits(t, r);
}

/* A stalled transfer ends also where calls come back short rather than interrupted. */
static bool stalled(const struct transfer *t)
{
	return t->error[0] != 0;
}

static int ended(struct transfer *t, const char *what, ssize_t r)
{
	return transfer_fail(t, what, r < 0 ? errno : EIO);
}

/* Up to n bytes of the file; exactly n unless it shrank meanwhile. */
ssize_t tx_read(struct transfer *t, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n && !stalled(t)) {
		ssize_t r;

		do {
			t->calls[CALL_READ]++;
			r = read(t->file, (char *)buf + got, n - got);
		} while (again(t, r));
		if (r < 0)
			return ended(t, "read", r);
		if (!r) {
			snprintf(t->error, sizeof(t->error), "the file became shorter during the transfer");
			return -1;
		}
		got += (size_t)r;
		t->crossing += (uint64_t)r;
		t->copied += (uint64_t)r;
	}
	return stalled(t) ? -1 : (ssize_t)got;
}

ssize_t tx_read_chunk(struct transfer *t, char *buf, uint64_t left)
{
	size_t n = left < t->server->chunk ? (size_t)left : t->server->chunk;

	if (n && tx_read(t, buf, n) < 0)
		return -1;
	if (n == left) {
		size_t pad = (size_t)(t->padded - t->plain);

		memset(buf + n, (int)pad, pad);
		n += pad;
	}
	return (ssize_t)n;
}

int tx_send(struct transfer *t, const void *buf, size_t n, bool more)
{
	size_t done = 0;

	while (done < n && !stalled(t)) {
		ssize_t r;

		do {
			dearer_spend(t, n - done);
			t->calls[CALL_SEND]++;
			r = send(t->sock, (const char *)buf + done, n - done, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
		} while (again(t, r));
		if (r <= 0)
			return ended(t, "send", r);
		done += (size_t)r;
		t->sent += (uint64_t)r;
		t->crossing += (uint64_t)r;
		t->copied += (uint64_t)r;
	}
	return stalled(t) ? -1 : 0;
}

static int sendfile_all(struct transfer *t, int to, uint64_t n, const char *what)
{
	const size_t most = 0x7ffff000;			/* what the kernel does in one call */

	while (n && !stalled(t)) {
		ssize_t r;

		do {
			size_t piece = n < most ? (size_t)n : most;

			if (to == t->sock) {
				piece = dearer_piece(t, piece);
				dearer_spend(t, piece);
			}
			t->calls[CALL_SENDFILE]++;
			r = sendfile(to, t->file, &t->offset, piece);
		} while (again(t, r));
		if (r < 0)
			return ended(t, what, r);
		if (!r) {
			snprintf(t->error, sizeof(t->error), "the file became shorter during the transfer");
			return -1;
		}
		n -= (uint64_t)r;
		if (to == t->sock)
			t->sent += (uint64_t)r;
		else if (t->server->splice_copies)
			t->copied += (uint64_t)r;
	}
	return stalled(t) ? -1 : 0;
}

int tx_sendfile(struct transfer *t, uint64_t n)
{
	return sendfile_all(t, t->sock, n, "sendfile");
}

/* No MSG_MORE at the end of a sendfile(): the cipher request is complete, and must be taken out before the next. */
int tx_alg_sendfile(struct transfer *t, int op, size_t n)
{
	return sendfile_all(t, op, n, "sendfile to AF_ALG");
}

int tx_alg_open(struct transfer *t)
{
	int op;

	do {
		t->calls[CALL_ACCEPT]++;
		op = accept4(t->server->tfm, NULL, NULL, SOCK_CLOEXEC);
	} while (again(t, op < 0 ? -1 : 0));
	return op < 0 ? ended(t, "accept on AF_ALG", -1) : op;
}

void tx_alg_close(struct transfer *t, int op)
{
	t->calls[CALL_CLOSE]++;
	close(op);
}

int tx_alg_send(struct transfer *t, int op, bool first, const void *buf, size_t n, bool more)
{
	const struct cipher *c = &t->server->cipher;
	size_t done = 0;

	do {
		ssize_t r;

		do {
			t->calls[CALL_SENDMSG]++;
			if (first) {
				r = alg_submit(op, c, true, buf, n, more ? MSG_MORE : 0);
			} else {
				struct iovec iov = { (char *)buf + done, n - done };
				struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

				r = sendmsg(op, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
			}
		} while (again(t, r));
		if (r < 0 || (!r && n))
			return ended(t, "send to AF_ALG", r);
		first = false;
		done += (size_t)r;
		t->crossing += (uint64_t)r;
		t->copied += (uint64_t)r;
	} while (done < n && !stalled(t));
	return stalled(t) ? -1 : 0;
}

int tx_alg_recv(struct transfer *t, int op, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n && !stalled(t)) {
		ssize_t r;

		do {
			t->calls[CALL_RECV]++;
			r = recv(op, (char *)buf + got, n - got, 0);
		} while (again(t, r));
		if (r <= 0)
			return ended(t, "receive from AF_ALG", r);
		got += (size_t)r;
		t->crossing += (uint64_t)r;
		t->requests++;
	}
	return stalled(t) ? -1 : 0;
}

/* Once, up to n bytes; from the file (at its offset) or between a pipe and a socket. */
int tx_splice(struct transfer *t, int from, bool file, int to, size_t n, bool more)
{
	ssize_t r;

	do {
		if (to == t->sock)
			dearer_spend(t, n);
		t->calls[CALL_SPLICE]++;
		r = splice(from, file ? &t->offset : NULL, to, NULL, n, more ? SPLICE_F_MORE : 0);
	} while (again(t, r));
	if (!r && file) {
		snprintf(t->error, sizeof(t->error), "the file became shorter during the transfer");
		return -1;
	}
	if (r <= 0)
		return ended(t, "splice", r);
	if (to == t->sock)
		t->sent += (uint64_t)r;
	return stalled(t) ? -1 : (int)r;
}

int tx_devcrypto_open(struct transfer *t, uint32_t *ses)
{
	const struct server *s = t->server;
	int err;

	t->calls[CALL_IOCTL]++;
	err = devcrypto_session(s->device, &s->cipher, s->mode->maps, ses);
	return err ? transfer_fail(t, "session of /dev/crypto", -err) : 0;
}

/* In place. Only its death interrupts a process that waits for the driver. */
int tx_devcrypto(struct transfer *t, uint32_t ses, bool first, void *buf, size_t n)
{
	const struct server *s = t->server;
	int err;

	t->calls[CALL_IOCTL]++;
	err = devcrypto_request(s->device, ses, &s->cipher, true, first ? s->cipher.iv : NULL, buf, n, buf);
	if (err)
		return transfer_fail(t, "request to /dev/crypto", -err);
	t->requests++;
	t->moved += n;
	if (!s->mode->maps) {
		t->crossing += 2 * n;
		t->copied += 2 * n;
	}
	return 0;
}

int tx_devcrypto_close(struct transfer *t, uint32_t ses)
{
	int device = t->server->device, err;

	t->calls[CALL_IOCTL] += 2;
	err = devcrypto_info(device, ses, &t->session);
	if (err)
		transfer_fail(t, "what /dev/crypto says of its session", -err);
	devcrypto_end(device, ses);
	return err ? -1 : 0;
}

int tx_setsockopt(struct transfer *t, int level, int name, const void *value, size_t n)
{
	t->calls[CALL_SETSOCKOPT]++;
	return setsockopt(t->sock, level, name, value, (socklen_t)n) ? transfer_fail(t, "setsockopt", errno) : 0;
}
