"""Threads, many sockets, changing files, little memory, unloading."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..checking import same
from .common import (
    AES,
    CTR,
    DES3,
    FILE,
    MSG_DONTWAIT,
    MSG_MORE,
    NULL,
    PAD_PKCS7,
    PAD_ZERO,
    PLAIN,
    Case,
    Reader,
    encrypted,
    expected,
    info,
    load,
    openssl,
    pair,
    read_all,
    reference,
    sendfile,
    ulp,
    unload,
)


def memory_kb() -> tuple[int, int, int]:
    """Used, slab (kB) and TCP's pages, when things have settled."""
    time.sleep(0.5)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    time.sleep(0.3)
    fields = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    tcp = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    used = fields["MemTotal"] - fields["MemFree"] - fields["Cached"] - fields["Buffers"]
    return used, fields["Slab"], int(tcp.split()[-1])


def some_transfers(count: int, rng: random.Random) -> None:
    for i in range(count):
        with encrypted(NULL if i % 2 else AES, how=rng.randrange(3)) as (sender, receiver):
            size = rng.randrange(1, 400000)
            sender.setblocking(i % 4 != 0)
            with contextlib.suppress(BlockingIOError):
                if i % 3:
                    os.sendfile(sender.fileno(), FILE.fileno(), 0, size)
                else:
                    sender.send(PLAIN[:size], MSG_MORE)
            reader = Reader(receiver) if i % 5 else None
            sender.close()
            if reader:
                reader.result()


def in_child(function: Callable[[], object]) -> None:
    """In a process of its own, so that Python's memory does not count."""
    pid = os.fork()
    if not pid:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "transfers failed in the child"


class Together(Case):
    def test_threads_on_one_socket(self) -> None:
        """Calls do not mix: every message arrives whole."""
        size, per_thread, threads = 70000, 15, 4
        for nonblocking in (False, True):
            with encrypted(CTR, buffers=60000) as (sender, receiver):

                def work(number: int, sock: socket.socket = sender, wait: bool = not nonblocking) -> None:
                    for i in range(per_thread):
                        length = size if wait else 1000
                        message = struct.pack("II", number, i) + bytes([number]) * (length - 8)
                        if wait:
                            self.assertEqual(sock.send(message), length)
                            info(sock)
                        else:
                            while True:
                                try:
                                    self.assertEqual(sock.send(message, MSG_DONTWAIT), length)
                                    break
                                except BlockingIOError:
                                    select.select([], [sock], [], 5)

                reader = Reader(receiver)
                workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(1, threads + 1)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join(20)
                    self.assertFalse(worker.is_alive())
                sender.close()
                plain = openssl(CTR, reader.result(), decrypt=True)
                length = 1000 if nonblocking else size
                self.assertEqual(len(plain), threads * per_thread * length, len(plain))
                seen: dict[int, int] = {}
                for at in range(0, len(plain), length):
                    number, i = struct.unpack_from("II", plain, at)
                    self.assertEqual(plain[at + 8 : at + length], bytes([number]) * (length - 8), "messages are mixed")
                    self.assertEqual(seen.get(number, 0), i)
                    seen[number] = i + 1

    def test_many_sockets(self) -> None:
        count = 150
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(encrypted(AES if i % 2 else DES3)) for i in range(count)]
            for step in range(4):
                for i, (sender, _) in enumerate(pairs):
                    at = step * 3001
                    if i % 3:
                        sender.send(PLAIN[at : at + 3001], MSG_MORE if i % 5 == 0 else 0)
                    else:
                        sendfile(sender, at, 3001)
            for i, (sender, receiver) in enumerate(pairs):
                sender.close()
                same(read_all(receiver), expected(AES if i % 2 else DES3, 12004, PAD_PKCS7), f"socket {i}")

    def test_file_changes_meanwhile(self) -> None:
        """Pages that change while they are sent: old or new bytes arrive, and the stream stays in step."""
        size = 1 << 20
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            file.truncate(size)
            view = mmap.mmap(file.fileno(), size)
            stop = threading.Event()

            def scribble() -> None:
                value = 0
                while not stop.is_set():
                    value = (value + 1) % 256
                    view[:] = bytes([value]) * size

            thread = threading.Thread(target=scribble, daemon=True)
            thread.start()
            with encrypted(AES) as (sender, receiver):
                reader = Reader(receiver)
                for _ in range(5):
                    done = 0
                    while done < size:
                        done += os.sendfile(sender.fileno(), file.fileno(), done, size - done)
                stop.set()
                thread.join()
                view[:] = PLAIN[:size]
                done = 0
                while done < size:
                    done += os.sendfile(sender.fileno(), file.fileno(), done, size - done)
                file.truncate(10)  # pages that are still referenced go away
                sender.close()
                plain = openssl(AES, reader.result(), decrypt=True)
                self.assertEqual(len(plain), 6 * size + 16)
                same(plain[5 * size : 6 * size], PLAIN[:size], "afterwards")


class Memory(Case):
    def test_memory_pressure(self) -> None:
        """TCP out of memory: slow, but complete, also when nobody calls again; and no call hangs for good."""
        knob = Path("/proc/sys/net/ipv4/tcp_mem")
        saved = knob.read_text()
        with encrypted(AES, how=PAD_ZERO) as (sender, receiver), encrypted(AES) as (sender2, receiver2):
            try:
                sender.setblocking(False)
                knob.write_text("1 2 3")
                at = 0
                for _ in range(200):
                    try:
                        at += sender.send(PLAIN[at : at + 65536])
                    except BlockingIOError:
                        break
                reader2 = Reader(receiver2)
                sender2.sendall(PLAIN[:300001])
                reader = Reader(receiver)
                time.sleep(0.5)
            finally:
                knob.write_text(saved)
            time.sleep(0.5)
            figures = info(sender)
            self.assertEqual(figures.bytes_in, figures.bytes_out + figures.pending, figures)
            sender.close()
            same(reader.result(), expected(AES, at, PAD_ZERO), "pressure")
            sender2.close()
            same(reader2.result(), expected(AES, 300001, PAD_PKCS7), "pressure, blocking")
        with encrypted(AES) as (sender, receiver):  # at the end of the stream
            try:
                knob.write_text("1 2 3")
                sender.setblocking(False)
                reader = Reader(receiver)
                sent = sender.send(PLAIN[:100001])
                started = time.monotonic()
                sender.close()
                self.assertLess(time.monotonic() - started, 5)
            finally:
                knob.write_text(saved)
            reader.join(25)
            if reader.error is None:
                same(bytes(reader.data), expected(AES, sent, PAD_PKCS7), "close under pressure")
            else:
                self.assertIsInstance(reader.error, ConnectionResetError, reader.error)

    def test_no_unloading_in_use(self) -> None:
        with encrypted(AES) as (sender, _receiver):
            result = subprocess.run(["rmmod", "so_crypt"], capture_output=True, text=True, check=False)
            self.assertTrue(result.returncode, "it was unloaded in use")
            sender.send(PLAIN[:100])
        with pair() as (sender, _receiver):
            ulp(sender)
            result = subprocess.run(["rmmod", "so_crypt"], capture_output=True, text=True, check=False)
            self.assertTrue(result.returncode, "it was unloaded in use, before SO_CRYPT_SET")
        for _ in range(3):
            unload()
            load()
            with encrypted(AES) as (sender, receiver):
                sender.send(PLAIN[:32])
                same(receiver.recv(100), reference(AES)[:32], "after loading again")

    def test_memory_stays_flat(self) -> None:
        in_child(lambda: some_transfers(75, random.Random(9)))
        # What leaks grows every time; what the kernel merely keeps for a while (free lists, page tables) does not.
        for _ in range(3):
            before = memory_kb()
            in_child(lambda: some_transfers(250, random.Random(10)))
            grown = [b - a for a, b in zip(before, memory_kb(), strict=True)]
            said = f"used {grown[0]:+} kB, slab {grown[1]:+} kB, TCP's pages {grown[2]:+}"
            # each processor may keep 256 pages of TCP's in reserve
            if grown[0] < 1500 and grown[1] < 1000 and grown[2] < 300:
                return
        self.fail(f"it grows in every round of 250 transfers, in the last one: {said}")
