"""Threads, little memory, unloading under load, memory that stays flat."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..checking import delayed, openssl, same
from .common import (
    AES_CBC,
    AES_CTR,
    AES_GCM,
    CIPHER,
    COPIED,
    DELAYED,
    FINAL,
    IV,
    KEY,
    MAPPED,
    PLAIN,
    SHA1,
    Case,
    Device,
    Memory,
    load,
    unload,
)


def side_by_side(*functions: Callable[[], object]) -> None:
    """All of them in threads; what one raises is raised here."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def memory_kb() -> dict[str, int]:
    return {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}


def used_kb() -> tuple[int, int]:
    """Memory in use and in slabs, when things have settled."""
    time.sleep(0.3)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(0.2)
    fields = memory_kb()
    return fields["MemTotal"] - fields["MemFree"] - fields["Cached"] - fields["Buffers"], fields["Slab"]


def some_work(rounds: int) -> None:
    for n in range(rounds):
        with Device() as device:
            memory = (COPIED, MAPPED)[n % 2]
            session = device.named(DELAYED, CIPHER, KEY[:16], memory)
            device.crypt(session, PLAIN[:20000], offsets=(0, 0))
            device.session(AES_CTR, SHA1, KEY[:16])
            device.auth(device.session(AES_GCM, key=KEY[:16]), PLAIN[:5000], b"head", IV[:12])
            device.hash(device.session(mac=SHA1), PLAIN[:5000], 20, FINAL)
            with contextlib.suppress(OSError):
                device.auth(session, PLAIN[:64], b"", IV)
            device.submit(session, Memory(PLAIN[:20000]), Memory(IV))


def in_child(function: Callable[[], object]) -> None:
    """In a process of its own, so that Python's memory does not count."""
    pid = os.fork()
    if not pid:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "it failed in the child"


class Together(Case):
    def test_threads_share_a_session(self) -> None:
        """Requests are apart, hashes take turns, sessions come and go."""
        sessions = [
            self.device.session(AES_CBC, key=KEY[:16]),
            self.device.named("cbc(aes)", CIPHER, KEY[:16], MAPPED),
            self.device.named(DELAYED, CIPHER, KEY[:16], MAPPED),
        ]
        hashes = self.device.session(mac=SHA1)

        def work(seed: int) -> None:
            for n in range(30):
                plain = PLAIN[seed * 5000 + n * 16 :][: 16 * (n + 1) * 16]
                iv = bytes([seed]) * 16
                wanted = openssl("AES-128-CBC", KEY[:16], iv, plain)
                same(self.device.crypt(sessions[n % 3], plain, iv, offsets=(n, 0)), wanted, "text")
                digest = hashlib.sha1(plain, usedforsecurity=False).digest()
                same(self.device.hash(hashes, plain, 20), digest, "digest")
                self.device.end(self.device.session(AES_CTR, SHA1, KEY[:16]))

        side_by_side(*(lambda seed=seed: work(seed) for seed in range(4)))
        self.assertEqual(sum(self.device.info(session).requests for session in sessions), 120)

    def test_little_memory(self) -> None:
        """Short of memory a request is ENOMEM, nobody is killed, and what was accepted is right."""
        delayed(hold=1)
        size, vector = 1 << 17, Memory(IV)
        data = [Memory(PLAIN[:size]) for _ in range(4)]
        wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:size])
        devices = [self.stack.enter_context(Device()) for _ in range(12)]
        sessions = [device.named(DELAYED, CIPHER, KEY[:16]) for device in devices]
        accepted: list[Device] = []
        libc = ctypes.CDLL(None, use_errno=True)
        self.assertEqual(libc.mlockall(1), 0)  # nothing of this process must be read in again meanwhile
        how = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        refusals = 0
        with mmap.mmap(-1, (memory_kb()["MemAvailable"] - 30000) * 1024, how):
            for n in range(12 * 60):
                try:
                    devices[n % 12].submit(sessions[n % 12], data[n % 4], vector)
                    accepted.append(devices[n % 12])
                except OSError as error:
                    refusals = error.errno or 0
                    break
        libc.munlockall()
        delayed(hold=0)
        self.assertEqual(refusals, errno.ENOMEM, f"{len(accepted)} accepted")
        for device in accepted:
            call = device.fetch()
            same(bytes(next(part for part in data if part.at == call.src)), wanted, "accepted")
        same(self.device.crypt(self.device.session(AES_CBC, key=KEY[:16]), PLAIN[:size]), wanted, "afterwards")

    def test_unloaded_under_load(self) -> None:
        """In use it stays; between two uses it goes, whoever is at the door."""
        session = self.device.session(AES_CBC, key=KEY[:16])
        done = subprocess.run(["rmmod", "devcrypto"], capture_output=True, text=True, check=False)
        self.assertTrue(done.returncode, "it was unloaded in use")
        self.device.crypt(session, PLAIN[:64])
        self.stack.close()
        stop = threading.Event()
        wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:20000])
        worked = [0, 0]

        def work(which: int) -> None:
            while not stop.is_set():
                try:
                    with Device() as device:
                        session = device.named((DELAYED, "cbc(aes)")[which % 2], CIPHER, KEY[:16], which % 2)
                        device.submit(session, Memory(PLAIN[:20000]), Memory(IV))
                        same(device.crypt(session, PLAIN[:20000]), wanted, "under load")
                        worked[which] += 1
                except OSError as error:  # it is not there, or just about to go
                    if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                        raise
                time.sleep(0.01)

        def reload() -> None:
            try:
                for _ in range(2):
                    unload()
                    load()
                    time.sleep(0.1)
            finally:
                stop.set()

        side_by_side(reload, *(lambda which=which: work(which) for which in range(2)))
        self.assertTrue(all(worked), worked)

    def test_memory_stays_flat(self) -> None:
        in_child(lambda: some_work(20))
        # What leaks grows every time; what the kernel merely keeps for a while does not.
        for _ in range(3):
            before = used_kb()
            in_child(lambda: some_work(60))
            grown = [b - a for a, b in zip(before, used_kb(), strict=True)]
            if grown[0] < 2500 and grown[1] < 1500:
                return
        self.fail(f"it grows in every round: used {grown[0]:+} kB, slab {grown[1]:+} kB")
