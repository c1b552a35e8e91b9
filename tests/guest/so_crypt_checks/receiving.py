"""Receiving: what a peer encrypted comes as plain text, by every call; and every other end is an error."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import random
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .. import checking
from ..checking import DELAYED_MODULE, apart, as_nobody, delayed, eventually, most, refused, same
from .common import (
    AES,
    CTR,
    DES3,
    MSG_DONTWAIT,
    MSG_OOB,
    NULL,
    PAD_NONE,
    PAD_PKCS7,
    PLAIN,
    SO_CRYPT_INFO_RX,
    SO_CRYPT_SET,
    SO_CRYPT_SET_RX,
    SOL_SO_CRYPT,
    Case,
    Cipher,
    Reader,
    encrypted,
    expected,
    info,
    pad,
    pair,
    read_all,
    setting,
    ulp,
    usable_ciphers,
)

MSG_PEEK, MSG_WAITALL, MSG_TRUNC = socket.MSG_PEEK, socket.MSG_WAITALL, socket.MSG_TRUNC
TCP_ZEROCOPY_RECEIVE = 35


def set_up(sock: socket.socket, cipher: Cipher = AES, *, alg: str | None = None, chunk: int = 0, how: int) -> None:
    sock.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET_RX, setting(cipher, alg=alg, chunk=chunk, how=how))


@contextlib.contextmanager
def deciphering(
    cipher: Cipher = AES,
    *,
    alg: str | None = None,
    family: int = socket.AF_INET,
    buffers: int = 0,
    chunk: int = 0,
    how: int = PAD_PKCS7,
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """(peer, receiver): the peer sends cipher text that it has."""
    with pair(family, buffers) as (peer, receiver):
        ulp(receiver)
        set_up(receiver, cipher, alg=alg, chunk=chunk, how=how)
        receiver.setblocking(True)  # with a time limit Python would poll() first
        yield peer, receiver


def whole(cipher: Cipher, size: int, how: int) -> bytes:
    """What arrives of so many bytes of PLAIN."""
    return PLAIN[:size] if how == PAD_PKCS7 else pad(cipher, PLAIN[:size], how)


class Sender(threading.Thread):
    """Sends pieces of so many bytes, and then the end."""

    def __init__(self, sock: socket.socket, data: bytes, piece: int = 1 << 20) -> None:
        super().__init__(daemon=True)
        self.sock, self.data, self.piece = sock, data, piece
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            for at in range(0, len(self.data), self.piece):
                self.sock.sendall(self.data[at : at + self.piece])
            self.sock.shutdown(socket.SHUT_WR)


def splice_all(sock: socket.socket) -> bytes:
    """By splice() through a pipe into a file, to the end."""
    read, write = os.pipe()
    with os.fdopen(read, "rb"), os.fdopen(write, "wb"), tempfile.TemporaryFile(dir="/dev/shm") as file:
        while left := os.splice(sock.fileno(), write, 65536):
            while left:
                left -= os.splice(read, file.fileno(), left)
        file.seek(0)
        return file.read()


class Receiving(Case):
    def test_sizes_and_ciphers(self) -> None:
        """Every cipher, size and padding, by recv() and by splice()."""
        count = 0
        for cipher in usable_ciphers():
            for size in (0, 1, 7, 8, 15, 16, 17, 1000, 4096, 65535, 65536, 200001):
                for spliced in (False, True):
                    how = (count // 2) % 3
                    with deciphering(cipher, how=how) as (peer, receiver):
                        sent = expected(cipher, size, how)
                        Sender(peer, sent)
                        got = splice_all(receiver) if spliced else read_all(receiver)
                        what = f"{cipher.openssl} {size} {'splice' if spliced else 'recv'} pad {how}"
                        same(got, whole(cipher, size, how), what)
                        told = info(receiver, SO_CRYPT_INFO_RX)
                        self.assertEqual((told.bytes_in, told.bytes_out), (len(sent), len(got)), what)
                        self.assertTrue(told.driver, what)
                    count += 1

    def test_mixtures(self) -> None:
        """Pieces of any length, taken by calls of any kind, from either family."""
        rng, ciphers = random.Random(17), usable_ciphers()
        for count in range(24):
            cipher, how = ciphers[count % len(ciphers)], rng.randrange(3)
            size = rng.choice([1, 100, 3000, 100000])
            large = size > 10000
            chunk = 0 if large else rng.choice([0, 16, 100, 4096, 131072])
            with deciphering(cipher, chunk=chunk, how=how, buffers=rng.choice([0, 0, 50000])) as (peer, receiver):
                piece_size = 1 << 20 if large else rng.choice([1 if size < 1000 else 7, 1000])
                sender = Sender(peer, expected(cipher, size, how), piece_size)
                got, log = bytearray(), []
                while True:
                    length, kind = rng.choice([16, 1000, 70000] if large else [1, 5, 16, 1000]), rng.randrange(4)
                    log.append((kind, length))
                    if kind == 0:
                        piece = receiver.recv(length)
                    elif kind == 1:
                        peeked = receiver.recv(length, MSG_PEEK)
                        piece = receiver.recv(len(peeked) or 1)
                        self.assertEqual(bytes(peeked), bytes(piece), log)
                    elif kind == 2:
                        piece = receiver.recv(length, MSG_WAITALL)
                    else:
                        read, write = os.pipe()
                        with os.fdopen(read, "rb"), os.fdopen(write, "wb"):
                            spliced = os.splice(receiver.fileno(), write, length)
                            piece = os.read(read, spliced) if spliced else b""
                    if not piece:
                        break
                    got += piece
                same(bytes(got), whole(cipher, size, how), f"{cipher.openssl} chunk {chunk} pad {how}: {log[-30:]}")
                sender.join()

    def test_ipv6(self) -> None:
        try:
            with pair(socket.AF_INET6):
                pass
        except OSError as error:
            self.skipTest(f"the guest has no IPv6 ({error.strerror})")
        for family in (socket.AF_INET6, socket.AF_INET):
            with deciphering(DES3, family=family) as (peer, receiver):
                Sender(peer, expected(DES3, 100001, PAD_PKCS7))
                same(splice_all(receiver), PLAIN[:100001], "IPv6")

    def test_clear_before(self) -> None:
        """What was read before the option is clear, all that follows is not."""
        with pair() as (peer, receiver):
            peer.sendall(b"head" + expected(AES, 5000, PAD_PKCS7))
            peer.shutdown(socket.SHUT_WR)
            ulp(receiver)
            self.assertEqual(receiver.recv(4), b"head")
            set_up(receiver, how=PAD_PKCS7)
            same(read_all(receiver), PLAIN[:5000], "after a head")

    def test_both_ways_by_the_module(self) -> None:
        """Two ends of the module, both directions, no byte of them in user space; SHUT_WR in between."""
        with encrypted(AES) as (one, other):
            ulp(other)
            other.setblocking(True)
            set_up(other, how=PAD_PKCS7)
            other.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(CTR))
            set_up(one, CTR, how=PAD_PKCS7)
            Sender(one, PLAIN[:100001])
            same(splice_all(other), PLAIN[:100001], "there")
            Sender(other, PLAIN[:70001])
            same(read_all(one), PLAIN[:70001], "and back")

    def test_options(self) -> None:
        with pair() as (peer, receiver):
            setter = functools.partial(set_up, receiver, how=PAD_NONE)
            refused(errno.ENOPROTOOPT, setter, "no ULP")
            ulp(receiver)
            receiver.setblocking(True)
            self.assertEqual(info(receiver, SO_CRYPT_INFO_RX), ("", 0, 0, 0, 0, 0, 0))
            apart(as_nobody, functools.partial(refused, errno.EPERM, setter, "as nobody"))
            reading = threading.Thread(target=receiver.recv, args=(1,), daemon=True)
            reading.start()
            time.sleep(0.1)
            refused(errno.EBUSY, setter, "while another thread receives")
            peer.send(b"x")
            reading.join(5)
            setter()
            refused(errno.EBUSY, setter, "twice")
            refused(errno.EOPNOTSUPP, lambda: receiver.recv(1, MSG_OOB), "MSG_OOB")
            refused(
                errno.EOPNOTSUPP,
                lambda: receiver.getsockopt(socket.IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, 64),
                "cipher text by TCP_ZEROCOPY_RECEIVE",
            )
            refused(errno.EAGAIN, lambda: receiver.recv(1, MSG_DONTWAIT), "nothing there")
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200000))
            receiver.setblocking(True)
            refused(errno.EAGAIN, lambda: receiver.recv(1), "SO_RCVTIMEO")
            libc = ctypes.CDLL(None, use_errno=True)
            peer.send(expected(AES, 32, PAD_NONE))
            self.assertEqual(libc.recv(receiver.fileno(), ctypes.c_void_p(8), 16, 0), -1)
            self.assertEqual(ctypes.get_errno(), errno.EFAULT)
            self.assertEqual(len(receiver.recv(10, MSG_TRUNC)), 10)  # taken, not copied
            same(receiver.recv(100), PLAIN[10:32], "after a bad address")

    def test_readiness(self) -> None:
        """poll() knows of plain text that TCP has not, and does not say again what cannot be read."""
        with deciphering(AES, how=PAD_NONE) as (peer, receiver), select.epoll() as edges:
            sent = expected(AES, 64, PAD_NONE)
            edges.register(receiver, select.EPOLLIN | select.EPOLLET)
            peer.send(sent[:5])
            eventually("five bytes", lambda: bool(select.select([receiver], [], [], 0)[0]))
            refused(errno.EAGAIN, lambda: receiver.recv(1, MSG_DONTWAIT), "a part of a block")
            self.assertFalse(select.select([receiver], [], [], 0.1)[0], "still said to be readable")
            edges.poll(0)
            peer.send(sent[5:48])
            self.assertTrue(edges.poll(5), "no event")
            same(receiver.recv(1), PLAIN[:1], "one byte")
            self.assertTrue(select.select([receiver], [], [], 0)[0], "plain text is left")
            same(receiver.recv(100), PLAIN[1:48], "the others")
            self.assertFalse(select.select([receiver], [], [], 0)[0], "nothing is left")
            peer.send(sent[48:])
            peer.shutdown(socket.SHUT_WR)
            same(read_all(receiver), PLAIN[48:64], "to the end")

    def test_back_pressure(self) -> None:
        """Nobody reads: the peer stops; and goes on when somebody does."""
        with deciphering(AES, buffers=20000) as (peer, receiver):
            data, at = expected(AES, 1 << 20, PAD_PKCS7), 0
            peer.setblocking(False)
            receiver.setblocking(False)
            while at < len(data):
                try:
                    at += peer.send(data[at:])
                except BlockingIOError:
                    if not select.select([], [peer], [], 0.2)[1]:
                        break
            self.assertLess(at, 400000, "taken with nobody reading")
            receiver.recv(1)
            receiver.setblocking(True)
            peer.setblocking(True)
            Sender(peer, data[at:])
            same(read_all(receiver), PLAIN[1 : 1 << 20], "read in the end")

    def test_other_ends(self) -> None:
        """A stream that was cut, padded wrongly or reset is an error, each time again, after what was good."""
        good = expected(AES, 100, PAD_PKCS7)
        for what, how, data, plain in (
            ("cut in a block", PAD_NONE, good[:90], PLAIN[:80]),
            ("cut in a block, padded", PAD_PKCS7, good[:90], PLAIN[:80]),
            ("cut between blocks", PAD_PKCS7, good[:96], PLAIN[:80]),
            ("nothing at all", PAD_PKCS7, b"", b""),
            ("another last block", PAD_PKCS7, good[:-1] + bytes([good[-1] ^ 1]), PLAIN[:96]),
        ):
            for spliced in (False, True):
                with deciphering(AES, how=how) as (peer, receiver):
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    got = bytearray()
                    with self.assertRaises(OSError, msg=what) as caught:
                        while True:
                            if spliced:
                                read, write = os.pipe()
                                with os.fdopen(read, "rb"), os.fdopen(write, "wb"):
                                    piece = os.read(read, os.splice(receiver.fileno(), write, 1000))
                            else:
                                piece = receiver.recv(1000)
                            self.assertTrue(piece, f"{what}: it ended in order")
                            got += piece
                    self.assertEqual(caught.exception.errno, errno.EBADMSG, what)
                    same(bytes(got), plain, what)
                    refused(errno.EBADMSG, functools.partial(receiver.recv, 1), f"{what}, again")
        with deciphering(AES, how=PAD_NONE) as (peer, receiver):
            peer.sendall(good[:32])
            time.sleep(0.05)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            same(receiver.recv(100), PLAIN[:32], "before a reset")
            for _ in range(2):
                refused(errno.ECONNRESET, lambda: receiver.recv(1), "reset")
        with deciphering(AES, how=PAD_NONE) as (peer, receiver):
            peer.send(b"!", MSG_OOB)
            for _ in range(2):
                refused(errno.EBADMSG, lambda: receiver.recv(1), "urgent data")
        with deciphering(AES, how=PAD_NONE) as (peer, receiver):
            peer.sendall(good[:40])
            same(receiver.recv(100), PLAIN[:32], "before SHUT_RD")
            receiver.shutdown(socket.SHUT_RD)
            self.assertEqual(receiver.recv(1), b"", "our own end")
            receiver.close()  # with a part of a block

    def test_two_threads_on_one_socket(self) -> None:
        """No byte twice, none lost."""
        with deciphering(NULL, how=PAD_NONE) as (peer, receiver):
            total, seen = 0, [bytearray(), bytearray()]

            def take(into: bytearray) -> None:
                while piece := receiver.recv(3001):
                    into += piece

            threads = [threading.Thread(target=take, args=(into,), daemon=True) for into in seen]
            for thread in threads:
                thread.start()
            Sender(peer, PLAIN[: 1 << 20], 5003)
            for thread in threads:
                thread.join(20)
                self.assertFalse(thread.is_alive())
                total = sum(len(into) for into in seen)
            self.assertEqual(total, 1 << 20)
            counts = [sum(into.count(value) for into in seen) for value in range(256)]
            self.assertEqual(counts, [PLAIN[: 1 << 20].count(value) for value in range(256)])

    def test_killed(self) -> None:
        """In recv(), in splice() to a full pipe, and with all it had."""
        for spliced in (False, True):
            with deciphering(AES, how=PAD_NONE) as (peer, receiver):
                pid = os.fork()
                if not pid:
                    with contextlib.suppress(BaseException):
                        if spliced:
                            _, write = os.pipe()
                            while True:
                                os.splice(receiver.fileno(), write, 65536)
                        receiver.recv(1 << 20, MSG_WAITALL)
                    os._exit(0)
                receiver.close()
                peer.settimeout(0.5)
                with contextlib.suppress(OSError):
                    peer.sendall(expected(AES, 500000, PAD_NONE))
                os.kill(pid, signal.SIGKILL)
                self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)


class Slowly(Case):
    """A driver that answers later, or wrongly."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if "delayed " not in Path("/proc/modules").read_text():
            checking.load(DELAYED_MODULE)

    def setUp(self) -> None:
        delayed(hold=0, fail=0, backlog=0, most=0)
        self.addCleanup(delayed, hold=0, fail=0)

    def test_asynchronous(self) -> None:
        with deciphering(AES, alg="cbc-aes-delayed") as (peer, receiver):
            Sender(peer, expected(AES, 300001, PAD_PKCS7))
            same(read_all(receiver), PLAIN[:300001], "delayed")
            self.assertEqual(info(receiver, SO_CRYPT_INFO_RX).is_async, 1)
        with deciphering(CTR, alg="ctr-aes-delayed") as (peer, receiver):
            Sender(peer, expected(CTR, 3001, PAD_PKCS7), 27)
            same(read_all(receiver), PLAIN[:3001], "delayed")

    def test_meanwhile(self) -> None:
        """The socket works while the driver does: it takes what comes, sends, polls; a second reader waits."""
        with deciphering(AES, alg="cbc-aes-delayed", how=PAD_NONE) as (peer, receiver):
            data = expected(AES, 96, PAD_NONE)
            delayed(hold=1)
            peer.sendall(data[:48])
            reader = Reader(receiver)
            eventually("no request came", lambda: most() == 1)
            refused(errno.EAGAIN, lambda: receiver.recv(1, MSG_DONTWAIT), "another reads")
            receiver.send(b"the other way")
            self.assertEqual(peer.recv(100), b"the other way")
            peer.sendall(data[48:])
            peer.shutdown(socket.SHUT_WR)
            delayed(hold=0)
            same(reader.result(), PLAIN[:96], "in the end")

    def test_failing(self) -> None:
        with deciphering(AES, alg="cbc-aes-delayed", how=PAD_NONE) as (peer, receiver):
            peer.sendall(expected(AES, 96, PAD_NONE))
            delayed(fail=1)
            refused(errno.EIO, lambda: receiver.recv(1), "the driver failed")
            delayed(fail=0)
            refused(errno.EIO, lambda: receiver.recv(1), "and the stream has a hole")
