"""Calls that wait: promptness, back pressure, polling, time limits, signals."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import tempfile
import time

from ..checking import same
from .common import (
    AES,
    CTR,
    FILE,
    MSG_MORE,
    NULL,
    PAD_PKCS7,
    PLAIN,
    TCP_NOTSENT_LOWAT,
    Case,
    Cipher,
    Reader,
    encrypted,
    expected,
    info,
    outq,
    reference,
    sendfile,
)


class Waiting(Case):
    def test_prompt(self) -> None:
        """Nothing that could be sent is held back, and nothing waits for TCP's 200 ms cork timer.

        A held-back piece waits for that timer in every attempt, a busy machine in few: the quickest one counts.
        """

        def all_of(cipher: Cipher, size: int, want: int, by_file: bool) -> float:
            with encrypted(cipher) as (sender, receiver):
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                started = time.monotonic()
                if by_file:
                    sendfile(sender, 0, size)
                else:
                    sender.sendall(PLAIN[:size])
                got = bytearray()
                while len(got) < want:
                    got += receiver.recv(200000)
                taken = time.monotonic() - started
                same(bytes(got), reference(cipher)[:want], f"{cipher.openssl} {size}")
                self.assertEqual(info(sender).pending, size - want)
            return taken

        def past_the_end() -> float:
            with encrypted(AES) as (sender, receiver), tempfile.TemporaryFile(dir="/dev/shm") as short:
                short.write(PLAIN[:100])
                short.flush()
                started = time.monotonic()
                self.assertEqual(os.sendfile(sender.fileno(), short.fileno(), 0, 5000), 100)
                same(receiver.recv(10000), reference(AES)[:96], "sendfile past the end of the file")
                return time.monotonic() - started

        for cipher, size, want in [
            (AES, 65541, 65536),
            (AES, 33, 32),
            (CTR, 1, 1),
            (CTR, 65541, 65541),
            (NULL, 5, 5),
            (AES, 131077, 131072),
        ]:
            for by_file in (False, True):
                quickest = min(all_of(cipher, size, want, by_file) for _ in range(5))
                self.assertLess(quickest, 0.15, f"{cipher.openssl}, {size} bytes, by file {by_file}")
        self.assertLess(min(past_the_end() for _ in range(5)), 0.15, "sendfile past the end of the file")
        with encrypted(CTR) as (sender, receiver):  # byte by byte
            got = bytearray()
            for i in range(100):
                sender.send(PLAIN[i : i + 1])
                got += receiver.recv(10)
                self.assertEqual(len(got), i + 1)
            same(bytes(got), reference(CTR)[:100], "byte by byte")
        with encrypted(AES) as (sender, receiver):  # MSG_MORE is held back, an empty send() sends it
            sender.send(PLAIN[:4096], MSG_MORE)
            self.assertEqual(info(sender).pending, 4096)
            self.assertFalse(select.select([receiver], [], [], 0.3)[0], "MSG_MORE was not held back")
            sender.send(b"")
            same(receiver.recv(10000), reference(AES)[:4096], "empty send")

    def fill(self, sender: socket.socket, step: int) -> int:
        """Send until poll says that there is no room; what is on its way to the peer may make some for a while."""
        at = 0
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                while at < 2 << 20:
                    at += sender.send(PLAIN[at : at + step])
            if not select.select([], [sender], [], 0.1)[1]:
                return at
        raise AssertionError(f"poll says there is room, after {at} bytes")

    def test_back_pressure(self) -> None:
        """A peer that does not read stops the sender, whatever the sizes; the queue goes over by a chunk at most."""
        for cipher, step, chunk in [
            (AES, 4093, 0),
            (AES, 65537, 0),
            (AES, 17, 0),
            (CTR, 1001, 0),
            (AES, 70001, 131072),
        ]:
            with encrypted(cipher, chunk=chunk, buffers=30000) as (sender, receiver):
                sender.setblocking(False)
                at = self.fill(sender, step)
                self.assertLess(at, 1 << 20, f"{at} bytes taken with nobody reading")
                limit = sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
                self.assertLessEqual(outq(sender), limit + (chunk or 65536) + 4096, (outq(sender), limit))
                self.assertEqual(limit, sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
                reader = Reader(receiver)
                goal = at + 300000
                while at < goal:
                    self.assertTrue(select.select([], [sender], [], 5)[1], "poll never said there is room again")
                    with contextlib.suppress(BlockingIOError):
                        at += sender.send(PLAIN[at : min(at + step, goal)])
                sender.close()
                same(reader.result(), expected(cipher, at, PAD_PKCS7), f"step {step}")

    def test_edge_triggered(self) -> None:
        """epoll with EPOLLET, and a non-blocking sendfile."""
        with encrypted(AES, buffers=20000) as (sender, receiver), select.epoll() as poller:
            sender.setblocking(False)
            poller.register(sender, select.EPOLLOUT | select.EPOLLET)
            reader = Reader(receiver)
            at, goal = 0, 2000001
            while at < goal:
                self.assertTrue(poller.poll(5), f"no event at {at}")
                while at < goal:
                    try:
                        at += os.sendfile(sender.fileno(), FILE.fileno(), at, goal - at)
                    except BlockingIOError:
                        break
            sender.close()
            same(reader.result(), expected(AES, goal, PAD_PKCS7), "edge triggered")

    def test_low_water(self) -> None:
        """TCP_NOTSENT_LOWAT below a chunk: no blocking of a non-blocking sender, nothing lost."""
        with encrypted(AES, buffers=100000) as (sender, receiver):
            sender.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096)
            sender.setblocking(False)
            started, at = time.monotonic(), 0
            while at < 1000000:
                try:
                    at += sender.send(PLAIN[at : at + 300000])
                except BlockingIOError:
                    break
            self.assertLess(time.monotonic() - started, 2)
            self.assertEqual(sender.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT), 4096)
            reader = Reader(receiver)
            sender.setblocking(True)
            sender.sendall(PLAIN[at:1000000])
            sender.close()
            same(reader.result(), expected(AES, 1000000, PAD_PKCS7), "low water")

    def test_timeouts(self) -> None:
        with encrypted(AES, buffers=20000) as (sender, receiver):
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
            libc = ctypes.CDLL(None, use_errno=True)
            at, started = 0, time.monotonic()
            while (sent := libc.send(sender.fileno(), PLAIN[at:], 300000, 0)) > 0:
                at += sent
            self.assertEqual(ctypes.get_errno(), errno.EAGAIN)
            self.assertLess(0.1, time.monotonic() - started)
            self.assertLess(time.monotonic() - started, 3)
            reader = Reader(receiver)
            sender.close()
            same(reader.result(), expected(AES, at, PAD_PKCS7), "SO_SNDTIMEO")

    def test_signals(self) -> None:
        """A blocked call returns what it took, or EINTR; the stream goes on afterwards."""
        libc, hits = ctypes.CDLL(None, use_errno=True), []
        signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        signal.siginterrupt(signal.SIGALRM, True)
        with encrypted(AES, buffers=20000) as (sender, receiver):
            at = 0
            for _ in range(3):
                signal.setitimer(signal.ITIMER_REAL, 0.15)
                sent = libc.send(sender.fileno(), PLAIN[at : at + 500001], 500001, 0)
                if sent < 0:
                    self.assertEqual(ctypes.get_errno(), errno.EINTR, os.strerror(ctypes.get_errno()))
                    break
                at += sent
            self.assertLess(sent, 0, "never EINTR")
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # a storm of them
            reader = Reader(receiver)
            deadline = time.monotonic() + 20
            while at < 2 << 20 and time.monotonic() < deadline:
                sent = libc.sendfile(sender.fileno(), FILE.fileno(), ctypes.byref(ctypes.c_long(at)), (2 << 20) - at)
                if sent > 0:
                    at += sent
                else:
                    self.assertEqual(ctypes.get_errno(), errno.EINTR)
            signal.setitimer(signal.ITIMER_REAL, 0)
            sender.close()
            same(reader.result(), expected(AES, at, PAD_PKCS7), "signals")
