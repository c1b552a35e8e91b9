// SPDX-License-Identifier: GPL-2.0
/*
 * so_crypt: a TCP upper layer protocol that encrypts everything sent on a
 * socket with one skcipher of the kernel crypto API.
 *
 * RESEARCH USE: transmit side only, no authentication.  See so_crypt.h for the
 * user interface.
 *
 * Data path: sendmsg()/sendpage() collect plain text as a scatter list, by
 * reference for sendfile() and splice(), by copy for send().  When a chunk is
 * full, or a call ends without MSG_MORE, the whole blocks in it become one
 * cipher request, from the page cache's pages to fresh ones, and the fresh pages
 * go to TCP by reference.  A partial block stays behind, copied.
 *
 * Locking: tx_lock serialises senders and guards the context, for the whole of
 * a call, so that calls do not mix.  The socket lock nests inside and is held
 * around TCP's functions only, not while the cipher (maybe an asynchronous
 * device) works.  shutdown() is the exception: it arrives with the socket lock
 * held.  ctx->tfm appears once, under both locks, and goes with the socket.
 * Who may not wait for tx_lock sets a bit, and soc_unlock() does what it says.
 *
 * Back-pressure: a chunk is begun only when the send buffer has room, as TCP
 * does with its segments.  A chunk that was encrypted is queued whole, past the
 * limit by at most one chunk: its plain text is gone, so nobody could be told to
 * try again.  Only want of memory can leave anything here that ought to go: plain
 * text that could not be encrypted, cipher text (dst[]) that TCP did not take.  The
 * next call, or a timer, brings it to TCP before anything else.
 *
 * The end: TCP's FIN is sent by shutdown() and close() alone, after what belongs
 * before it, or the connection is reset.
 */
#include <linux/capability.h>
#include <linux/bvec.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/uio.h>
#include <linux/wait_bit.h>
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

struct soc_ctx {
	struct mutex tx_lock;		/* senders; see above */
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
};

static struct proto soc_prots[2];
static struct proto *soc_bases[2];
static DEFINE_MUTEX(soc_prots_lock);
static atomic_t soc_closing = ATOMIC_INIT(0);	/* calls of soc_close() */

static bool soc_unprivileged;
module_param_named(unprivileged, soc_unprivileged, bool, 0644);
MODULE_PARM_DESC(unprivileged, "SO_CRYPT_SET needs no capability");

static struct soc_ctx *soc_get_ctx(const struct sock *sk)
{
	/* Set before sk_prot is, cleared after no one can come. */
	smp_rmb();		/* pairs with soc_init(); our caller has read sk_prot */
	return (__force void *)inet_csk(sk)->icsk_ulp_data;
}

static bool soc_can_send(const struct sock *sk)
{
	return (1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT);
}

/* Where this fails, the holder's soc_unlock() sees the bit. */
static bool soc_trylock(struct soc_ctx *ctx, int bit)
{
	if (mutex_trylock(&ctx->tx_lock))
		return true;
	set_bit(bit, &ctx->state);
	smp_mb__after_atomic();	/* pairs with test_and_clear_bit() in soc_unlock() */
	return mutex_trylock(&ctx->tx_lock);
}

static int soc_lock(struct soc_ctx *ctx, int flags)
{
	if (flags & MSG_DONTWAIT)
		return soc_trylock(ctx, SOC_CONTENDED) ? 0 : -EAGAIN;
	return mutex_lock_interruptible(&ctx->tx_lock) ? -ERESTARTSYS : 0;
}

static void soc_unlock(struct soc_ctx *ctx)
{
	struct sock *sk = ctx->sk;

	mutex_unlock(&ctx->tx_lock);
	if (test_and_clear_bit(SOC_OWED, &ctx->state))
		schedule_delayed_work(&ctx->retry, 0);
	/*
	 * Edge-triggered epoll waits for an event after that EAGAIN: it comes now if
	 * there is room, else from TCP, which looks at the flag, when there is.
	 */
	if (test_and_clear_bit(SOC_CONTENDED, &ctx->state)) {
		set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		smp_mb__after_atomic();	/* pairs with TCP's, as in tcp_poll() */
		READ_ONCE(sk->sk_write_space)(sk);
	}
}

/* Append plain text to the chunk; takes a reference of its own. */
static void soc_collect(struct soc_ctx *ctx, struct page *page, unsigned int off,
			unsigned int len)
{
	struct scatterlist *last = ctx->nsrc ? &ctx->src[ctx->nsrc - 1] : NULL;

	if (last && sg_page(last) == page && last->offset + last->length == off) {
		last->length += len;
	} else {
		get_page(page);
		sg_set_page(&ctx->src[ctx->nsrc++], page, len, off);
	}
	ctx->fill += len;
}

static bool soc_full(const struct soc_ctx *ctx)
{
	return ctx->fill >= ctx->chunk || ctx->nsrc >= SOC_MAX_PAGES;
}

static void soc_put_pages(struct scatterlist *sg, unsigned int n)
{
	while (n--)
		put_page(sg_page(sg++));
}

static void soc_drop_src(struct soc_ctx *ctx)
{
	soc_put_pages(ctx->src, ctx->nsrc);
	ctx->nsrc = 0;
	ctx->fill = 0;
	ctx->skip = 0;
}

static void soc_drop_dst(struct soc_ctx *ctx)
{
	soc_put_pages(&ctx->dst[ctx->dfirst], ctx->ndst - ctx->dfirst);
	ctx->dfirst = 0;
	ctx->ndst = 0;
}

/* Bytes of cipher text to queue. */
static int soc_left(const struct soc_ctx *ctx)
{
	unsigned int i, left = 0;

	for (i = ctx->dfirst; i < ctx->ndst; i++)
		left += ctx->dst[i].length;
	return left;
}

/* Hand cipher text to TCP, as much as it takes at once; socket lock held. */
#ifdef SOC_HAVE_SENDPAGE
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct scatterlist *sg = &ctx->dst[ctx->dfirst];

	if (ctx->dfirst + 1 < ctx->ndst)
		flags |= MSG_MORE | MSG_SENDPAGE_NOTLAST;
	return do_tcp_sendpages(sk, sg_page(sg), sg->offset, sg->length, flags);
}
#else
static int soc_tcp_send(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	struct msghdr msg = { .msg_flags = flags | SOC_MSG_SPLICE };
	struct bio_vec bvec[ARRAY_SIZE(ctx->dst)];
	unsigned int i, n = 0;
	size_t len = 0;

	for (i = ctx->dfirst; i < ctx->ndst; i++) {
		struct scatterlist *sg = &ctx->dst[i];

		bvec_set_page(&bvec[n++], sg_page(sg), sg->length, sg->offset);
		len += sg->length;
	}
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, bvec, n, len);
	return tcp_sendmsg_locked(sk, &msg, len);
}
#endif

static void soc_sent(struct soc_ctx *ctx, unsigned int len)
{
	WRITE_ONCE(ctx->bytes_out, ctx->bytes_out + len);
	while (len) {
		struct scatterlist *sg = &ctx->dst[ctx->dfirst];
		unsigned int n = min(len, sg->length);

		sg->offset += n;
		sg->length -= n;
		len -= n;
		if (!sg->length) {
			put_page(sg_page(sg));
			ctx->dfirst++;
		}
	}
}

/*
 * Queue all cipher text; both locks held.  The limits of the send buffer were
 * respected when the chunk was begun (soc_wait_room()) and are lifted here, by not
 * more than what is queued needs: getsockopt() and poll() look without a lock, and
 * TCP may sleep for a page.
 *
 * SEND_SHUTDOWN means a shutdown() that waits for tx_lock: these bytes come before
 * its FIN.
 *
 * Returns -EAGAIN if TCP is short of memory: dst[] keeps the rest.
 */
static int soc_push(struct sock *sk, struct soc_ctx *ctx, int flags)
{
	int sndbuf = READ_ONCE(sk->sk_sndbuf), shut = sk->sk_shutdown & SEND_SHUTDOWN, err = 0;
	struct tcp_sock *tp = tcp_sk(sk);
	u32 lowat = READ_ONCE(tp->notsent_lowat);

	if (ctx->dfirst == ctx->ndst)
		return 0;

	flags &= MSG_MORE;
	ctx->corked = flags;
	/* The pages are ours alone: no need to copy them for a checksum. */
	flags |= MSG_DONTWAIT | MSG_NOSIGNAL | MSG_NO_SHARED_FRAGS;

	if (sk->sk_err || !soc_can_send(sk))
		err = -EPIPE;		/* and leave sk_err to the caller's report */
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~shut);
	WRITE_ONCE(tp->notsent_lowat, U32_MAX);
	while (!err && ctx->dfirst < ctx->ndst) {
		int n = 2 * soc_left(ctx);	/* with the headers of short segments */

		WRITE_ONCE(sk->sk_sndbuf, max(sndbuf, READ_ONCE(sk->sk_wmem_queued) + n));
		n = soc_tcp_send(sk, ctx, flags);
		if (n > 0)
			soc_sent(ctx, n);
		else
			err = n ?: -EAGAIN;
	}
	WRITE_ONCE(tp->notsent_lowat, lowat);
	/* Memory pressure may have lowered it for good. */
	WRITE_ONCE(sk->sk_sndbuf, min(sndbuf, READ_ONCE(sk->sk_sndbuf)));
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | shut);

	if (err == -EAGAIN)
		return err;
	soc_drop_dst(ctx);
	if (err)
		ctx->err = sk->sk_err || !soc_can_send(sk) ? -EPIPE : -EIO;
	return err ? ctx->err : 0;
}

/* Append pages for @len bytes of cipher text to dst[]. */
static int soc_alloc_dst(struct sock *sk, struct soc_ctx *ctx, unsigned int len)
{
	unsigned int n = ctx->ndst;

	while (len) {
		struct page_frag *out = &ctx->out;
		unsigned int take;

		out->offset = ALIGN(out->offset, SOC_ALIGN);
		if (n == ARRAY_SIZE(ctx->dst) ||
		    !skb_page_frag_refill(SOC_ALIGN, out, sk->sk_allocation)) {
			soc_put_pages(&ctx->dst[ctx->ndst], n - ctx->ndst);
			return -ENOMEM;
		}
		take = min(len, round_down(out->size - out->offset, ctx->unit));
		get_page(out->page);
		sg_set_page(&ctx->dst[n++], out->page, take, out->offset);
		out->offset += take;
		len -= take;
	}
	ctx->ndst = n;
	return 0;
}

/* Encrypt the first @len collected bytes to the end of dst[]; tx_lock held. */
static int soc_encrypt(struct sock *sk, struct soc_ctx *ctx, unsigned int len, u8 *iv)
{
	struct scatterlist *dst = &ctx->dst[ctx->ndst], *dlast, *slast = ctx->src;
	unsigned int left = len, cut;
	int err;

	err = soc_alloc_dst(sk, ctx, len);
	if (err)
		return err;

	/* End the lists exactly here: some drivers map entries as they stand. */
	while (left > slast->length)
		left -= slast++->length;
	cut = slast->length - left;
	slast->length = left;
	sg_mark_end(slast);
	dlast = &ctx->dst[ctx->ndst - 1];
	sg_mark_end(dlast);

	skcipher_request_set_crypt(ctx->req, ctx->src, dst, len, iv);
	err = crypto_wait_req(crypto_skcipher_encrypt(ctx->req), &ctx->wait);
	WRITE_ONCE(ctx->requests, ctx->requests + 1);

	sg_unmark_end(dlast);
	sg_unmark_end(slast);
	slast->length += cut;
	if (err) {
		soc_drop_dst(ctx);
		ctx->err = -EIO;
		return -EIO;
	}
	dst->offset += ctx->skip;	/* shorter than a unit, so than an entry */
	dst->length -= ctx->skip;
	return 0;
}

/* Encrypt all whole units; what is left over moves to the front, copied. */
static int soc_encrypt_units(struct sock *sk, struct soc_ctx *ctx)
{
	unsigned int rest = ctx->fill % ctx->unit, len = ctx->fill - rest;
	struct page_frag *in = &ctx->in;
	int err;

	if (!len)
		return 0;
	if (rest) {
		if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
			return -ENOMEM;
		sg_pcopy_to_buffer(ctx->src, ctx->nsrc, page_address(in->page) + in->offset,
				   rest, len);
	}
	err = soc_encrypt(sk, ctx, len, ctx->iv);
	if (err)
		return err;
	soc_drop_src(ctx);
	if (rest) {
		soc_collect(ctx, in->page, in->offset, rest);
		in->offset += rest;
	}
	return 0;
}

/*
 * The part of a unit that a stream cipher can send now.  It stays collected:
 * the next request begins with it again, from the same IV, and the bytes that
 * have gone are skipped.
 */
static int soc_encrypt_rest(struct sock *sk, struct soc_ctx *ctx)
{
	int err;

	if (!ctx->stream || ctx->fill == ctx->skip)
		return 0;
	memcpy(ctx->rest_iv, ctx->iv, sizeof(ctx->iv));
	err = soc_encrypt(sk, ctx, ctx->fill, ctx->rest_iv);
	if (!err)
		ctx->skip = ctx->fill;
	return err;
}

/*
 * Encrypt and queue what can be; tx_lock held, and @locked: the socket lock too.
 * Without MSG_MORE in @flags nothing waits for company.  What cannot go for want of
 * memory goes later, by soc_retry(): plain text with -ENOMEM, since no more of it
 * can be taken; cipher text without, since the caller's bytes are accepted.
 */
static int soc_flush(struct sock *sk, struct soc_ctx *ctx, int flags, bool locked)
{
	bool more = flags & MSG_MORE, uncork;
	int err, pushed;

	if (ctx->err)
		return ctx->err;
	err = soc_encrypt_units(sk, ctx);
	if (!err && !more)
		err = soc_encrypt_rest(sk, ctx);
	if (ctx->err)
		return ctx->err;
	uncork = ctx->corked && !more && ctx->dfirst == ctx->ndst;

	if (!locked)
		lock_sock(sk);
	pushed = soc_push(sk, ctx, flags);
	if (!locked)
		release_sock(sk);
#ifdef SOC_HAVE_SPLICE_EOF
	if (uncork && !locked && ctx->base->splice_eof) {
		ctx->corked = false;
		ctx->base->splice_eof(sk->sk_socket);
	}
#endif
	if (err == -ENOMEM || pushed == -EAGAIN)
		schedule_delayed_work(&ctx->retry, SOC_RETRY);
	return pushed && pushed != -EAGAIN ? pushed : err;
}

/* Nobody calls, and what was accepted goes all the same. */
static void soc_retry(struct work_struct *work)
{
	struct soc_ctx *ctx = container_of(to_delayed_work(work), struct soc_ctx, retry);
	unsigned long due;

	if (!soc_trylock(ctx, SOC_OWED))
		return;
	due = ctx->held + SOC_CORK;
	if (time_before(jiffies, due))
		schedule_delayed_work(&ctx->retry, due - jiffies);
	else
		soc_flush(ctx->sk, ctx, 0, false);
	soc_unlock(ctx);
}

/* Wait until a chunk may be begun: all cipher text queued, and room for more. */
static int soc_wait_room(struct sock *sk, struct soc_ctx *ctx, long *timeo)
{
	int err;

	if (ctx->err)
		return ctx->err;
	lock_sock(sk);
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	for (;;) {
		err = -EPIPE;
		if (sk->sk_err || (sk->sk_shutdown & SEND_SHUTDOWN))
			break;
		err = soc_push(sk, ctx, MSG_MORE);
		if (err && err != -EAGAIN)
			break;
		if (!err && sk_stream_memory_free(sk))
			break;
		set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		err = sk_stream_wait_memory(sk, timeo);
		if (err)
			break;
	}
	release_sock(sk);
	return err;
}

/* Bytes to copy into the chunk from a sender's buffer. */
static ssize_t soc_copy_in(struct sock *sk, struct soc_ctx *ctx, struct iov_iter *from,
			   size_t len)
{
	struct page_frag *in = &ctx->in;

	if (!ctx->fill)
		in->offset = ALIGN(in->offset, SOC_ALIGN);
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation | __GFP_ACCOUNT))
		return -ENOMEM;
	len = min_t(size_t, len, in->size - in->offset);
	len = copy_page_from_iter(in->page, in->offset, len, from);
	if (!len)
		return -EFAULT;
	soc_collect(ctx, in->page, in->offset, len);
	in->offset += len;
	return len;
}

#ifdef SOC_HAVE_SENDPAGE
static ssize_t soc_splice_in(struct soc_ctx *ctx, struct iov_iter *from, size_t len)
{
	return -EOPNOTSUPP;
}
#else
/* One page of a sendfile() or splice(), by reference. */
static ssize_t soc_splice_in(struct soc_ctx *ctx, struct iov_iter *from, size_t len)
{
	struct page *page, **pages = &page;
	ssize_t n;
	size_t off;

	n = iov_iter_extract_pages(from, &pages, len, 1, 0, &off);
	if (n <= 0)
		return n ?: -EIO;
	if (WARN_ON_ONCE(!sendpage_ok(page)))
		return -EIO;
	soc_collect(ctx, page, off, n);
	return n;
}
#endif

static int soc_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int flags = msg->msg_flags, err;
	size_t copied = 0;
	long timeo;

	if (!smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tfm) {
			err = tcp_sendmsg_locked(sk, msg, size);
			release_sock(sk);
			return err;
		}
		release_sock(sk);
	}
	if ((flags & (MSG_OOB | MSG_FASTOPEN | MSG_ZEROCOPY)) || msg->msg_controllen)
		return -EOPNOTSUPP;
	err = soc_lock(ctx, flags);
	if (err)
		return err;

	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	while (msg_data_left(msg)) {
		ssize_t n;

		if (soc_full(ctx)) {
			/* Not whether it is the last: whether a unit follows. */
			bool more = (flags & MSG_MORE) || msg_data_left(msg) >= ctx->unit;

			err = soc_flush(sk, ctx, more ? MSG_MORE : 0, false);
			if (err)
				break;
		}
		if (ctx->fill < ctx->unit) {
			err = soc_wait_room(sk, ctx, &timeo);
			if (err)
				break;
		}
		n = min_t(size_t, msg_data_left(msg), ctx->chunk - ctx->fill);
		if (flags & SOC_MSG_SPLICE)
			n = soc_splice_in(ctx, &msg->msg_iter, n);
		else
			n = soc_copy_in(sk, ctx, &msg->msg_iter, n);
		if (n < 0) {
			err = n;
			break;
		}
		copied += n;
		WRITE_ONCE(ctx->bytes_in, ctx->bytes_in + n);
	}
	/* What was accepted goes on its way, also if the call was cut short. */
	if (err ? copied && !ctx->err : !(flags & MSG_MORE) || soc_full(ctx)) {
		int ret = soc_flush(sk, ctx, err ? 0 : flags, false);

		err = err ?: ret;
	}
	if (ctx->err) {		/* accepted bytes are lost, and the caller must know */
		err = ctx->err;
		copied = 0;
	}
	if (err && !copied)
		err = sk_stream_error(sk, flags, err);
	soc_unlock(ctx);
	return copied ?: err;
}

#ifdef SOC_HAVE_SENDPAGE
/*
 * Before there was splice_eof, nobody said that a sendfile() of more than the file
 * had came to its end: what it holds back goes when no page has come for a while.
 */
static void soc_hold(struct soc_ctx *ctx)
{
#ifndef SOC_HAVE_SPLICE_EOF
	ctx->held = jiffies;
	schedule_delayed_work(&ctx->retry, SOC_CORK);
#endif
}

static int soc_sendpage(struct sock *sk, struct page *page, int off, size_t size, int flags)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	int more, err;
	long timeo;

	if (!smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		lock_sock(sk);
		if (!ctx->tfm) {
			err = tcp_sendpage_locked(sk, page, off, size, flags);
			release_sock(sk);
			return err;
		}
		release_sock(sk);
	}
	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (!sendpage_ok(page))
		return sock_no_sendpage(sk->sk_socket, page, off, size, flags);
	err = soc_lock(ctx, flags);
	if (err)
		return err;

	timeo = sock_sndtimeo(sk, flags & MSG_DONTWAIT);
	more = flags & (MSG_MORE | MSG_SENDPAGE_NOTLAST) ? MSG_MORE : 0;
	if (soc_full(ctx))		/* only if memory was short the last time */
		err = soc_flush(sk, ctx, MSG_MORE, false);
	if (!err && ctx->fill < ctx->unit)
		err = soc_wait_room(sk, ctx, &timeo);
	if (!err) {
		size = min_t(size_t, size, ctx->chunk - ctx->fill);
		soc_collect(ctx, page, off, size);
		WRITE_ONCE(ctx->bytes_in, ctx->bytes_in + size);
		if (soc_full(ctx) || !more)
			soc_flush(sk, ctx, more, false);
		else
			soc_hold(ctx);
		err = ctx->err;
	}
	if (err)
		err = sk_stream_error(sk, flags, err);
	soc_unlock(ctx);
	return err ?: size;
}
#endif

#ifdef SOC_HAVE_SPLICE_EOF
/*
 * sendfile() asked for more than the file had: no more is coming after all.  It
 * cannot be interrupted here, so it does not wait for other calls.
 */
static void soc_splice_eof(struct socket *sock)
{
	struct sock *sk = sock->sk;
	struct soc_ctx *ctx = soc_get_ctx(sk);

	if (smp_load_acquire(&ctx->tfm)) {	/* pairs with soc_set() */
		if (soc_trylock(ctx, SOC_OWED)) {
			soc_flush(sk, ctx, 0, false);
			soc_unlock(ctx);
		}
	} else if (ctx->base->splice_eof) {
		ctx->base->splice_eof(sock);
	}
}
#endif

/* Pad the last block; tx_lock and socket lock held. */
static int soc_pad(struct sock *sk, struct soc_ctx *ctx)
{
	struct page_frag *in = &ctx->in;
	unsigned int n = ctx->unit - ctx->fill;

	if (ctx->stream || ctx->unit == 1 || ctx->pad == SO_CRYPT_PAD_NONE ||
	    (ctx->pad == SO_CRYPT_PAD_ZERO && !ctx->fill))
		return 0;
	if (!skb_page_frag_refill(SOC_ALIGN, in, sk->sk_allocation))
		return -ENOMEM;
	memset(page_address(in->page) + in->offset,
	       ctx->pad == SO_CRYPT_PAD_PKCS7 ? n : 0, n);
	soc_collect(ctx, in->page, in->offset, n);
	in->offset += n;
	return 0;
}

/* The peer must not take the stream for a whole one; socket lock held, but not throughout. */
static void soc_reset(struct sock *sk, struct soc_ctx *ctx)
{
	release_sock(sk);
	ctx->base->diag_destroy(sk, ECONNABORTED);	/* tcp_abort(), whoever else waits */
	lock_sock(sk);
}

/*
 * The end of the stream; both locks held.  A stream that cannot be ended as
 * promised is reset: it must not look complete.
 */
static void soc_end(struct sock *sk, struct soc_ctx *ctx)
{
	long timeo = SOC_PATIENCE;
	int err;

	if (!ctx->tfm || ctx->ended || !soc_can_send(sk))
		return;
	ctx->ended = true;
	err = soc_flush(sk, ctx, 0, true);
	if (!err)
		err = soc_pad(sk, ctx);
	if (!err)
		err = soc_flush(sk, ctx, 0, true);
	while (!err && soc_push(sk, ctx, 0) == -EAGAIN)
		err = sk_stream_wait_memory(sk, &timeo);
	if ((err || ctx->err) && soc_can_send(sk))
		soc_reset(sk, ctx);
}

/* Arrives with the socket lock held and sk_shutdown set. */
static void soc_shutdown(struct sock *sk, int how)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);

	if ((how & SEND_SHUTDOWN) && ctx->tfm) {
		int err = 0;

		if (!mutex_trylock(&ctx->tx_lock)) {
			/* A sender that waits for room leaves now, with EPIPE. */
			sk->sk_state_change(sk);
			release_sock(sk);
			err = mutex_lock_killable(&ctx->tx_lock);
			lock_sock(sk);
		}
		if (soc_can_send(sk))
			WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown & ~SEND_SHUTDOWN);
		if (err)		/* killed: it was not shut down, and close() will end it */
			return;
		soc_end(sk, ctx);
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | SEND_SHUTDOWN);
		soc_unlock(ctx);
	}
	ctx->base->shutdown(sk, how);
}

static void soc_free_ctx(struct soc_ctx *ctx)
{
	skcipher_request_free(ctx->req);
	crypto_free_skcipher(ctx->tfm);
	if (ctx->in.page)
		put_page(ctx->in.page);
	if (ctx->out.page)
		put_page(ctx->out.page);
	mutex_destroy(&ctx->tx_lock);
	kfree_sensitive(ctx);
}

static void soc_close(struct sock *sk, long timeout)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct proto *base = ctx->base;

	atomic_inc(&soc_closing);
	cancel_delayed_work_sync(&ctx->retry);
	mutex_lock(&ctx->tx_lock);
	lock_sock(sk);
	soc_end(sk, ctx);
	soc_drop_src(ctx);
	soc_drop_dst(ctx);
	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(icsk->icsk_ulp_data, NULL);
	WRITE_ONCE(sk->sk_prot, base);
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
	mutex_unlock(&ctx->tx_lock);
	cancel_delayed_work_sync(&ctx->retry);

	soc_free_ctx(ctx);
	base->close(sk, timeout);	/* may give back the last reference on this module */
	if (atomic_dec_and_test(&soc_closing))
		wake_up_var(&soc_closing);
}

static int soc_disconnect(struct sock *sk, int flags)
{
	return -EOPNOTSUPP;
}

/* Only modes whose IV carries on from one request to the next make a stream. */
static bool soc_chains(const char *name)
{
	static const char * const modes[] = { "ecb(", "cbc(", "ctr(" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strncmp(name, modes[i], strlen(modes[i])))
			return true;
	return false;
}

/*
 * What of the machine a caller may have.  The rights of a user namespace, which any
 * user may make, are for what the kernel does itself; not for cards by their name,
 * nor for modules by any name.
 */
static bool soc_permitted(const struct sock *sk, const char *alg)
{
	static const char * const plain[] = { "cbc(aes)", "cbc(des3_ede)", "cbc(des)", "ctr(aes)",
					      "ecb(aes)", "ecb(cipher_null)" };
	unsigned int i;

	if (READ_ONCE(soc_unprivileged) || capable(CAP_NET_ADMIN))
		return true;
	if (!ns_capable(sock_net(sk)->user_ns, CAP_NET_ADMIN))
		return false;
	for (i = 0; i < ARRAY_SIZE(plain); i++)
		if (!strcmp(alg, plain[i]))
			return true;
	return false;
}

/*
 * Bytes that can be encrypted by themselves, in any of our modes.  Drivers of cards
 * do not always say that a counter counts blocks of the size of its IV.
 */
static unsigned int soc_unit(struct crypto_skcipher *tfm)
{
	return max(crypto_skcipher_chunksize(tfm), crypto_skcipher_ivsize(tfm));
}

static int soc_check_tfm(struct crypto_skcipher *tfm, const struct so_crypt_set *set)
{
	unsigned int unit = soc_unit(tfm);

	if (!soc_chains(crypto_tfm_alg_name(crypto_skcipher_tfm(tfm))))
		return -EOPNOTSUPP;
	if (!is_power_of_2(unit) || unit > SOC_MAX_UNIT ||
	    crypto_skcipher_ivsize(tfm) > SOC_MAX_UNIT)
		return -EOPNOTSUPP;
	if (set->ivlen != crypto_skcipher_ivsize(tfm))
		return -EINVAL;
	if (set->chunk && set->chunk < unit)
		return -EINVAL;
	if (set->keylen)
		return crypto_skcipher_setkey(tfm, set->key, set->keylen);
	return crypto_skcipher_get_flags(tfm) & CRYPTO_TFM_NEED_KEY ? -ENOKEY : 0;
}

/* tx_lock held */
static int soc_set(struct sock *sk, struct soc_ctx *ctx, const struct so_crypt_set *set)
{
	struct skcipher_request *req;
	struct crypto_skcipher *tfm;
	unsigned int chunk;
	int err;

	if (ctx->tfm)
		return -EBUSY;
	if (!set->alg[0] || strnlen(set->alg, sizeof(set->alg)) == sizeof(set->alg) ||
	    set->keylen > sizeof(set->key) || set->ivlen > sizeof(set->iv) ||
	    set->chunk > SO_CRYPT_CHUNK_MAX || set->pad > SO_CRYPT_PAD_PKCS7)
		return -EINVAL;
	if (!soc_permitted(sk, set->alg))
		return -EPERM;

	tfm = crypto_alloc_skcipher(set->alg, 0, 0);
	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	err = soc_check_tfm(tfm, set);
	if (err)
		goto free_tfm;
	req = skcipher_request_alloc(tfm, GFP_KERNEL_ACCOUNT);
	if (!req) {
		err = -ENOMEM;
		goto free_tfm;
	}
	crypto_init_wait(&ctx->wait);
	skcipher_request_set_callback(req, CRYPTO_TFM_REQ_MAY_BACKLOG | CRYPTO_TFM_REQ_MAY_SLEEP,
				      crypto_req_done, &ctx->wait);

	lock_sock(sk);
	if (!soc_can_send(sk) || (sk->sk_shutdown & SEND_SHUTDOWN)) {
		err = -ENOTCONN;
	} else if (sk->sk_write_pending) {
		err = -EBUSY;		/* clear text would come after cipher text */
	} else {
		ctx->unit = soc_unit(tfm);
		ctx->stream = crypto_skcipher_blocksize(tfm) < ctx->unit;
		chunk = min_t(unsigned int, set->chunk ?: SO_CRYPT_CHUNK_DEFAULT,
			      SOC_MAX_PAGES * PAGE_SIZE);
		ctx->chunk = round_down(chunk, ctx->unit);
		ctx->pad = set->pad;
		ctx->req = req;
		memcpy(ctx->iv, set->iv, set->ivlen);
		smp_store_release(&ctx->tfm, tfm);	/* senders look without a lock */
	}
	release_sock(sk);
	if (!err)
		return 0;
	skcipher_request_free(req);
free_tfm:
	crypto_free_skcipher(tfm);
	return err;
}

static int soc_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval,
			  unsigned int optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_set set;
	int err;

	if (level != SOL_SO_CRYPT)
		return ctx->base->setsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_SET)
		return -ENOPROTOOPT;
	if (smp_load_acquire(&ctx->tfm))	/* pairs with soc_set() */
		return -EBUSY;
	if (optlen != sizeof(set))
		return -EINVAL;
	if (copy_from_sockptr(&set, optval, sizeof(set))) {
		err = -EFAULT;
	} else if (mutex_lock_interruptible(&ctx->tx_lock)) {
		err = -EINTR;
	} else {
		err = soc_set(sk, ctx, &set);
		soc_unlock(ctx);
	}
	memzero_explicit(&set, sizeof(set));
	return err;
}

static void soc_fill_info(struct soc_ctx *ctx, struct so_crypt_info *info)
{
	struct crypto_skcipher *tfm = smp_load_acquire(&ctx->tfm);	/* pairs with soc_set() */
	unsigned int fill = READ_ONCE(ctx->fill), skip = READ_ONCE(ctx->skip);

	if (!tfm)
		return;
	strscpy(info->driver, crypto_tfm_alg_driver_name(crypto_skcipher_tfm(tfm)),
		sizeof(info->driver));
	info->async = !!(crypto_skcipher_tfm(tfm)->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC);
	info->blocksize = crypto_skcipher_blocksize(tfm);
	info->bytes_in = READ_ONCE(ctx->bytes_in);
	info->bytes_out = READ_ONCE(ctx->bytes_out);
	info->requests = READ_ONCE(ctx->requests);
	info->pending = fill > skip ? fill - skip : 0;
}

static int soc_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
			  int __user *optlen)
{
	struct soc_ctx *ctx = soc_get_ctx(sk);
	struct so_crypt_info info = {};
	int len;

	if (level != SOL_SO_CRYPT)
		return ctx->base->getsockopt(sk, level, optname, optval, optlen);
	if (optname != SO_CRYPT_INFO)
		return -ENOPROTOOPT;
	if (get_user(len, optlen))
		return -EFAULT;
	if (len < (int)sizeof(info))
		return -EINVAL;
	soc_fill_info(ctx, &info);
	if (put_user((int)sizeof(info), optlen) || copy_to_user(optval, &info, sizeof(info)))
		return -EFAULT;
	return 0;
}

static void soc_build_prot(struct proto *prot, const struct proto *base)
{
	*prot = *base;
	prot->sendmsg = soc_sendmsg;
#ifdef SOC_HAVE_SENDPAGE
	prot->sendpage = soc_sendpage;
#endif
#ifdef SOC_HAVE_SPLICE_EOF
	prot->splice_eof = soc_splice_eof;
#endif
	prot->shutdown = soc_shutdown;
	prot->close = soc_close;
	prot->disconnect = soc_disconnect;
	prot->setsockopt = soc_setsockopt;
	prot->getsockopt = soc_getsockopt;
}

/* The socket lock is held. */
static int soc_init(struct sock *sk)
{
	int family = sk->sk_family == AF_INET6;
	struct proto *base = READ_ONCE(sk->sk_prot), *prot = &soc_prots[family];
	struct soc_ctx *ctx;
	int err = 0;

	if (!soc_can_send(sk))
		return -ENOTCONN;
	/* Only over TCP itself: a sockmap or the like was here before. */
	if (base->sendmsg != tcp_sendmsg || base->close != tcp_close || !base->diag_destroy)
		return -EBUSY;

	/* tcpv6_prot is not exported, so it is copied when it is first seen. */
	mutex_lock(&soc_prots_lock);
	if (!soc_bases[family]) {
		soc_build_prot(prot, base);
		soc_bases[family] = base;
	} else if (soc_bases[family] != base) {
		err = -EBUSY;
	}
	mutex_unlock(&soc_prots_lock);
	if (err)
		return err;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->tx_lock);
	INIT_DELAYED_WORK(&ctx->retry, soc_retry);
	sg_init_table(ctx->src, ARRAY_SIZE(ctx->src));
	sg_init_table(ctx->dst, ARRAY_SIZE(ctx->dst));
	/* soc_encrypt() marks where a request ends. */
	sg_unmark_end(&ctx->src[ARRAY_SIZE(ctx->src) - 1]);
	sg_unmark_end(&ctx->dst[ARRAY_SIZE(ctx->dst) - 1]);
	ctx->sk = sk;
	ctx->base = base;
	ctx->held = jiffies - SOC_CORK;

	write_lock_bh(&sk->sk_callback_lock);
	rcu_assign_pointer(inet_csk(sk)->icsk_ulp_data, ctx);
	smp_store_release(&sk->sk_prot, prot);	/* pairs with soc_get_ctx() */
	write_unlock_bh(&sk->sk_callback_lock);
	return 0;
}

/*
 * No clone: TCP refuses listening sockets then.  TCP holds a reference on
 * the module for as long as a socket has this protocol, so that it is in use,
 * and not to be unloaded, until the last of them is destroyed.
 */
static struct tcp_ulp_ops soc_ulp_ops __read_mostly = {
	.name	= "so_crypt",
	.owner	= THIS_MODULE,
	.init	= soc_init,
};

static int __init soc_register(void)
{
	BUILD_BUG_ON(sizeof(struct so_crypt_set) != 160);
	BUILD_BUG_ON(sizeof(struct so_crypt_info) != 168);
	/* Without symbol versions a module of another build loads too. */
	if (tcp_prot.obj_size != sizeof(struct tcp_sock) || strcmp(tcp_prot.name, "TCP") ||
	    tcp_prot.sendmsg != tcp_sendmsg || tcp_prot.close != tcp_close)
		return -ENOEXEC;
	return tcp_register_ulp(&soc_ulp_ops);
}

static void __exit soc_unregister(void)
{
	tcp_unregister_ulp(&soc_ulp_ops);
	/* TCP's last reference went within soc_close(): let all of these return. */
	wait_var_event(&soc_closing, !atomic_read(&soc_closing));
	synchronize_rcu_tasks();
}

module_init(soc_register);
module_exit(soc_unregister);

MODULE_DESCRIPTION("SO_CRYPT: TCP sockets that encrypt in the kernel (research use: no authentication)");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
MODULE_ALIAS_TCP_ULP("so_crypt");
