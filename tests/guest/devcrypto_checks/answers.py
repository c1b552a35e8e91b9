"""Known answers, and OpenSSL's."""

from __future__ import annotations

import errno
import functools
import hashlib
import hmac
import itertools
import struct

from .. import checking
from ..checking import openssl, refused, same
from .common import (
    AEAD,
    AES_CBC,
    AES_CTR,
    AES_ECB,
    AES_GCM,
    AES_XTS,
    CIOCAUTHCRYPT,
    CIOCCPHASH,
    CIOCCRYPT,
    CIOCGSESSINFO,
    CIPHER,
    COPIED,
    DECRYPT,
    DES3_CBC,
    ENCRYPT,
    FINAL,
    HASH,
    IV,
    KEY,
    MAPPED,
    MAX_LEN,
    NO_ZC,
    NULL,
    PLAIN,
    RESET,
    SHA1,
    SHA1_HMAC,
    SHA256,
    SHA256_HMAC,
    SHA512,
    SRTP,
    TLS,
    UPDATE,
    WRITE_IV,
    AuthOp,
    Case,
    CryptOp,
    HashOp,
    Memory,
    Names,
)

BLOCKS = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
BLOCKS_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
NIST = (  # SP 800-38A: F.2.1, F.1.1, F.5.1
    (
        AES_CBC,
        "000102030405060708090a0b0c0d0e0f",
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
        "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    ),
    (
        AES_ECB,
        "",
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
        "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
    ),
    (
        AES_CTR,
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
        "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    ),
)
GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")  # test case 4 of the GCM specification
GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_AUTH = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_SEALED = bytes.fromhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"
)
CHACHA_KEY = bytes(range(0x80, 0xA0))  # RFC 8439, 2.8.2
CHACHA_IV = bytes.fromhex("070000004041424344454647")
CHACHA_AUTH = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
CHACHA_PLAIN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
CHACHA_SEALED = bytes.fromhex(
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
    "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
    "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
)
OPENSSL = (  # number, name in the kernel, OpenSSL's, key, IV, granularity
    (AES_CBC, "cbc(aes)", "AES-256-CBC", 32, 16, 16),
    (DES3_CBC, "cbc(des3_ede)", "DES-EDE3-CBC", 24, 8, 8),
    (AES_CTR, "ctr(aes)", "AES-128-CTR", 16, 16, 1),
    (AES_XTS, "xts(aes)", "AES-128-XTS", 32, 16, 16),
)
SIZES = (16, 4112, MAX_LEN)
OFFSETS = (None, (0, 0), (1, 4095), (4080, 8))


class Ciphers(Case):
    def test_nist(self) -> None:
        for cipher, iv, wanted in NIST:
            session = self.device.session(cipher, key=BLOCKS_KEY)
            vector = bytes.fromhex(iv) or bytes(16)
            same(self.device.crypt(session, BLOCKS, vector), bytes.fromhex(wanted), f"{cipher}")
            same(self.device.crypt(session, bytes.fromhex(wanted), vector, op=DECRYPT), BLOCKS, f"{cipher}, back")

    def test_openssl_s_at_all_sizes_and_places(self) -> None:
        """By number and by name, copied and mapped, in place and not, across pages."""
        for number, name, theirs, key, iv, grain in OPENSSL:
            sessions = [self.device.session(number, key=KEY[:key])]
            sessions += [self.device.named(name, CIPHER, KEY[:key], memory) for memory in (COPIED, MAPPED)]
            for size in SIZES:
                plain = PLAIN[: size - size % grain]
                wanted = openssl(theirs, KEY[:key], IV[:iv], plain)
                for session, offsets in itertools.product(sessions, OFFSETS):
                    what = f"{name}, {size} bytes, {offsets}"
                    same(self.device.crypt(session, plain, IV[:iv], offsets=offsets), wanted, what)
                    again = self.device.crypt(session, wanted, IV[:iv], offsets=offsets, op=DECRYPT)
                    same(again, plain, f"{what}, back")

    def test_the_null_cipher_and_nothing(self) -> None:
        session = self.device.session(NULL)
        same(self.device.crypt(session, PLAIN[:99999], b"", offsets=(0, 7)), PLAIN[:99999], "null")
        self.device.ioctl(CIOCCRYPT, CryptOp(session, ENCRYPT, 0, 0, None, None, None, None))
        self.assertEqual(self.device.info(session).requests, 1)

    def test_iv_carries_on(self) -> None:
        """Pieces are one stream: with COP_FLAG_WRITE_IV, and without an IV."""
        for (number, _name, theirs, key, iv, _grain), told in itertools.product(OPENSSL[:3], (True, False)):
            session = self.device.session(number, key=KEY[:key])
            vector, got = Memory(IV[:iv] if told else bytes(iv)), b""
            for at in range(0, 4800, 1600):
                data = Memory(PLAIN[at : at + 1600])
                call = CryptOp(session, ENCRYPT, WRITE_IV, 1600, data.at, data.at, None, vector.at if told else None)
                self.device.ioctl(CIOCCRYPT, call)
                got += bytes(data)
            wanted = openssl(theirs, KEY[:key], IV[:iv] if told else bytes(iv), PLAIN[:4800])
            same(got, wanted, f"{theirs}, {told}")

    def test_partly_overlapping_memory_is_copied(self) -> None:
        session = self.device.session(AES_CBC, key=KEY[:16])
        data, vector = Memory(PLAIN[:10000]), Memory(IV)
        self.device.ioctl(CIOCCRYPT, CryptOp(session, ENCRYPT, 0, 9600, data.at, data.at + 16, None, vector.at))
        same(bytes(data)[16:9616], openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:9600]), "overlapping")


class Aeads(Case):
    def test_known_answers(self) -> None:
        """Copied and mapped, in place and not; what was altered is EBADMSG."""
        cases = (
            ("gcm(aes)", GCM_KEY, GCM_IV, GCM_AUTH, GCM_PLAIN, GCM_SEALED),
            ("rfc7539(chacha20,poly1305)", CHACHA_KEY, CHACHA_IV, CHACHA_AUTH, CHACHA_PLAIN, CHACHA_SEALED),
        )
        for name, key, iv, auth, plain, sealed in cases:
            sessions = [self.device.named(name, AEAD, key, memory) for memory in (COPIED, MAPPED)]
            if name == "gcm(aes)":
                sessions.append(self.device.session(AES_GCM, key=key))
            for session, offsets in itertools.product(sessions, OFFSETS):
                what = f"{name}, {offsets}"
                same(self.device.auth(session, plain, auth, iv, offsets=offsets), sealed, what)
                same(self.device.auth(session, sealed, auth, iv, offsets=offsets, op=DECRYPT), plain, f"{what}, back")
                altered = sealed[:-1] + bytes([sealed[-1] ^ 1])
                refused(
                    errno.EBADMSG,
                    functools.partial(self.device.auth, session, altered, auth, iv, offsets=offsets, op=DECRYPT),
                    f"{what}, altered",
                )
            self.assertEqual([self.device.info(session).failed for session in sessions[:2]], [4, 4])

    def test_nothing_is_given_of_what_was_altered(self) -> None:
        """Where memory is copied; on mapped memory the driver has worked already."""
        session = self.device.named("gcm(aes)", AEAD, GCM_KEY)
        altered, head, vector = bytes([GCM_SEALED[0] ^ 1]) + GCM_SEALED[1:], Memory(GCM_AUTH), Memory(GCM_IV)
        for apart in (False, True):
            src = Memory(altered)
            dst = Memory(len(altered)) if apart else src
            before = bytes(dst)
            call = AuthOp(
                *(session, DECRYPT, 0, len(altered), len(GCM_AUTH), head.at, src.at, dst.at),
                *(None, 0, vector.at, len(GCM_IV)),
            )
            refused(errno.EBADMSG, functools.partial(self.device.ioctl, CIOCAUTHCRYPT, call), "altered")
            same(bytes(dst), before, f"destination, apart {apart}")

    def test_big_ones_and_empty_ones(self) -> None:
        for memory in (COPIED, MAPPED):
            session = self.device.named("gcm(aes)", AEAD, KEY[:16], memory)
            ctr = self.device.session(AES_CTR, key=KEY[:16])
            for size in (0, 1, 65536, MAX_LEN - 16 - 13):
                sealed = self.device.auth(session, PLAIN[:size], b"a" * 13, GCM_IV, offsets=(3, 5))
                wanted = self.device.crypt(ctr, PLAIN[:size], GCM_IV + b"\0\0\0\2") if size else b""
                same(sealed[:-16], wanted, f"{size} bytes")
                same(self.device.auth(session, sealed, b"a" * 13, GCM_IV, op=DECRYPT, offsets=(1, 2)), PLAIN[:size], "")

    def test_encrypt_then_mac_by_name(self) -> None:
        """authenc takes both keys in one, as it does by AF_ALG."""
        key = struct.pack("=HH", 8, 1) + struct.pack(">I", 16) + KEY[:20] + KEY[:16]
        for memory in (COPIED, MAPPED):
            session = self.device.named("authenc(hmac(sha1),cbc(aes))", AEAD, key, memory)
            sealed = self.device.auth(session, PLAIN[:8192], b"head", IV, offsets=(8, 16))
            enciphered = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:8192])
            wanted = enciphered + hmac.digest(KEY[:20], b"head" + enciphered, "sha1")
            same(sealed, wanted, "authenc")
            same(self.device.auth(session, sealed, b"head", IV, op=DECRYPT, offsets=(1, 1)), PLAIN[:8192], "back")

    def test_shorter_tags(self) -> None:
        session = self.device.named("gcm(aes)", AEAD, GCM_KEY, taglen=12)
        same(self.device.auth(session, GCM_PLAIN, GCM_AUTH, GCM_IV, tag_len=12), GCM_SEALED[:-4], "12 bytes")


class Hashes(Case):
    def test_known_answers(self) -> None:
        for number, name in ((SHA1, "sha1"), (SHA256, "sha256"), (SHA512, "sha512")):
            sessions = [self.device.session(mac=number)]
            sessions += [self.device.named(name, HASH, memory=memory) for memory in (COPIED, MAPPED)]
            for session, size in itertools.product(sessions, (0, 3, 4096, MAX_LEN)):
                wanted = hashlib.new(name, PLAIN[:size])
                same(self.device.hash(session, PLAIN[:size], wanted.digest_size), wanted.digest(), f"{name}, {size}")
        question = b"what do ya want for nothing?"  # RFC 2202 and 4231, case 2
        for number, answer in (
            (SHA1_HMAC, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (SHA256_HMAC, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ):
            wanted_mac = bytes.fromhex(answer)
            session = self.device.session(mac=number, mackey=b"Jefe")
            same(self.device.hash(session, question, len(wanted_mac)), wanted_mac, answer)

    def test_pieces_and_copies(self) -> None:
        wanted = hashlib.sha1(PLAIN[:5000], usedforsecurity=False).digest()
        one, two = self.device.session(mac=SHA1), self.device.session(mac=SHA1)
        nothing = hashlib.sha1(usedforsecurity=False).digest()
        for what, flags, answer in ((b"", FINAL, nothing), (PLAIN[:5000], FINAL, wanted), (PLAIN[:5000], 0, wanted)):
            self.device.hash(one, b"left over", 20, UPDATE)
            same(self.device.hash(one, what, 20, flags | RESET), answer, f"{len(what)} bytes anew, {flags}")
        self.device.hash(one, b"left over", 20, UPDATE)
        self.device.hash(one, PLAIN[:1000], 20, UPDATE | RESET)
        self.device.hash(one, PLAIN[1000:3001], 20, UPDATE)
        self.device.ioctl(CIOCCPHASH, HashOp(two, one))
        same(self.device.hash(one, PLAIN[3001:5000], 20, FINAL), wanted, "pieces")
        self.device.hash(two, PLAIN[3001:5000], 20, UPDATE)
        same(self.device.hash(two, b"", 20, FINAL), wanted, "a copy")
        same(self.device.hash(one, PLAIN[:5000], 20, FINAL), wanted, "all anew")
        same(self.device.hash(one, b"", 20, FINAL), nothing, "nothing")

    def test_with_a_cipher_it_is_the_plain_text_s(self) -> None:
        session = self.device.session(AES_CBC, SHA1_HMAC, KEY[:16], b"Jefe")
        data, mac, vector = Memory(PLAIN[:4096]), Memory(20), Memory(IV)
        for op in (ENCRYPT, DECRYPT):
            self.device.ioctl(CIOCCRYPT, CryptOp(session, op, 0, 4096, data.at, data.at, mac.at, vector.at))
            same(bytes(mac), hmac.digest(b"Jefe", PLAIN[:4096], "sha1"), "MAC")
            wanted = PLAIN[:4096] if op == DECRYPT else openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:4096])
            same(bytes(data), wanted, "text")


class Records(Case):
    def test_tls(self) -> None:
        """MAC, padding, cipher, as in RFC 5246, 6.2.3.2; then back, and altered."""
        session = self.device.session(AES_CBC, SHA256_HMAC, KEY[:32], b"Jefe")
        for size in (0, 1, 15, 16, 8192):
            plain = PLAIN[:size] + hmac.digest(b"Jefe", b"header" + PLAIN[:size], "sha256")
            pad = 16 - len(plain) % 16
            wanted = openssl("AES-256-CBC", KEY[:32], IV, plain + bytes([pad - 1] * pad))
            got = self.device.auth(session, PLAIN[:size], b"header", IV, flags=TLS, offsets=(0, 9))
            same(got, wanted, f"{size} bytes")
            back = functools.partial(self.device.auth, session, iv=IV, op=DECRYPT, flags=TLS, offsets=(4, 0))
            same(back(data=got, auth=b"header"), PLAIN[:size], f"{size} bytes, back")
            for at in range(0, len(got), max(1, len(got) // 5)):
                altered = got[:at] + bytes([got[at] ^ 4]) + got[at + 1 :]
                refused(errno.EBADMSG, functools.partial(back, data=altered, auth=b"header"), f"byte {at} altered")
            refused(errno.EBADMSG, functools.partial(back, data=got, auth=b"reader"), "another header")

    def test_tls_with_a_stream_cipher(self) -> None:
        session = self.device.session(AES_CTR, SHA1_HMAC, KEY[:16], b"Jefe")
        got = self.device.auth(session, PLAIN[:99], b"h", IV, flags=TLS)
        plain = PLAIN[:99] + hmac.digest(b"Jefe", b"h" + PLAIN[:99], "sha1")
        same(got, openssl("AES-128-CTR", KEY[:16], IV, plain), "no padding")
        same(self.device.auth(session, got, b"h", IV, flags=TLS, op=DECRYPT), PLAIN[:99], "back")

    def test_srtp(self) -> None:
        """The MAC is that of the whole packet, enciphered."""
        session = self.device.session(AES_CTR, SHA1_HMAC, KEY[:16], b"Jefe")
        head, payload, tail = PLAIN[:193], PLAIN[193:5000], PLAIN[5000:5015]
        packet, tag, vector = Memory(head + payload + tail), Memory(10), Memory(IV)
        part = packet.at + len(head)

        def call(op: int) -> None:
            self.device.ioctl(
                CIOCAUTHCRYPT,
                AuthOp(
                    *(session, op, SRTP, len(payload), packet.size, packet.at, part, part, tag.at, 10, vector.at, 16)
                ),
            )

        call(ENCRYPT)
        wanted = head + openssl("AES-128-CTR", KEY[:16], IV, payload) + tail
        same(bytes(packet), wanted, "packet")
        same(bytes(tag), hmac.digest(b"Jefe", wanted, "sha1")[:10], "tag")
        call(DECRYPT)
        same(bytes(packet), head + payload + tail, "back")
        refused(errno.EBADMSG, functools.partial(call, DECRYPT), "altered")
        same(bytes(packet), head + payload + tail, "nothing was written")


class Counts(Case):
    """What a session has done is its witness."""

    def test_copied_and_mapped(self) -> None:
        for memory, flags in ((COPIED, 0), (MAPPED, NO_ZC), (MAPPED, 0)):
            session = self.device.named("cbc(des3_ede)", CIPHER, KEY[:24], memory)
            for _ in range(3):
                self.device.crypt(session, PLAIN[:65536], IV[:8], offsets=(0, 0), flags=flags)
            info = self.device.info(session)
            self.assertEqual((info.kind, info.memory, info.blocksize, info.ivsize), (CIPHER, memory, 8, 8))
            self.assertEqual((info.requests, info.later, info.failed, info.bytes), (3, 0, 0, 3 * 65536))
            mapped = memory == MAPPED and not flags
            copied = 0 if mapped else 3 * 65536
            self.assertEqual((info.copied_in, info.copied_out), (copied, copied))
            self.assertEqual(info.mapped, 6 * 65536 if mapped else 0)

    def test_the_driver_found(self) -> None:
        session = self.device.named("cbc-aes-delayed", CIPHER, KEY[:16])
        same(self.device.crypt(session, PLAIN[:64]), openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:64]), "delayed")
        info = self.device.info(session)
        self.assertEqual((info.driver, info.is_async, info.requests, info.later), (b"cbc-aes-delayed", 1, 1, 1))
        names = Names(ses=session)
        self.device.ioctl(CIOCGSESSINFO, names)
        self.assertEqual((names.cipher, names.cipher_driver, names.flags), (b"cbc(aes)", b"cbc-aes-delayed", 1))
        self.assertEqual((names.hash, names.hash_driver), (b"", b""))

        session = self.device.session(AES_CBC, SHA1_HMAC, KEY[:16], b"Jefe")
        names = Names(ses=session)
        self.device.ioctl(CIOCGSESSINFO, names)
        self.assertEqual((names.cipher, names.hash, names.flags), (b"cbc(aes)", b"hmac(sha1)", 0))
        self.assertEqual(self.device.info(session).driver, names.cipher_driver)

    def test_the_kernel_s_own_queue(self) -> None:
        """cryptd makes any driver an asynchronous one, AEADs and hashes too."""
        if not checking.has("cryptd"):
            self.skipTest("this kernel has no cryptd")
        taken = self.device.info(self.device.named("gcm(aes)", AEAD, GCM_KEY)).driver.decode()
        session = self.device.named(f"cryptd({taken})", AEAD, GCM_KEY)
        for offsets in (None, (1, 1)):
            same(self.device.auth(session, GCM_PLAIN, GCM_AUTH, GCM_IV, offsets=offsets), GCM_SEALED, "cryptd")
        info = self.device.info(session)
        self.assertEqual((info.is_async, info.requests, info.later), (1, 2, 2))
        taken = self.device.info(self.device.named("sha1", HASH)).driver.decode()
        session = self.device.named(f"cryptd({taken})", HASH, memory=MAPPED)
        wanted = hashlib.sha1(PLAIN[:99999], usedforsecurity=False).digest()
        same(self.device.hash(session, PLAIN[:99999], 20), wanted, "cryptd, sha1")
        self.assertEqual(self.device.info(session).later, 1)
