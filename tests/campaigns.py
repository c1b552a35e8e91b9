"""Campaigns on hosts that are open already, for tests: small suites, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import paths, plan, record
from harness.bed import Bed
from harness.bench import Bench
from harness.campaign import Campaign
from harness.events import Event, Events
from harness.paths import Deployed
from harness.profile import CryptoSuite, Profile
from harness.raw import CryptoCampaign
from harness.record import Cell, Run, Sample
from hosts.remote import RemoteHost

PATHS = paths.discover()
CLEAR = frozenset(name for name, path in PATHS.items() if path.clear)
MB = 10**6

Sabotage = Callable[[Bench, dict[str, Deployed]], None]


def suite(*names: str, cipher: str, **more: Any) -> dict[str, Any]:
    """A suite over a link as it is; the first path is the baseline."""
    return {
        "name": "small",
        "question": "schemes",
        "cipher": cipher,
        "link_rate": "unshaped",
        "baseline": names[0],
        "paths": names,
        "sizes": {"1MB": 2},
        **more,
    }


def profile_of(*suites: dict[str, Any], **more: Any) -> Profile:
    """A profile of these suites."""
    return Profile.model_validate({"name": "test", "description": "a test", "suites": suites, **more})


def run(
    bed: Bed,
    profile: Profile,
    results: Path,
    sabotage: Sabotage | None = None,
    *,
    explain: bool = False,
    listener: Callable[[Event], None] | None = None,
) -> Run:
    """All suites of a profile on an open bed; the record read back. ``sabotage`` as of the campaigns.

    ``listener`` hears of every event in the middle of the run.
    Prices and crossings take longer than all else, and are left out unless the test is about them (``explain``).
    """
    head = record.Head(
        run_id=record.new_run_id("test"),
        profile=record.ProfileEntry(name="test", content=profile.content(), sha256=profile.sha256()),
        testbed=record.TestbedEntry(name="lab", kind="uml"),
        started=datetime.now(UTC),
        status="running",
        harness="test",
    )
    cells, events = plan.cells(profile, CLEAR), Events([listener] if listener else [])
    with record.Writer(results, head) as writer:
        for one in profile.suites:
            mine = [cell for cell in cells if cell.suite == one.name]
            if isinstance(one, CryptoSuite):
                hook = (lambda bench: sabotage(bench, {})) if sabotage else None
                CryptoCampaign(bed, profile, one, writer, events, hook).run(mine)
            else:
                Campaign(bed, profile, one, PATHS, writer, events, sabotage, explain).run(mine)
    return record.read(writer.path)


def by_path(done: Run) -> dict[str, Cell]:
    """The cells of a run with one cell for each path."""
    found = {cell.path: cell for cell in done.head.cells}
    assert len(found) == len(done.head.cells)
    return found


def samples_of(done: Run, path: str) -> list[Sample]:
    """The samples of a path."""
    return [sample for sample in done.samples if sample.cell.split("/")[1] == path]


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
