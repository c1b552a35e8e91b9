"""Options: what is refused, what stays clear, which driver is bound."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import select
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from ..checking import apart, as_nobody, refused, same
from .common import (
    AES,
    DES3,
    INFO,
    MSG_MORE,
    MSG_OOB,
    NULL,
    PAD_PKCS7,
    PLAIN,
    SO_CRYPT_INFO,
    SO_CRYPT_SET,
    SOL_SO_CRYPT,
    TCP_ULP,
    Case,
    Reader,
    driver,
    encrypted,
    expected,
    info,
    pair,
    reference,
    sendfile,
    setting,
    ulp,
)

UNPRIVILEGED = Path("/sys/module/so_crypt/parameters/unprivileged")
NEWUSER, NEWNET = 0x10000000, 0x40000000  # of unshare()
SIOCSIFFLAGS = 0x8914
IPV6_ADDRFORM = 1


class Refusals(Case):
    def test_bad_arguments(self) -> None:
        for what, code, args in [
            ("empty name", errno.EINVAL, setting(alg="")),
            ("unterminated name", errno.EINVAL, setting(alg=b"a" * 64)),
            ("unknown name", errno.ENOENT, setting(alg="cbc(nothing)")),
            ("a hash", errno.ENOENT, setting(alg="sha256")),
            ("key length 5", errno.EINVAL, setting(keylen=5)),
            ("key length 65", errno.EINVAL, setting(keylen=65)),
            ("key length 2^32-1", errno.EINVAL, setting(keylen=0xFFFFFFFF)),
            ("no key", errno.ENOKEY, setting(keylen=0)),
            ("IV too short", errno.EINVAL, setting(ivlen=15)),
            ("IV too long", errno.EINVAL, setting(ivlen=17)),
            ("no IV", errno.EINVAL, setting(ivlen=0)),
            ("IV for null", errno.EINVAL, setting(NULL, ivlen=16)),
            ("key for null", errno.EINVAL, setting(NULL, keylen=16)),
            ("chunk below a block", errno.EINVAL, setting(chunk=15)),
            ("chunk too big", errno.EINVAL, setting(chunk=131073)),
            ("chunk 2^32-1", errno.EINVAL, setting(chunk=0xFFFFFFFF)),
            ("pad 3", errno.EINVAL, setting(how=3)),
            ("xts", errno.EOPNOTSUPP, setting(alg="xts(aes)", keylen=32)),
            ("short structure", errno.EINVAL, setting()[:-1]),
            ("long structure", errno.EINVAL, setting() + b"\0"),
            ("nothing", errno.EINVAL, b""),
        ]:
            with pair() as (sender, receiver):
                ulp(sender)
                if what == "xts" and "xts" not in crypto_names():
                    continue
                refused(code, functools.partial(sender.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET, args), what)
                sender.send(b"still clear")  # and a refusal leaves the socket as it was
                self.assertEqual(receiver.recv(100), b"still clear")
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
                again = functools.partial(sender.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET, setting())
                refused(errno.EBUSY, again, "twice")
        with pair() as (sender, _receiver):
            refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "no ULP")
            ulp(sender)
            refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, 5, setting()), "option 5")
            refused(errno.ENOPROTOOPT, lambda: sender.getsockopt(SOL_SO_CRYPT, 1, 200), "get of SET")
            refused(errno.ENOPROTOOPT, lambda: sender.setsockopt(SOL_SO_CRYPT, 2, setting()), "set of INFO")
            refused(errno.EINVAL, lambda: sender.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO, 167), "short INFO")
            self.assertEqual(len(sender.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO, 1000)), INFO.size)
            self.assertEqual(info(sender), ("", 0, 0, 0, 0, 0, 0))
            self.assertEqual(sender.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).rstrip(b"\0"), b"so_crypt")
            libc = ctypes.CDLL(None, use_errno=True)
            bad = ctypes.c_void_p(8)
            self.assertEqual(libc.setsockopt(sender.fileno(), SOL_SO_CRYPT, SO_CRYPT_SET, bad, 160), -1)
            self.assertEqual(ctypes.get_errno(), errno.EFAULT)
            length = ctypes.c_int(168)
            self.assertEqual(
                libc.getsockopt(sender.fileno(), SOL_SO_CRYPT, SO_CRYPT_INFO, bad, ctypes.byref(length)), -1
            )
            self.assertEqual(ctypes.get_errno(), errno.EFAULT)
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
            for flag in (MSG_OOB, 0x4000000, 0x20000000):
                refused(errno.EOPNOTSUPP, functools.partial(sender.send, b"x", flag), f"flag {flag:#x}")
            refused(errno.EOPNOTSUPP, lambda: sender.sendmsg([b"x"], [(1, 2, b"1234")]), "ancillary data")
            self.assertEqual(libc.send(sender.fileno(), bad, 100, 0), -1)
            self.assertEqual(ctypes.get_errno(), errno.EFAULT)
            sent = libc.send(sender.fileno(), PLAIN[:64], 64, 0)
            self.assertEqual(sent, 64)
            same(_receiver.recv(100), reference(AES)[:64], "after a bad address")

    def test_sockets_it_is_not_for(self) -> None:
        with socket.socket() as sock:
            refused(errno.ENOTCONN, lambda: ulp(sock), "unconnected")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            refused(errno.ENOTCONN, lambda: ulp(sock), "listening")
        with pair() as (sender, receiver):
            ulp(sender)
            refused(errno.EEXIST, lambda: ulp(sender), "twice")
            sender.shutdown(socket.SHUT_WR)
            refused(errno.ENOTCONN, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "after shutdown")
            self.assertEqual(receiver.recv(1), b"")
        with pair() as (sender, receiver):
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            receiver.close()
            hung_up = select.poll()
            hung_up.register(sender, select.POLLHUP)
            self.assertTrue(hung_up.poll(5000), "no reset arrived")
            refused(errno.ENOTCONN, lambda: ulp(sender), "reset")
        with encrypted() as (sender, receiver):
            libc = ctypes.CDLL(None, use_errno=True)
            self.assertEqual(libc.connect(sender.fileno(), struct.pack("H14x", 0), 16), -1)
            self.assertEqual(ctypes.get_errno(), errno.EOPNOTSUPP)
            sender.send(PLAIN[:16])
            same(receiver.recv(100), reference(AES)[:16], "after connect(AF_UNSPEC)")

    def test_a_socket_of_ipv6_stays_one(self) -> None:
        """Made one of IPv4's, it would have TCP's own operations again, and send clear text."""
        try:
            sender = self.enterContext(socket.socket(socket.AF_INET6))
        except OSError as error:
            self.skipTest(f"the guest has no IPv6 ({error.strerror})")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sender.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
            receiver = self.enterContext(listener.accept()[0])
        ulp(sender)
        set_up(sender)
        refused(errno.EBUSY, lambda: sender.setsockopt(socket.IPPROTO_IPV6, IPV6_ADDRFORM, socket.AF_INET), "IPv4")
        sender.send(PLAIN[:16])
        same(receiver.recv(100), reference(AES)[:16], "after IPV6_ADDRFORM")


def set_up(sock: socket.socket, alg: str = "cbc(aes)") -> None:
    sock.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg=alg))


def unshare(namespaces: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(namespaces):
        raise OSError(ctypes.get_errno(), "unshare")


def loopback_up() -> None:
    with socket.socket() as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", 1))


class Privileges(Case):
    """Cards and modules are the machine's: the option wants CAP_NET_ADMIN."""

    def setUp(self) -> None:
        self.addCleanup(UNPRIVILEGED.write_text, UNPRIVILEGED.read_text())
        UNPRIVILEGED.write_text("N")

    def test_nobody(self) -> None:
        with pair() as (sender, receiver):
            ulp(sender)
            apart(as_nobody, lambda: refused(errno.EPERM, lambda: set_up(sender), "as nobody"))
            sender.send(b"still clear")
            self.assertEqual(receiver.recv(100), b"still clear")
            UNPRIVILEGED.write_text("Y")
            apart(as_nobody, functools.partial(set_up, sender, driver()))
            sender.send(PLAIN[:32])  # by who set nothing
            same(receiver.recv(100), reference(AES)[:32], "set by nobody")

    def test_a_namespace_of_one_s_own(self) -> None:
        """Rights in a user namespace are for networks made in it, and for what the kernel itself enciphers."""
        try:
            apart(functools.partial(unshare, NEWUSER | NEWNET))
        except AssertionError as error:
            self.skipTest(f"this kernel makes no such namespaces: {error}")

        name = driver()

        def there() -> None:
            loopback_up()
            with pair() as (sender, receiver):
                ulp(sender)
                for alg in (name, "cbc(nothing)"):
                    refused(errno.EPERM, functools.partial(set_up, sender, alg), alg)
                set_up(sender)
                sender.send(PLAIN[:32])
                same(receiver.recv(100), reference(AES)[:32], "in a namespace")

        apart(as_nobody, functools.partial(unshare, NEWUSER | NEWNET), there)
        with pair() as (sender, _receiver):
            ulp(sender)
            apart(
                functools.partial(unshare, NEWUSER),
                lambda: refused(errno.EPERM, lambda: set_up(sender), "a network of the first namespace"),
            )


class ClearText(Case):
    def test_clear_before_encrypted(self) -> None:
        """What was sent before SO_CRYPT_SET stays clear, also what TCP has not sent yet."""
        for size in (20, 3000, 60000):
            with pair(buffers=200000) as (sender, receiver):
                if size == 3000:
                    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                sender.send(PLAIN[:size], MSG_MORE)
                ulp(sender)
                sender.send(b"clear too", MSG_MORE)
                self.assertEqual(sendfile(sender, 0, 10), 10)
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(DES3))
                reader = Reader(receiver)
                sendfile(sender, 0, 100001)
                sender.close()
                same(reader.result(), PLAIN[:size] + b"clear too" + PLAIN[:10] + expected(DES3, 100001, 2), f"{size}")
        with pair(buffers=4096) as (sender, receiver):
            ulp(sender)
            thread = threading.Thread(target=sender.sendall, args=(PLAIN[:500000],), daemon=True)
            thread.start()
            time.sleep(0.2)
            refused(
                errno.EBUSY, lambda: sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting()), "during a clear send"
            )
            got = bytearray()
            while len(got) < 500000:
                got += receiver.recv(100000)
            thread.join(5)
            sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
            sender.send(PLAIN[:32])
            same(receiver.recv(100), reference(AES)[:32], "then encrypted")


class Drivers(Case):
    def test_by_name(self) -> None:
        found = []
        for name in ("cbc(aes-generic)", "cbc-aes-lib", "cbc-des3_ede-asm", "cbc(des3_ede-generic)", "ecb-cipher_null"):
            cipher = {"a": AES, "d": DES3, "c": NULL}[name.replace("cbc", "").strip("(-e")[0]]
            with pair() as (sender, receiver):
                ulp(sender)
                try:
                    sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(cipher, alg=name))
                except FileNotFoundError:
                    continue
                figures = info(sender)
                self.assertEqual(figures.driver, name, figures)
                self.assertEqual(figures.blocksize, cipher.block, figures)
                reader = Reader(receiver)
                sendfile(sender, 0, 70000)
                sender.close()
                same(reader.result(), expected(cipher, 70000, PAD_PKCS7), name)
                found.append(name)
        self.assertGreaterEqual(len(found), 2, found)

    def test_asynchronous(self) -> None:
        """cryptd makes an asynchronous driver of a synchronous one."""
        subprocess.run(["modprobe", "cryptd"], check=False, capture_output=True)
        name = f"cryptd({driver()})"
        with pair() as (sender, _receiver):
            ulp(sender)
            try:
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg=name))
            except OSError as error:
                self.skipTest(f"no cryptd here ({error.strerror})")
            self.assertEqual(info(sender).is_async, 1, info(sender))
        for size in (1, 16, 65536, 1000001):
            with pair() as (sender, receiver):
                ulp(sender)
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg=name))
                reader = Reader(receiver)
                sendfile(sender, 0, size // 2)
                sender.sendall(PLAIN[size // 2 : size])
                sender.shutdown(socket.SHUT_WR)
                same(reader.result(), expected(AES, size, PAD_PKCS7), f"cryptd {size}")


@functools.cache
def crypto_names() -> str:
    with contextlib.suppress(OSError):
        subprocess.run(["modprobe", "xts"], check=False, capture_output=True)
    return Path("/proc/crypto").read_text()
