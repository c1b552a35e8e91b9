"""Bad arguments: each is an error that says which."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import resource
import threading
from pathlib import Path

from ..checking import apart, as_nobody, openssl, refused, same
from .common import (
    AEAD,
    AES_CBC,
    AES_CTR,
    AES_GCM,
    CIOCASYMFEAT,
    CIOCASYNCCRYPT,
    CIOCASYNCFETCH,
    CIOCAUTHCRYPT,
    CIOCCPHASH,
    CIOCCRYPT,
    CIOCFSESSION,
    CIOCGSESSINFO,
    CIOCGSESSION,
    CIOCKEY,
    CIPHER,
    CRIOGET,
    DECRYPT,
    DES3_CBC,
    DEVCRYPTO_INFO,
    DEVCRYPTO_SESSION,
    DEVICE,
    ENCRYPT,
    HASH,
    IV,
    KEY,
    MAPPED,
    MAX_LEN,
    MAX_SESSIONS,
    NULL,
    PLAIN,
    SHA1,
    SHA1_HMAC,
    SHA256,
    SRTP,
    TLS,
    UPDATE,
    AuthOp,
    Case,
    CryptOp,
    Device,
    HashOp,
    Info,
    KeyOp,
    Memory,
    Named,
    Names,
    SessionOp,
    address,
)

NOWHERE = 8  # an address where nothing is


def unshare_user() -> None:
    """All capabilities, in a user namespace that is not the first."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")


class Sessions(Case):
    def test_by_number(self) -> None:
        for code, what, call in (
            (errno.EINVAL, "nothing", {}),
            (errno.EINVAL, "a cipher of no such number", {"cipher": 99}),
            (errno.EINVAL, "Skipjack", {"cipher": 5, "key": KEY[:10]}),
            (errno.EINVAL, "ARC4", {"cipher": 12, "key": KEY[:16]}),
            (errno.EINVAL, "MD5 with KPDK", {"mac": 9, "mackey": KEY[:16]}),
            (errno.EINVAL, "compression", {"cipher": 15}),
            (errno.EINVAL, "a hash as a cipher", {"cipher": SHA1}),
            (errno.EINVAL, "a cipher as a hash", {"mac": AES_CBC}),
            (errno.EINVAL, "an AEAD and a MAC", {"cipher": AES_GCM, "mac": SHA1, "key": KEY[:16]}),
            (errno.EINVAL, "a key of 17 bytes", {"cipher": AES_CBC, "key": KEY[:17]}),
            (errno.EINVAL, "a key of 600 bytes", {"cipher": AES_CBC, "key": KEY * 10}),
            (errno.ENOKEY, "no key", {"cipher": AES_CBC}),
            (errno.ENOKEY, "no key of an AEAD", {"cipher": AES_GCM}),
            (errno.ENOKEY, "no key of an HMAC", {"mac": SHA1_HMAC}),
        ):
            refused(code, functools.partial(self.device.session, **call), what)
        op = SessionOp(AES_CBC, 0, 16, NOWHERE, 0, None, 0)
        refused(errno.EFAULT, lambda: self.device.ioctl(CIOCGSESSION, op), "a key that cannot be read")

    def test_by_name(self) -> None:
        good: dict[str, object] = {"name": b"cbc(aes)", "key": address(KEY[:16]), "keylen": 16}
        for code, what, change in (
            (errno.EINVAL, "no name", {"name": b""}),
            (errno.EINVAL, "a name without end", {"name": b"x" * 128}),
            (errno.ENOENT, "no such driver", {"name": b"cbc-aes-nowhere"}),
            (errno.ENOENT, "a hash as a cipher", {"name": b"sha1"}),
            (errno.EINVAL, "no such kind", {"kind": 3}),
            (errno.EINVAL, "no such memory", {"memory": 2}),
            (errno.EINVAL, "a cipher's tag", {"taglen": 16}),
            (errno.EINVAL, "padding", {"pad": 1}),
            (errno.EINVAL, "a tag of 40 bytes", {"name": b"gcm(aes)", "kind": AEAD, "taglen": 40}),
            (errno.EINVAL, "a hash's key", {"name": b"sha1", "kind": HASH}),
            (errno.EINVAL, "a key too long", {"keylen": 513}),
            (errno.EFAULT, "a key that cannot be read", {"key": NOWHERE}),
        ):
            op = Named(**{**good, **change})
            refused(code, functools.partial(self.device.ioctl, DEVCRYPTO_SESSION, op), what)
        for change in ({"name": b"gcm(aes)"}, {"kind": AEAD}):  # kernels differ in what they say of another kind
            with self.assertRaises(OSError) as caught:
                self.device.ioctl(DEVCRYPTO_SESSION, Named(**{**good, **change}))
            self.assertIn(caught.exception.errno, (errno.EINVAL, errno.ENOENT), change)

    def test_there_are_so_many(self) -> None:
        sessions = [self.device.session(NULL) for _ in range(MAX_SESSIONS)]
        refused(errno.EMFILE, lambda: self.device.session(NULL), "one more")
        self.device.end(sessions[7])
        self.assertEqual(self.device.session(NULL), sessions[7])

    def test_sessions_are_their_file_s(self) -> None:
        session = self.device.session(AES_CBC, key=KEY[:16])
        with Device() as other:
            refused(errno.EINVAL, lambda: other.crypt(session, PLAIN[:16]), "another file's session")
        fd = ctypes.c_int(-1)
        self.device.ioctl(CRIOGET, fd)
        data, vector = Memory(PLAIN[:32]), Memory(IV)
        fcntl.ioctl(fd.value, CIOCCRYPT, CryptOp(session, ENCRYPT, 0, 32, data.at, data.at, None, vector.at))
        os.close(fd.value)
        same(bytes(data), openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:32]), "by a copy of the descriptor")
        self.device.end(session)
        refused(errno.EINVAL, lambda: self.device.end(session), "ended twice")
        refused(errno.EINVAL, lambda: self.device.crypt(session, PLAIN[:16]), "an ended session")
        refused(errno.EINVAL, lambda: self.device.info(session), "an ended session's counts")
        refused(errno.EINVAL, lambda: self.device.ioctl(CIOCGSESSINFO, Names(ses=session)), "an ended session's names")

    def test_no_descriptor_is_left(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.device.fd + 1, limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        refused(errno.EMFILE, lambda: self.device.ioctl(CRIOGET, ctypes.c_int()), "CRIOGET")

    def test_privileges(self) -> None:
        """The device is root's; who is handed it open still needs CAP_NET_ADMIN for a driver by name."""
        self.assertEqual(Path(DEVICE).stat().st_mode & 0o777, 0o600)

        def nobody() -> None:
            refused(errno.EACCES, Device, "opening")
            refused(errno.EPERM, lambda: self.device.named("cbc(aes)", CIPHER, KEY[:16]), "by name")
            self.device.crypt(self.device.session(AES_CBC, key=KEY[:16]), PLAIN[:16])

        def let_in() -> None:
            with Device() as device:
                refused(errno.EPERM, lambda: device.named("cbc(aes)", CIPHER, KEY[:16]), "by name, let in")
                device.crypt(device.session(AES_CBC, key=KEY[:16]), PLAIN[:16])

        apart(as_nobody, nobody)
        Path(DEVICE).chmod(0o666)
        self.addCleanup(Path(DEVICE).chmod, 0o600)
        apart(as_nobody, let_in)
        try:
            apart(unshare_user)
        except AssertionError as error:
            self.skipTest(f"this kernel makes no user namespaces: {error}")
        apart(unshare_user, let_in)


class Requests(Case):
    def test_ciphers(self) -> None:
        cbc = self.device.session(AES_CBC, key=KEY[:16])
        mapped = self.device.named("cbc(aes)", CIPHER, KEY[:16], MAPPED)
        ctr = self.device.session(AES_CTR, key=KEY[:16])
        hashes = self.device.session(mac=SHA1)
        aead = self.device.session(AES_GCM, key=KEY[:16])
        both = self.device.session(AES_CBC, SHA1, KEY[:16])
        data, vector = Memory(MAX_LEN + 1), Memory(IV)
        good: dict[str, object] = {"ses": cbc, "len": 64, "src": data.at, "dst": data.at, "iv": vector.at}
        for code, what, change in (
            (errno.EINVAL, "no such session", {"ses": 4000}),
            (errno.EINVAL, "session 0", {"ses": 0}),
            (errno.EINVAL, "an AEAD's", {"ses": aead}),
            (errno.EINVAL, "an operation", {"op": 2}),
            (errno.EINVAL, "flags of AEADs", {"flags": TLS}),
            (errno.EINVAL, "flags", {"flags": 1 << 12}),
            (errno.EINVAL, "no whole blocks", {"len": 65}),
            (errno.E2BIG, "too long", {"ses": ctr, "len": MAX_LEN + 1}),
            (errno.E2BIG, "far too long", {"len": 0xFFFFFFFF}),
            (errno.EFAULT, "an IV that cannot be read", {"iv": NOWHERE}),
            (errno.EFAULT, "a source that cannot be read", {"src": NOWHERE}),
            (errno.EFAULT, "a destination that cannot be written", {"dst": NOWHERE}),
            (errno.EFAULT, "mapped, a source", {"ses": mapped, "src": NOWHERE}),
            (errno.EFAULT, "mapped, a destination", {"ses": mapped, "dst": NOWHERE}),
            (errno.EFAULT, "mapped, in place", {"ses": mapped, "src": NOWHERE, "dst": NOWHERE}),
            (errno.EFAULT, "mapped, the kernel's", {"ses": mapped, "src": 1 << 63, "dst": 1 << 63}),
            (errno.EFAULT, "mapped, past the last address", {"ses": mapped, "src": (1 << 64) - 16, "dst": data.at}),
            (errno.EFAULT, "mapped, past the end", {"ses": mapped, "len": MAX_LEN - 12, "dst": data.at + MAX_LEN}),
            (errno.EINVAL, "mapped, overlapping", {"ses": mapped, "dst": data.at + 16}),
            (errno.EINVAL, "no place for a hash", {"ses": hashes}),
            (errno.EFAULT, "a hash that cannot be written", {"ses": hashes, "mac": NOWHERE}),
            (errno.EFAULT, "a hash of what cannot be read", {"ses": hashes, "mac": data.at, "src": NOWHERE}),
            (errno.E2BIG, "too long for a hash", {"ses": hashes, "mac": data.at, "len": MAX_LEN + 1}),
            (errno.EINVAL, "cipher and hash, no place", {"ses": both}),
        ):
            for which in (CIOCCRYPT, CIOCASYNCCRYPT):
                op = CryptOp(**{**good, **change})
                if which == CIOCASYNCCRYPT and what in ASYNCHRONOUS:
                    self.device.ioctl(which, op)
                    refused(code, self.device.fetch, f"{what}, fetched")
                else:
                    refused(code, functools.partial(self.device.ioctl, which, op), what)
        refused(errno.EBUSY, lambda: self.device.ioctl(CIOCASYNCFETCH, CryptOp()), "nothing to fetch")
        same(self.device.crypt(cbc, PLAIN[:64]), openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:64]), "after all that")

    def test_memory_that_is_read_only(self) -> None:
        """A mapped source may be; a destination is EFAULT, and the file is as it was."""
        session = self.device.named("cbc(aes)", CIPHER, KEY[:16], MAPPED)
        libc = ctypes.CDLL(None, use_errno=True)
        data, dst, vector = Memory(PLAIN[:8192]), Memory(8192), Memory(IV)
        assert libc.mprotect(ctypes.c_void_p(data.at), 8192, 1) == 0
        op = CryptOp(session, ENCRYPT, 0, 8192, data.at, data.at, None, vector.at)
        refused(errno.EFAULT, lambda: self.device.ioctl(CIOCCRYPT, op), "in place")
        op.dst = dst.at
        self.device.ioctl(CIOCCRYPT, op)
        same(bytes(dst), openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:8192]), "from read-only memory")
        same(bytes(data), PLAIN[:8192], "source")

    def test_aeads_and_records(self) -> None:
        aead = self.device.session(AES_GCM, key=KEY[:16])
        mapped = self.device.named("gcm(aes)", AEAD, KEY[:16], MAPPED)
        cbc = self.device.session(AES_CBC, key=KEY[:16])
        both = self.device.session(AES_CBC, SHA1_HMAC, KEY[:16], b"Jefe")
        stream = self.device.session(AES_CTR, SHA1_HMAC, KEY[:16], b"Jefe")
        data, vector = Memory(MAX_LEN + 100), Memory(IV)
        good: dict[str, object] = {
            **{"ses": aead, "len": 64, "src": data.at, "dst": data.at, "tag": data.at + 4096},
            **{"auth_len": 13, "auth_src": data.at + 8192, "iv": vector.at, "iv_len": 12},
        }
        srtp = {"ses": stream, "flags": SRTP, "iv_len": 16, "auth_src": data.at, "auth_len": 100}
        tls = {"ses": both, "flags": TLS, "iv_len": 16}
        for code, what, change in (
            (errno.EINVAL, "no such session", {"ses": 4000}),
            (errno.EINVAL, "no AEAD's", {"ses": cbc, "iv_len": 0}),
            (errno.EINVAL, "an operation", {"op": 2}),
            (errno.EINVAL, "flags", {"flags": UPDATE}),
            (errno.EINVAL, "no IV", {"iv": None}),
            (errno.EINVAL, "an IV of 16 bytes", {"iv_len": 16}),
            (errno.EINVAL, "a tag of 12 bytes", {"tag_len": 12}),
            (errno.EINVAL, "less than a tag", {"op": DECRYPT, "len": 15}),
            (errno.E2BIG, "too long", {"len": MAX_LEN - 12}),
            (errno.E2BIG, "too much to authenticate", {"auth_len": 0xFFFFFFF0}),
            (errno.EFAULT, "a source that cannot be read", {"src": NOWHERE}),
            (errno.EFAULT, "a destination that cannot be written", {"dst": NOWHERE}),
            (errno.EFAULT, "authenticated data that cannot be read", {"auth_src": NOWHERE}),
            (errno.EFAULT, "mapped, a source", {"ses": mapped, "src": NOWHERE}),
            (errno.EFAULT, "mapped, a destination", {"ses": mapped, "dst": NOWHERE}),
            (errno.EINVAL, "mapped, overlapping", {"ses": mapped, "dst": data.at + 63}),
            (errno.EBADMSG, "a wrong tag", {"op": DECRYPT}),
            (errno.EINVAL, "both types", {**tls, "flags": TLS | SRTP}),
            (errno.EINVAL, "a type and an AEAD", {"flags": TLS}),
            (errno.EINVAL, "a type and no MAC", {**tls, "ses": cbc}),
            (errno.EINVAL, "TLS, a tag of 21 bytes", {**tls, "tag_len": 21}),
            (errno.EINVAL, "TLS, less than a tag", {**tls, "op": DECRYPT, "len": 16}),
            (errno.EINVAL, "TLS, no whole blocks", {**tls, "op": DECRYPT, "len": 65}),
            (errno.EBADMSG, "TLS, a wrong MAC", {**tls, "op": DECRYPT}),
            (errno.EINVAL, "SRTP, not in place", {**srtp, "dst": data.at + 1}),
            (errno.EINVAL, "SRTP, outside", {**srtp, "len": 101}),
            (errno.EINVAL, "SRTP, before", {**srtp, "auth_src": data.at + 16}),
            (errno.EINVAL, "SRTP, nothing", {**srtp, "auth_len": 0, "len": 0}),
            (errno.EFAULT, "SRTP, a tag that cannot be written", {**srtp, "tag": NOWHERE}),
            (errno.EFAULT, "SRTP, a tag that cannot be read", {**srtp, "tag": NOWHERE, "op": DECRYPT}),
        ):
            op = AuthOp(**{**good, **change})
            before = bytes(data)
            refused(code, functools.partial(self.device.ioctl, CIOCAUTHCRYPT, op), what)
            if code != errno.EFAULT:
                same(bytes(data), before, f"{what}: memory")

    def test_hash_states(self) -> None:
        one, two = self.device.session(mac=SHA1), self.device.session(mac=SHA256)
        cipher = self.device.session(AES_CBC, key=KEY[:16])
        for what, dst, src in (
            ("another algorithm", two, one),
            ("no hash", cipher, one),
            ("no such session", 4000, one),
            ("no such session either", one, 4000),
        ):
            refused(errno.EINVAL, functools.partial(self.device.ioctl, CIOCCPHASH, HashOp(dst, src)), what)
        self.device.ioctl(CIOCCPHASH, HashOp(one, one))

    def test_ioctls(self) -> None:
        features = ctypes.c_uint32(7)
        self.device.ioctl(CIOCASYMFEAT, features)
        self.assertEqual(features.value, 0)
        refused(errno.EINVAL, lambda: self.device.ioctl(CIOCKEY, KeyOp()), "CIOCKEY")
        refused(errno.EINVAL, lambda: self.device.ioctl(0x1234, 0), "no such ioctl")
        for which in (
            *(CRIOGET, CIOCGSESSION, CIOCFSESSION, CIOCCRYPT, CIOCASYMFEAT, CIOCGSESSINFO, CIOCAUTHCRYPT),
            *(CIOCASYNCCRYPT, CIOCCPHASH, DEVCRYPTO_SESSION, DEVCRYPTO_INFO),
        ):
            refused(errno.EFAULT, functools.partial(fcntl.ioctl, self.device.fd, which, NOWHERE), f"{which:x}")
        refused(errno.EINVAL, lambda: os.read(self.device.fd, 10), "read()")
        refused(errno.EINVAL, lambda: os.write(self.device.fd, b"x"), "write()")

    def test_a_session_nobody_hears_of_ends(self) -> None:
        """The structure can be read and not written: no session is left behind."""
        libc = ctypes.CDLL(None, use_errno=True)
        place = Memory(4096)
        ctypes.memmove(place.at, bytes(SessionOp(cipher=NULL)), ctypes.sizeof(SessionOp))
        assert libc.mprotect(ctypes.c_void_p(place.at), 4096, 1) == 0
        # (fcntl.ioctl takes no address of 64 bits)
        assert libc.ioctl(self.device.fd, ctypes.c_ulong(CIOCGSESSION), ctypes.c_void_p(place.at)) == -1
        self.assertEqual(ctypes.get_errno(), errno.EFAULT)
        self.assertEqual(self.device.session(DES3_CBC, key=KEY[:24]), 1)

    def test_garbage(self) -> None:
        """Random bytes as any structure, by two threads: errors or answers, nothing else."""
        sessions = [self.device.session(NULL), self.device.session(AES_CTR, SHA1, KEY[:16])]
        sessions.append(self.device.session(AES_GCM, key=KEY[:16]))

        def work(seed: int) -> None:
            for step in range(400):
                raw = bytearray(PLAIN[(seed + step) * 512 : (seed + step) * 512 + 216])
                raw[0:4] = sessions[step % 3].to_bytes(4, "little")
                if step % 2:
                    raw[4:16] = bytes([step % 3, 0, step % 64, 0, step % 256, step % 5, 0, 0, 0, 0, 0, 0])
                for which in (CIOCCRYPT, CIOCAUTHCRYPT, CIOCASYNCCRYPT, CIOCCPHASH, CIOCGSESSION, DEVCRYPTO_SESSION):
                    with contextlib.suppress(OSError):
                        fcntl.ioctl(self.device.fd, which, bytearray(raw[: which >> 16 & 0x3FFF]))

        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in (0, 500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            self.assertFalse(thread.is_alive(), "it hangs")
        self.assertEqual(self.device.info(sessions[0]).ses, sessions[0])
        self.assertEqual(Info(ses=1).ses, 1)


ASYNCHRONOUS = ("no whole blocks", "a destination that cannot be written", "a hash that cannot be written")
"""What is wrong with an asynchronous request only when it has been done."""
