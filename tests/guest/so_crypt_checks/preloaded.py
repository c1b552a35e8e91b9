"""Programs of others at both ends, loaded with a library that makes every TCP connection of theirs one of so_crypt
(``tests/guest/preload``)."""

from __future__ import annotations

import filecmp
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..checking import eventually, same
from .common import PLAIN, Case
from .foreign import FOREIGN, SECONDS


def listens(program: str, port: int) -> None:
    """Wait until it does."""
    listening = re.compile(rf"^ *\d+: \w+:{port:04X} \w+:0000 0A", re.MULTILINE)
    eventually(f"{program} does not listen", lambda: bool(listening.search(Path("/proc/net/tcp").read_text())))


class WithPreload(Case):
    """What runs programs with that library."""

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.addCleanup(self.folder.cleanup)
        self.place = Path(self.folder.name)
        library = FOREIGN / "so_crypt_preload"
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "SO_CRYPT_COUNT": str(self.place / "count")}

    @property
    def made(self) -> int:
        """Sockets of so_crypt so far."""
        return (self.place / "count").stat().st_size if (self.place / "count").exists() else 0

    def serve(self, command: Sequence[str], port: int) -> None:
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def end() -> None:
            process.terminate()
            process.wait(SECONDS)

        self.addCleanup(end)

        listens(command[0], port)

    def run_it(self, *command: str) -> bytes:
        done = subprocess.run(command, env=self.environment, capture_output=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout.decode()[-300:]}{done.stderr.decode()[-500:]}"
        return done.stdout

    def nginx(self, port: int, *servers: str) -> list[str]:
        """The command of one that serves ``www`` on a port; ``servers``: more of its configuration."""
        (self.place / "www").mkdir(exist_ok=True)
        self.place.chmod(0o755)
        (self.place / "nginx.conf").write_text(f"""
            user root; worker_processes 2; pid {self.place}/pid; error_log {self.place}/log; daemon off;
            events {{ }}
            http {{
                access_log off; sendfile on; client_body_temp_path {self.place}/a; proxy_temp_path {self.place}/b;
                fastcgi_temp_path {self.place}/c; uwsgi_temp_path {self.place}/d; scgi_temp_path {self.place}/e;
                server {{ listen 127.0.0.1:{port}; root {self.place}/www; }}
                {" ".join(servers)}
            }}""")
        return ["nginx", "-c", str(self.place / "nginx.conf")]


class Preloaded(WithPreload):
    """Both ends are programs of others, whose every connection is one of so_crypt."""

    def test_iperf3(self) -> None:
        """Many connections, in both directions, with small windows and buffers; control messages go the same way."""
        self.serve(["iperf3", "-s", "-B", "127.0.0.1", "-p", "5999"], 5999)
        usual = ["iperf3", "-c", "127.0.0.1", "-p", "5999", "-t", "1", "-J"]
        for more, streams in (
            (["-P", "4"], 4),
            (["--bidir", "-P", "2"], 4),
            (["-R", "-P", "2", "-w", "8K", "-l", "777"], 2),
            (["-Z", "-P", "2"], 2),
            (["-R", "-Z"], 1),
            (["-n", "100K", "-l", "1"], 1),
        ):
            before, words = self.made, [word for word in usual if word not in (("-t", "1") if "-n" in more else ())]
            self.run_it(*words, *more)
            self.assertEqual(self.made - before, 2 * (streams + 1), f"{more}: each stream and the control connection")

    def test_web_servers_and_clients(self) -> None:
        """nginx before nginx, by epoll's edges; curl with many files at once, and wget."""
        rng = random.Random(83)
        files = {f"{n}": rng.randbytes(rng.choice((1, 1000, 100_000, 700_000))) for n in range(24)}
        longest = max(files, key=lambda name: len(files[name]))
        before_it = "server { listen 127.0.0.1:5997; location / { proxy_pass http://127.0.0.1:5998; } }"
        command = self.nginx(5998, "proxy_buffering off;", before_it)
        for name, content in files.items():
            (self.place / "www" / name).write_bytes(content)
        self.serve(command, 5997)
        got = self.place / "got"
        for port in (5998, 5997):
            before, urls = (
                self.made,
                [word for name in files for word in ("-o", str(got / name), f"http://127.0.0.1:{port}/{name}")],
            )
            self.run_it("curl", "-sS", "--fail", "--create-dirs", "--parallel", "--parallel-max", "8", *urls)
            self.assertGreaterEqual(self.made - before, 2, "no socket of so_crypt")
            different = filecmp.cmpfiles(self.place / "www", got, list(files), shallow=False)[1:]
            self.assertEqual(different, ([], []))
            for name in list(files)[:6]:
                whole = self.run_it("wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/{name}")
                same(whole, files[name], "wget")
            part = self.run_it("curl", "-sS", "-r", "1-", "--limit-rate", "3M", f"http://127.0.0.1:{port}/{longest}")
            same(part, files[longest][1:], "a part")
        clear = subprocess.run(["curl", "-sS", "-m", "3", "http://127.0.0.1:5998/0"], capture_output=True, check=False)
        self.assertNotEqual(clear.returncode, 0, "a client in clear is understood")
        self.assertEqual((self.place / "log").read_text().count("[alert]"), 0)

    def test_netcat_both_ways(self) -> None:
        nc = str(FOREIGN / "netcat")
        for number in range(4):
            port, sent, back = 5980 + number, self.place / "sent", self.place / "back"
            sent.write_bytes(PLAIN[:700_000])
            with sent.open("rb") as file, back.open("wb") as out:
                server = subprocess.Popen(
                    [nc, "-l", "-N", "127.0.0.1", str(port)], env=self.environment, stdin=file, stdout=out
                )
                listens("nc", port)
                client = subprocess.run(
                    [nc, "-N", "127.0.0.1", str(port)],
                    env=self.environment, input=PLAIN[1000:800_000], capture_output=True, timeout=SECONDS, check=False,
                )  # fmt: skip
                self.assertEqual((client.returncode, server.wait(SECONDS)), (0, 0), client.stderr)
            same(client.stdout, PLAIN[:700_000], "to the client")
            same(back.read_bytes(), PLAIN[1000:800_000], "to the server")
            self.assertEqual(self.made, 2 * (number + 1))
