"""The receiving side: options, waiting, readers at once, drivers that answer later, memory."""

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
import threading
import time
from pathlib import Path

from .. import checking
from ..checking import apart, as_nobody, asleep, delayed, eventually, refused, same
from .common import (
    AES,
    CTR,
    DES3,
    INFO,
    MSG_DONTWAIT,
    MSG_OOB,
    NULL,
    PAD_NONE,
    PAD_PKCS7,
    PLAIN,
    SO_CRYPT_INFO_RX,
    SO_CRYPT_SET_RX,
    SOL_SO_CRYPT,
    Case,
    Reader,
    Writer,
    deciphered,
    driver,
    expected,
    info_rx,
    let_wait,
    outq,
    pair,
    read_all,
    reference,
    setting,
    ulp,
)
from .held import CBC, COUNTER, Call, under_way
from .receiving import splice_to_file
from .settings import UNPRIVILEGED
from .together import in_child, memory_kb

SO_PEEK_OFF, TCP_ZEROCOPY_RECEIVE = 42, 35


class Options(Case):
    def test_refusals(self) -> None:
        """As the sending side refuses; and a refusal leaves the socket as it was."""
        for what, code, args in [
            ("unknown name", errno.ENOENT, setting(alg="cbc(nothing)")),
            ("key length 5", errno.EINVAL, setting(keylen=5)),
            ("no key", errno.ENOKEY, setting(keylen=0)),
            ("IV too short", errno.EINVAL, setting(ivlen=15)),
            ("chunk below a block", errno.EINVAL, setting(chunk=15)),
            ("chunk too big", errno.EINVAL, setting(chunk=131073)),
            ("pad 3", errno.EINVAL, setting(how=3)),
            ("short structure", errno.EINVAL, setting()[:-1]),
        ]:
            with pair() as (sender, receiver):
                setup = functools.partial(receiver.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET_RX)
                refused(errno.ENOPROTOOPT, functools.partial(setup, setting()), "no ULP")
                ulp(receiver)
                refused(code, functools.partial(setup, args), what)
                self.assertEqual(info_rx(receiver), ("", 0, 0, 0, 0, 0, 0))
                sender.send(b"still clear")
                self.assertEqual(receiver.recv(100), b"still clear")
                setup(setting())
                refused(errno.EBUSY, functools.partial(setup, setting()), "twice")
        with deciphered() as (sender, receiver):
            sender.send(reference(AES)[:64])
            refused(errno.EOPNOTSUPP, lambda: receiver.recv(1, MSG_OOB), "urgent data")
            peek_off = functools.partial(receiver.setsockopt, socket.SOL_SOCKET, SO_PEEK_OFF, 0)
            refused(errno.EOPNOTSUPP, peek_off, "SO_PEEK_OFF")
            zerocopy = functools.partial(receiver.getsockopt, socket.IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, 64)
            refused(errno.EOPNOTSUPP, zerocopy, "TCP_ZEROCOPY_RECEIVE")
            refused(errno.EINVAL, lambda: receiver.getsockopt(SOL_SO_CRYPT, SO_CRYPT_INFO_RX, INFO.size - 1), "short")
            libc = ctypes.CDLL(None, use_errno=True)
            self.assertEqual(libc.recv(receiver.fileno(), ctypes.c_void_p(8), 40, 0), -1)
            self.assertEqual(ctypes.get_errno(), errno.EFAULT)
            same(receiver.recv(100), PLAIN[:48], "after a bad address")

    def test_privileges(self) -> None:
        self.addCleanup(UNPRIVILEGED.write_text, UNPRIVILEGED.read_text())
        UNPRIVILEGED.write_text("N")
        with pair() as (sender, receiver):
            ulp(receiver)
            option = functools.partial(receiver.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET_RX)
            apart(as_nobody, lambda: refused(errno.EPERM, lambda: option(setting()), "as nobody"))
            UNPRIVILEGED.write_text("Y")
            apart(as_nobody, functools.partial(option, setting(alg=driver())))
            Writer(sender, expected(AES, 32, PAD_PKCS7))
            same(read_all(receiver), PLAIN[:32], "set by nobody")

    def test_a_call_that_reads_clear_text(self) -> None:
        with pair() as (sender, receiver):
            let_wait(receiver)
            ulp(receiver)
            reading = Call(functools.partial(receiver.recv, 10))
            asleep(reading.native_id)
            option = functools.partial(receiver.setsockopt, SOL_SO_CRYPT, SO_CRYPT_SET_RX, setting())
            refused(errno.EBUSY, option, "another thread reads")
            sender.send(b"clear")
            self.assertEqual(reading.result(), b"clear")
            option()
            Writer(sender, expected(AES, 32, PAD_PKCS7))
            same(read_all(receiver), PLAIN[:32], "then deciphered")

    def test_urgent_data_are_in_line(self) -> None:
        with deciphered(CTR) as (sender, receiver):
            sender.send(reference(CTR)[:100], MSG_OOB)
            sender.send(reference(CTR)[100:200])
            sender.shutdown(socket.SHUT_WR)
            same(read_all(receiver), PLAIN[:200], "urgent")


class Waiting(Case):
    def test_part_of_a_block(self) -> None:
        """No call gets it, poll does not tell of it, and the rest wakes who waits."""
        with deciphered(AES, how=PAD_NONE) as (sender, receiver), select.epoll() as edge:
            edge.register(receiver, select.EPOLLIN | select.EPOLLET)

            def readable() -> bool:
                return bool(select.select([receiver], [], [], 0)[0])

            for taken_from_tcp in (False, True):
                at = 16 * taken_from_tcp
                sender.send(reference(AES)[at : at + 7])
                eventually("it does not arrive", lambda: outq(sender) == 0)
                edge.poll(0)
                if taken_from_tcp:
                    refused(errno.EAGAIN, lambda: receiver.recv(100, MSG_DONTWAIT), "7 bytes")
                self.assertFalse(readable(), "of 7 bytes")
                reading = Call(functools.partial(receiver.recv, 100)) if taken_from_tcp else None
                if reading:
                    asleep(reading.native_id)
                sender.send(reference(AES)[at + 7 : at + 16])
                if reading:
                    same(reading.result(), PLAIN[16:32], "a block")  # type: ignore[arg-type]
                else:
                    self.assertTrue(edge.poll(5), "no event")
                    self.assertTrue(readable(), "a whole block")
                    self.assertEqual(receiver.recv(3), PLAIN[:3])
                    self.assertTrue(readable(), "what was deciphered with it")
                    same(receiver.recv(100), PLAIN[3:16], "the rest of it")
                self.assertFalse(readable(), "nothing is left")

    def test_the_last_block_waits(self) -> None:
        """With PKCS#7 it may be the padding."""
        with deciphered(AES) as (sender, receiver):
            sender.send(reference(AES)[:48])
            same(receiver.recv(100), PLAIN[:32], "two of three")
            refused(errno.EAGAIN, lambda: receiver.recv(100, MSG_DONTWAIT), "the third")
            self.assertEqual(info_rx(receiver).pending, 16)
            sender.send(reference(AES)[48:49])
            same(receiver.recv(100), PLAIN[32:48], "a byte came")

    def test_low_water_and_wait_all(self) -> None:
        with deciphered(CTR) as (sender, receiver):
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
            sender.send(reference(CTR)[:10])
            same(receiver.recv(10), PLAIN[:10], "no more than was asked for")
            # Who took some of it already is woken when so much came once more: so does TCP, on 6.1 and 6.12.
            reading = Call(functools.partial(receiver.recv, 5000))
            asleep(reading.native_id)
            sender.send(reference(CTR)[10:500])
            asleep(reading.native_id)
            sender.send(reference(CTR)[500:1010])
            same(reading.result(), PLAIN[10:1010], "the low-water mark")  # type: ignore[arg-type]
        for how, more in ((PAD_NONE, 0), (PAD_PKCS7, 1)):
            with deciphered(AES, how=how) as (sender, receiver):
                receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
                sender.send(reference(AES)[: 48 + more])
                same(receiver.recv(40), PLAIN[:40], "no more than it takes")
                sender.send(reference(AES)[48 + more : 96 + more])
                same(receiver.recv(56, socket.MSG_WAITALL), PLAIN[40:96], "with what was left")
        with deciphered(AES) as (sender, receiver):
            reading = Call(functools.partial(receiver.recv, 200001, socket.MSG_WAITALL))
            sender.sendall(reference(AES)[:200000])
            asleep(reading.native_id)
            sender.sendall(reference(AES)[200000:200032])
            same(reading.result(), PLAIN[:200001], "all")  # type: ignore[arg-type]
            reading = Call(functools.partial(receiver.recv, 1000, socket.MSG_WAITALL))
            asleep(reading.native_id)
            sender.shutdown(socket.SHUT_WR)  # without padding: what there was, and then the error
            same(reading.result(), PLAIN[200001:200016], "cut")  # type: ignore[arg-type]
            refused(errno.EBADMSG, lambda: receiver.recv(1), "afterwards")

    def test_low_water_and_polls(self) -> None:
        """Poll tells of what a call has left, however little; of what comes, from the mark on."""
        with deciphered(CTR) as (sender, receiver):
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
            sender.send(reference(CTR)[:1500])
            same(receiver.recv(1000), PLAIN[:1000], "the mark")
            self.assertTrue(select.select([receiver], [], [], 0)[0], "500 bytes are left")
            same(receiver.recv(500), PLAIN[1000:1500], "which are taken")
            waiting = Call(functools.partial(select.select, [receiver], [], []))
            asleep(waiting.native_id)
            sender.send(reference(CTR)[1500:2499])
            eventually("it does not arrive", lambda: outq(sender) == 0)
            asleep(waiting.native_id)
            sender.send(reference(CTR)[2499:2500])
            self.assertEqual(waiting.result(), ([receiver], [], []))
            same(receiver.recv(2000, MSG_DONTWAIT), PLAIN[1500:2500], "the mark again")

    def test_timeouts_and_signals(self) -> None:
        libc, room, hits = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(1 << 20), []
        with deciphered(AES) as (sender, receiver):
            receiver.settimeout(None)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
            sender.send(reference(AES)[:10])
            self.assertEqual(libc.recv(receiver.fileno(), room, 100, 0), -1)
            self.assertEqual(ctypes.get_errno(), errno.EAGAIN)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
            signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
            signal.siginterrupt(signal.SIGALRM, True)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            self.assertEqual(libc.recv(receiver.fileno(), room, 100, 0), -1)
            self.assertEqual(ctypes.get_errno(), errno.EINTR)
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)  # a storm of them
            Writer(sender, expected(AES, 1000000, PAD_PKCS7)[10:])
            got = bytearray()
            while len(got) < 1000000:
                count = libc.recv(receiver.fileno(), room, 99999, 0)
                if count < 0:
                    self.assertEqual(ctypes.get_errno(), errno.EINTR)
                    continue
                got += room.raw[:count]
            signal.setitimer(signal.ITIMER_REAL, 0)
            same(bytes(got), PLAIN[:1000000], "signals")

    def test_nobody_reads(self) -> None:
        """A sender is held back by TCP's window; what is deciphered is at most a chunk."""
        with deciphered(AES, buffers=20000) as (sender, receiver):
            sender.setblocking(False)
            at = 0
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    at += sender.send(reference(AES)[at : at + 100000])
                self.assertEqual(len(receiver.recv(1, socket.MSG_PEEK)), 1)
                time.sleep(0.02)
            self.assertLess(at, 1 << 20, "taken with nobody reading")
            self.assertLessEqual(info_rx(receiver).pending, 65536 + 16)
            sender.setblocking(True)
            Writer(sender, expected(AES, 1 << 20, PAD_PKCS7)[at:])
            same(read_all(receiver), PLAIN[: 1 << 20], "then somebody reads")


class Several(Case):
    def test_readers_of_one_socket(self) -> None:
        """Each byte is given once, in the order of the calls."""
        for waits in (True, False):
            with deciphered(CTR, buffers=30000) as (sender, receiver):
                taken: list[bytes] = []

                def work(
                    number: int,
                    sock: socket.socket = receiver,
                    out: list[bytes] = taken,
                    wait: bool = waits,
                ) -> None:
                    with select.epoll() as poller:
                        poller.register(sock, select.EPOLLIN | select.EPOLLET)
                        while True:
                            try:
                                piece = sock.recv(1000 * number, 0 if wait else MSG_DONTWAIT)
                            except BlockingIOError:
                                assert poller.poll(10), "no event"
                                continue
                            if not piece:
                                return
                            out.append(piece)

                readers = [threading.Thread(target=work, args=(n,), daemon=True) for n in (1, 3, 7)]
                for reader in readers:
                    reader.start()
                Writer(sender, reference(CTR)[: 1 << 20])
                for reader in readers:
                    reader.join(20)
                    self.assertFalse(reader.is_alive(), "it hangs")
                self.assertEqual(sum(map(len, taken)), 1 << 20)
                where = [PLAIN.find(piece) for piece in taken if len(piece) > 20]
                self.assertNotIn(-1, where, "a piece that is not of the stream")

    def test_killed_while_it_waits(self) -> None:
        for splices in (False, True):
            with deciphered(AES) as (sender, receiver):
                pid = os.fork()
                if not pid:
                    sender.close()
                    _ = splice_to_file(receiver) if splices else receiver.recv(10)
                    os._exit(0)
                asleep(pid)
                os.kill(pid, signal.SIGKILL)
                self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)
                Writer(sender, expected(AES, 5000, PAD_PKCS7))
                same(read_all(receiver), PLAIN[:5000], "by another process")


class Later(Case):
    """A driver that answers when a check lets it."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if "delayed " not in Path("/proc/modules").read_text():
            checking.load_delayed()

    def setUp(self) -> None:
        delayed(hold=0, fail=0, backlog=0, most=0)
        self.addCleanup(delayed, hold=0, fail=0, backlog=0)

    def test_whole_streams(self) -> None:
        for backlog in (0, 1):
            delayed(backlog=backlog)
            for cipher, alg in ((AES, CBC), (CTR, COUNTER)):
                for take in (read_all, splice_to_file):
                    with deciphered(cipher, alg=alg) as (sender, receiver):
                        Writer(sender, expected(cipher, 300001, PAD_PKCS7), iter([5, 27, 16, 1000, 3]))
                        same(take(receiver), PLAIN[:300001], f"{alg} {take.__name__}")
                        self.assertEqual((info_rx(receiver).driver, info_rx(receiver).is_async), (alg, 1))

    def test_while_it_works(self) -> None:
        """Who may not wait is told, and gets an event; a reader that is killed leaves the stream whole."""
        with deciphered(CTR, alg=COUNTER) as (sender, receiver), select.epoll() as poller:
            poller.register(receiver, select.EPOLLIN | select.EPOLLET)
            delayed(hold=1)
            sender.send(reference(CTR)[:1000])
            self.assertTrue(poller.poll(5))
            pid = os.fork()
            if not pid:
                receiver.recv(300)
                os._exit(0)
            under_way()
            refused(errno.EAGAIN, lambda: receiver.recv(10, MSG_DONTWAIT), "meanwhile")
            self.assertFalse(poller.poll(0.2), "an event, and nothing to get")
            os.kill(pid, signal.SIGKILL)
            delayed(hold=0)
            os.waitpid(pid, 0)
            self.assertTrue(poller.poll(5), "no event")
            rest = receiver.recv(1000)
            same(rest, PLAIN[1000 - len(rest) : 1000], "what the killed one did not take")
            self.assertIn(len(rest), (700, 1000))

    def test_what_a_reader_leaves(self) -> None:
        """Who polls while it works sees nothing, sleeps, and is woken when it has taken a part; or when it fails."""
        for fails in (0, 1):
            with deciphered(CTR, alg=COUNTER) as (sender, receiver):
                delayed(hold=1, fail=fails, most=0)
                sender.send(reference(CTR)[:1000])
                reading = Call(functools.partial(receiver.recv, 300))
                under_way()
                waiting = Call(functools.partial(select.select, [receiver], [], []))
                asleep(waiting.native_id)
                delayed(hold=0)
                first = reading.result()
                self.assertEqual(waiting.result(), ([receiver], [], []))
                if fails:
                    self.assertEqual(first, errno.EIO)
                else:
                    same(first + receiver.recv(1000), PLAIN[:1000], "both")  # type: ignore[operator]

    def test_a_driver_that_fails(self) -> None:
        """The stream has a hole: EIO for good; the other direction goes on."""
        with deciphered(AES, alg=CBC) as (sender, receiver):
            sender.send(reference(AES)[:100])
            same(receiver.recv(100), PLAIN[:96], "before")
            delayed(fail=1)
            sender.send(reference(AES)[100:1000])
            for _ in range(2):
                refused(errno.EIO, lambda: receiver.recv(100), "failed")
                delayed(fail=0)
            self.assertTrue(select.select([receiver], [], [], 0)[0], "poll does not tell")
            receiver.send(b"an answer")
            self.assertEqual(sender.recv(100), b"an answer")


def short_streams(count: int, rng: random.Random) -> None:
    """Connections of all kinds: read to the end, by splice, in part, not at all; reset."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        where, kinds = listener.getsockname(), [setting(cipher) for cipher in (AES, DES3, NULL)]
        streams = [expected(cipher, 1000, PAD_PKCS7) for cipher in (AES, DES3, NULL)]
        for i in range(count):
            with socket.create_connection(where) as receiver:
                sender = listener.accept()[0]
                ulp(receiver)
                receiver.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET_RX, kinds[i % 3])
                sender.sendall(streams[i % 3])
                if i % 7 == 0:
                    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sender.close()
                with contextlib.suppress(ConnectionResetError):
                    if i % 5 == 0:
                        splice_to_file(receiver)
                    elif i % 5 < 3:
                        read_all(receiver)
                    elif i % 5 == 3:
                        receiver.recv(rng.randrange(1, 1000))


class Memory(Case):
    def test_nothing_is_left_of_many_connections(self) -> None:
        in_child(lambda: short_streams(500, random.Random(9)))
        for _ in range(3):
            before = memory_kb()
            in_child(lambda: short_streams(4500, random.Random(10)))
            grown = [b - a for a, b in zip(before, memory_kb(), strict=True)]
            said = f"used {grown[0]:+} kB, slab {grown[1]:+} kB, TCP's pages {grown[2]:+}"
            if grown[0] < 1500 and grown[1] < 1000 and grown[2] < 300:
                return
        self.fail(f"it grows in every round of 4500 connections, in the last one: {said}")

    def test_idle_receivers_keep_nothing(self) -> None:
        """A page each at most, of those that have read all that came."""
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(deciphered(AES)) for _ in range(120)]

            def some(few: list[tuple[socket.socket, socket.socket]]) -> None:
                for sender, receiver in few:
                    sender.sendall(reference(AES)[:40000])
                    self.assertEqual(len(receiver.recv(39968, socket.MSG_WAITALL)), 39968)

            some(pairs[:20])  # what each processor keeps of the first ones: 11 MB on four, and nothing of more
            before = memory_kb()[0]
            some(pairs[20:])
            self.assertLess(memory_kb()[0] - before, 100 * 24, "kB of 100 sockets")
            for sender, receiver in pairs:
                Writer(sender, expected(AES, 50000, PAD_PKCS7)[40000:])
                same(Reader(receiver).result(), PLAIN[39968:50000], "the rest")
