"""The receiving side by a crypto card, whose driver answers later: the virtio crypto card of the lab of QEMU guests."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from ..checking import same
from .common import (
    AES,
    MSG_DONTWAIT,
    PAD_NONE,
    PAD_PKCS7,
    PAD_ZERO,
    PLAIN,
    Case,
    Writer,
    deciphered,
    expected,
    info_rx,
    plain,
    read_all,
)
from .receiving import ragged, splice_to_file

CARD = "virtio_crypto_aes_cbc"


def interrupts() -> int:
    """Those of the card's queues, one for each or one for all: it says itself that it worked."""
    (device,) = Path("/sys/bus/virtio/drivers/virtio_crypto").glob("virtio*")
    wanted = rf"^ *\d+:((?: +\d+)+) .*\b{device.name}(?:-dataq\S*|-virtqueues|,|$)"
    lines = re.findall(wanted, Path("/proc/interrupts").read_text(), re.MULTILINE)
    return sum(int(count) for line in lines for count in line.split())


class OnACard(Case):
    def test_whole_streams(self) -> None:
        for call in (read_all, splice_to_file):
            for size, how in (
                (0, PAD_PKCS7),
                (5, PAD_PKCS7),
                (65536, PAD_NONE),
                (65537, PAD_ZERO),
                (700_001, PAD_PKCS7),
            ):
                before = interrupts()
                with deciphered(AES, alg=CARD, how=how) as (sender, receiver):
                    Writer(sender, expected(AES, size, how))
                    same(call(receiver), plain(AES, size, how), f"{size} {call.__name__}")
                    told = info_rx(receiver)
                    self.assertEqual((told.driver, told.is_async, told.pending), (CARD, 1, 0))
                    self.assertGreater(interrupts(), before, "the card did nothing")

    def test_who_may_not_wait(self) -> None:
        rng = random.Random(91)
        with deciphered(AES, alg=CARD, buffers=30_000) as (sender, receiver), select.epoll() as poller:
            poller.register(receiver, select.EPOLLIN | select.EPOLLET)
            Writer(sender, expected(AES, 400_000, PAD_PKCS7), ragged(rng))
            got = bytearray()
            while True:
                try:
                    piece = receiver.recv(rng.choice((1, 100, 5000, 70_000)), MSG_DONTWAIT)
                except BlockingIOError:
                    self.assertTrue(poller.poll(20), "no event")
                    continue
                if not piece:
                    break
                got += piece
            same(bytes(got), PLAIN[:400_000], "without waiting")

    def test_many_sockets_at_once(self) -> None:
        wrong: list[str] = []

        def one(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(4):
                size = rng.randrange(1, 200_000)
                with deciphered(AES, alg=CARD, buffers=rng.choice((0, 20_000))) as (sender, receiver):
                    Writer(sender, expected(AES, size, PAD_PKCS7))
                    got = rng.choice((read_all, splice_to_file))(receiver)
                    if got != PLAIN[:size]:
                        wrong.append(f"{seed}: {size} bytes became {len(got)}")

        threads = [threading.Thread(target=one, args=(seed,), daemon=True) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            self.assertFalse(thread.is_alive(), "it hangs")
        self.assertEqual(wrong, [])

    def test_killed_while_it_works(self) -> None:
        """Sockets end with requests under way; the card goes on for others."""
        rng = random.Random(92)
        for number in range(30):
            with deciphered(AES, alg=CARD) as (sender, receiver):
                pid = os.fork()
                if not pid:
                    sender.close()
                    _ = splice_to_file(receiver) if number % 2 else read_all(receiver)
                    os._exit(0)
                if number % 3:
                    receiver.close()
                Writer(sender, expected(AES, 1 << 20, PAD_PKCS7))
                time.sleep(rng.random() / 50)
                os.kill(pid, signal.SIGKILL)
                self.assertIn(os.waitpid(pid, 0)[1], (0, signal.SIGKILL), "it had all, or was killed")
                if not number % 3:
                    gone = info_rx(receiver).bytes_out
                    same(read_all(receiver), PLAIN[gone : 1 << 20], "by another process")
        self.test_whole_streams()

    def test_its_driver_stays_while_a_socket_has_it(self) -> None:
        with deciphered(AES, alg=CARD) as (sender, receiver):
            done = subprocess.run(["rmmod", "virtio_crypto"], capture_output=True, text=True, check=False)
            self.assertIn("in use", done.stderr)
            Writer(sender, expected(AES, 100_000, PAD_PKCS7))
            same(read_all(receiver), PLAIN[:100_000], "afterwards")
