// SPDX-License-Identifier: GPL-2.0
/*
 * CIOCAUTHCRYPT: AEADs, and the two kinds of records that a cipher and a MAC make
 * together.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <crypto/algapi.h>
#include <crypto/scatterwalk.h>
#include "internal.h"

/* @len bytes at @from, before the request's data; @room for more of them behind. */
static int dc_auth_data(struct dc_request *req, const u8 __user *from, unsigned int len,
			unsigned int room)
{
	req->auth = kmalloc(len + room, DC_GFP);
	if (!req->auth)
		return -ENOMEM;
	if (copy_from_user(req->auth, from, len))
		return -EFAULT;
	atomic64_add(len, &req->ses->copied_in);
	return 0;
}

/* The list of @m, beginning with authenticated data if there is any. */
static struct scatterlist *dc_auth_list(struct dc_memory *m, u8 *auth, unsigned int len)
{
	if (!len)
		return m->sg + 1;
	sg_set_buf(m->sg, auth, len);
	return m->sg;
}

/*
 * The destination of a mapped AEAD has room for the authenticated data and always
 * for the tag, as drivers may write there, and neither is the user's.
 */
static int dc_aead(struct dc_request *req, struct crypt_auth_op *op)
{
	struct crypto_aead *tfm = req->ses->aead;
	bool decrypt = op->op == COP_DECRYPT;
	unsigned int tag, outlen, gap = ALIGN(op->auth_len, L1_CACHE_BYTES);
	struct scatterlist *src, *dst;
	int err;

	if (!tfm)
		return -EINVAL;
	tag = crypto_aead_authsize(tfm);
	if ((op->tag_len && op->tag_len != tag) || (decrypt && op->len < tag))
		return -EINVAL;
	outlen = decrypt ? op->len - tag : op->len + tag;
	err = dc_request_data(req, op->src, op->len, op->dst, outlen,
			      req->ses->mapped && !(op->flags & COP_FLAG_NO_ZC) && op->len &&
			      outlen);
	if (!err)
		err = dc_auth_data(req, op->auth_src, op->auth_len,
				   gap - op->auth_len + gap + tag);
	if (err)
		return err;
	src = dc_auth_list(&req->in, req->auth, op->auth_len);
	dst = src;
	if (req->out.sg) {
		struct scatterlist *last = &req->out.sg[req->out.n];

		dst = dc_auth_list(&req->out, req->auth + gap, op->auth_len);
		if (decrypt) {
			sg_unmark_end(last);
			sg_set_buf(last + 1, req->auth + 2 * gap, tag);
			sg_mark_end(last + 1);
		}
	}
	req->len = op->len;
	dc_request_aead(req, decrypt, src, dst, op->auth_len);
	err = dc_request_wait(req);
	if (!err)
		err = dc_request_give(req, op->dst, 0, outlen);
	op->len = outlen;
	op->tag_len = tag;
	return err;
}

/* What the two kinds of records want; sets op->tag_len. */
static int dc_record(struct dc_request *req, struct crypt_auth_op *op)
{
	unsigned int most;

	if (!req->ses->skcipher || !req->ses->hash.tfm)
		return -EINVAL;
	most = crypto_ahash_digestsize(req->ses->hash.tfm);
	if (op->tag_len > most)
		return -EINVAL;
	if (!op->tag_len)
		op->tag_len = most;
	return 0;
}

static int dc_record_cipher(struct dc_request *req, bool decrypt, struct scatterlist *sg,
			    unsigned int len)
{
	req->len = len;
	if (!len)
		return 0;
	dc_request_cipher(req, decrypt, sg, sg);
	return dc_request_wait(req);
}

static int dc_tls_encrypt(struct dc_request *req, struct crypt_auth_op *op)
{
	unsigned int block = crypto_skcipher_blocksize(req->ses->skcipher), pad = 0, len;
	struct scatterlist *data;
	u8 padding[EALG_MAX_BLOCK_LEN];
	int err;

	if (block > sizeof(padding))
		return -EINVAL;
	if (block > 1)
		pad = block - (op->len + op->tag_len) % block;
	len = op->len + op->tag_len + pad;
	err = dc_request_data(req, op->src, op->len, op->dst, len, false);
	if (!err)
		err = dc_auth_data(req, op->auth_src, op->auth_len, 0);
	if (err)
		return err;
	data = req->in.sg + 1;
	err = dc_hash_data(req->ses, 0, dc_auth_list(&req->in, req->auth, op->auth_len),
			   op->auth_len + op->len, req->mac);
	if (err)
		return err;
	memset(padding, pad - 1, pad);
	sg_pcopy_from_buffer(data, req->in.n, req->mac, op->tag_len, op->len);
	sg_pcopy_from_buffer(data, req->in.n, padding, pad, op->len + op->tag_len);
	err = dc_record_cipher(req, false, data, len);
	op->len = len;
	return err ?: dc_request_give(req, op->dst, 0, len);
}

/* Bytes of a record's plain text without padding, or -EBADMSG. */
static int dc_tls_unpad(struct dc_request *req, unsigned int len)
{
	u8 last[256];
	unsigned int pad, n = min_t(unsigned int, len, sizeof(last)), i, wrong = 0;

	if (crypto_skcipher_blocksize(req->ses->skcipher) == 1)
		return len;
	sg_pcopy_to_buffer(req->in.sg + 1, req->in.n, last, n, len - n);
	pad = last[n - 1] + 1;
	if (pad > n)
		return -EBADMSG;
	for (i = n - pad; i < n; i++)
		wrong |= last[i] ^ (pad - 1);
	return wrong ? -EBADMSG : len - pad;
}

static int dc_tls_decrypt(struct dc_request *req, struct crypt_auth_op *op)
{
	u8 tag[DC_MAX_DIGEST];
	struct scatterlist *data;
	unsigned int len;
	int err;

	if (op->len < op->tag_len)
		return -EINVAL;
	err = dc_request_data(req, op->src, op->len, op->dst, op->len, false);
	if (!err)
		err = dc_auth_data(req, op->auth_src, op->auth_len, 0);
	if (err)
		return err;
	data = req->in.sg + 1;
	err = dc_record_cipher(req, true, data, op->len);
	if (err)
		return err;
	err = dc_tls_unpad(req, op->len);
	if (err < 0)
		return err;
	len = err;
	if (len < op->tag_len)
		return -EBADMSG;
	len -= op->tag_len;
	sg_pcopy_to_buffer(data, req->in.n, tag, op->tag_len, len);
	err = dc_hash_data(req->ses, 0, dc_auth_list(&req->in, req->auth, op->auth_len),
			   op->auth_len + len, req->mac);
	if (err)
		return err;
	if (crypto_memneq(tag, req->mac, op->tag_len))
		return -EBADMSG;
	op->len = len;
	return dc_request_give(req, op->dst, 0, len);
}

/* All of the record is in memory: the part that is enciphered is somewhere in it. */
static int dc_srtp(struct dc_request *req, struct crypt_auth_op *op)
{
	bool decrypt = op->op == COP_DECRYPT;
	struct scatterlist *all, *part;
	u8 tag[DC_MAX_DIGEST];
	unsigned long skip = op->src - op->auth_src;
	int err;

	if (op->src != op->dst || op->src < op->auth_src || skip > op->auth_len ||
	    op->len > op->auth_len - skip || !op->auth_len)
		return -EINVAL;
	if (decrypt && copy_from_user(tag, op->tag, op->tag_len))
		return -EFAULT;
	err = dc_request_data(req, op->auth_src, op->auth_len, op->auth_src, op->auth_len, false);
	if (err)
		return err;
	all = req->in.sg + 1;
	part = op->len ? scatterwalk_ffwd(req->part, all, skip) : all;
	if (!decrypt)
		err = dc_record_cipher(req, false, part, op->len);
	if (!err)
		err = dc_hash_data(req->ses, 0, all, op->auth_len, req->mac);
	if (err)
		return err;
	if (decrypt) {
		if (crypto_memneq(tag, req->mac, op->tag_len))
			return -EBADMSG;
		err = dc_record_cipher(req, true, part, op->len);
	} else if (copy_to_user(op->tag, req->mac, op->tag_len)) {
		err = -EFAULT;
	}
	return err ?: dc_request_give(req, op->dst, skip, op->len);
}

static int dc_auth_run(struct dc_request *req, struct crypt_auth_op *op)
{
	unsigned int kind = op->flags & (COP_FLAG_AEAD_TLS_TYPE | COP_FLAG_AEAD_SRTP_TYPE);
	int err;

	if (op->op > COP_DECRYPT || (op->flags & ~(kind | COP_FLAG_NO_ZC)) ||
	    (op->iv_len && op->iv_len != req->ses->ivsize))
		return -EINVAL;
	if (op->len > DEVCRYPTO_MAX_LEN || op->auth_len > DEVCRYPTO_MAX_LEN - op->len)
		return -E2BIG;
	err = dc_request_iv(req, op->iv);
	if (err)
		return err;
	if (!kind)
		return dc_aead(req, op);
	err = dc_record(req, op);
	if (err)
		return err;
	if (kind == COP_FLAG_AEAD_SRTP_TYPE)
		return dc_srtp(req, op);
	if (kind != COP_FLAG_AEAD_TLS_TYPE)
		return -EINVAL;
	return op->op == COP_DECRYPT ? dc_tls_decrypt(req, op) : dc_tls_encrypt(req, op);
}

int dc_auth(struct dc_file *file, struct crypt_auth_op *op)
{
	struct dc_request *req = dc_request_new(file, op->ses);
	int err;

	if (IS_ERR(req))
		return PTR_ERR(req);
	err = dc_auth_run(req, op);
	dc_request_put(req);
	return err;
}
