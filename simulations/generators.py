"""Our generator of load beside h2load and wrk: the same server, the same connections, in turns.

``python -m simulations.generators --testbed lab`` deploys ``http`` and ``https`` and asks each over kept connections in
a closed loop, by all in each of many blocks. Its table has the bytes of answers that came each second, as each program
tells them, and their ratio to our generator's with its 95 % interval. Where a link at ``--link-rate`` is what limits,
all must say the same; where it is the receiver, they cannot: it spends on each what that one costs. ``ours-8k`` is our
generator made to read 8 KiB at once, as the others do, which tells how much of a difference is that. For a lab Debian's
packages of the others are fetched and unpacked, for nothing else; on hosts of yours they must be installed.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness import paths
from harness.api.bench import Bench, Payload
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.ciphers.table import CIPHERS
from harness.cli.console import Reporter
from harness.events import Events
from harness.load import generator
from harness.load.generator import Asked
from harness.measuring import link
from harness.measuring.opened import OpenTestbed, open_testbed
from harness.units import parse_rate
from harness.verdicts import stats
from hosts import testbed
from hosts.debian.archive import Archive
from hosts.errors import Refusal
from hosts.lab import best
from hosts.programs import Program
from hosts.testbed import LabTestbed, Settled
from simulations.statistics import table

OURS, LESS, OTHERS = "ours", "ours-8k", ("h2load", "wrk")
PACKAGES = ("nghttp2-client", "wrk")
LESS_BYTES = 8192
"""That wrk reads at once (RECVBUF of its wrk.h)."""
RATES = {"h2load": r"finished in [^,]*, [^,]*, ([\d.]+)([KMG]?)B/s", "wrk": r"Transfer/sec:\s*([\d.]+)([KMG]?)B"}
"""What they say of bytes a second, in units of 1024."""
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
WRONG = {"h2load": r", [1-9]\d* (?:failed|errored|timeout)", "wrk": r"Socket errors|Non-2xx"}
Take = Callable[[], float]


def main() -> None:
    """Measure, and print a table for each path and number of connections."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--testbed", default="lab")
    parser.add_argument("--kb", type=int, default=100, help="of a file")
    parser.add_argument("--link-rate", type=parse_rate, help="as 50mbit; without it the link is as it is")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2, help="of each in a block")
    asked = parser.parse_args()
    spec = best.settled(testbed.load(asked.testbed), print)
    with ExitStack() as stack:
        opened = stack.enter_context(open_testbed(spec, Events([Reporter()])))
        command = have_others(opened, spec)
        bench = opened.bench("generators", stack)
        payload = opened.payload(asked.kb * 1000, 1)
        if asked.link_rate:
            link.shape(bench, asked.link_rate)
        for name in ("http", "https"):
            deployed = deploy(bench, name, max(asked.connections))
            for connections in asked.connections:
                load = Asked(connections, "kept", asked.seconds)
                ways = ways_of(bench, command, deployed, payload, load)
                with opened.measuring():
                    blocks = [{way: take() for way, take in ways.items()} for _ in range(asked.blocks + 1)][1:]
                report(f"{name}, {connections} connections, {len(blocks)} blocks", blocks)


def have_others(opened: OpenTestbed, spec: Settled) -> list[str]:
    """The other generators on the receiver; what stands before their names there. Raises Refusal."""
    image = opened.carried.image
    if image is None or not isinstance(spec, LabTestbed):
        opened.receiver.check(["which", *OTHERS])
        return []
    opened.receiver.put(packed(spec.release, image), "others.tar")
    opened.receiver.check(["tar", "-xf", "others.tar"], cwd=opened.receiver.directory)
    where = f"{opened.receiver.directory}/others"
    return ["env", f"LD_LIBRARY_PATH={where}/lib", f"PATH={where}/bin"]


def packed(release: str, image: Path) -> bytes:
    """Both programs and those libraries of theirs that an image lacks, as a tar file with ``others/{bin,lib}``."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=content, mode="w") as archive:
        apt, tree = Archive(release, Path(folder) / "apt", " and ".join(OTHERS)), Path(folder) / "tree"
        (apt.directory / "status").write_bytes((image / "var/lib/dpkg/status").read_bytes())
        apt.run("apt-get", "update")
        apt.run("apt-get", "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
        for package in (apt.directory / "var/cache/apt/archives").glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True, timeout=60)
        for name in OTHERS:
            archive.add(tree / "usr/bin" / name, f"others/bin/{name}")
        for library in tree.glob("usr/lib/*-linux-gnu/*.so.*"):
            archive.add(library, f"others/lib/{library.name}")
    return content.getvalue()


def deploy(bench: Bench, name: str, most: int) -> Deployed:
    """A path for so many connections. Raises Refusal."""
    path = paths.discover()[name]
    cipher = None if path.clear else CIPHERS["aes128gcm"]
    return path.deploy(bench, Parameters(cipher, tls="1.3", connection="kept", at_once=most))


def ways_of(bench: Bench, command: list[str], deployed: Deployed, payload: Payload, load: Asked) -> dict[str, Take]:
    """What asks for the seconds of a load, and tells the bytes of answers that came each second, by name."""
    argv, url = generator.argv(bench, deployed, payload, load), deployed.url(payload.name)
    less = bench.program(bench.receiver, f"{generator.NAME}-8k", reading_less)
    seconds, connections = f"{load.seconds:g}", str(load.connections)
    others = {
        "h2load": ["h2load", "--h1", "-t", "1", "-c", connections, "-D", seconds, "--warm-up-time=1", url],
        "wrk": ["wrk", "-t", "1", "-c", connections, "-d", f"{seconds}s", url],
    }

    def ours(program: str) -> float:
        said = bench.receiver.check([program, *argv[1:]], timeout=load.longest_seconds)
        told = generator.parse(said.splitlines()[-1])
        if told.line["errors"]:
            raise Refusal(f"{OURS}: {told.why}")
        window = told.load(0)
        return window.window_bytes / window.window_seconds

    def other(name: str) -> float:
        said = bench.receiver.check([*command, *others[name]], timeout=load.longest_seconds)
        rate = re.search(RATES[name], said)
        if not rate or re.search(WRONG[name], said):
            raise Refusal(f"{name} said: {said}")
        return float(rate[1]) * UNITS[rate[2]]

    ways: dict[str, Take] = {OURS: partial(ours, argv[0]), LESS: partial(ours, less)}
    return ways | {name: partial(other, name) for name in others}


def reading_less() -> Program:
    """Our generator, which reads ``LESS_BYTES`` at once."""
    usual = generator.program()
    return replace(usual, name=f"{usual.name}-8k", command=(*usual.command, f"-DREAD_ROOM={LESS_BYTES}"))


def report(title: str, blocks: Sequence[dict[str, float]]) -> None:
    """Print a table."""
    rows = {}
    for name in (OURS, LESS, *OTHERS):
        found = stats.mean(stats.Series(tuple(math.log(block[name] / block[OURS]) for block in blocks)))
        ratio, low, high = (math.exp(found.mean + part * found.half(stats.ALPHA)) for part in (0, -1, 1))
        rate = statistics.median(block[name] for block in blocks)
        rows[name] = [f"{rate / 1e6:.1f}", f"{ratio:.3f} [{low:.3f}, {high:.3f}]"]
    table(title, ["MB/s", f"times {OURS}"], rows)


if __name__ == "__main__":
    main()
