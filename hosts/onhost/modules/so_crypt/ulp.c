// SPDX-License-Identifier: GPL-2.0
/*
 * so_crypt: a TCP upper layer protocol that encrypts everything sent on a
 * socket, and deciphers everything received, each with one skcipher of the
 * kernel crypto API.
 *
 * RESEARCH USE: no authentication.  See so_crypt.h for the user interface.
 *
 * Data path of sending: sendmsg()/sendpage() collect plain text as a scatter list, by
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
 *
 * Receiving works in the calls that read: TCP's own recvmsg() copies a chunk of what
 * it has to fresh pages, one request deciphers it there, and its pages go to a pipe by
 * reference or are copied to a buffer.  What was not taken stays for the next call; no
 * more is fetched before it is gone, so TCP's window is what holds the peer back.
 * Waiting, timeouts, signals and errors are those of TCP's recvmsg().
 *
 * rx.lock serialises readers and guards ctx->rx, as tx_lock does for senders; the two
 * are never held together.  A pipe's lock is outside it, the socket lock inside.
 */
#include <linux/module.h>
#include "internal.h"

static struct proto soc_prots[2];
static struct proto *soc_bases[2];
static struct proto_ops soc_rx_ops[2];		/* what is not of struct proto, or not the same in all kernels */
static const struct proto_ops *soc_base_ops[2];
static DEFINE_MUTEX(soc_prots_lock);

static void soc_build_prot(struct proto *prot, const struct proto *base)
{
	*prot = *base;
	prot->sendmsg = soc_sendmsg;
	prot->recvmsg = soc_recvmsg;
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

static void soc_build_ops(struct proto_ops *ops, const struct proto_ops *base)
{
	*ops = *base;
	ops->splice_read = soc_splice_read;
	ops->poll = soc_poll;
	ops->ioctl = soc_ioctl;
	/* Other ways to TCP's queue. */
	ops->read_sock = NULL;
	ops->set_peek_off = NULL;
}

int soc_hook_rx(struct sock *sk, struct soc_ctx *ctx)
{
	int family = sk->sk_family == AF_INET6;

	if (ctx->rx.base_ops != soc_base_ops[family] || READ_ONCE(sk->sk_socket->ops) != ctx->rx.base_ops)
		return -EBUSY;
	WRITE_ONCE(sk->sk_socket->ops, &soc_rx_ops[family]);
	return 0;
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
		soc_base_ops[family] = READ_ONCE(sk->sk_socket->ops);
		soc_build_ops(&soc_rx_ops[family], soc_base_ops[family]);
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
	mutex_init(&ctx->rx.lock);
	INIT_DELAYED_WORK(&ctx->retry, soc_retry);
	sg_init_table(ctx->src, ARRAY_SIZE(ctx->src));
	sg_init_table(ctx->dst, ARRAY_SIZE(ctx->dst));
	/* soc_encrypt() marks where a request ends. */
	sg_unmark_end(&ctx->src[ARRAY_SIZE(ctx->src) - 1]);
	sg_unmark_end(&ctx->dst[ARRAY_SIZE(ctx->dst) - 1]);
	ctx->sk = sk;
	ctx->base = base;
	ctx->rx.base_ops = READ_ONCE(sk->sk_socket->ops);
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
	soc_wait_closed();
	synchronize_rcu_tasks();
}

module_init(soc_register);
module_exit(soc_unregister);

MODULE_DESCRIPTION("SO_CRYPT: TCP sockets that encrypt and decipher in the kernel (research use: no authentication)");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.1");
MODULE_ALIAS_TCP_ULP("so_crypt");
