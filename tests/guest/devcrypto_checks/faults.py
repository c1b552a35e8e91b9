"""Every allocation and every copy fails once; for kernels that can make them fail."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..checking import openssl, same
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

NTH = Path("/proc/thread-self/fail-nth")
KINDS = Path("/sys/kernel/debug")


class Faults(Case):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if not (KINDS / "failslab").exists():
            subprocess.run(["mount", "-t", "debugfs", "debugfs", str(KINDS)], check=True)
        for kind in ("failslab", "fail_page_alloc", "fail_usercopy"):
            for name, value in (("ignore-gfp-wait", "N"), ("min-order", "0"), ("verbose", "0")):
                if (KINDS / kind / name).exists():
                    (KINDS / kind / name).write_text(value)

    def each(self, call: Callable[[], object]) -> int:
        """Calls until nothing is left that could fail; how many did."""
        fd = os.open(NTH, os.O_RDWR)
        try:
            for nth in range(1, 400):
                failed = False
                os.pwrite(fd, str(nth).encode(), 0)
                try:
                    call()
                except OSError:
                    failed = True
                left = 1
                with contextlib.suppress(OSError):  # which it is that failed, if the call had too little that could
                    left = int(os.pread(fd, 20, 0).split()[0])
                    os.pwrite(fd, b"0", 0)
                if left:
                    self.assertFalse(failed, "it fails by itself")
                    return nth - 1
            raise AssertionError("it never ends")
        finally:
            os.close(fd)

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
