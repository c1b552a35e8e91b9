"""Minutes of measuring whose answer is known: a path against its twin, dearer by a known share, and against itself.

Each is a whole run of one question by the harness itself, boots, rounds and looks included. What they resolve is told
by :mod:`simulations.resolution`.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from harness import paths, records
from harness.cli.console import Reporter
from harness.events import Events
from harness.profile import Profile
from harness.record import Run
from harness.run.session import Session
from harness.servers.datapath import DEARER
from harness.verdicts import judging
from hosts import testbed
from hosts.testbed import AnyTestbed
from simulations.twins import Twin

Kind = Literal["dearer", "same"]
SUITE = "resolution"
ROUNDS, SECONDS, FEWEST = 8, 20.0, 20
"""Boots of a minute, its seconds within transfers and the fewest blocks: with boots and all else about a minute."""
MARGIN = 0.002
"""Far below what is planted: a difference of 1 % is never called the same."""


@dataclass(frozen=True)
class Minute:
    """One run. ``rounds``: of each boot its blocks, each with time and busy time of the path, the same of its twin,
    what the twin spent on purpose, how long a host was kept from its processor (the worse one; None: not known), and
    the block's own time: whole 0.1 µs. ``said``: the run's own verdicts by metric."""

    kind: Kind
    path: str
    per_mille: int
    started: str
    seconds: float
    machine: str
    harness: str
    said: dict[str, str]
    rounds: list[list[list[int | None]]]


def profile(path: str, twin: str, cipher: str, size: str, rounds: int, seconds: float) -> Profile:
    """Two paths and nothing else."""
    span = {size: {"seconds": seconds, "blocks": FEWEST}}
    suite = {
        "name": SUITE,
        "question": "schemes",
        "cipher": cipher,
        "link_rate": "unshaped",
        "baseline": path,
        "paths": [path, twin],
        "sizes": span,
    }
    question = {"candidate": twin, "baseline": path, "suites": [SUITE], "sizes": span, "rounds": rounds}
    return Profile.model_validate(
        {
            "name": SUITE,
            "description": "a path and its twin",
            "margin": MARGIN,
            "question": question | {"precision": MARGIN},
            "suites": [suite],
        }
    )


def measure(spec: AnyTestbed, asked: argparse.Namespace, kind: Kind, events: Events) -> Minute:
    """One minute. Raises HarnessError; RuntimeError where a sample does not count."""
    path = paths.discover()[asked.path]
    twin = Twin(path, asked.per_mille if kind == "dearer" else 0)
    wanted = profile(path.name, twin.name, asked.cipher, asked.size, asked.rounds, asked.seconds)
    with TemporaryDirectory() as place:
        session = Session(wanted, spec, Path(place), events, twins={twin.name: twin}, explain=False)
        try:
            for cell in session.cells:
                session.result(cell)
        except BaseException as error:
            session.close(error)
            raise
        session.close()
        if session.finished is None:
            raise RuntimeError("nothing was measured")
        return read(records.read(session.finished.path), kind, asked.per_mille if kind == "dearer" else 0)


def read(run: Run, kind: Kind, per_mille: int) -> Minute:
    """What a run's record says of its question. Raises RuntimeError where a sample does not count."""
    base, twin = run.head.cells
    if any(not sample.valid for sample in run.samples):
        raise RuntimeError("; ".join({sample.reason or "" for sample in run.samples if not sample.valid}))
    counted, facts = run.counted(), {one.block: one for one in run.blocks}
    rounds: dict[int, list[list[int | None]]] = {}
    for block, (a, b) in judging.paired(counted[base.id], counted[twin.id], "seconds").items():
        times = (a.seconds, a.sender.cpu_seconds, b.seconds, b.sender.cpu_seconds)
        around = facts[block]
        known = [host.kept_ns for host in (around.sender, around.receiver) if host.kept_ns is not None]
        row = [*(round((value or math.nan) * 1e7) for value in times), round(int(b.witness.get(DEARER) or 0) / 100)]
        kept = round(max(known) / 100) if known else None
        rounds.setdefault(a.round, []).append([*row, kept, round(around.window_seconds * 1e7)])
    head = run.head
    finished = head.finished or head.started
    return Minute(
        kind,
        base.path,
        per_mille,
        head.started.isoformat(timespec="seconds"),
        round((finished - head.started).total_seconds(), 1),
        str((head.testbed.machine or {}).get("processor")),
        head.harness,
        {row.metric: row.verdict for row in head.verdicts},
        list(rounds.values()),
    )


def load(file: Path) -> list[Minute]:
    """The minutes of a file; none where there is no file yet."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Minute(**json.loads(line)) for line in lines]


def measure_all(asked: argparse.Namespace) -> None:
    """Minutes of both kinds in turns, until there are as many of each as asked for."""
    events, spec = Events(), testbed.load(asked.testbed)
    done = {kind: sum(minute.kind == kind for minute in load(asked.file)) for kind in ("dearer", "same")}
    with Reporter() as reporter:
        events.subscribers.append(reporter)
        while min(done.values()) < asked.minutes:
            kind: Kind = "dearer" if done["dearer"] <= done["same"] else "same"
            minute = measure(spec, asked, kind, events)
            with asked.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(minute), separators=(",", ":")) + "\n")
            done[kind] += 1
            print(f"{kind} {done[kind]}: {minute.seconds} s, {minute.said}", flush=True)
