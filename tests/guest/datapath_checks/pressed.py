"""The server's so-crypt modes on a kernel whose TCP is short of memory; SO_CRYPT_MODULE says where the module is."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

from .. import checking
from .common import CIPHERS, DEADLINE, PROGRAM, Case, server

LIMIT = Path("/proc/sys/net/ipv4/tcp_mem")
CHUNK = 131072
SIZE = 2 * 30 * 4096
"""Two of the module's largest requests, whose answers are more than a segment of TCP each: the second one waits."""


class Pressed(Case):
    usual: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if "so_crypt " not in Path("/proc/modules").read_text():
            checking.load(os.environ["SO_CRYPT_MODULE"])
        cls.usual = LIMIT.read_text()
        cls.addClassCleanup(LIMIT.write_text, cls.usual)

    def test_the_last_bytes_are_waited_for(self) -> None:
        """The module hands them to TCP after the last call: a good answer is no failed one."""
        with tempfile.TemporaryDirectory() as place:
            Path(place, "file").write_bytes(os.urandom(SIZE))
            for mode in ("so-crypt", "so-crypt-send"):
                options = ("--mode", mode, "--chunk", str(CHUNK))
                with server([PROGRAM], Path(place), CIPHERS[-1], *options) as running, socket.socket() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                    client.settimeout(DEADLINE)
                    client.connect(("127.0.0.1", running.port))
                    client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
                    time.sleep(0.3)  # it waits for room
                    LIMIT.write_text("1 2 3")
                    got = client.recv(65536)
                    while len(got) < SIZE * 2 // 3 and (piece := client.recv(65536)):
                        got += piece
                    LIMIT.write_text(self.usual)
                    while piece := client.recv(65536):
                        got += piece
                    event = running.event()
                    self.assertIsNone(event.get("error"))
                    self.assertEqual(got.partition(b"\r\n\r\n")[2], Path(place, "file").read_bytes())
                    self.assertEqual(event["so_crypt"]["bytes_out"], SIZE)
