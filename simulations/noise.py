"""Records noise: the same path as every side of a comparison, block after block, on a testbed.

``python -m simulations.noise FILE [--testbed lab] [--only '*1MB']`` writes the logarithms of elapsed and busy time,
each less its group's mean, in 1/10000: nothing in the file says what was fast, where, or on which machine. About ten
minutes on a machine that does nothing else. What statistics.py resamples was made with it (see data/README.md).
"""

from __future__ import annotations

import argparse
import json
import math
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from harness import paths, plan
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.cli.console import Reporter
from harness.events import Events
from harness.measuring import link, sampling
from harness.measuring.opened import OpenTestbed, Wanted, open_testbed
from harness.measuring.proof import Batch
from harness.samples import Sample
from harness.units import parse_size
from hosts import testbed
from hosts.lab import best

SIDES = 4
BLOCKS = 40
SEED = 2005
UNIT = 1e-4
GBIT = 10**9


@dataclass(frozen=True)
class Group:
    """One path that is compared with itself; ``rate`` in bit/s, None for a link that is not shaped."""

    path: str
    cipher: str
    rate: int | None
    sizes: tuple[str, ...]


GROUPS = (
    Group("http", "3des", GBIT, ("1MB", "10MB")),
    Group("https", "3des", GBIT, ("1MB", "10MB")),
    Group("ipsec", "3des", GBIT, ("1MB", "10MB")),
    Group("afalg-copy", "3des", None, ("1MB", "10MB")),
    Group("so-crypt", "3des", None, ("1MB", "10MB")),
    Group("afalg-splice", "aes128cbc", GBIT, ("1MB", "10MB")),
    Group("so-crypt", "null", None, ("1MB", "10MB")),
    Group("plain", "null", None, ("1MB", "10MB")),
)


def record(opened: OpenTestbed, events: Events, group: Group, size: str, number: int) -> dict[str, object]:
    """Samples of one path as SIDES sides in BLOCKS blocks, after a block of warm-up. Raises HarnessError."""
    path, cipher = paths.discover()[group.path], CIPHERS[group.cipher]
    with ExitStack() as stack:
        bench = opened.bench(f"noise-{number}", stack)
        payload = opened.payload(parse_size(size), SEED)
        stack.enter_context(opened.measuring())
        link.prepare(bench, group.rate, opened.may_shape, opened.links)
        deployed = path.deploy(bench, Parameters(None if path.clear else cipher))
        taken: list[list[Sample | None]] = []
        for block, order in enumerate(plan.orders(SIDES, BLOCKS + 1, SEED)):
            events.progress(f"{group.path} {group.cipher} {size}: block {block} of {BLOCKS}")
            row: list[Sample | None] = [None] * SIDES
            samples = sampling.take(opened, [("noise", deployed)] * SIDES, payload, block, block == 0, Batch())
            for index, side in enumerate(order):
                row[side] = samples[index]
            taken.append(row)
    valid = [[sample for sample in row if sample and sample.valid] for row in taken[1:]]
    whole = [row for row in valid if len(row) == SIDES]
    shown = "none" if path.clear else group.cipher
    return {
        "group": f"{group.path} {shown} {'1gbit' if group.rate else 'unshaped'} {size}",
        "seconds": residuals([[sample.seconds for sample in row] for row in whole]),
        "cpu_seconds": residuals([[sample.sender.cpu_seconds for sample in row] for row in whole]),
    }


def residuals(rows: list[list[float | None]]) -> list[list[int]]:
    """Logarithms less the mean of all of them, in UNITs, a row a block. Raises ValueError where a time is missing."""
    if any(not value for row in rows for value in row):
        raise ValueError("a sample has no time")
    logs = [[math.log(value) for value in row if value] for row in rows]
    mean = math.fsum(value for row in logs for value in row) / sum(map(len, logs))
    return [[round((value - mean) / UNIT) for value in row] for row in logs]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--testbed", default="lab")
    parser.add_argument("--only", default="*", metavar="GLOB", help="groups as 'path cipher size'")
    wanted = parser.parse_args()
    events = Events()
    with Reporter() as reporter:
        events.subscribers.append(reporter)
        spec = best.settled(testbed.load(wanted.testbed), print)
        with open_testbed(spec, events, Wanted(frozenset({"so_crypt"}))) as opened:
            work = [
                (group, size)
                for group in GROUPS
                for size in group.sizes
                if fnmatch(f"{group.path} {group.cipher} {size}", wanted.only)
            ]
            found = [record(opened, events, group, size, number) for number, (group, size) in enumerate(work)]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in found)
    wanted.file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
