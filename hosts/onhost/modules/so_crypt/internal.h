/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of so_crypt share; see ulp.c for how they go together. */
#ifndef SO_CRYPT_INTERNAL_H
#define SO_CRYPT_INTERNAL_H

#include <linux/net.h>
#include <linux/scatterlist.h>
#include <linux/workqueue.h>
#include <crypto/skcipher.h>
#include <net/tcp.h>
#include "so_crypt.h"

/*
 * Entries of a scatter list.  Before 6.3 virtio_crypto turned n of them into
 * n(n+1)/2 descriptors, and a request over the ring's size (1,024 for source
 * and destination together) is retried for ever.
 */
#define SOC_MAX_SG	31
#define SOC_MAX_PAGES	(SOC_MAX_SG - 1)

#define SOC_MAX_UNIT	16	/* largest cipher block, largest IV */
#define SOC_ALIGN	64	/* of requests in memory: a cache line */
#define SOC_RETRY	(HZ / 20)	/* for what was left for want of memory */
#define SOC_PATIENCE	(2 * HZ)	/* for the same at the end of the stream */
#define SOC_CORK	(HZ / 5)	/* most that TCP, too, holds back data without news */

#ifdef SOC_HAVE_SENDPAGE
#define SOC_MSG_SPLICE	0		/* the flag may exist, without a meaning */
#else
#define SOC_MSG_SPLICE	MSG_SPLICE_PAGES
#endif

/* soc_ctx.state */
#define SOC_CONTENDED	0	/* someone got EAGAIN for tx_lock */
#define SOC_OWED	1	/* soc_retry() is to run when tx_lock is free */
#define SOC_RX_NEWS	2	/* someone got EAGAIN for rx.lock, or may have missed what is left */

/* In most kernels recvmsg() has a pointer to the length of an address, which TCP does not tell. */
#ifdef SOC_HAVE_ADDR_LEN
#define SOC_ADDR_LEN_PARAMETER	, int *addr_len
#define SOC_ADDR_LEN_ARGUMENT	, addr_len
#else
#define SOC_ADDR_LEN_PARAMETER
#define SOC_ADDR_LEN_ARGUMENT
#endif

struct soc_rx {
	struct mutex lock;		/* readers; see ulp.c */
	unsigned int clear;		/* calls under way that read clear text; socket lock */
	const struct proto_ops *base_ops;	/* TCP's own */

	struct crypto_skcipher *tfm;	/* NULL until SO_CRYPT_SET_RX: clear text */
	struct skcipher_request *req;
	struct crypto_wait wait;
	unsigned int unit, chunk;
	bool stream;
	u32 pad;
	u8 iv[SOC_MAX_UNIT];
	u8 rest_iv[SOC_MAX_UNIT];

	struct page *pages[SOC_MAX_PAGES];	/* a chunk, deciphered in place */
	struct scatterlist sg[SOC_MAX_PAGES];
	unsigned int from, to;		/* of it: plain text that nobody has taken */
	bool fetched;			/* by the call under way: poll() saw nothing of it meanwhile */
	u8 rest[SOC_MAX_UNIT];		/* cipher text that waits for more; of a counter zeros */
	unsigned int nrest;		/* of a counter: what has gone of a block */
	bool ended;			/* the peer's end, and it was in order */
	int err;			/* the stream is cut, or has a hole: for good */

	u64 bytes_in, bytes_out, requests;
};

struct soc_ctx {
	struct mutex tx_lock;		/* senders; see ulp.c */
	unsigned long state;
	struct sock *sk;
	struct proto *base;		/* TCP's own operations */

	struct crypto_skcipher *tfm;	/* NULL until SO_CRYPT_SET: clear text */
	struct skcipher_request *req;
	struct crypto_wait wait;
	unsigned int unit;		/* bytes that can be encrypted by themselves */
	unsigned int chunk;
	bool stream;			/* a partial unit can be sent too: ctr */
	u32 pad;
	u8 iv[SOC_MAX_UNIT];
	u8 rest_iv[SOC_MAX_UNIT];	/* for a request that is not carried on */

	struct scatterlist src[SOC_MAX_SG];	/* plain text collected */
	unsigned int nsrc, fill;		/* its entries, its bytes */
	unsigned int skip;		/* leading bytes whose cipher text has gone */
	struct scatterlist dst[SOC_MAX_SG + 2];	/* cipher text to queue */
	unsigned int dfirst, ndst;
	struct page_frag in, out;	/* allocators of plain and cipher text pages */
	bool corked;			/* TCP was told that more follows */
	bool ended;			/* padded: the stream is over */
	int err;			/* the stream has a hole: no more sending */
	struct delayed_work retry;
	unsigned long held;		/* not before SOC_CORK after this, in jiffies */

	u64 bytes_in, bytes_out, requests;

	struct soc_rx rx;
};

static inline struct soc_ctx *soc_get_ctx(const struct sock *sk)
{
	/* Set before sk_prot is, cleared after no one can come. */
	smp_rmb();		/* pairs with soc_init(); our caller has read sk_prot */
	return (__force void *)inet_csk(sk)->icsk_ulp_data;
}

static inline bool soc_can_send(const struct sock *sk)
{
	return (1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT);
}

/* TCP's recvmsg() for our own pages. */
static inline int soc_base_recvmsg(struct soc_ctx *ctx, struct sock *sk, struct msghdr *msg,
				   size_t len, int flags)
{
#ifdef SOC_HAVE_ADDR_LEN
	int unused = 0, *addr_len = &unused;
#endif
	return ctx->base->recvmsg(sk, msg, len, flags SOC_ADDR_LEN_ARGUMENT);
}

/* ulp.c: from now on the socket's own splice(), poll() and ioctl(); socket lock held */
int soc_hook_rx(struct sock *sk, struct soc_ctx *ctx);

/* lock.c */
bool soc_trylock(struct soc_ctx *ctx, int bit);
int soc_lock(struct soc_ctx *ctx, int flags);
void soc_unlock(struct soc_ctx *ctx);
int soc_lock_rx(struct soc_ctx *ctx, int flags);
void soc_unlock_rx(struct soc_ctx *ctx);

/* chunk.c: what is collected, and what goes to TCP */
void soc_collect(struct soc_ctx *ctx, struct page *page, unsigned int off, unsigned int len);
bool soc_full(const struct soc_ctx *ctx);
void soc_drop_src(struct soc_ctx *ctx);
void soc_drop_dst(struct soc_ctx *ctx);
int soc_push(struct sock *sk, struct soc_ctx *ctx, int flags);
int soc_alloc_dst(struct sock *sk, struct soc_ctx *ctx, unsigned int len);

/* encrypt.c: from the one to the other */
int soc_flush(struct sock *sk, struct soc_ctx *ctx, int flags, bool locked);
void soc_retry(struct work_struct *work);

/* send.c */
int soc_sendmsg(struct sock *sk, struct msghdr *msg, size_t size);
#ifdef SOC_HAVE_SENDPAGE
int soc_sendpage(struct sock *sk, struct page *page, int off, size_t size, int flags);
#endif
#ifdef SOC_HAVE_SPLICE_EOF
void soc_splice_eof(struct socket *sock);
#endif

/* decrypt.c */
unsigned int soc_readable(struct sock *sk, const struct soc_rx *rx);
int soc_fill(struct sock *sk, struct soc_ctx *ctx, size_t least, int flags);
void soc_trim(struct soc_rx *rx);

/* receive.c */
int soc_recvmsg(struct sock *sk, struct msghdr *msg, size_t size, int flags SOC_ADDR_LEN_PARAMETER);
ssize_t soc_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe, size_t len,
			unsigned int flags);
__poll_t soc_poll(struct file *file, struct socket *sock, struct poll_table_struct *wait);
int soc_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);

/* end.c */
void soc_shutdown(struct sock *sk, int how);
void soc_close(struct sock *sk, long timeout);
int soc_disconnect(struct sock *sk, int flags);
/* Until every call of soc_close() has returned. */
void soc_wait_closed(void);

/* option.c */
int soc_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval, unsigned int optlen);
int soc_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
			int __user *optlen);

#endif
