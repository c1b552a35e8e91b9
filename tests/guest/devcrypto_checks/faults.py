"""Every allocation and every copy fails once; for kernels that can make them fail."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..checking import Failing, let_allocations_fail, openssl, same
from .common import (
    AEAD,
    AES_CBC,
    CIOCASYNCCRYPT,
    CIOCASYNCFETCH,
    CIOCAUTHCRYPT,
    CIOCCPHASH,
    CIOCCRYPT,
    CIOCGSESSION,
    CIPHER,
    COPIED,
    DEVCRYPTO_SESSION,
    ENCRYPT,
    IV,
    KEY,
    MAPPED,
    PLAIN,
    SHA1,
    SHA1_HMAC,
    TLS,
    UPDATE,
    AuthOp,
    Case,
    CryptOp,
    HashOp,
    Memory,
    Named,
    SessionOp,
    address,
)


class Faults(Case):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        let_allocations_fail()

    def each(self, call: Callable[[], object]) -> int:
        """Calls until nothing is left that could fail; how many did."""
        for nth in range(1, 400):
            refusal = None
            with Failing(nth) as failing:
                try:
                    call()
                except OSError as error:
                    refusal = error
            if not failing.failed:
                self.assertIsNone(refusal, "it fails by itself")
                return nth - 1
        raise AssertionError("it never ends")

    def later(self, op: CryptOp) -> None:
        self.device.ioctl(CIOCASYNCCRYPT, op)
        self.device.ioctl(CIOCASYNCFETCH, CryptOp())

    def auth(self, op: AuthOp) -> None:
        self.device.ioctl(CIOCAUTHCRYPT, AuthOp.from_buffer_copy(op))  # it tells its length

    def test_sessions(self) -> None:
        key = address(KEY[:16])
        both = SessionOp(AES_CBC, SHA1_HMAC, 16, key, 16, key, 0)
        self.assertGreater(self.each(lambda: self.device.ioctl(CIOCGSESSION, both)), 5)
        aead = Named(b"gcm(aes)", key or 0, 16, AEAD, MAPPED, 16, 0, 0)
        self.assertGreater(self.each(lambda: self.device.ioctl(DEVCRYPTO_SESSION, aead)), 4)

    def test_requests(self) -> None:
        for memory in (COPIED, MAPPED):
            session = self.device.named("cbc(aes)", CIPHER, KEY[:16], memory)
            aead = self.device.named("gcm(aes)", AEAD, KEY[:16], memory)
            src, dst, iv = Memory(PLAIN[:50000]), Memory(60000), Memory(IV)
            op = CryptOp(session, ENCRYPT, 0, 48000, src.at, dst.at, None, iv.at)
            self.assertGreater(self.each(functools.partial(self.device.ioctl, CIOCCRYPT, op)), 3)
            same(bytes(dst)[:48000], openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:48000]), "in the end")
            self.assertGreater(self.each(functools.partial(self.later, op)), 4)
            seal = AuthOp(aead, ENCRYPT, 0, 48000, 13, src.at, src.at, dst.at, None, 0, iv.at, 12)
            self.assertGreater(self.each(functools.partial(self.auth, seal)), 4)
            same(bytes(src), PLAIN[:50000], "the source")

    def test_hashes_and_records(self) -> None:
        one, two = self.device.session(mac=SHA1), self.device.session(mac=SHA1)
        src, mac, iv = Memory(PLAIN[:50000]), Memory(20), Memory(IV)
        op = CryptOp(one, ENCRYPT, UPDATE, 50000, src.at, None, mac.at, None)
        self.assertGreater(self.each(lambda: self.device.ioctl(CIOCCRYPT, op)), 2)
        self.assertGreater(self.each(lambda: self.device.ioctl(CIOCCPHASH, HashOp(two, one))), 0)
        both = self.device.session(AES_CBC, SHA1_HMAC, KEY[:16], KEY[:16])

        record = AuthOp(both, ENCRYPT, TLS, 40000, 13, src.at, src.at, src.at, None, 0, iv.at, 16)
        self.assertGreater(self.each(functools.partial(self.auth, record)), 4)
