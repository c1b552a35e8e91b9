"""Programs that use the device are killed at any moment, while others keep the guest busy; and what is left of them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path

from ..checking import delayed, eventually, openssl, same
from .common import AES_CBC, CIPHER, DELAYED, IV, KEY, MAPPED, PLAIN, Case, Device, Memory
from .together import some_work

SECONDS = 120


def users() -> int:
    """Open files of the device, and answers that have not come yet."""
    found = re.search(r"^devcrypto \d+ (\d+)", Path("/proc/modules").read_text(), re.MULTILINE)
    assert found, "devcrypto is not there"
    return int(found[1])


def work_on() -> None:
    """In a process of its own, until it is killed: all that the device does, and requests that nobody fetches."""
    with contextlib.suppress(BaseException):
        while True:
            some_work(3)
            with Device() as device:
                session = device.named(DELAYED, CIPHER, KEY[:16], MAPPED)
                kept = [Memory(PLAIN[:30000]) for _ in range(8)]
                for data in kept:
                    device.submit(session, data, Memory(IV))
                device.crypt(session, PLAIN[:100_000])
    os._exit(1)  # it is killed, and ends in no other way


class Killed(Case):
    def test_killed_at_any_moment(self) -> None:
        rng, until, killed = random.Random(122), time.monotonic() + SECONDS, 0
        wanted = openssl("AES-128-CBC", KEY[:16], IV, PLAIN[:20000])
        session = self.device.session(AES_CBC, key=KEY[:16])
        while time.monotonic() < until:
            delayed(hold=rng.random() < 0.3)  # of some the requests are still under way when they die
            children = []
            for _ in range(3):
                pid = os.fork()
                if not pid:
                    work_on()
                children.append(pid)
            time.sleep(rng.random() * 0.5)
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            self.assertEqual([os.waitpid(pid, 0)[1] for pid in children], [signal.SIGKILL] * 3)
            delayed(hold=0)
            killed += len(children)
            same(self.device.crypt(session, PLAIN[:20000], offsets=(0, 0)), wanted, "whoever is left alone")
        print(f"{killed} processes killed")
        self.assertGreater(killed, 30)
        self.stack.close()
        eventually("something keeps the module", lambda: not users())
