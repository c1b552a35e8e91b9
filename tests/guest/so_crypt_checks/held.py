"""What else happens while a driver works: one that answers when a check lets it."""

from __future__ import annotations

import errno
import functools
import os
import select
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from .. import checking
from ..checking import asleep, delayed, eventually, most, refused, same, state
from .common import (
    AES,
    CTR,
    MSG_DONTWAIT,
    PAD_PKCS7,
    PLAIN,
    SO_CRYPT_SET,
    SOL_SO_CRYPT,
    Case,
    Reader,
    encrypted,
    expected,
    info,
    outq,
    pair,
    sendfile,
    setting,
    ulp,
)

CBC, COUNTER = "cbc-aes-delayed", "ctr-aes-delayed"


class Call(threading.Thread):
    """A call that may take long."""

    returned: object = None

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.start()

    def run(self) -> None:
        try:
            self.returned = self.call()
        except OSError as error:
            self.returned = error.errno

    def result(self) -> object:
        self.join(20)
        assert not self.is_alive(), "it hangs"
        return self.returned


def under_way() -> None:
    eventually("no request came", lambda: most() == 1)


class Held(Case):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if "delayed " not in Path("/proc/modules").read_text():
            checking.load_delayed()

    def setUp(self) -> None:
        delayed(hold=0, fail=0, backlog=0, most=0)
        self.addCleanup(delayed, hold=0, fail=0)

    def test_shutdown_loses_nothing(self) -> None:
        """Neither completed sends that are queued still, nor what a send under way has taken: no reset."""
        for length in (4096, 20000):
            with encrypted(AES, alg=CBC, buffers=8192, chunk=4096) as (sender, receiver):
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200000)
                at = 0
                while outq(sender) < 30000:  # more than the peer has room for
                    at += sender.send(PLAIN[at : at + 4096])
                delayed(hold=1, most=0)
                sending = Call(functools.partial(sender.send, PLAIN[at : at + length]))
                under_way()
                ending = Call(functools.partial(sender.shutdown, socket.SHUT_WR))
                asleep(ending.native_id, "D")
                self.assertGreater(outq(sender), 0, "nothing is queued any more")
                delayed(hold=0)
                ending.result()
                self.assertEqual(sending.result(), 4096, "what was taken")
                refused(errno.EPIPE, functools.partial(sender.send, b"x"), "afterwards")
                same(Reader(receiver).result(), expected(AES, at + 4096, PAD_PKCS7), f"{length} bytes")

    def test_killed_in_shutdown(self) -> None:
        """What looks like a whole stream is one."""
        with pair() as (sender, receiver):
            pid = os.fork()
            if not pid:
                receiver.close()
                ulp(sender)
                sender.setsockopt(SOL_SO_CRYPT, SO_CRYPT_SET, setting(alg=CBC))
                delayed(hold=1)
                Call(functools.partial(sender.send, PLAIN[:100]))
                under_way()
                sender.shutdown(socket.SHUT_WR)
                os._exit(0)
            sender.close()
            asleep(pid, "D")
            os.kill(pid, signal.SIGKILL)
            eventually("it does not die", lambda: state(pid)[0] == "Z")
            self.assertFalse(select.select([receiver], [], [], 0)[0], "an end, before the data")
            delayed(hold=0)
            self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)
            same(Reader(receiver).result(), expected(AES, 100, PAD_PKCS7), "killed in shutdown")

    def test_an_end_that_fails_is_a_reset(self) -> None:
        """Whoever else waits on the socket; what was sent in order arrives."""
        for reads in (False, True):
            with encrypted(AES, alg=CBC) as (sender, receiver):
                sender.send(PLAIN[:100])
                same(receiver.recv(96), expected(AES, 100, PAD_PKCS7)[:96], "before")
                reading = Call(functools.partial(sender.recv, 1)) if reads else None
                if reading:
                    asleep(reading.native_id)
                delayed(fail=1)
                sender.shutdown(socket.SHUT_WR)
                delayed(fail=0)
                refused(errno.ECONNRESET, functools.partial(receiver.recv, 1), "the peer")
                if reading:
                    self.assertEqual(reading.result(), errno.ECONNABORTED)
                refused(errno.EIO, functools.partial(sender.send, b"x"), "afterwards")

    def test_who_may_not_wait_is_told(self) -> None:
        """EAGAIN because another call is under way, and then the send buffer is full: an event comes all the same."""
        size = 120000  # one request
        with (
            encrypted(AES, alg=CBC, buffers=20000, chunk=131072) as (sender, receiver),
            select.epoll() as poller,
        ):
            poller.register(sender, select.EPOLLOUT | select.EPOLLET)
            self.assertTrue(poller.poll(5))
            delayed(hold=1)
            sending = Call(functools.partial(sender.send, PLAIN[:size]))
            under_way()
            refused(errno.EAGAIN, lambda: sender.send(PLAIN[:16], MSG_DONTWAIT), "meanwhile")
            delayed(hold=0)
            self.assertEqual(sending.result(), size)
            self.assertFalse(poller.poll(0.2), "there is room: this tells nothing")
            reader = Reader(receiver)
            self.assertTrue(poller.poll(5), "no event, and there is room")
            sender.close()
            same(reader.result(), expected(AES, size, PAD_PKCS7), "told")

    def test_the_end_of_a_sendfile_waits_for_nobody(self) -> None:
        """It could not be killed there; another call sends what it held back, or a moment later nobody's."""
        if os.cpu_count() != 1:
            self.skipTest("on one processor it is known who gets the lock")
        size, more = 131072, 1 << 20
        with (
            encrypted(AES, alg=CBC, buffers=40000) as (sender, receiver),
            tempfile.TemporaryFile(dir="/dev/shm") as short,
        ):
            short.write(PLAIN[:size])
            short.flush()
            delayed(hold=1)
            pid = os.fork()
            if not pid:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # the kernel may preempt it otherwise
                os.sendfile(sender.fileno(), short.fileno(), 0, size + 50000)
                os._exit(0)
            under_way()  # the first half
            sending = Call(functools.partial(sender.sendall, PLAIN[size : size + more]))
            asleep(sending.native_id)
            # The second half overtakes the send that waits, which then gets the lock before the file's end comes.
            delayed(hold=0)
            try:
                eventually("it waits for the other call", lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
                self.assertTrue(sending.is_alive(), "the other call did not wait for room: this tells nothing")
            finally:
                reader = Reader(receiver)
                sending.result()
            sender.close()
            same(reader.result(), expected(AES, size + more, PAD_PKCS7), "both")

    def test_a_counter_s_driver_without_a_chunk_size(self) -> None:
        """Its name and its IV say what it counts."""
        with encrypted(CTR, alg=COUNTER) as (sender, receiver):
            at = 0
            for step, length in enumerate((5, 27, 1, 16, 1000, 3, 70001)):
                if step % 2:
                    sendfile(sender, at, length)
                else:
                    sender.sendall(PLAIN[at : at + length])
                at += length
            self.assertEqual((info(sender).driver, info(sender).blocksize), (COUNTER, 1))
            sender.close()
            same(Reader(receiver).result(), expected(CTR, at, PAD_PKCS7), "counted")
