"""Runs on hosts that are open already, for tests: small suites, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import paths, plan, receiving, record, records
from harness.api.bench import Bench
from harness.api.path import Deployed
from harness.events import Event, Events
from harness.measuring.opened import Fresh, OpenTestbed
from harness.profile import CryptoSuite, Profile
from harness.record import Cell, Run
from harness.records import Writer
from harness.run import transfers
from harness.run.kernel_crypto import KernelCrypto
from harness.run.stage import StageRun
from harness.run.suite import Kind, Outcomes
from harness.run.transfers import Transfers
from harness.samples import Sample
from harness.verdicts import judging
from hosts.remote.host import RemoteHost

PATHS = receiving.beside(paths.discover())
CLEAR = frozenset(name for name, path in PATHS.items() if path.clear)
MB = 10**6
Sabotage = transfers.Sabotage


def suite(*names: str, cipher: str, **more: Any) -> dict[str, Any]:
    """A suite over a link as it is; the first path is the baseline."""
    return {
        "name": "small",
        "question": "schemes",
        "cipher": cipher,
        "link_rate": "unshaped",
        "baseline": names[0],
        "paths": names,
        "sizes": {"1MB": {"blocks": 2}},
        **more,
    }


def profile_of(*suites: dict[str, Any], **more: Any) -> Profile:
    """A profile of these suites, in one round."""
    given = {"name": "test", "description": "a test", "rounds": 1, "suites": suites}
    return Profile.model_validate(given | more)


def run(
    opened: OpenTestbed,
    profile: Profile,
    results: Path,
    sabotage: Sabotage | None = None,
    *,
    explain: bool = False,
    listener: Callable[[Event], None] | None = None,
) -> Run:
    """A whole profile on an open testbed, which stands for that of every round; the record read back.

    ``sabotage`` as of the kinds of suite. ``listener`` hears of every event in the middle of the run.
    Prices and crossings take longer than all else, and are left out unless the test is about them (``explain``).
    """
    head = record.Head(
        run_id=records.new_run_id("test"),
        profile=record.ProfileEntry(name="test", content=profile.content(), sha256=profile.sha256()),
        testbed=record.TestbedEntry(name="lab", kind="uml"),
        started=datetime.now(UTC),
        status="running",
        harness="test",
    )
    events = Events([listener] if listener else [])
    with records.Writer(results, head) as writer:
        kinds: dict[str, Kind] = {}
        for one in profile.suites:
            if isinstance(one, CryptoSuite):
                hook = (lambda bench: sabotage(bench, {})) if sabotage else None
                kinds[one.name] = KernelCrypto(profile, one, Outcomes(writer), events, hook)
            else:
                outcomes = Outcomes(writer)
                kinds[one.name] = Transfers(profile, one, PATHS, outcomes, events, explain=explain, sabotage=sabotage)
        run_stages(profile, kinds, writer, lambda: nullcontext(opened), events)
    return records.read(writer.path)


def run_stages(profile: Profile, kinds: Mapping[str, Kind], writer: Writer, fresh: Fresh, events: Events) -> None:
    """All stages of a profile one after the other; its verdicts are in the record, whatever ends it."""
    try:
        for stage in plan.stages(profile, plan.cells(profile, CLEAR)):
            StageRun(stage, kinds, fresh, profile, events).run()
    finally:
        rows = [row for kind in kinds.values() for row in kind.verdicts()]
        samples = [sample for kind in kinds.values() for sample in kind.outcomes.samples]
        writer.head.verdicts = judging.settled(rows, samples)
        writer.write_head()


def by_path(done: Run) -> dict[str, Cell]:
    """The cells of a run with one cell for each path."""
    found = {cell.path: cell for cell in done.head.cells}
    assert len(found) == len(done.head.cells)
    return found


def samples_of(done: Run, path: str) -> list[Sample]:
    """The samples of a path."""
    return [sample for sample in done.samples if sample.cell.split("/")[1] == path]


def counting(samples: Iterable[Sample]) -> int:
    """How many of these are no warm-up, of which there are as many as it takes to know how long a block lasts."""
    return sum(not sample.warmup for sample in samples)


def renew_associations(host: RemoteHost, protection: Callable[[list[str]], str]) -> int:
    """All SAs of a host go and others come in their place, so that traffic flows; how many they are.

    ``protection``: what an SA is to have, from the words that `ip` says of the old one.
    """
    listed = host.check(["ip", "xfrm", "state", "list"])
    host.check(["ip", "xfrm", "state", "deleteall"])
    lines = []
    for text in listed.split("\nsrc "):
        words = text.removeprefix("src ").split()
        value = {name: words[words.index(name) + 1] for name in ("dst", "spi", "reqid")}
        lines.append(
            f"xfrm state add src {words[0]} dst {value['dst']} proto esp spi {value['spi']} "
            f"reqid {value['reqid']} mode transport {protection(words)}"
        )
    host.check(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    return len(lines)


def reconfigured(path: str, edit: str) -> Sabotage:
    """nginx for a path reads a configuration that was edited by sed behind the harness's back."""

    def act(bench: Bench, _deployed: dict[str, Deployed]) -> None:
        run = f"{bench.directory}/{path}"
        script = (
            f"old=$(pgrep -P $(cat {run}/nginx.pid)); cp {run}/nginx.conf {run}/before; "
            f"sed -i '{edit}' {run}/nginx.conf; cmp -s {run}/nginx.conf {run}/before && exit 9; "
            f"kill -HUP $(cat {run}/nginx.pid); "
            "for i in $(seq 100); do kill -0 $old 2>/dev/null || exit 0; sleep 0.1; done; exit 8"
        )
        bench.sender.check(["sh", "-c", script])

    return act


WITHOUT_KTLS = reconfigured("ktls", "/Options KTLS/d")
