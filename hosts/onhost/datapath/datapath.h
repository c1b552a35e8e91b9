/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * datapath: one file server, several ways of getting an encrypted file from the disk to the network.
 *
 * Reading order: datapath.c (command line, table of modes), serve.c (connections), listener.c, lanes.c and
 * serve_workers.c (many at once), request.c (one request), mode_*.c (how the bytes of a body move: one file per mode),
 * transfer.c (every system call a mode may make, counted), dearer.c (a body made dearer on purpose), cipher.c
 * (/proc/crypto, sizes, keys), devcrypto.c (/dev/crypto), alg.c (AF_ALG), aead.c (what AEADs need beyond that),
 * probe.c, costs.c with prices.c and bench.c, raw.c (the other commands), raw_alg.c, raw_devcrypto.c (raw's requests
 * by each interface), workers.c (side by side), http.c, util.c and util.h (what our other programs share).
 */
#ifndef DATAPATH_H
#define DATAPATH_H

#define _GNU_SOURCE		/* so this header comes first everywhere: memmem, splice, accept4, explicit_bzero */

#include <signal.h>
#include <sys/types.h>

#include "util.h"

#define PAGE		4096
#define DEFAULT_CHUNK	65536
#define MAX_CHUNK	131072	/* beyond it one-threaded AF_ALG fills its socket buffer and waits for itself */
#define MAX_REQUEST	262140	/* of /dev/crypto: DEVCRYPTO_MAX_LEN */
#define MAX_BLOCK	64	/* the longest key and IV, too */
#define MAX_AAD		64
#define MAX_DEPTH	64
#define MAX_CONNECTIONS	8192
#define MAX_WORKERS	256
#define AEAD_TAG	16
#define NAME_LEN	128
#define ALG_NAME_LEN	64	/* struct sockaddr_alg */

/* --- cipher.c: what /proc/crypto says of a cipher, and what is asked of it ---------------------------------- */

struct cipher {
	char name[ALG_NAME_LEN];			/* as asked for: algorithm or driver */
	int key_wanted;					/* size of a made-up key, -1: the largest */
	uint32_t aad;					/* AEAD: bytes of AAD in each request */
	bool aead;					/* its AF_ALG type: aead, else skcipher */
	char algorithm[NAME_LEN], driver[NAME_LEN], module[NAME_LEN];	/* as /proc/crypto has it */
	int priority;
	bool async;
	unsigned int block, iv_size, min_key, max_key;
	unsigned char key[MAX_BLOCK], iv[MAX_BLOCK];
	size_t key_len, iv_len;
};

bool cipher_lookup(struct cipher *c);			/* fills in what /proc/crypto says of c->name */
void cipher_of_driver(struct cipher *c);			/* of c->driver: algorithm, priority, module, if it says so */
uint64_t cipher_padded(const struct cipher *c, uint64_t plain);
/* Bytes of a request, and of its answer, for so much plain text: an AEAD's have AAD and tag in them. */
size_t cipher_in(const struct cipher *c, size_t plain, bool encrypt);
size_t cipher_out(const struct cipher *c, size_t plain, bool encrypt);
int cipher_telling(int one, int other);			/* which -errno of two kinds that a name was tried as */
void cipher_usable(const struct cipher *c, bool make_key);	/* dies with a reason if it is not */
int cipher_key(const struct cipher *c, unsigned char *out);	/* as the kernel takes it: bytes, or -errno */
typedef int take_key(int with, const struct cipher *c);		/* 0 or -errno */
int cipher_make_key(struct cipher *c, take_key *takes, int with);	/* for commands that only measure: 0 or -errno;
									   a wanted size that is not to be had: dies */
void cipher_give_key(struct cipher *c, take_key *takes, int with);	/* that of standard input: dies with a reason */
void cipher_wipe(struct cipher *c);

/* --- aead.c -------------------------------------------------------------------------------------------------- */

#define AEAD_REFUSED	"%s is an AEAD: serve has no records to put its tags in (raw, costs and probe take it)"
#define AUTHENC_MAC_KEY	20
#define KEY_ROOM	(16 + AUTHENC_MAC_KEY + MAX_BLOCK)	/* of a key as the kernel takes it */

int aead_authenc_key(const struct cipher *c, unsigned char *out);	/* bytes, or -errno */
int aead_key_sizes(struct cipher *c, take_key *takes, int with);	/* 0 or -errno */

/* --- alg.c: AF_ALG ------------------------------------------------------------------------------------------- */

int alg_bind(struct cipher *c);				/* socket or -errno; finds out whether it is an AEAD */
bool alg_is_aead(const char *name);
int alg_set_key(int tfm, const struct cipher *c);	/* 0 or -errno */
int alg_make_key(int tfm, struct cipher *c);		/* as cipher_make_key() */
size_t alg_limit(int op);				/* bytes that can wait in an operation socket */
ssize_t alg_submit(int op, const struct cipher *c, bool encrypt, const void *data, size_t n, int flags);
int alg_receive(int op, void *buf, size_t n);		/* all of it: 0 or -errno */
int alg_trial(int tfm, const struct cipher *c, size_t n);	/* one buffer through it: 0 or -errno */
int alg_splice_copies(int tfm, const struct cipher *c);	/* 1 copies, 0 by reference, -errno */
const char *alg_type(const struct cipher *c);
const char *alg_explain(int err);
void alg_ready(struct cipher *c, int *tfm, bool make_key);	/* bind, look up, set key; dies with a reason */

/* --- devcrypto.c: /dev/crypto; what returns an int returns 0 (a descriptor) or -errno ------------------------ */

/* What a session says of itself (DEVCRYPTO_INFO). */
struct session {
	bool told, async, mapped;
	char driver[NAME_LEN];
	unsigned int block, iv_size;
	unsigned int most;				/* requests that its driver had at once, after their calls */
	uint64_t requests, later, failed, bytes, copied_in, copied_out, pinned;
};

int devcrypto_open(void);
int devcrypto_find(int fd, struct cipher *c);		/* its kind, and what /proc/crypto says of it */
int devcrypto_make_key(int fd, struct cipher *c);	/* as cipher_make_key() */
int devcrypto_session(int fd, const struct cipher *c, bool mapped, uint32_t *ses);	/* c->name, key, kind */
int devcrypto_end(int fd, uint32_t ses);
/* One request, answered; no IV: carries on. AEADs: AAD and tag are where AF_ALG has them, see aead.c. */
int devcrypto_request(int fd, uint32_t ses, const struct cipher *c, bool encrypt, const void *iv, const void *in, size_t n,
		      void *out);
/* The same without waiting, but for AEADs; every answer is to be fetched: -EBUSY where none is there. */
int devcrypto_submit(int fd, uint32_t ses, bool encrypt, const void *iv, const void *in, size_t n, void *out);
int devcrypto_fetch(int fd, void **out);
int devcrypto_wait(int fd);				/* until one is there */
int devcrypto_info(int fd, uint32_t ses, struct session *said);
const char *devcrypto_explain(int err);
void devcrypto_ready(struct cipher *c, int *fd);	/* open, look up, make up a key; dies with a reason */

/* --- http.c: the request head; pure -------------------------------------------------------------------- */

#define HEAD_MAX	8192

struct http_request {
	bool head_only, keep_alive;
	char path[HEAD_MAX];				/* decoded, begins with '/' */
};

/* Length of a complete head in buf, 0 if more is needed, -1 if it can never become one. */
int http_head_length(const char *buf, size_t len);
/* 0, or the status (400, 405, 505) to answer; the head is complete and head_len long. */
int http_parse(const char *head, size_t head_len, struct http_request *req);
const char *http_reason(int status);

/* --- transfer.c: the system calls of one body, counted --------------------------------------------------- */

enum call { CALL_READ, CALL_SENDMSG, CALL_RECV, CALL_SEND, CALL_SENDFILE, CALL_SPLICE, CALL_SETSOCKOPT, CALL_ACCEPT,
	    CALL_CLOSE, CALL_IOCTL, CALLS };
extern const char *const call_names[CALLS];

struct server;
struct lane;

struct room {						/* what a body works in */
	char *buf;					/* chunk + one page */
	int pipe[2];
};

struct transfer {
	struct server *server;
	struct room *room;
	struct lane *lane;				/* NULL: it is alone, and its socket blocks */
	int sock, file;
	off_t offset;					/* next byte of the file */
	uint64_t plain, padded;				/* what the head promised */
	uint64_t sent;					/* payload bytes handed to TCP */
	uint64_t crossing, copied, requests;		/* see README.md: the accounting */
	uint64_t calls[CALLS];
	char error[160];				/* empty: well so far */
	uint64_t worked;				/* mode_rehearse.c: ns, looks at the clock within */
	uint64_t started, spent;			/* dearer.c: when its head was there; ns spent on purpose */
	/* watchdog */
	int64_t mark;
	uint64_t moved, moved_at;
	/* so-crypt: what the socket said at the end */
	bool has_info, info_async;
	char info_driver[NAME_LEN];
	uint64_t info_in, info_out, info_pending;
	struct session session;				/* devcrypto: what its session said at the end */
};

extern volatile sig_atomic_t tick;			/* set by the timer; see transfer_alive() */

int transfer_fail(struct transfer *t, const char *what, int err);	/* -1, and the error is noted */
bool transfer_alive(struct transfer *t);
/* Whether to make a call that came back with r once more. Sets errno to ETIME when the watchdog says no. */
bool transfer_waits(struct transfer *t, ssize_t r);
ssize_t tx_read(struct transfer *t, void *buf, size_t n);
/* The next chunk of a body of which @left bytes are to come, the last with its padding: its bytes, or -1. */
ssize_t tx_read_chunk(struct transfer *t, char *buf, uint64_t left);
int tx_send(struct transfer *t, const void *buf, size_t n, bool more);
int tx_sendfile(struct transfer *t, uint64_t n);
int tx_alg_open(struct transfer *t);
void tx_alg_close(struct transfer *t, int op);
int tx_alg_send(struct transfer *t, int op, bool first, const void *buf, size_t n, bool more);
int tx_alg_recv(struct transfer *t, int op, void *buf, size_t n);
int tx_alg_sendfile(struct transfer *t, int op, size_t n);
int tx_splice(struct transfer *t, int from, bool file, int to, size_t n, bool more);
int tx_devcrypto_open(struct transfer *t, uint32_t *ses);
int tx_devcrypto(struct transfer *t, uint32_t ses, bool first, void *buf, size_t n);
int tx_devcrypto_close(struct transfer *t, uint32_t ses);	/* t->session: what it said at the end */
int tx_setsockopt(struct transfer *t, int level, int name, const void *value, size_t n);

/* --- dearer.c: a known share of a body's own time, spent on purpose -------------------------------------- */

void dearer_spend(struct transfer *t, size_t n);
size_t dearer_piece(const struct transfer *t, size_t n);

/* --- modes ------------------------------------------------------------------------------------------------ */

struct mode {
	const char *name, *help;
	bool cipher;					/* takes --cipher, and key and IV on stdin */
	bool closes;					/* a body ends its connection */
	bool rehearses;					/* takes --work */
	bool maps;					/* /dev/crypto works on the buffer's pages: no copies */
	void (*setup)(struct server *s);		/* once, before listening; dies with a reason */
	void (*furnish)(const struct server *s, struct room *r);	/* once for each room; may be NULL */
	int (*body)(struct transfer *t);		/* 0, or -1 with t->error set */
	void (*recover)(struct transfer *t);		/* after a failed body; may be NULL */
};

extern const struct mode *const modes[];
void afalg_setup(struct server *s);			/* shared by the two AF_ALG modes */
extern const struct mode mode_plain, mode_afalg_copy, mode_afalg_splice, mode_so_crypt, mode_so_crypt_send,
	mode_devcrypto_copy, mode_devcrypto_mapped, mode_rehearse_sendfile, mode_rehearse_send, mode_rehearse_records;

/* --- lanes.c: bodies of several connections side by side ------------------------------------------------------- */

void room_open(const struct server *s, struct room *r);		/* dies with a reason */
void room_close(struct room *r);
/* Begins work; NULL if it has ended already, else the lane that waits for room in its socket. */
struct lane *lane_begin(const struct server *s, void (*work)(struct lane *l, void *argument), void *argument);
bool lane_resume(struct lane *l);			/* true when its work has ended */
void lane_wait(struct lane *l);				/* within work: gives way until it is resumed */
struct room *lane_room(struct lane *l);
void lanes_close(void);

/* --- serve.c, listener.c, serve_workers.c, request.c -------------------------------------------------------------- */

struct totals {
	uint64_t connections, requests, failed, bytes, plain_bytes, crossing, copied, crypto_requests;
	uint64_t put_off;				/* accepts that found no memory or descriptor */
	uint64_t calls[CALLS];
	double user_seconds, system_seconds;
};

struct server {
	const struct mode *mode;
	const char *address, *port_text, *root_path;
	unsigned int port, watchdog;			/* watchdog in seconds */
	unsigned int connections;			/* whose bodies are sent side by side; 1: one at a time */
	unsigned int workers, worker;			/* processes; which of them this is, from 1 on (0: the only one) */
	bool pinned;					/* the only one, too */
	unsigned int dearer;				/* per mille; 0: nothing is spent on purpose */
	size_t chunk;
	uint64_t work;					/* rehearsals: counts for each chunk */
	int root, listener;
	struct cipher cipher;
	int tfm;					/* AF_ALG modes: the bound socket */
	int device;					/* devcrypto modes: /dev/crypto */
	int splice_copies;				/* afalg-splice: kernel copies on splice into AF_ALG */
	struct room room;				/* of bodies that are sent one at a time */
	struct totals totals;
};

int serve(struct server *s);
void open_listener(struct server *s, bool listens);
void serve_alone(struct server *s);			/* what one process does, until a signal */
int serve_by_workers(struct server *s);
void pin(unsigned int n);				/* this process to the n-th processor that it may use, from 0 on */
void say_listening(struct server *s);
void say_summary(struct server *s);
int open_beneath(int root, const char *path);		/* descriptor or -errno */

struct asked {						/* one request */
	int sock, status;				/* status: 0, or what is wrong with it */
	uint64_t connection;
	struct http_request req;
	bool keep, reset;				/* afterwards: whether another may come; whether to end with a reset */
};

void answer_request(struct server *s, struct asked *a, struct lane *l);

/* --- the other commands -------------------------------------------------------------------------------------- */

enum { BY_AF_ALG = 1, BY_DEVCRYPTO = 2 };		/* interfaces to the kernel's ciphers */

int probe(const struct cipher *like, unsigned int by, char *const *names, int n);	/* like: the sizes wanted */
/* by: the interfaces whose prices are wanted; c NULL: none of a cipher. chunk 0: the cipher's default. */
int costs(struct cipher *c, unsigned int by, bool decrypts, size_t chunk, double seconds);
bool so_crypt_compiled_in(void);

#define STALL_SECONDS	60				/* not reached by anything that works */

/* What raw does again and again. in and out have AAD and tag where AF_ALG has them, see aead.c. */
struct job {
	const struct interface *by;
	struct cipher *cipher;
	bool encrypt, mapped;				/* mapped: /dev/crypto does not copy */
	size_t size, in_len, out_len;			/* plain bytes, bytes of a request, bytes of its answer */
	double seconds;
	unsigned int batch, depth;			/* batch 0: a default that fits the depth */
	char *in, *wanted;				/* wanted: what every answer must be, behind the AAD */
	int fd;						/* of the cipher: bound socket, or /dev/crypto */
	uint32_t ses;					/* /dev/crypto: the session */
	uint64_t asked;					/* requests so far; threads' apart (workers.c) */
	uint64_t slept;					/* the same: how often the processor was given up to wait */
	struct {
		int op;					/* AF_ALG: an operation socket, as each has one IV */
		char *out;
	} slots[MAX_DEPTH];
};

/* raw_alg.c, raw_devcrypto.c: an interface to the kernel's ciphers. What returns an int returns 0 or -errno. */
struct interface {
	const char *name;
	void (*open)(struct job *j);			/* finds the cipher, makes up a key; dies with a reason */
	void (*open_slots)(struct job *j);		/* whose buffers are there; dies with a reason */
	/* A request in two calls: the first only copies, or does nothing; in the second the driver has it. */
	int (*hand_in)(const struct job *j, unsigned int slot, bool encrypt, size_t in_len);
	int (*answer)(const struct job *j, unsigned int slot, bool encrypt, size_t in_len, size_t out_len);
	bool (*queues)(const struct job *j);		/* whether it keeps several under way without threads */
	uint64_t (*batch)(struct job *j, unsigned int requests);	/* by that; see workers_batch() */
	void (*say)(const struct job *j, uint64_t asked, struct json *out);	/* its witness; dies where it differs */
	unsigned int (*most)(const struct job *j);	/* under way at once, so far; NULL where only threads can tell */
	const char *(*explain)(int err);
	void (*close)(struct job *j);
};

extern const struct interface by_af_alg, by_devcrypto;

int raw(struct job *j);
uint64_t sleeps(void);					/* how often this thread gave up its processor to wait */

struct workers;						/* raw's threads: one for each slot */
struct workers *workers_open(const struct job *j);
/* From nothing under way to nothing under way; ns from before the first request until the last answer. */
uint64_t workers_batch(struct workers *w, unsigned int requests);	/* at least one for each slot */
unsigned int workers_most(const struct workers *w);	/* in the kernel at once, so far */
uint64_t workers_say(const struct workers *w, struct json *out);	/* how many requests they have made */
void workers_close(struct workers *w);

#endif
