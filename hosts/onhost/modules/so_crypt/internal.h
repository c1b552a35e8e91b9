/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of so_crypt share; see ulp.c for how they go together. */
#ifndef SO_CRYPT_INTERNAL_H
#define SO_CRYPT_INTERNAL_H

#include <linux/mutex.h>
#include <linux/rwsem.h>
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
#define SOC_CORK	(HZ / 5)	/* most that TCP, too, holds back data without news */

/* One direction: what was collected, src[], and what the cipher made of it, dst[]. */
struct soc_stream {
	struct mutex lock;
	struct crypto_skcipher *tfm;	/* NULL until the option is set: clear text */
	struct skcipher_request *req;
	struct crypto_wait wait;
	bool decrypt;
	unsigned int unit;		/* bytes that can be done by themselves */
	unsigned int chunk;
	bool stream;			/* a partial unit can go too: ctr */
	u32 pad;
	u8 iv[SOC_MAX_UNIT];
	u8 rest_iv[SOC_MAX_UNIT];	/* for a request that is not carried on */

	struct scatterlist src[SOC_MAX_SG];
	unsigned int nsrc, fill;		/* its entries, its bytes */
	unsigned int skip;		/* leading bytes that were done already */
	struct scatterlist dst[SOC_MAX_SG + 2];	/* to be handed on */
	unsigned int dfirst, ndst;
	struct page_frag in, out;	/* allocators of pages for src[] and dst[] */
	bool ended;			/* nothing follows */
	int err;			/* the stream has a hole */

	u64 bytes_in, bytes_out, requests;
};

struct soc_ctx {
	struct sock *sk;
	struct proto *base;		/* TCP's own operations */
	const struct proto_ops *base_ops;

	struct soc_stream tx;
	unsigned long state;
	bool corked;			/* TCP was told that more follows */
	struct delayed_work retry;
	unsigned long held;		/* not before SOC_CORK after this, in jiffies */

	struct soc_stream *rx;		/* NULL until SO_CRYPT_SET_RX */
	struct rw_semaphore clear;	/* read: somebody receives clear text */
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

static inline bool soc_full(const struct soc_stream *st)
{
	return st->fill >= st->chunk || st->nsrc >= SOC_MAX_PAGES;
}

/* stream.c */
void soc_stream_init(struct soc_stream *st, bool decrypt);
void soc_stream_free(struct soc_stream *st);
void soc_collect(struct soc_stream *st, struct page *page, unsigned int off, unsigned int len);
void soc_drop_src(struct soc_stream *st);
void soc_drop_dst(struct soc_stream *st);
int soc_left(const struct soc_stream *st);
void soc_passed(struct soc_stream *st, unsigned int len);
int soc_crypt_units(struct sock *sk, struct soc_stream *st, unsigned int rest);
int soc_crypt_rest(struct sock *sk, struct soc_stream *st);

/* send.c */
void soc_retry(struct work_struct *work);
void soc_unlock(struct soc_ctx *ctx);
int soc_sendmsg(struct sock *sk, struct msghdr *msg, size_t size);
#ifdef SOC_HAVE_SENDPAGE
int soc_sendpage(struct sock *sk, struct page *page, int off, size_t size, int flags);
#endif
#ifdef SOC_HAVE_SPLICE_EOF
void soc_splice_eof(struct socket *sock);
#endif
void soc_end(struct sock *sk, struct soc_ctx *ctx);
void soc_shutdown(struct sock *sk, int how);

/* receive.c */
#ifdef SOC_HAVE_ADDR_LEN
#define SOC_ADDR_LEN	, int *addr_len
#define SOC_ADDR	, addr_len
#else
#define SOC_ADDR_LEN
#define SOC_ADDR
#endif
int soc_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags SOC_ADDR_LEN);
ssize_t soc_splice_read(struct socket *sock, loff_t *pos, struct pipe_inode_info *pipe,
			size_t len, unsigned int flags);
bool soc_readable(struct sock *sk);

#endif /* SO_CRYPT_INTERNAL_H */
