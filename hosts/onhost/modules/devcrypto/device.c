// SPDX-License-Identifier: GPL-2.0
/*
 * devcrypto: /dev/crypto, the kernel crypto API by ioctl.
 *
 * RESEARCH USE.  See devcrypto.h for the user interface.
 *
 *	device.c	the device: open files, ioctls, poll
 *	session.c	sessions of an open file
 *	request.c	requests to ciphers and AEADs, and whose they are
 *	crypt.c		a cipher, a hash, or both, awaited or asynchronous
 *	auth.c		requests with authenticated data
 *	hash.c		hashes and HMACs
 *	memory.c	memory that a request works on
 *
 * An open file has sessions and asynchronous requests.  Whatever another may still
 * need is counted: a session by its file and its requests, a request by its owner
 * and its driver (see request.c), the file's structure by the file and its requests.
 *
 * Locking: a file's spin lock guards its lists of requests; drivers' answers take it,
 * maybe in an interrupt.  A hash's mutex guards its state for the whole of a request,
 * and nests outside.  Ciphers need no lock: requests of a session may be under way
 * together, and each has its IV; a spin lock guards the one to carry on with.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "internal.h"

static void dc_file_free(struct kref *ref)
{
	kfree(container_of(ref, struct dc_file, ref));
}

void dc_file_put(struct dc_file *file)
{
	kref_put(&file->ref, dc_file_free);
}

static int dc_open(struct inode *inode, struct file *filp)
{
	struct dc_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return -ENOMEM;
	kref_init(&file->ref);
	xa_init_flags(&file->sessions, XA_FLAGS_ALLOC1);
	spin_lock_init(&file->lock);
	INIT_LIST_HEAD(&file->pending);
	INIT_LIST_HEAD(&file->answered);
	init_waitqueue_head(&file->wait);
	filp->private_data = file;
	return 0;
}

/* The last descriptor is gone: nobody will fetch what is under way. */
static int dc_release(struct inode *inode, struct file *filp)
{
	struct dc_file *file = filp->private_data;
	struct dc_request *req;

	spin_lock_irq(&file->lock);
	list_splice_init(&file->answered, &file->pending);
	while ((req = list_first_entry_or_null(&file->pending, struct dc_request, list))) {
		list_del_init(&req->list);
		spin_unlock_irq(&file->lock);
		dc_request_put(req);
		spin_lock_irq(&file->lock);
	}
	spin_unlock_irq(&file->lock);
	dc_session_end_all(file);
	dc_file_put(file);
	return 0;
}

static __poll_t dc_poll(struct file *filp, poll_table *table)
{
	struct dc_file *file = filp->private_data;
	__poll_t events = 0;

	poll_wait(filp, &file->wait, table);
	spin_lock_irq(&file->lock);
	if (!list_empty(&file->answered))
		events |= EPOLLIN | EPOLLRDNORM;
	if (file->depth < DEVCRYPTO_DEPTH)
		events |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock_irq(&file->lock);
	return events;
}

static int dc_clone(struct file *filp, u32 __user *to)
{
	int fd = get_unused_fd_flags(0);

	if (fd < 0)
		return fd;
	if (put_user(fd, to)) {
		put_unused_fd(fd);
		return -EFAULT;
	}
	fd_install(fd, get_file(filp));
	return 0;
}

static int dc_copy_hash(struct dc_file *file, const struct cphash_op *op)
{
	struct dc_session *from = dc_session_get(file, op->src_ses);
	struct dc_session *to = dc_session_get(file, op->dst_ses);
	int err = from && to ? dc_hash_copy(to, from) : -EINVAL;

	if (from)
		dc_session_put(from);
	if (to)
		dc_session_put(to);
	return err;
}

/* A new session that its caller does not hear of ends. */
static int dc_told(struct dc_file *file, u32 id, void __user *to, const void *op, size_t size)
{
	if (!copy_to_user(to, op, size))
		return 0;
	dc_session_end(file, id);
	return -EFAULT;
}

static long dc_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct dc_file *file = filp->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct session_op session;
		struct session_info_op names;
		struct crypt_op crypt;
		struct crypt_auth_op auth;
		struct cphash_op hash;
		struct devcrypto_session named;
		struct devcrypto_info info;
		u32 id;
	} op;
	size_t size = _IOC_SIZE(cmd);
	int err;

	switch (cmd) {
	case CRIOGET:
		return dc_clone(filp, user);
	case CIOCASYMFEAT:
		return put_user(0, (u32 __user *)user);
	case CIOCASYNCFETCH:
		err = dc_fetch(file, &op.crypt);
		/* Which request it was is told of one that failed, too. */
		if (err != -EBUSY && copy_to_user(user, &op, size))
			return -EFAULT;
		return err;
	case CIOCGSESSION:
	case CIOCFSESSION:
	case CIOCCRYPT:
	case CIOCGSESSINFO:
	case CIOCAUTHCRYPT:
	case CIOCASYNCCRYPT:
	case CIOCCPHASH:
	case DEVCRYPTO_SESSION:
	case DEVCRYPTO_INFO:
		if (copy_from_user(&op, user, size))
			return -EFAULT;
		break;
	default:
		return -EINVAL;
	}
	switch (cmd) {
	case CIOCGSESSION:
		err = dc_session_by_number(file, &op.session);
		return err ?: dc_told(file, op.session.ses, user, &op, size);
	case DEVCRYPTO_SESSION:
		err = dc_session_by_name(file, &op.named);
		return err ?: dc_told(file, op.named.ses, user, &op, size);
	case CIOCFSESSION:
		return dc_session_end(file, op.id);
	case CIOCCRYPT:
		return dc_crypt(file, &op.crypt);
	case CIOCASYNCCRYPT:
		return dc_submit(file, &op.crypt);
	case CIOCCPHASH:
		return dc_copy_hash(file, &op.hash);
	case CIOCAUTHCRYPT:
		err = dc_auth(file, &op.auth);
		break;
	case CIOCGSESSINFO:
		err = dc_session_names(file, &op.names);
		break;
	default:
		err = dc_session_info(file, &op.info);
	}
	if (!err && copy_to_user(user, &op, size))
		return -EFAULT;
	return err;
}

static const struct file_operations dc_operations = {
	.owner		= THIS_MODULE,
	.open		= dc_open,
	.release	= dc_release,
	.poll		= dc_poll,
	.unlocked_ioctl	= dc_ioctl,
};

static struct miscdevice dc_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "crypto",
	.mode	= 0600,
	.fops	= &dc_operations,
};

static int __init dc_load(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct devcrypto_session) != 160);
	BUILD_BUG_ON(sizeof(struct devcrypto_info) != 216);
	err = dc_requests_init();
	if (err)
		return err;
	err = misc_register(&dc_device);
	if (err)
		dc_requests_exit();
	return err;
}

static void __exit dc_unload(void)
{
	misc_deregister(&dc_device);
	dc_requests_exit();
}

module_init(dc_load);
module_exit(dc_unload);

MODULE_DESCRIPTION("/dev/crypto: the kernel crypto API by ioctl (research use)");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
