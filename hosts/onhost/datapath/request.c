// SPDX-License-Identifier: GPL-2.0-only
/* One request: open the file, send the head, let the mode move the body, write the JSON line. */
#include "datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

#define OPENED (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)	/* opening a FIFO must not block */

/* What a kernel or headers before 5.6 leave: a name in the root itself, which is no symbolic link. */
static int open_in_root(int root, const char *name)
{
	int fd;

	if (strchr(name, '/'))
		return -ENOENT;
	fd = openat(root, name, OPENED | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* The kernel itself keeps the path, symbolic links and ".." included, beneath the root. */
int open_beneath(int root, const char *path)
{
	path += strspn(path, "/");
	if (!*path)
		path = ".";
#ifdef RESOLVE_BENEATH
	struct open_how how = { .flags = OPENED, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(__NR_openat2, root, path, &how, sizeof(how));

	if (fd >= 0 || errno != ENOSYS)
		return fd < 0 ? -errno : fd;
#endif
	return open_in_root(root, path);
}

/* A regular file, or 404; 500 if it is this process that cannot. */
static int open_file(int root, const char *path, struct transfer *t)
{
	struct stat st;
	int err = open_beneath(root, path);

	if (err < 0)
		return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -EIO ? 500 : 404;
	t->file = err;
	if (fstat(t->file, &st) || !S_ISREG(st.st_mode)) {
		close(t->file);
		t->file = -1;
		return 404;
	}
	t->plain = (uint64_t)st.st_size;
	return 200;
}

static int format_head(char *out, size_t room, const struct transfer *t, int status, bool keep)
{
	const struct server *s = t->server;
	char date[64], extra[512] = "";
	time_t now = time(NULL);
	struct tm tm;

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	if (status == 200 && s->mode->cipher)
		snprintf(extra, sizeof(extra),
			 "X-Cipher: %s\r\nX-Driver: %s\r\nX-Padding: %s\r\nX-Plain-Length: %llu\r\n", s->cipher.name,
			 s->cipher.driver, s->cipher.block > 1 ? "pkcs7" : "none", (unsigned long long)t->plain);
	else if (status == 405)
		snprintf(extra, sizeof(extra), "Allow: GET, HEAD\r\n");
	return snprintf(out, room,
			"HTTP/1.1 %d %s\r\nServer: datapath\r\nDate: %s\r\nContent-Type: application/octet-stream\r\n"
			"Content-Length: %llu\r\nX-Datapath-Mode: %s\r\n%sConnection: %s\r\n\r\n",
			status, http_reason(status), date, (unsigned long long)t->padded, s->mode->name, extra,
			keep ? "keep-alive" : "close");
}

/* The head is not counted: it is the same in every mode. */
static int send_head(struct transfer *t, int status, bool keep, bool more)
{
	char head[1024];
	int len = format_head(head, sizeof(head), t, status, keep), done = 0;

	if (len < 0 || (size_t)len >= sizeof(head))
		return transfer_fail(t, "head", EOVERFLOW);
	while (done < len) {
		ssize_t n = send(t->sock, head + done, (size_t)(len - done), MSG_NOSIGNAL | (more ? MSG_MORE : 0));

		if (transfer_waits(t, n))
			continue;
		if (n <= 0)
			return transfer_fail(t, "send of the head", errno);
		done += (int)n;
		t->moved += (uint64_t)n;
	}
	return 0;
}

static void json_calls(struct json *j, const uint64_t *calls)
{
	int i;

	json_open(j, "calls");
	for (i = 0; i < CALLS; i++)
		json_u64(j, call_names[i], calls[i]);
	json_close(j);
}

static void json_info(struct json *j, const struct transfer *t)
{
	json_open(j, "so_crypt");
	json_str(j, "driver", t->info_driver);
	json_bool(j, "async", t->info_async);
	json_u64(j, "bytes_in", t->info_in);
	json_u64(j, "bytes_out", t->info_out);
	json_u64(j, "requests", t->requests);
	json_u64(j, "pending", t->info_pending);
	json_close(j);
}

static void json_session(struct json *j, const struct session *said)
{
	json_open(j, "devcrypto");
	json_str(j, "driver", said->driver);
	json_bool(j, "async", said->async);
	json_str(j, "memory", said->mapped ? "mapped" : "copied");
	json_u64(j, "requests", said->requests);
	json_u64(j, "later", said->later);
	json_u64(j, "failed", said->failed);
	json_u64(j, "bytes", said->bytes);
	json_u64(j, "copied_in", said->copied_in);
	json_u64(j, "copied_out", said->copied_out);
	json_u64(j, "mapped", said->pinned);
	json_close(j);
}

static void add_totals(struct server *s, const struct transfer *t, double user, double system)
{
	struct totals *sum = &s->totals;
	int i;

	sum->requests++;
	sum->failed += t->error[0] != 0;
	sum->bytes += t->sent;
	sum->plain_bytes += t->sent < t->plain ? t->sent : t->plain;
	sum->crossing += t->crossing;
	sum->copied += t->copied;
	sum->crypto_requests += t->requests;
	sum->user_seconds += user;
	sum->system_seconds += system;
	for (i = 0; i < CALLS; i++)
		sum->calls[i] += t->calls[i];
}

/* Of this process since then; those of bodies that were sent side by side are not to be told apart. */
static void json_usage(struct json *j, const struct rusage *before, double *user, double *system)
{
	struct rusage after;

	getrusage(RUSAGE_SELF, &after);
	*user = seconds(after.ru_utime) - seconds(before->ru_utime);
	*system = seconds(after.ru_stime) - seconds(before->ru_stime);
	json_num(j, "user_seconds", *user);
	json_num(j, "system_seconds", *system);
	json_int(j, "voluntary_switches", after.ru_nvcsw - before->ru_nvcsw);
	json_int(j, "involuntary_switches", after.ru_nivcsw - before->ru_nivcsw);
}

static void report(struct transfer *t, const struct asked *a, int status, uint64_t start_ns, const struct rusage *before)
{
	static struct json j;				/* large: a lane's stack is not; nothing in here gives way */
	uint64_t ns = now_ns() - start_ns;
	struct server *s = t->server;
	double user = 0, system = 0;

	json_begin(&j, "request");
	if (s->worker)
		json_u64(&j, "worker", s->worker);
	json_u64(&j, "connection", a->connection);
	json_str(&j, "method", a->req.head_only ? "HEAD" : "GET");
	json_str(&j, "path", a->req.path);
	json_int(&j, "status", status);
	json_u64(&j, "bytes", t->sent);
	json_u64(&j, "plain_bytes", t->sent < t->plain ? t->sent : t->plain);
	json_u64(&j, "expected_bytes", a->req.head_only ? 0 : t->padded);
	json_u64(&j, "requests", t->requests);
	if (s->mode->cipher) {
		json_str(&j, "driver", s->cipher.driver);
		json_u64(&j, "key_bytes", s->cipher.key_len);	/* what the kernel was given, and took */
	}
	json_num(&j, "seconds", (double)ns / 1e9);
	if (!t->lane)
		json_usage(&j, before, &user, &system);
	json_calls(&j, t->calls);
	json_u64(&j, "crossing_bytes", t->crossing);
	json_u64(&j, "copied_bytes", t->copied);
	if (t->has_info)
		json_info(&j, t);
	if (t->session.told)
		json_session(&j, &t->session);
	if (s->dearer)
		json_u64(&j, "dearer_ns", t->spent);
	if (s->work)
		json_u64(&j, "worked_ns", t->worked);
	if (t->error[0])
		json_str(&j, "error", t->error);
	json_end(&j);
	add_totals(s, t, user, system);
}

void answer_request(struct server *s, struct asked *a, struct lane *l)
{
	struct transfer t = { .server = s, .room = l ? lane_room(l) : &s->room, .lane = l, .sock = a->sock, .file = -1 };
	uint64_t start = now_ns();
	struct rusage before;
	int status = a->status;
	bool body;

	if (!l)
		getrusage(RUSAGE_SELF, &before);
	if (!status)
		status = open_file(s->root, a->req.path, &t);
	t.padded = status == 200 && s->mode->cipher ? cipher_padded(&s->cipher, t.plain) : t.plain;
	body = status == 200 && !a->req.head_only;
	a->keep = (status == 200 || status == 404) && a->req.keep_alive && !(body && s->mode->closes);
	tick = 0;
	t.started = t.moved_at = start;
	if (!send_head(&t, status, a->keep, body && t.padded && !s->mode->closes) && body && s->mode->body(&t) < 0 &&
	    s->mode->recover)
		s->mode->recover(&t);
	report(&t, a, status, start, &before);
	if (t.file >= 0)
		close(t.file);
	a->reset = t.error[0] != 0;
	a->keep = a->keep && !a->reset;
}
