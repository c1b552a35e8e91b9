"""Requests that are answered later: depth, order, poll, errors, and who does not wait for them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from .. import checking
from ..checking import delayed, eventually, most, openssl, refused, same
from .common import (
    CIOCASYNCCRYPT,
    CIOCASYNCFETCH,
    CIOCCRYPT,
    CIPHER,
    COPIED,
    DELAYED,
    DEPTH,
    DES3_CBC,
    ENCRYPT,
    FINAL,
    IV,
    KEY,
    MAPPED,
    MAX_LEN,
    PLAIN,
    SHA1,
    UPDATE,
    WRITE_IV,
    Case,
    CryptOp,
    Device,
    Memory,
    load,
)

SIZE = 8192


class Depth(Case):
    def test_many_under_way_together(self) -> None:
        """The driver has all of them at once, each with its memory and its IV."""
        for memory in (COPIED, MAPPED):
            delayed(hold=1, most=0)
            session = self.device.named(DELAYED, CIPHER, KEY[:16], memory)
            parts = [Memory(PLAIN[n * SIZE : (n + 1) * SIZE], n) for n in range(16)]
            vectors = [Memory(bytes([n]) * 16) for n in range(16)]
            for part, vector in zip(parts, vectors, strict=True):
                self.device.submit(session, part, vector, flags=WRITE_IV)
            self.assertEqual(most(), 16)
            refused(errno.EBUSY, lambda: self.device.ioctl(CIOCASYNCFETCH, CryptOp()), "fetched too early")
            delayed(hold=0)
            fetched = {self.device.fetch().src for _ in parts}
            self.assertEqual(fetched, {part.at for part in parts})
            for n, (part, vector) in enumerate(zip(parts, vectors, strict=True)):
                wanted = openssl("AES-128-CBC", KEY[:16], bytes([n]) * 16, PLAIN[n * SIZE : (n + 1) * SIZE])
                same(bytes(part), wanted, f"request {n}")
                same(bytes(vector), wanted[-16:], f"IV {n}")
            info = self.device.info(session)
            self.assertEqual((info.requests, info.later, info.most, info.bytes), (16, 16, 16, 16 * SIZE))

    def test_as_many_under_way_as_the_driver_had(self) -> None:
        """Answers that nobody has fetched are under way no more."""
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        data, vector = Memory(64), Memory(IV)
        for together, most_so_far in ((1, 1), (1, 1), (3, 3), (2, 3)):
            delayed(hold=1)
            for _ in range(together):
                self.device.submit(session, data, vector)
            self.assertEqual(self.device.info(session).most, most_so_far)
            before = self.device.info(session).requests
            delayed(hold=0)
            eventually("no answers", lambda: self.device.info(session).requests == before + together)  # noqa: B023
        for _ in range(7):
            self.device.fetch()
        self.assertEqual((self.device.info(session).later, self.device.info(session).most), (7, 3))

    def test_a_worker_that_overtakes_its_caller(self) -> None:
        """On one processor cryptd has many at once if it must wait for it, and never two if it need not.

        Kernels with lazy preemption let even an idle-class caller run on until it sleeps.
        """
        if not checking.has("cryptd"):
            self.skipTest("this kernel has no cryptd")
        processors = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(processors)})
        self.addCleanup(os.sched_setaffinity, 0, processors)
        self.addCleanup(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
        # It outranks what it wraps, and stays: a cipher that nobody else asks for.
        inner = self.device.info(self.device.named("ecb(des)", CIPHER, KEY[:8])).driver.decode()
        data, vector = Memory(64), Memory(IV)
        for policy, priority, had in ((os.SCHED_FIFO, 1, range(2, 17)), (os.SCHED_IDLE, 0, range(2))):
            session = self.device.named(f"cryptd({inner})", CIPHER, KEY[:8])
            os.sched_setscheduler(0, policy, os.sched_param(priority))
            for _ in range(16):
                self.device.submit(session, data, vector)
                if policy == os.SCHED_IDLE:
                    time.sleep(0.001)
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            for _ in range(16):
                self.device.fetch()
            info = self.device.info(session)
            self.assertEqual((info.requests, info.later), (16, 16))
            self.assertIn(info.most, had)

    def test_there_is_room_for_so_many(self) -> None:
        """POLLOUT ends with the last, and comes again with an answer's fetching; edge-triggered, too."""
        delayed(hold=1)
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        data, vector = Memory(64), Memory(IV)
        edges = select.epoll()
        self.addCleanup(edges.close)
        edges.register(self.device.fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self.assertEqual(edges.poll(0), [(self.device.fd, select.EPOLLOUT)])
        for _ in range(DEPTH):
            self.device.submit(session, data, vector)
        refused(errno.EBUSY, lambda: self.device.submit(session, data, vector), "one more")
        self.assertEqual(select.select([self.device.fd], [self.device.fd], [], 0), ([], [], []))
        delayed(hold=0)
        self.assertEqual(edges.poll(20)[0][1] & select.EPOLLIN, select.EPOLLIN)
        self.device.fetch()
        self.assertEqual(edges.poll(20)[0][1] & select.EPOLLOUT, select.EPOLLOUT)
        self.device.submit(session, data, vector)
        for _ in range(DEPTH):
            self.device.fetch()
        self.assertEqual(select.select([self.device.fd], [self.device.fd], [], 0)[0], [])

    def test_a_sleeper_wakes(self) -> None:
        """One thread waits in poll() while another submits."""
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        data, seen = Memory(PLAIN[:64]), []
        thread = threading.Thread(target=lambda: seen.append(self.device.fetch().src), daemon=True)
        thread.start()
        time.sleep(0.05)
        self.device.submit(session, data, Memory(IV))
        thread.join(20)
        self.assertEqual(seen, [data.at])

    def test_a_driver_that_answers_at_once(self) -> None:
        # no check wraps this cipher's driver in cryptd, which would then be whom its name stands for
        session = self.device.session(DES3_CBC, key=KEY[:24])
        data = Memory(PLAIN[:SIZE])
        self.device.submit(session, data, Memory(IV))
        same(bytes(data), PLAIN[:SIZE], "not before it is fetched")
        self.device.fetch()
        same(bytes(data), openssl("DES-EDE3-CBC", KEY[:24], IV[:8], PLAIN[:SIZE]), "fetched")
        info = self.device.info(session)
        self.assertEqual((info.later, info.most), (0, 0), info.driver)

    def test_hashes(self) -> None:
        session = self.device.session(mac=SHA1)
        mac, parts = Memory(20), [Memory(PLAIN[:1000]), Memory(PLAIN[1000:2000])]
        for part, flags in zip(parts, (UPDATE, FINAL), strict=True):
            self.device.ioctl(CIOCASYNCCRYPT, CryptOp(session, ENCRYPT, flags, 1000, part.at, None, mac.at, None))
        for _ in parts:
            self.device.fetch()
        same(bytes(mac), hashlib.sha1(PLAIN[:2000], usedforsecurity=False).digest(), "pieces")

    def test_a_backlog(self) -> None:
        """A request that first waits for its turn is answered once."""
        delayed(backlog=1)
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:SIZE])
        same(self.device.crypt(session, PLAIN[:SIZE]), wanted, "awaited")
        data = Memory(PLAIN[:SIZE])
        self.device.submit(session, data, Memory(IV))
        self.device.fetch()
        same(bytes(data), wanted, "fetched")
        info = self.device.info(session)
        self.assertEqual((info.requests, info.later), (2, 2))

    def test_pieces_of_memory(self) -> None:
        """31 are taken, which mapped memory may exceed, and copied memory where the kernel has no big pages."""
        most_pieces = Path("/sys/module/devcrypto/parameters/pieces")
        self.addCleanup(most_pieces.write_text, most_pieces.read_text())
        for memory, size in ((COPIED, MAX_LEN - 12), (MAPPED, 31 << 12)):
            session = self.device.named(DELAYED, CIPHER, KEY[:16], memory)
            wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:size])
            same(self.device.crypt(session, PLAIN[:size], offsets=(0, 0)), wanted, f"{size} bytes")
        scattered = mmap.mmap(-1, 60 << 12, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in (*range(0, 60, 2), *range(1, 60, 2)):  # so that neighbours are none in the machine's memory
            scattered[page << 12] = 1
        at = ctypes.addressof(ctypes.c_char.from_buffer(scattered))
        vector = Memory(IV)
        op = CryptOp(session, ENCRYPT, 0, 60 << 12, at, at, None, vector.at)
        refused(errno.E2BIG, lambda: self.device.ioctl(CIOCCRYPT, op), "60 pieces")
        self.assertEqual(bytes(scattered[:3]), b"\1\0\0")
        most_pieces.write_text("60")
        self.device.ioctl(CIOCCRYPT, op)
        most_pieces.write_text("2")  # which big pages exceed, as small ones do 31
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        refused(errno.ENOMEM, lambda: self.device.crypt(session, PLAIN[: MAX_LEN - 12]), "copied, 8 pieces")
        self.assertEqual(self.device.info(session).requests, 0)

    def test_a_driver_that_fails(self) -> None:
        delayed(fail=1)
        for memory in (COPIED, MAPPED):
            session = self.device.named(DELAYED, CIPHER, KEY[:16], memory)
            refused(errno.EIO, lambda session=session: self.device.crypt(session, PLAIN[:64]), "awaited")  # type: ignore[misc]
            data = Memory(PLAIN[:64])
            self.device.submit(session, data, Memory(IV))
            refused(errno.EIO, self.device.fetch, "fetched")
            if memory == COPIED:
                same(bytes(data), PLAIN[:64], "nothing is written")
            info = self.device.info(session)
            self.assertEqual((info.requests, info.failed, info.bytes, info.copied_out), (2, 2, 0, 0))


class Gone(Case):
    """Nobody waits: the driver answers all the same, and only then things go."""

    def test_a_session_ends_first(self) -> None:
        delayed(hold=1)
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        data = Memory(PLAIN[:64])
        self.device.submit(session, data, Memory(IV))
        self.device.end(session)
        delayed(hold=0)
        self.device.fetch()
        same(bytes(data), openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:64]), "fetched")

    def unload_and_load(self) -> None:
        """rmmod waits for the driver."""
        with subprocess.Popen(["rmmod", "devcrypto"]) as rmmod:
            time.sleep(0.2)
            self.assertIsNone(rmmod.poll(), "it did not wait, or was refused")
            delayed(hold=0)
            self.assertEqual(rmmod.wait(20), 0)
        load()

    def test_a_file_is_closed_first(self) -> None:
        delayed(hold=1)
        for memory in (COPIED, MAPPED):
            with Device() as device:
                session = device.named(DELAYED, CIPHER, KEY[:16], memory)
                kept = [Memory(PLAIN[:SIZE]) for _ in range(10)]
                for data in kept:
                    device.submit(session, data, Memory(IV))
        self.assertEqual(most(), 20)
        self.stack.close()
        self.unload_and_load()
        checking.unload("delayed")
        checking.load_delayed()

    def test_killed_in_mid_request(self) -> None:
        """It dies before the driver has answered; what it had goes after that."""
        for memory in (COPIED, MAPPED):
            delayed(hold=1, most=0)
            session = self.device.named(DELAYED, CIPHER, KEY[:16], memory)
            pid = os.fork()
            if not pid:
                with contextlib.suppress(BaseException):
                    self.device.crypt(session, PLAIN[:100000], offsets=(0, 0))
                os._exit(0)
            eventually("no request came", lambda: most() == 1)
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)
            self.assertEqual(self.device.info(session).requests, 0)
            delayed(hold=0)
            eventually("no answer", lambda session=session: self.device.info(session).requests == 1)  # type: ignore[misc]

    def test_killed_with_all_it_had(self) -> None:
        """Its descriptor, its sessions, its memory."""
        delayed(hold=1, most=0)
        self.stack.close()
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException), Device() as device:
                session = device.named(DELAYED, CIPHER, KEY[:16], MAPPED)
                device.submit(session, Memory(PLAIN[:SIZE]), Memory(IV))
                device.crypt(session, PLAIN[:100000])
            os._exit(0)
        eventually("no requests came", lambda: most() == 2)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(os.waitpid(pid, 0)[1], signal.SIGKILL)
        self.unload_and_load()

    def test_other_signals_do_not_disturb(self) -> None:
        """A request is not to be had twice: an ordinary signal waits."""
        delayed(hold=1)
        hits: list[int] = []
        previous = signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        session = self.device.named(DELAYED, CIPHER, KEY[:16])
        later = threading.Timer(0.2, delayed, kwargs={"hold": 0})
        later.start()
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:64])
        same(self.device.crypt(session, PLAIN[:64]), wanted, "in spite of a signal")
        later.join()
        self.assertEqual((hits, self.device.info(session).requests), ([1], 1))

    def test_memory_that_goes_meanwhile(self) -> None:
        """Copied: unmapped before it is fetched is EFAULT. Mapped: the pages stay until the answer."""
        for memory, size in ((COPIED, 1 << 17), (MAPPED, 1 << 16)):
            delayed(hold=1)
            session = self.device.named(DELAYED, CIPHER, KEY[:16], memory)
            data = Memory(PLAIN[:size])
            self.device.submit(session, data, Memory(IV))
            del data
            delayed(hold=0)
            if memory == COPIED:
                refused(errno.EFAULT, self.device.fetch, "unmapped")
            else:
                self.device.fetch()
