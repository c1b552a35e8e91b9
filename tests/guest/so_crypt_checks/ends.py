"""Ends of a stream: padding, shutdown, close, kill, a peer that goes."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import socket
import struct
import threading
import time

from ..checking import refused, same
from .common import (
    AES,
    CTR,
    DES3,
    PAD_NONE,
    PAD_PKCS7,
    PAD_ZERO,
    PLAIN,
    SO_CRYPT_SET,
    SOL_SO_CRYPT,
    Case,
    Reader,
    encrypted,
    expected,
    info,
    pair,
    read_all,
    reference,
    sendfile,
    setting,
    ulp,
)


class Ends(Case):
    def test_padding_none(self) -> None:
        """The partial block is dropped at the end, and pending tells how much that was."""
        with encrypted(AES, how=PAD_NONE) as (sender, receiver):
            sender.send(PLAIN[:100])
            sender.shutdown(socket.SHUT_WR)
            same(read_all(receiver), reference(AES)[:96], "PAD_NONE")
            figures = info(sender)
            self.assertEqual((figures.bytes_in, figures.bytes_out, figures.pending), (100, 96, 4), figures)

    def test_half_close(self) -> None:
        for cipher in (AES, CTR, DES3):
            with encrypted(cipher) as (sender, receiver):
                receiver.shutdown(socket.SHUT_WR)  # sender in CLOSE_WAIT
                self.assertEqual(sender.recv(10), b"")
                sender.send(PLAIN[:999])
                sender.shutdown(socket.SHUT_RD)
                sender.send(PLAIN[999:1001])
                sender.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    sender.shutdown(socket.SHUT_WR)
                refused(errno.EPIPE, functools.partial(sender.send, b"x"), "send after shutdown")
                same(read_all(receiver), expected(cipher, 1001, PAD_PKCS7), "half close")
        with encrypted(AES) as (sender, receiver):
            sender.send(PLAIN[:100])
            sender.shutdown(socket.SHUT_WR)
            receiver.send(b"the answer is clear")
            self.assertEqual(sender.recv(100), b"the answer is clear")
            same(read_all(receiver), expected(AES, 100, PAD_PKCS7), "request and answer")

    def test_killed_while_blocked(self) -> None:
        slowest = 0.0
        for by_file in (False, True):
            with pair(buffers=20000) as (sender, receiver):
                pid = os.fork()
                if not pid:
                    with contextlib.suppress(BaseException):
                        receiver.close()
                        ulp(sender)
                        sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(how=PAD_ZERO))
                        if by_file:
                            sendfile(sender, 0, len(PLAIN))
                        else:
                            sender.sendall(PLAIN)
                    os._exit(0)
                sender.close()
                self.assertTrue(select.select([receiver], [], [], 20)[0], "nothing was sent")
                time.sleep(0.4)
                started = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                while not os.waitpid(pid, os.WNOHANG)[0]:
                    self.assertLess(time.monotonic() - started, 5, "it does not die")
                    time.sleep(0.01)
                slowest = max(slowest, time.monotonic() - started)
                got = read_all(receiver)
                self.assertTrue(got, "nothing arrived")
                same(got, reference(AES)[: len(got)], "what arrived is a beginning of the stream")

    def test_peer_closes_early(self) -> None:
        for by_file in (False, True):
            with encrypted(AES, buffers=20000) as (sender, receiver):
                threading.Timer(0.2, receiver.close).start()
                try:
                    for _ in range(20):
                        if by_file:
                            sendfile(sender, 0, len(PLAIN))
                        else:
                            sender.sendall(PLAIN)
                    self.fail("never failed")
                except OSError as error:
                    self.assertIn(error.errno, (errno.EPIPE, errno.ECONNRESET), error)
                refused(errno.EPIPE, functools.partial(sender.send, b"x"), "afterwards")
                info(sender)
        with encrypted(AES) as (sender, receiver):  # SIGPIPE, unless it is not wanted
            hits: list[int] = []
            previous = signal.signal(signal.SIGPIPE, lambda *_: hits.append(1))
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            receiver.close()
            refused(errno.ECONNRESET, lambda: sender.send(b"x" * 100, socket.MSG_NOSIGNAL), "first")
            refused(errno.EPIPE, lambda: sender.send(b"x" * 100, socket.MSG_NOSIGNAL), "second")
            time.sleep(0.01)
            self.assertFalse(hits)
            refused(errno.EPIPE, lambda: sender.send(b"x" * 100, 0), "third")
            time.sleep(0.01)
            self.assertEqual(hits, [1], hits)
            signal.signal(signal.SIGPIPE, previous)

    def test_shutdown_under_a_blocked_sender(self) -> None:
        for _ in range(5):
            with encrypted(AES, buffers=20000) as (sender, receiver):
                result: list[object] = []

                def work(sock: socket.socket = sender, out: list[object] = result) -> None:
                    try:
                        sock.sendall(PLAIN)
                        out.append("all")
                    except OSError as error:
                        out.append(error.errno)

                thread = threading.Thread(target=work, daemon=True)
                thread.start()
                time.sleep(0.1)
                started = time.monotonic()
                sender.shutdown(socket.SHUT_WR)
                thread.join(5)
                self.assertEqual(result, [errno.EPIPE], result)
                self.assertLess(time.monotonic() - started, 2)
                got = read_all(receiver)
                whole = len(got) - 16
                same(got[:whole], reference(AES)[:whole], "what arrived")

    def test_close_with_unread_data(self) -> None:
        with encrypted(AES) as (sender, receiver):
            receiver.send(b"never read")
            time.sleep(0.05)
            sender.send(PLAIN[:1000])
            sender.close()
            reader = Reader(receiver)
            reader.join(5)
            self.assertFalse(reader.is_alive())
