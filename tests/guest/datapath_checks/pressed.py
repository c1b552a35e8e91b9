"""The server's so-crypt modes on a kernel whose TCP is short of memory; SO_CRYPT_MODULE says where the module is."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from .. import checking
from .common import CIPHERS, PROGRAM, Case, server

LIMIT = Path("/proc/sys/net/ipv4/tcp_mem")


class Pressed(Case):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if "so_crypt " not in Path("/proc/modules").read_text():
            checking.load(os.environ["SO_CRYPT_MODULE"])
        cls.addClassCleanup(LIMIT.write_text, LIMIT.read_text())

    def test_the_last_bytes_are_waited_for(self) -> None:
        """The module hands them to TCP after the last call: a good answer is no failed one."""
        usual = LIMIT.read_text()
        with tempfile.TemporaryDirectory() as place:
            Path(place, "file").write_bytes(os.urandom(60000))  # less than a request: all of it is handed over later
            for mode in ("so-crypt", "so-crypt-send"):
                with server([PROGRAM], Path(place), CIPHERS[-1], "--mode", mode) as running:
                    LIMIT.write_text("1 2 3")
                    later = threading.Timer(0.7, LIMIT.write_text, (usual,))
                    later.start()
                    started = time.monotonic()
                    _, body = running.get("/file")
                    event = running.event()
                    later.join()
                    self.assertGreater(time.monotonic() - started, 0.5, "memory was not short: this tells nothing")
                    self.assertIsNone(event.get("error"))
                    self.assertEqual(body, Path(place, "file").read_bytes())
                    self.assertEqual(event["so_crypt"]["bytes_out"], 60000)
