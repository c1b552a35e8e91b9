"""Programs of others on sockets of so_crypt, killed at any moment while stress-ng keeps the guest busy; what is left.

Whoever is not killed, and whose peer is not, gets what is right; whoever loses its peer ends by itself. Then nothing of
their sockets is left, and thousands of connections leave no memory behind.
"""

from __future__ import annotations

import collections
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ..checking import PATIENCE, eventually, same
from .foreign import FOREIGN, SECONDS
from .preloaded import WithPreload, listens
from .together import memory_kb

STRESSED_SECONDS = 120
LOAD = ("--cpu", "1", "--vm", "1", "--vm-bytes", "64M", "--sock", "1", "--fork", "1")
PORT, SIZE = 5999, 1_500_000
CONNECTIONS, AT_ONCE = 10_000, 8
LEFT_KB = (3000, 1000)
"""Used and in slabs, beyond which something is left of so many connections: 50 bytes of each of their sockets are."""
TIME_WAIT, LISTEN = "06", "0A"


def sockets(port: int) -> list[str]:
    """The states of TCP's sockets with this port at one end, but for what waits for stragglers or listens."""
    ends = rf"(?:\w+:{port:04X} \w+:\w+|\w+:\w+ \w+:{port:04X})"
    states = re.findall(rf"^ *\d+: {ends} (\w\w)", Path("/proc/net/tcp").read_text(), re.MULTILINE)
    return [state for state in states if state not in (TIME_WAIT, LISTEN)]


def orphans() -> int:
    """TCP's sockets that no process has any more, those of this guest's other connections included."""
    found = re.search(r"^TCP: .*orphan (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def users(module: str) -> int:
    """How many sockets hold it."""
    found = re.search(rf"^{module} \d+ (\d+)", Path("/proc/modules").read_text(), re.MULTILINE)
    assert found, f"{module} is not there"
    return int(found[1])


def references() -> dict[str, int]:
    """How often each cipher's driver is in use."""
    entries = Path("/proc/crypto").read_text()
    found = re.findall(r"^driver\s+: (.+)\n(?:.+\n)*?refcnt\s+: (\d+)", entries, re.MULTILINE)
    return {driver: int(count) for driver, count in found}


class Killed(WithPreload):
    def setUp(self) -> None:
        super().setUp()
        self.run_it("true")
        self.rng = random.Random(121)
        self.was = references()
        self.became: collections.Counter[str] = collections.Counter()

    def stressed(self) -> subprocess.Popen[bytes]:
        """stress-ng, until it is killed as well."""
        environment = {**os.environ, "LD_LIBRARY_PATH": str(FOREIGN)}
        command = [str(FOREIGN / "stress"), *LOAD, "--temp-path", str(self.place)]
        with (self.place / "stress").open("wb") as said:
            return subprocess.Popen(command, env=environment, start_new_session=True, stdout=said, stderr=said)

    def begin(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A program in a group of its own, so that all of its processes die together."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environment, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=SECONDS)

    def client(self, which: str, number: int) -> list[str]:
        got, url = str(self.place / f"got{number}"), f"http://127.0.0.1:{PORT}/file"
        return {
            "curl": ["curl", "-sS", "--fail", "-o", got, url],
            "wget": ["wget", "-q", "--tries=1", "-O", got, url],
            "iperf3": ["iperf3", "-c", "127.0.0.1", "-p", str(PORT), "-n", str(SIZE), *self.rng.choice(([], ["-R"]))],
        }[which]

    def right(self, which: str, number: int, content: bytes, client: subprocess.Popen[bytes], said: bytes) -> None:
        """What a client got that nobody killed."""
        assert client.returncode == 0, f"{which}: status {client.returncode}: {said.decode()[-600:]}"
        if which != "iperf3":
            same((self.place / f"got{number}").read_bytes(), content, which)

    def whole(self, which: str, content: bytes) -> None:
        """A client that is left alone; iperf3's server is busy until it has seen that its last one is gone."""
        until = time.monotonic() + 20 * PATIENCE
        while True:
            client = self.begin(self.client(which, 0))
            said = b"".join(client.communicate(timeout=SECONDS))
            if b"server is busy" not in said or time.monotonic() > until:
                return self.right(which, 0, content, client, said)
            time.sleep(0.2)

    def one(self, which: str, victim: str, content: bytes) -> None:
        """A server and its clients, of which half, or the server, is killed at some moment, or nobody."""
        command = ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(PORT)] if which == "iperf3" else self.nginx(PORT)
        server = self.begin(command)
        try:
            listens(command[0], PORT)
            clients = [self.begin(self.client(which, n)) for n in range(1 if which == "iperf3" else AT_ONCE)]
            time.sleep(self.rng.random())
            victims = {"client": clients[: -(-len(clients) // 2)], "server": [server], "nobody": []}[victim]
            for process in victims:
                self.kill(process)
            for number, client in enumerate(clients):
                if client not in victims:
                    said = b"".join(client.communicate(timeout=SECONDS))  # it ends by itself
                    if victim != "server" or not client.returncode:
                        self.right(which, number, content, client, said)
            if victim == "client":
                self.whole(which, content)
        finally:
            if server.poll() is None:
                self.kill(server)
        self.became[f"{which}, {victim} killed"] += 1

    def nothing_is_left(self) -> None:
        eventually(f"sockets stay: {sockets(PORT)}", lambda: not sockets(PORT))
        eventually("sockets stay that nobody has", lambda: not orphans())
        eventually("something keeps the module", lambda: not users("so_crypt"))
        more = {driver: count for driver, count in references().items() if count > self.was.get(driver, 1)}
        self.assertEqual(more, {}, "ciphers stay in use")

    def test_killed_at_any_moment(self) -> None:
        content = self.rng.randbytes(SIZE)
        (self.place / "www").mkdir()
        (self.place / "www" / "file").write_bytes(content)
        load, until = self.stressed(), time.monotonic() + STRESSED_SECONDS
        rounds = [(which, victim) for which in ("curl", "wget", "iperf3") for victim in ("client", "server", "nobody")]
        wrong: list[str] = []
        try:
            while time.monotonic() < until:
                for which, victim in self.rng.sample(rounds, len(rounds)):
                    self.assertIsNone(load.poll(), (self.place / "stress").read_text()[-500:])
                    try:
                        self.one(which, victim, content)
                    except AssertionError as error:
                        wrong.append(f"{which}, {victim} killed: {error}")
        finally:
            self.kill(load)
        print(f"{sum(self.became.values())} rounds, {self.made} sockets: {dict(sorted(self.became.items()))}")
        self.assertEqual(wrong, [], "whoever was left alone got something else")
        self.nothing_is_left()


class Many(WithPreload):
    def test_thousands_of_connections_leave_nothing(self) -> None:
        """Sockets that wait for stragglers would be memory, too: none does meanwhile."""
        most = Path("/proc/sys/net/ipv4/tcp_max_tw_buckets")
        self.addCleanup(most.write_text, most.read_text())
        most.write_text("0")
        command = self.nginx(PORT)
        (self.place / "www" / "file").write_bytes(b"a page\n" * 100)
        self.serve(command, PORT)

        def some(count: int) -> None:
            before = self.made
            url = f"http://127.0.0.1:{PORT}/file?[1-{count}]"
            self.run_it(
                *("curl", "-sS", "--fail", "--parallel", "--parallel-max", str(AT_ONCE), "-H", "Connection: close"),
                *("-o", "/dev/null", url),
            )
            self.assertEqual(self.made - before, 2 * count, "each has both of its ends")

        some(CONNECTIONS // 4)  # what the kernel and nginx keep for good
        # What leaks grows every time; what the kernel merely keeps for a while does not.
        for _ in range(3):
            before = memory_kb()
            for _ in range(10):
                some(CONNECTIONS // 10)
            eventually("sockets stay", lambda: not sockets(PORT) and not orphans())
            grown = [b - a for a, b in zip(before, memory_kb(), strict=True)]
            said = f"used {grown[0]:+} kB, slab {grown[1]:+} kB, TCP's pages {grown[2]:+}"
            print(f"{CONNECTIONS} connections: {said}")
            if grown[0] < LEFT_KB[0] and grown[1] < LEFT_KB[1] and grown[2] < 300:
                return
        self.fail(f"it grows with every {CONNECTIONS} connections, in the last ones: {said}")
