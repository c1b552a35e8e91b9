// SPDX-License-Identifier: GPL-2.0
/* Sessions: a cipher, an AEAD, a hash, or a cipher and a hash, with their keys. */
#include <linux/capability.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "internal.h"

static const struct dc_algorithm {
	u32 number;
	u32 kind;
	const char *name;
	bool keyed;
} dc_algorithms[] = {
	{ CRYPTO_DES_CBC, DEVCRYPTO_CIPHER, "cbc(des)", true },
	{ CRYPTO_3DES_CBC, DEVCRYPTO_CIPHER, "cbc(des3_ede)", true },
	{ CRYPTO_BLF_CBC, DEVCRYPTO_CIPHER, "cbc(blowfish)", true },
	{ CRYPTO_CAST_CBC, DEVCRYPTO_CIPHER, "cbc(cast5)", true },
	{ CRYPTO_CAMELLIA_CBC, DEVCRYPTO_CIPHER, "cbc(camellia)", true },
	{ CRYPTO_AES_CBC, DEVCRYPTO_CIPHER, "cbc(aes)", true },
	{ CRYPTO_AES_CTR, DEVCRYPTO_CIPHER, "ctr(aes)", true },
	{ CRYPTO_AES_XTS, DEVCRYPTO_CIPHER, "xts(aes)", true },
	{ CRYPTO_AES_ECB, DEVCRYPTO_CIPHER, "ecb(aes)", true },
	{ CRYPTO_NULL, DEVCRYPTO_CIPHER, "ecb(cipher_null)", false },
	{ CRYPTO_AES_GCM, DEVCRYPTO_AEAD, "gcm(aes)", true },
	{ CRYPTO_MD5, DEVCRYPTO_HASH, "md5", false },
	{ CRYPTO_SHA1, DEVCRYPTO_HASH, "sha1", false },
	{ CRYPTO_RIPEMD160, DEVCRYPTO_HASH, "rmd160", false },
	{ CRYPTO_SHA2_224, DEVCRYPTO_HASH, "sha224", false },
	{ CRYPTO_SHA2_256, DEVCRYPTO_HASH, "sha256", false },
	{ CRYPTO_SHA2_384, DEVCRYPTO_HASH, "sha384", false },
	{ CRYPTO_SHA2_512, DEVCRYPTO_HASH, "sha512", false },
	{ CRYPTO_MD5_HMAC, DEVCRYPTO_HASH, "hmac(md5)", true },
	{ CRYPTO_SHA1_HMAC, DEVCRYPTO_HASH, "hmac(sha1)", true },
	{ CRYPTO_RIPEMD160_HMAC, DEVCRYPTO_HASH, "hmac(rmd160)", true },
	{ CRYPTO_SHA2_224_HMAC, DEVCRYPTO_HASH, "hmac(sha224)", true },
	{ CRYPTO_SHA2_256_HMAC, DEVCRYPTO_HASH, "hmac(sha256)", true },
	{ CRYPTO_SHA2_384_HMAC, DEVCRYPTO_HASH, "hmac(sha384)", true },
	{ CRYPTO_SHA2_512_HMAC, DEVCRYPTO_HASH, "hmac(sha512)", true },
};

static const struct dc_algorithm *dc_algorithm(u32 number, bool hash)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dc_algorithms); i++)
		if (dc_algorithms[i].number == number &&
		    (dc_algorithms[i].kind == DEVCRYPTO_HASH) == hash)
			return &dc_algorithms[i];
	return NULL;
}

static struct dc_session *dc_session_new(void)
{
	struct dc_session *ses = kzalloc(sizeof(*ses), GFP_KERNEL_ACCOUNT);

	if (ses) {
		kref_init(&ses->ref);
		spin_lock_init(&ses->iv_lock);
		mutex_init(&ses->hash.lock);
	}
	return ses;
}

static void dc_session_free(struct kref *ref)
{
	struct dc_session *ses = container_of(ref, struct dc_session, ref);

	crypto_free_skcipher(ses->skcipher);
	crypto_free_aead(ses->aead);
	dc_hash_free(&ses->hash);
	mutex_destroy(&ses->hash.lock);
	kfree_sensitive(ses);
}

/* May sleep. */
void dc_session_put(struct dc_session *ses)
{
	kref_put(&ses->ref, dc_session_free);
}

struct dc_session *dc_session_get(struct dc_file *file, u32 id)
{
	struct dc_session *ses;

	xa_lock(&file->sessions);
	ses = xa_load(&file->sessions, id);
	if (ses)
		kref_get(&ses->ref);
	xa_unlock(&file->sessions);
	return ses;
}

static bool dc_is_async(const struct crypto_tfm *tfm)
{
	return tfm->__crt_alg->cra_flags & CRYPTO_ALG_ASYNC;
}

static int dc_set_cipher(struct dc_session *ses, const char *name, const u8 *key,
			 unsigned int keylen)
{
	struct crypto_skcipher *tfm = crypto_alloc_skcipher(name, 0, 0);

	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	ses->skcipher = tfm;		/* dc_session_free() is for it from here on */
	ses->ivsize = crypto_skcipher_ivsize(tfm);
	ses->async = dc_is_async(crypto_skcipher_tfm(tfm));
	if (ses->ivsize > DC_MAX_IV)
		return -EINVAL;
	if (keylen)
		return crypto_skcipher_setkey(tfm, key, keylen);
	return crypto_skcipher_get_flags(tfm) & CRYPTO_TFM_NEED_KEY ? -ENOKEY : 0;
}

static int dc_set_aead(struct dc_session *ses, const char *name, const u8 *key,
		       unsigned int keylen, unsigned int taglen)
{
	struct crypto_aead *tfm = crypto_alloc_aead(name, 0, 0);
	int err;

	if (IS_ERR(tfm))
		return PTR_ERR(tfm);
	ses->aead = tfm;
	ses->ivsize = crypto_aead_ivsize(tfm);
	ses->async = dc_is_async(crypto_aead_tfm(tfm));
	if (ses->ivsize > DC_MAX_IV || !crypto_aead_maxauthsize(tfm))
		return -EINVAL;
	err = crypto_aead_setauthsize(tfm, taglen ?: crypto_aead_maxauthsize(tfm));
	if (err)
		return err;
	if (keylen)
		return crypto_aead_setkey(tfm, key, keylen);
	return crypto_aead_get_flags(tfm) & CRYPTO_TFM_NEED_KEY ? -ENOKEY : 0;
}

static int dc_set(struct dc_session *ses, u32 kind, const char *name, const void __user *from,
		  unsigned int keylen, unsigned int taglen)
{
	u8 *key = NULL;
	int err;

	if (keylen > CRYPTO_HMAC_MAX_KEY_LEN)
		return -EINVAL;
	if (keylen) {
		key = memdup_user(from, keylen);
		if (IS_ERR(key))
			return PTR_ERR(key);
	}
	switch (kind) {
	case DEVCRYPTO_CIPHER:
		err = dc_set_cipher(ses, name, key, keylen);
		break;
	case DEVCRYPTO_AEAD:
		err = dc_set_aead(ses, name, key, keylen, taglen);
		break;
	default:
		err = dc_hash_init(&ses->hash, name, key, keylen);
	}
	kfree_sensitive(key);
	return err;
}

/* The session becomes the file's, or goes; sets *@id. */
static int dc_session_add(struct dc_file *file, struct dc_session *ses, u32 *id, int err)
{
	if (!err) {
		err = xa_alloc(&file->sessions, id, ses, XA_LIMIT(1, DC_MAX_SESSIONS),
			       GFP_KERNEL_ACCOUNT);
		if (err == -EBUSY)	/* a driver that is busy is another thing */
			err = -EMFILE;
	}
	if (err)
		dc_session_put(ses);
	return err;
}

int dc_session_by_number(struct dc_file *file, struct session_op *op)
{
	const struct dc_algorithm *cipher = dc_algorithm(op->cipher, false);
	const struct dc_algorithm *hash = dc_algorithm(op->mac, true);
	struct dc_session *ses;
	int err = 0;

	if ((op->cipher && !cipher) || (op->mac && !hash) || (!cipher && !hash) ||
	    (cipher && hash && cipher->kind == DEVCRYPTO_AEAD))
		return -EINVAL;
	ses = dc_session_new();
	if (!ses)
		return -ENOMEM;
	if (cipher)
		err = dc_set(ses, cipher->kind, cipher->name, op->key,
			     cipher->keyed ? op->keylen : 0, 0);
	if (!err && hash)
		err = dc_set(ses, hash->kind, hash->name, op->mackey,
			     hash->keyed ? op->mackeylen : 0, 0);
	return dc_session_add(file, ses, &op->ses, err);
}

int dc_session_by_name(struct dc_file *file, struct devcrypto_session *op)
{
	struct dc_session *ses;
	int err;

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (!op->name[0] || strnlen(op->name, sizeof(op->name)) == sizeof(op->name) ||
	    op->kind > DEVCRYPTO_HASH || op->memory > DEVCRYPTO_MAPPED || op->pad ||
	    (op->taglen && op->kind != DEVCRYPTO_AEAD))
		return -EINVAL;
	ses = dc_session_new();
	if (!ses)
		return -ENOMEM;
	ses->mapped = op->memory == DEVCRYPTO_MAPPED;
	err = dc_set(ses, op->kind, op->name, u64_to_user_ptr(op->key), op->keylen, op->taglen);
	return dc_session_add(file, ses, &op->ses, err);
}

int dc_session_end(struct dc_file *file, u32 id)
{
	struct dc_session *ses = xa_erase(&file->sessions, id);

	if (!ses)
		return -EINVAL;
	dc_session_put(ses);
	return 0;
}

void dc_session_end_all(struct dc_file *file)
{
	struct dc_session *ses;
	unsigned long id;

	xa_for_each(&file->sessions, id, ses)
		dc_session_end(file, id);
	xa_destroy(&file->sessions);
}

static struct crypto_tfm *dc_cipher_tfm(const struct dc_session *ses)
{
	if (ses->skcipher)
		return crypto_skcipher_tfm(ses->skcipher);
	return ses->aead ? crypto_aead_tfm(ses->aead) : NULL;
}

static void dc_names(struct crypto_tfm *tfm, struct alg_info *info, struct session_info_op *op)
{
	const struct crypto_alg *alg = tfm->__crt_alg;

	strscpy(info->cra_name, alg->cra_name, sizeof(info->cra_name));
	strscpy(info->cra_driver_name, alg->cra_driver_name, sizeof(info->cra_driver_name));
	op->alignmask |= alg->cra_alignmask;
	if (alg->cra_flags & CRYPTO_ALG_KERN_DRIVER_ONLY)
		op->flags |= SIOP_FLAG_KERNEL_DRIVER_ONLY;
}

int dc_session_names(struct dc_file *file, struct session_info_op *op)
{
	struct dc_session *ses = dc_session_get(file, op->ses);
	u32 id = op->ses;

	if (!ses)
		return -EINVAL;
	memset(op, 0, sizeof(*op));
	op->ses = id;
	if (dc_cipher_tfm(ses))
		dc_names(dc_cipher_tfm(ses), &op->cipher_info, op);
	if (ses->hash.tfm)
		dc_names(crypto_ahash_tfm(ses->hash.tfm), &op->hash_info, op);
	dc_session_put(ses);
	return 0;
}

int dc_session_info(struct dc_file *file, struct devcrypto_info *info)
{
	struct dc_session *ses = dc_session_get(file, info->ses);
	struct crypto_tfm *tfm;
	u32 id = info->ses;

	if (!ses)
		return -EINVAL;
	memset(info, 0, sizeof(*info));
	info->ses = id;
	tfm = dc_cipher_tfm(ses);
	info->kind = ses->aead ? DEVCRYPTO_AEAD : DEVCRYPTO_CIPHER;
	info->taglen = ses->aead ? crypto_aead_authsize(ses->aead) : 0;
	if (!tfm) {
		tfm = crypto_ahash_tfm(ses->hash.tfm);
		info->kind = DEVCRYPTO_HASH;
		info->taglen = crypto_ahash_digestsize(ses->hash.tfm);
	}
	strscpy(info->driver, crypto_tfm_alg_driver_name(tfm), sizeof(info->driver));
	info->async = dc_is_async(tfm);
	info->memory = ses->mapped ? DEVCRYPTO_MAPPED : DEVCRYPTO_COPIED;
	info->blocksize = crypto_tfm_alg_blocksize(tfm);
	info->ivsize = ses->ivsize;
	info->requests = atomic64_read(&ses->requests);
	info->later = atomic64_read(&ses->later);
	info->most = atomic_read(&ses->most);
	info->failed = atomic64_read(&ses->failed);
	info->bytes = atomic64_read(&ses->bytes);
	info->copied_in = atomic64_read(&ses->copied_in);
	info->copied_out = atomic64_read(&ses->copied_out);
	info->mapped = atomic64_read(&ses->pinned);
	dc_session_put(ses);
	return 0;
}
