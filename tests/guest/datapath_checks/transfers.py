"""Transfers over loopback: cipher text, accounting, drivers, failures, refusals, counted calls."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .common import CIPHERS, DEADLINE, PROGRAM, SIZES, Case, Cipher, Server, answer, reference, server

BODY_CALLS = ("read", "sendmsg", "recvfrom", "sendto", "sendfile", "splice", "setsockopt", "accept4", "close", "ioctl")
OUR_NAMES = {"recvfrom": "recv", "sendto": "send", "accept4": "accept"}


def drain(client: socket.socket) -> int:
    got = 0
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            got += len(piece)
    return got


def modes() -> list[str]:
    """The schemes of AF_ALG, and the modules' where they are loaded."""
    loaded = Path("/proc/modules").read_text().split()
    of_modules = {"devcrypto": ["devcrypto-copy", "devcrypto-mapped"], "so_crypt": ["so-crypt", "so-crypt-send"]}
    return ["afalg-copy", "afalg-splice", *(mode for name in of_modules if name in loaded for mode in of_modules[name])]


def own_bodies() -> list[str]:
    """Those that do not share all of another mode's body."""
    return [mode for mode in modes() if mode != "devcrypto-mapped"]


class Transfers(Case):
    """Files of many sizes, sent in every mode."""

    root: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        made = tempfile.TemporaryDirectory(prefix="datapath-")
        cls.addClassCleanup(made.cleanup)
        cls.root = Path(made.name)
        for size in SIZES:
            (cls.root / str(size)).write_bytes(os.urandom(size))

    def test_cipher_text_is_openssl_s_and_accounting_the_model_s(self) -> None:
        for mode in modes():
            with self.subTest(mode=mode):
                for cipher in CIPHERS:
                    self.transfers(mode, cipher, 65536)
                self.transfers(mode, CIPHERS[0], 4096)
                self.transfers(mode, CIPHERS[1], 131072)

    def transfers(self, mode: str, cipher: Cipher, chunk: int) -> None:
        with server([PROGRAM], self.root, cipher, "--mode", mode, "--chunk", str(chunk)) as running:
            copies = running.hello.get("splice") == "copy"
            total = 0
            for size in SIZES:
                what = f"{mode} {cipher.openssl or cipher.name} {size} bytes, chunk {chunk}"
                response, body = running.get(f"/{size}")
                event = running.event()
                padded = (size // cipher.block + 1) * cipher.block if cipher.block > 1 else size
                self.assertIsNone(event.get("error"), f"{what}: error")
                self.assertEqual(response.status, 200, f"{what}: status")
                self.assertEqual(len(body), padded, f"{what}: length")
                self.assertEqual(response.headers["X-Plain-Length"], str(size), f"{what}: X-Plain-Length")
                self.assertEqual(
                    response.headers["X-Padding"], "pkcs7" if cipher.block > 1 else "none", f"{what}: X-Padding"
                )
                wanted = reference(self.root / str(size), cipher, running.key, running.iv)
                self.assertEqual(hashlib.sha256(body).hexdigest(), wanted, f"{what}: cipher text")
                self.assertEqual(event["bytes"], padded, f"{what}: bytes")
                self.assertEqual(event["plain_bytes"], size, f"{what}: plain_bytes")
                self.accounting(mode, size, padded, chunk, event, copies)
                total += padded
            summary = running.end()
            self.assertEqual(summary["bytes"], total, f"{mode}: total bytes")
            self.assertEqual(summary["failed"], 0, f"{mode}: failed")

    def accounting(self, mode: str, size: int, padded: int, chunk: int, event: dict[str, Any], copies: bool) -> None:
        pieces = max(1, -(-size // chunk)) if padded else 0
        pad = padded - size
        crossing = {
            "afalg-copy": size + 3 * padded,
            "devcrypto-copy": size + 3 * padded,
            "devcrypto-mapped": size + padded,
            "afalg-splice": pad,
            "so-crypt": pad,
            "so-crypt-send": size + padded,
        }[mode]
        copied = {
            "afalg-copy": size + 2 * padded,
            "devcrypto-copy": size + 3 * padded,
            "devcrypto-mapped": size + padded,
            "afalg-splice": pad + (size if copies else 0),
            "so-crypt": pad,
            "so-crypt-send": size + padded,
        }[mode]
        self.assertEqual(event["crossing_bytes"], crossing, f"{mode} {size}: crossing bytes")
        self.assertEqual(event["copied_bytes"], copied, f"{mode} {size}: copied bytes")
        calls = event["calls"]
        if mode == "afalg-copy":
            self.assertEqual(calls["sendmsg"], pieces, f"{mode} {size}: sendmsg calls")
            self.assertEqual(calls["read"], pieces if size else 0, f"{mode} {size}: read calls")
            self.assertEqual(event["requests"], pieces, f"{mode} {size}: requests")
        if mode.startswith("devcrypto"):
            told, mapped = event["devcrypto"], mode == "devcrypto-mapped"
            self.assertEqual(
                calls["ioctl"], pieces + 3, f"{mode} {size}: a session, its requests, its account, its end"
            )
            self.assertEqual(
                (event["requests"], told["requests"], told["failed"]), (pieces, pieces, 0), f"{mode} {size}"
            )
            self.assertEqual((told["driver"], told["later"]), (event["driver"], 0), f"{mode} {size}")
            self.assertEqual(
                tuple(told[name] for name in ("memory", "bytes", "copied_in", "copied_out", "mapped")),
                ("mapped", padded, 0, 0, padded) if mapped else ("copied", padded, padded, padded, 0),
                f"{mode} {size}: the module's own account",
            )

    def test_a_dearer_twin_makes_the_same_calls_and_takes_the_share_longer(self) -> None:
        """In every mode; asked in turns with the ordinary server, so that what slows down one slows down the other."""
        for mode in own_bodies():
            with self.subTest(mode=mode):
                self.dearer(mode, 500)

    def dearer(self, mode: str, per_mille: int) -> None:
        asked = ("--mode", mode)
        with (
            server([PROGRAM], self.root, CIPHERS[0], *asked) as ordinary,
            server([PROGRAM], self.root, CIPHERS[0], *asked, "--dearer", str(per_mille)) as twin,
        ):
            took: dict[Server, list[float]] = {ordinary: [], twin: []}
            shares = []
            for turn in range(16):
                events = {}
                for running in (ordinary, twin) if turn % 2 else (twin, ordinary):
                    started = time.monotonic()
                    _, body = running.get("/1000000")
                    took[running].append(time.monotonic() - started)
                    events[running] = running.event()
                    self.assertIsNone(events[running].get("error"))
                    wanted = reference(self.root / "1000000", CIPHERS[0], running.key, running.iv)
                    self.assertEqual(hashlib.sha256(body).hexdigest(), wanted, f"{mode}: cipher text")
                self.assertNotIn("dearer_ns", events[ordinary])
                if mode != "afalg-splice":  # whose calls depend on how much of a pipe was free
                    self.assertEqual(events[ordinary]["calls"], events[twin]["calls"], f"{mode}: calls")
                spent = events[twin]["dearer_ns"] / 1e9
                shares.append(1000 * spent / (events[twin]["seconds"] - spent))
        share = statistics.median(shares)
        self.assertTrue(per_mille / 2 < share < per_mille * 1.5, f"{mode}: the server spent {share} per mille")
        # on a busy machine many a turn tells nothing; the quickest ones met nobody
        quickest = {who: statistics.median(sorted(some)[:5]) for who, some in took.items()}
        self.assertGreater(quickest[twin], quickest[ordinary], f"{mode}: the client waited longer")

    def test_a_driver_asked_for_by_its_own_name_is_bound(self) -> None:
        driver = answer(PROGRAM, "probe", "--cipher", "cbc(aes)")[1]["driver"]
        for mode in modes():
            with self.subTest(mode=mode):
                self.by_driver(mode, driver)

    def by_driver(self, mode: str, driver: str) -> None:
        with server([PROGRAM], self.root, Cipher(driver, "aes-128-cbc", 16, 16, 16), "--mode", mode) as running:
            self.assertEqual(running.hello["driver"], driver, "driver bound")
            _, body = running.get("/17")
            wanted = reference(self.root / "17", CIPHERS[1], running.key, running.iv)
            self.assertEqual(hashlib.sha256(body).hexdigest(), wanted, "cipher text by driver name")
            event = running.event()
            self.assertEqual(event["driver"], driver, "driver used")
            key = len(running.key)
            self.assertEqual((running.hello["key_bytes"], event["key_bytes"]), (key, key), "size of the key")
            running.end()

    def test_a_stalled_client_and_a_shrinking_file_leave_the_server_whole(self) -> None:
        """Both are reported and cut off."""
        for mode in own_bodies():
            with self.subTest(mode=mode):
                self.failures(mode)

    def failures(self, mode: str) -> None:
        big = self.root / "shrinks"
        with server([PROGRAM], self.root, CIPHERS[1], "--mode", mode, "--watchdog", "1") as running:
            for cause in ("shorter", "watchdog"):
                big.write_bytes(bytes(16_000_000))
                with socket.create_connection(("127.0.0.1", running.port), timeout=DEADLINE) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                    client.sendall(b"GET /shrinks HTTP/1.1\r\nHost: x\r\n\r\n")
                    client.recv(1000)
                    if cause == "shorter":
                        time.sleep(0.3)
                        os.truncate(big, 8_000_001)
                        self.assertLess(drain(client), 16_000_000, "a file that shrank was sent whole")
                    event = running.event(20)
                self.assertIn(cause, event.get("error", ""))
            big.unlink()
            _, body = running.get("/65537")
            wanted = reference(self.root / "65537", CIPHERS[1], running.key, running.iv)
            self.assertEqual(hashlib.sha256(body).hexdigest(), wanted, f"{mode}: cipher text after failures")
            self.assertIsNone(running.event().get("error"), f"{mode}: error")
            self.assertEqual(running.end()["failed"], 2, f"{mode}: failed")

    def test_refusals(self) -> None:
        """Refused with one clear line and the right status."""
        base = [PROGRAM, "serve", "--address", "127.0.0.1", "--port", "0", "--root", str(self.root)]
        aes = ["--mode", "afalg-copy", "--cipher", "cbc(aes)"]
        good = b"00" * 16 + b"\n" + b"00" * 16 + b"\n"
        cases = (
            (aes, b"00" * 15 + b"\n" + b"00" * 16 + b"\n", 2, "key is 15 bytes"),
            (aes, b"00" * 16 + b"\n" + b"00" * 8 + b"\n", 2, "IV is 8 bytes"),
            (aes, b"xx\n\n", 2, "not hexadecimal"),
            (aes, b"", 2, "IV is 0 bytes"),
            ([*aes, "--chunk", "1000"], good, 2, "no multiple"),
            ([*aes, "--chunk", "262144"], good, 2, "262140"),
            ([*aes, "--chunk", "131088"], good, 2, "131072"),
            (["--mode", "afalg-copy", "--cipher", "cbc(nonsense)"], good, 1, "no such algorithm"),
            (["--mode", "afalg-copy"], good, 2, "--cipher is needed"),
            *((["--mode", mode, "--cipher", "gcm(aes)"], good, 2, "is an AEAD") for mode in modes()),
        )
        if "devcrypto-copy" in modes():
            ours = ["--mode", "devcrypto-copy", "--cipher", "cbc(aes)"]
            cases += (
                (ours, b"00" * 15 + b"\n" + b"00" * 16 + b"\n", 2, "key is 15 bytes"),
                (ours, b"00" * 16 + b"\n" + b"00" * 8 + b"\n", 2, "IV is 8 bytes"),
                ([*ours, "--chunk", "1000"], good, 2, "no multiple"),
                ([*ours, "--chunk", "262128"], good, 2, "more than a request may have"),
                (["--mode", "devcrypto-copy", "--cipher", "cbc(nonsense)"], good, 1, "no such algorithm"),
            )
        for options, stdin, status, text in cases:
            done = subprocess.run([*base, *options], input=stdin, capture_output=True, timeout=DEADLINE, check=False)
            message = done.stderr.decode()
            self.assertEqual(done.returncode, status, f"status of {options}: {message}")
            self.assertIn(text, message)
            self.assertEqual(message.count("\n"), 1, message)

    def test_counted_calls_are_those_that_strace_sees(self) -> None:
        """Of one body: all between its head and its JSON line."""
        for mode in modes():
            with self.subTest(mode=mode):
                self.counted(mode)

    def counted(self, mode: str) -> None:
        with tempfile.NamedTemporaryFile("r") as log:
            traced = ["strace", "-qq", "-o", log.name, "-e", f"trace=write,{','.join(BODY_CALLS)}", PROGRAM]
            with server(traced, self.root, CIPHERS[0], "--mode", mode) as running:
                running.get("/1000000")
                event = running.event()
                subprocess.run(["pkill", "-TERM", "-P", str(running.process.pid)], check=False, timeout=DEADLINE)
                running.event()
                running.process.wait(DEADLINE)
            text = Path(log.name).read_text()
        body = text[text.index('"HTTP/1.1 200') :]
        body = body[body.index("\n") + 1 : body.index('write(1, "{\\"event\\":\\"request')]
        for name in BODY_CALLS:
            seen = len(re.findall(rf"^{name}\((?!\d+, (?:SIOCOUTQ|TIOCOUTQ))", body, re.M))
            self.assertEqual(event["calls"][OUR_NAMES.get(name, name)], seen, f"strace {mode}: {name}")
