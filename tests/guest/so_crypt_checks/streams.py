"""Bytes: every cipher, size, padding and call, alone and mixed."""

from __future__ import annotations

import os
import random
import select
import socket
import tempfile

from ..checking import same
from .common import (
    FILE,
    MSG_DONTWAIT,
    MSG_MORE,
    PAD_PKCS7,
    PLAIN,
    Case,
    Cipher,
    Reader,
    encrypted,
    expected,
    info,
    sendfile,
    usable_ciphers,
)


def by_send(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sender.sendall(PLAIN[at : at + count])


def by_more(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sender.sendall(PLAIN[at : at + count], MSG_MORE)


def by_nothing(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sender.send(b"")


def without_waiting(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sent = 0
    while sent < count:
        try:
            sent += sender.send(PLAIN[at + sent : at + count], MSG_DONTWAIT)
        except BlockingIOError:
            select.select([], [sender], [], 5)


def by_file(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sendfile(sender, at, count)


def by_corked_file(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sendfile(sender, at, count)
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def past_the_end_of_a_file(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as short:
        short.write(PLAIN[at : at + count])
        short.flush()
        done = 0
        while done < count:
            done += os.sendfile(sender.fileno(), short.fileno(), done, count - done + 5000)


def by_splice(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb"), os.fdopen(write, "wb"):
        while count:
            left = os.splice(FILE.fileno(), write, min(count, 65536), offset_src=at)
            at, count = at + left, count - left
            while left:
                left -= os.splice(read, sender.fileno(), left, flags=rng.choice([0, 0, 4]))


def by_gathering(sender: socket.socket, at: int, count: int, rng: random.Random) -> None:
    cuts = sorted(rng.randrange(count + 1) for _ in range(4))
    pieces = [PLAIN[at + a : at + b] for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    sender.sendmsg(pieces, (), rng.choice([0, MSG_MORE]))


CALLS = (
    *(by_send, by_more, by_nothing, without_waiting, by_file, by_corked_file),
    *(past_the_end_of_a_file, by_splice, by_gathering),
)


def mixture(rng: random.Random, cipher: Cipher, family: int) -> None:
    """A stream made by calls of several kinds, with lengths, chunk, padding and buffers drawn at random."""
    chunk = rng.choice([0, 0, 16, 17, 100, 1000, 4096, 5000, 32768, 65536, 131072])
    how = rng.randrange(3)
    limit = rng.choice([100, 5000, 300000]) if chunk == 0 or chunk > 1000 else 20000
    buffers = rng.choice([0, 0, 8192, 50000])
    log: list[str] = []
    with encrypted(cipher, family=family, chunk=chunk, how=how, buffers=buffers) as (sender, receiver):
        reader = Reader(receiver)
        at = 0
        for _ in range(rng.randrange(1, 14)):
            count = min(rng.choice([1, 3, 16, 100, 4096, 4097, 20000, 65536, limit]), limit - at, len(PLAIN) - at)
            call = rng.choice(CALLS)
            count = 0 if call is by_nothing else count
            log.append(f"{call.__name__} {count}")
            call(sender, at, count, rng)
            at += count
        figures = info(sender)
        assert figures.bytes_in == at, (figures, at, log)
        if rng.random() < 0.5:
            sender.shutdown(socket.SHUT_WR)
        else:
            sender.close()
        what = f"{cipher.openssl} chunk {chunk} pad {how} buffers {buffers}: {log}"
        same(reader.result(), expected(cipher, at, how), what)


class Streams(Case):
    def test_sizes_and_ciphers(self) -> None:
        """Every cipher, size and padding, by send() and by sendfile()."""
        sizes = [0, 1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 1000, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 200001]
        count = 0
        for cipher in usable_ciphers():
            for size in sizes:
                for by_file in (False, True):
                    how = (count // 2) % 3
                    with encrypted(cipher, how=how) as (sender, receiver):
                        reader = Reader(receiver)
                        if by_file:
                            self.assertEqual(sendfile(sender, 0, size), size)
                        else:
                            sender.sendall(PLAIN[:size])
                        self.assertEqual(info(sender).bytes_in, size)
                        sender.shutdown(socket.SHUT_WR)
                        what = f"{cipher.openssl} {size} {'sendfile' if by_file else 'send'} pad {how}"
                        same(reader.result(), expected(cipher, size, how), what)
                        count += 1

    def test_large(self) -> None:
        for cipher in usable_ciphers():
            for by_file in (False, True):
                with encrypted(cipher) as (sender, receiver):
                    reader = Reader(receiver)
                    if by_file:
                        sendfile(sender, 0, len(PLAIN))
                    else:
                        sender.sendall(PLAIN)
                    figures = info(sender)
                    self.assertEqual(figures.bytes_in, len(PLAIN))
                    self.assertEqual(len(PLAIN), figures.bytes_out + figures.pending)
                    self.assertLessEqual(len(PLAIN) // 65536, figures.requests, figures)
                    self.assertLessEqual(figures.requests, len(PLAIN) // 30000, figures)
                    sender.close()
                    same(reader.result(), expected(cipher, len(PLAIN), PAD_PKCS7), str(cipher))

    def test_mixtures(self) -> None:
        """Random sequences of send, sendfile, splice, MSG_MORE, non-blocking, gather and empty calls of odd lengths."""
        self.mix(mixture, 7)

    def test_ipv6(self) -> None:
        self.mix_over_ipv6(mixture, 8, 30)
