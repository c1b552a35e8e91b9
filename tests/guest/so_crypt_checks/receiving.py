"""The receiving side: bytes and ends. Every cipher, size, padding and call; streams that are cut, altered, reset."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import os
import random
import select
import socket
import struct
import tempfile
import termios
import time
from collections.abc import Callable, Iterator

from ..checking import eventually, refused, same
from .common import (
    AES,
    CTR,
    DES3,
    FILE,
    KEY,
    MSG_DONTWAIT,
    NULL,
    PAD_NONE,
    PAD_PKCS7,
    PAD_ZERO,
    PLAIN,
    SO_CRYPT_SET,
    SO_CRYPT_SET_RX,
    SOL_SO_CRYPT,
    Case,
    Cipher,
    Reader,
    Writer,
    deciphered,
    expected,
    info,
    info_rx,
    let_wait,
    openssl,
    outq,
    pair,
    plain,
    read_all,
    receive,
    reference,
    setting,
    ulp,
    usable_ciphers,
)

SPLICE_F_NONBLOCK = 2
F_SETPIPE_SZ = 1031


def by_recv(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    return sock.recv(count)


def whole(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    return sock.recv(count, socket.MSG_WAITALL)


def peeked(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    seen = sock.recv(count, socket.MSG_PEEK)
    got = sock.recv(len(seen) or 1)
    same(got, seen, "what was looked at before")
    return got


def without_waiting(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    while True:
        try:
            return sock.recv(count, MSG_DONTWAIT)
        except BlockingIOError:
            select.select([sock], [], [], 10)


def scattered(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    rooms = [bytearray(1 + rng.randrange(count)) for _ in range(3)]
    got = sock.recvmsg_into(rooms)[0]
    return b"".join(rooms)[:got]


def discarded(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    """Looked at, then taken without a copy (MSG_TRUNC), as tcp(7) has it."""
    seen = sock.recv(count, socket.MSG_PEEK)
    room = bytearray(len(seen) or 1)
    assert sock.recv_into(room, len(seen) or 1, socket.MSG_TRUNC) == len(seen)
    assert not any(room), "copied all the same"
    return seen


def by_splice(sock: socket.socket, count: int, rng: random.Random) -> bytes:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as out, os.fdopen(write, "wb"):
        got = os.splice(sock.fileno(), write, min(count, 65536))
        return out.read(got) if got else b""


CALLS = (by_recv, whole, peeked, without_waiting, scattered, discarded, by_splice)


def splice_to_file(sock: socket.socket, size: int = 1 << 20) -> bytes:
    """Everything, through a pipe, into a file."""
    read, write = os.pipe()
    with os.fdopen(read, "rb"), os.fdopen(write, "wb"), tempfile.TemporaryFile(dir="/dev/shm") as file:
        while got := os.splice(sock.fileno(), write, size):
            while got:
                got -= os.splice(read, file.fileno(), got)
        file.seek(0)
        return file.read()


def ragged(rng: random.Random) -> Iterator[int]:
    while True:
        if rng.random() < 0.2:
            time.sleep(0.002)
        yield rng.choice([1, 3, 15, 16, 17, 100, 1448, 4096, 20000, 70000])


def mixture(rng: random.Random, cipher: Cipher, family: int) -> None:
    """A stream taken by calls of several kinds, with lengths, chunk, padding, pieces and buffers drawn at random."""
    chunk = rng.choice([0, 0, 16, 17, 100, 1000, 4096, 5000, 65536, 131072])
    how, buffers = rng.randrange(3), rng.choice([0, 0, 8192, 50000])
    size = rng.choice([0, 5, 5000, 60000 if 0 < chunk < 200 else 300001])
    log: list[str] = []
    with deciphered(cipher, family=family, chunk=chunk, how=how, buffers=buffers) as (sender, receiver):
        Writer(sender, expected(cipher, size, how), ragged(rng) if size < 100000 else None)
        got = bytearray()
        while True:
            call = rng.choice(CALLS)
            piece = call(receiver, rng.choice([1, 7, 16, 100, 4097, 65536, 200000]), rng)
            log.append(f"{call.__name__} {len(piece)}")
            if not piece:
                break
            got += piece
        what = f"{cipher.openssl} size {size} chunk {chunk} pad {how} buffers {buffers}: {log[-20:]}"
        same(bytes(got), plain(cipher, size, how), what)
        figures = info_rx(receiver)
        assert (figures.bytes_out, figures.pending) == (len(got), 0), (figures, what)
        assert figures.bytes_in == len(expected(cipher, size, how)), (figures, what)


class Bytes(Case):
    def test_sizes_and_ciphers(self) -> None:
        """Every cipher, size and padding, by recv() and by splice()."""
        sizes = [0, 1, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 1000, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 200001]
        calls: tuple[Callable[[socket.socket], bytes], ...] = (read_all, splice_to_file)
        for cipher in usable_ciphers():
            for size, (count, call) in itertools.product(sizes, enumerate(calls)):
                how = (size + count) % 3
                with deciphered(cipher, how=how) as (sender, receiver):
                    Writer(sender, expected(cipher, size, how))
                    what = f"{cipher.openssl} {size} {call.__name__} pad {how}"
                    same(call(receiver), plain(cipher, size, how), what)
                    self.assertEqual(receiver.recv(1), b"", what)

    def test_mixtures(self) -> None:
        """Random sequences of recv, MSG_WAITALL, MSG_PEEK, MSG_TRUNC, recvmsg, splice and non-blocking calls."""
        self.mix(mixture, 23)

    def test_ipv6(self) -> None:
        self.mix_over_ipv6(mixture, 24, 15)

    def test_from_file_to_file(self) -> None:
        """Both ends of one connection are the module's: sendfile here, splice there."""
        for cipher in usable_ciphers():
            with pair() as (sender, receiver):
                let_wait(receiver)
                for sock, option in ((sender, SO_CRYPT_SET), (receiver, SO_CRYPT_SET_RX)):
                    ulp(sock)
                    sock.setsockopt(SOL_SO_CRYPT, option, setting(cipher))
                pid = os.fork()
                if not pid:
                    receiver.close()
                    at = 0
                    while at < len(PLAIN):
                        at += os.sendfile(sender.fileno(), FILE.fileno(), at, len(PLAIN) - at)
                    sender.shutdown(socket.SHUT_WR)
                    os._exit(0)
                sender.close()
                same(splice_to_file(receiver), PLAIN, str(cipher))
                self.assertEqual(os.waitpid(pid, 0)[1], 0)
                figures = info_rx(receiver)
                self.assertEqual(figures.bytes_out, len(PLAIN))
                self.assertEqual(figures.blocksize, cipher.block)
                self.assertLess(figures.requests, len(PLAIN) // 4096, "a request for each page")

    def test_both_directions(self) -> None:
        """Each with its own cipher and key: what is sent says nothing of what is received."""
        with pair() as (one, other):
            receive(one, DES3)
            one.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(AES))
            receive(other, AES)
            other.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(DES3))
            for sock in (one, other):
                sock.sendall(PLAIN[:50001])
                sock.shutdown(socket.SHUT_WR)
            same(read_all(one), PLAIN[:50001], "one way")
            same(read_all(other), PLAIN[:50001], "and back")
            self.assertEqual((info(one).blocksize, info_rx(one).blocksize), (16, 8))

    def test_clear_before(self) -> None:
        """A head is taken in clear; what was not taken then is cipher text, also where it is here already."""
        with pair() as (sender, receiver):
            ulp(receiver)
            sender.sendall(b"the head\r\n" + expected(AES, 100, PAD_PKCS7))
            eventually("it does not arrive", lambda: len(receiver.recv(200, socket.MSG_PEEK)) == 122)
            self.assertEqual(receiver.recv(10), b"the head\r\n")
            receiver.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET_RX, setting(AES))
            sender.close()
            same(read_all(receiver), PLAIN[:100], "after the head")

    def test_how_much_there_is_to_read(self) -> None:
        """FIONREAD tells of plain text, wherever it is: with TCP as cipher text, or deciphered and not taken yet."""

        def there(sock: socket.socket) -> int:
            return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0])

        with deciphered(AES) as (sender, receiver):
            self.assertEqual(there(receiver), 0)
            sender.sendall(expected(AES, 30005, PAD_PKCS7))
            eventually("it does not arrive", lambda: there(receiver) == 30000)
            receiver.setblocking(False)
            for taken in (1, 4999, 20000):
                before = there(receiver)
                self.assertEqual(len(receiver.recv(taken)), taken)
                self.assertEqual(there(receiver), before - taken)
            self.assertEqual((len(receiver.recv(10**6)), there(receiver)), (5000, 0))
            sender.close()
            eventually("its end does not arrive", lambda: bool(select.select([receiver], [], [], 0)[0]))
            self.assertEqual((receiver.recv(10), receiver.recv(10)), (PLAIN[30000:30005], b""))

    def test_pages_of_a_pipe_are_left_alone(self) -> None:
        """What lies in a pipe stays as it was whatever is received meanwhile."""
        read, write = os.pipe()
        with os.fdopen(read, "rb") as out, os.fdopen(write, "wb"), deciphered(CTR) as (sender, receiver):
            sender.sendall(reference(CTR)[:400000])
            kept = 0
            while kept < 20000:
                kept += os.splice(receiver.fileno(), write, 20000 - kept)
            got = bytearray()
            while len(got) < 380000:
                got += receiver.recv(380000 - len(got))
            same(out.read(20000) + bytes(got), PLAIN[:400000], "in the pipe, and after it")

    def test_a_full_pipe(self) -> None:
        """What does not fit waits; nothing is lost."""
        read, write = os.pipe()
        with os.fdopen(read, "rb") as out, os.fdopen(write, "wb"), deciphered(CTR) as (sender, receiver):
            fcntl.fcntl(write, F_SETPIPE_SZ, 16384)
            sender.sendall(reference(CTR)[:50000])
            eventually("it does not arrive", lambda: outq(sender) == 0)
            at = os.splice(receiver.fileno(), write, 1 << 20)
            self.assertEqual(at, 16384)
            again = functools.partial(os.splice, receiver.fileno(), write, 1 << 20, flags=SPLICE_F_NONBLOCK)
            refused(errno.EAGAIN, again, "a full pipe")
            got = bytearray(out.read(at))
            while len(got) < 50000:
                got += out.read(again())
            same(bytes(got), PLAIN[:50000], "through a small pipe")
            refused(errno.EAGAIN, again, "nothing there")
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb"), deciphered(CTR) as (sender, receiver):
            sender.sendall(reference(CTR)[:100])
            refused(errno.EPIPE, lambda: os.splice(receiver.fileno(), write, 100), "nobody reads the pipe")
            same(receiver.recv(100), PLAIN[:100], "it is there still")


def cut(
    what: str, sent: bytes, due: bytes, how: int = PAD_PKCS7, cipher: Cipher = AES, code: int = errno.EBADMSG
) -> None:
    """A stream that is none: its data, then an error each time, by whatever call."""
    for by_splice in (False, True):
        with deciphered(cipher, how=how) as (sender, receiver):
            Writer(sender, sent)
            read, write = os.pipe()
            got = bytearray()
            with os.fdopen(read, "rb") as out, os.fdopen(write, "wb"):
                splice = functools.partial(os.splice, receiver.fileno(), write, 65536)
                with contextlib.suppress(OSError):
                    while piece := out.read(splice()) if by_splice else receiver.recv(65536):
                        got += piece
                same(bytes(got), due, what)
                for _ in range(2):
                    refused(code, functools.partial(receiver.recv, 1), what)
                    refused(code, splice, what)
                    refused(code, functools.partial(receiver.recv, 1, MSG_DONTWAIT), what)
            assert select.select([receiver], [], [], 0)[0], f"{what}: poll does not tell"


class Ends(Case):
    def test_streams_that_were_cut_or_altered(self) -> None:
        whole = expected(AES, 1000, PAD_PKCS7)  # 63 blocks, of which the last has 8 bytes of padding
        last = bytearray(whole)
        last[-17] ^= 8  # of CBC: turns a bit of the padding's last byte into another
        more = bytearray(whole)
        more[-18] ^= 1  # the padding's last byte but one
        cut("nothing at all", b"", b"")
        cut("within the first block", whole[:15], b"")
        cut("within a block", whole[:-3], PLAIN[:992])
        cut("a padding of no bytes", bytes(last), openssl(AES, bytes(last), decrypt=True)[:992])
        cut("a padding that is not all alike", bytes(more), openssl(AES, bytes(more), decrypt=True)[:992])
        cut("a byte more", whole + b"x", openssl(AES, whole, decrypt=True))
        cut("no padding", reference(AES)[:992], PLAIN[:976])
        cut("a long one", expected(AES, 300000, PAD_PKCS7)[:-1], PLAIN[:300000])
        cut("3DES", expected(DES3, 1000, PAD_PKCS7)[:-5], PLAIN[:1000], cipher=DES3)
        for how in (PAD_NONE, PAD_ZERO):
            cut("within a block, without padding", reference(AES)[:100], PLAIN[:96], how=how)

    def test_what_cannot_be_seen(self) -> None:
        """So says the header: between blocks without padding, and anywhere in a counter's stream."""
        for cipher, how, size in (
            (AES, PAD_NONE, 96),
            (AES, PAD_ZERO, 96),
            (CTR, PAD_PKCS7, 97),
            (NULL, PAD_PKCS7, 97),
        ):
            with deciphered(cipher, how=how) as (sender, receiver):
                Writer(sender, reference(cipher)[:size])
                same(read_all(receiver), PLAIN[:size], f"{cipher} {how}")

    def test_a_wrong_key(self) -> None:
        """Garbage, and by its padding no stream."""
        wrong = setting().replace(KEY, bytes(64))
        with pair() as (sender, receiver):
            ulp(receiver)
            receiver.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET_RX, wrong)
            Writer(sender, expected(AES, 10000, PAD_PKCS7))
            got = receiver.recv(10000, socket.MSG_WAITALL)
            self.assertGreater(len(got), 9000)
            self.assertNotEqual(got[:100], PLAIN[:100])
            refused(errno.EBADMSG, lambda: receiver.recv(100), "a wrong key")

    def test_a_reset(self) -> None:
        """What came before is given, and then the error, at each call: TCP's own tells it once, and then an end."""
        for told in (False, True):
            with deciphered(CTR) as (sender, receiver):
                sender.sendall(reference(CTR)[:50000])
                eventually("it does not arrive", lambda sock=sender: outq(sock) == 0)  # type: ignore[misc]
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sender.close()
                hung_up = select.poll()
                hung_up.register(receiver, select.POLLHUP)
                self.assertTrue(hung_up.poll(5000), "no reset arrived")
                if told:
                    self.assertEqual(receiver.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), errno.ECONNRESET)
                same(receiver.recv(50000, socket.MSG_WAITALL), PLAIN[:50000], "before the reset")
                for _ in range(3):
                    refused(errno.ECONNRESET, functools.partial(receiver.recv, 1), f"told before: {told}")

    def test_a_sender_that_dies(self) -> None:
        """A killed sender's stream ends in order, as far as it went; one that cannot end is reset."""
        with pair(buffers=20000) as (sender, receiver):
            receive(receiver)
            pid = os.fork()
            if not pid:
                receiver.close()
                ulp(sender)
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting())
                sender.sendall(PLAIN)
                os._exit(0)
            sender.close()
            got = receiver.recv(100000, socket.MSG_WAITALL)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            reader = Reader(receiver)
            got += reader.result()
            same(got, PLAIN[: len(got)], "a beginning")

    def test_shutdowns(self) -> None:
        with deciphered(AES) as (sender, receiver):
            sender.sendall(expected(AES, 100, PAD_PKCS7))
            eventually("it does not arrive", lambda: len(receiver.recv(200, socket.MSG_PEEK)) == 96)
            receiver.shutdown(socket.SHUT_RD)
            same(read_all(receiver), PLAIN[:96], "of one's own")
        with deciphered(AES) as (sender, receiver):
            receiver.sendall(b"asked in clear")
            receiver.shutdown(socket.SHUT_WR)
            self.assertEqual(sender.recv(100), b"asked in clear")
            Writer(sender, expected(AES, 70000, PAD_PKCS7))
            same(read_all(receiver), PLAIN[:70000], "after the other direction's end")
        with deciphered(AES) as (sender, receiver):  # data that nobody reads
            sender.sendall(expected(AES, 70000, PAD_PKCS7))
            receiver.recv(10)
            receiver.close()
