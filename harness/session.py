"""A whole run, done piece by piece as its results are asked for: a suite's campaign runs when the first of its
cells is asked for, the others replay what it found. Nothing is booted before that."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import bed, judge, paths, plan
from harness.budget import Budget
from harness.campaign import Campaign
from harness.events import Event, Events, Note
from harness.paths import DataPath
from harness.profile import CryptoSuite, Profile, TransferSuite
from harness.raw import CryptoCampaign
from harness.record import Cell, Head, ProfileEntry, Sample, TestbedEntry, Writer, new_run_id
from hosts.errors import ConfigError, HarnessError
from hosts.facts import this_machine
from hosts.testbed import AnyTestbed


class Session:
    """One run of a profile on a testbed; a context manager that leaves hosts as they were and a finished record."""

    def __init__(self, profile: Profile, testbed: AnyTestbed, results: Path, events: Events) -> None:
        self.profile, self.testbed, self.results, self.events = profile, testbed, results, events
        self.paths = paths.discover()
        self.never = _never(profile, self.paths)
        clear = frozenset(name for name, path in self.paths.items() if path.clear)
        self.cells = {cell.id: cell for cell in plan.cells(profile, clear)}
        groups = sum(len(suite.sizes) for suite in profile.suites if isinstance(suite, TransferSuite))
        self._budget = Budget(profile.budget_seconds, groups)
        self._looks: dict[str, dict[str, int]] = {}
        self.wanted = set(self.cells)
        self.writer: Writer | None = None
        self._bed: bed.Bed | None = None
        self._stack = ExitStack()
        self._samples: dict[str, list[Sample]] = {}

    def select(self, cells: Iterable[str]) -> None:
        """Measure these cells only."""
        self.wanted = set(cells)

    def result(self, cell: str) -> tuple[Cell, list[Sample]]:
        """A cell and its samples; runs its suite's campaign if that was not done yet.

        Raises HarnessError when the testbed cannot be used, or a host was lost.
        """
        suite = self.cells[cell].suite
        if suite not in self._samples:
            self._run(suite)
        assert self.writer is not None  # noqa: S101 (the campaign wrote to it)
        found = next(c for c in self.writer.head.cells if c.id == cell)
        return found, [s for s in self._samples[suite] if s.cell == cell]

    @property
    def samples(self) -> list[Sample]:
        """All samples so far."""
        return [sample for some in self._samples.values() for sample in some]

    def _run(self, name: str) -> None:
        opened, writer = self._open()
        suite = next(s for s in self.profile.suites if s.name == name)
        campaign: Campaign | CryptoCampaign
        if isinstance(suite, CryptoSuite):
            campaign = CryptoCampaign(opened, self.profile, suite, writer, self.events)
        else:
            campaign = Campaign(
                opened,
                self.profile,
                suite,
                self.paths,
                writer,
                self.events,
                explain=not suite.again,
                budget=self._budget,
            )
        self._samples[name], self._looks[name] = campaign.samples, campaign.looks
        campaign.run([cell for cell in self.cells.values() if cell.suite == name and cell.id in self.wanted])

    def _open(self) -> tuple[bed.Bed, Writer]:
        if self.writer is None:
            head = Head(
                run_id=new_run_id(self.profile.name),
                profile=ProfileEntry(
                    name=self.profile.name, content=self.profile.content(), sha256=self.profile.sha256()
                ),
                testbed=TestbedEntry(
                    name=self.testbed.name,
                    kind=self.testbed.kind,
                    machine={} if self.testbed.kind == "hosts" else this_machine(),
                ),
                started=datetime.now(UTC),
                status="running",
                harness=harness_version(),
            )
            self.writer = Writer(self.results, head)
            self.events.subscribers.append(self._keep_notes)
            for reason in self.never:
                self.events(Note(reason))
        if self._bed is None:
            self._bed = self._stack.enter_context(
                bed.opened(self.testbed, self.events, self._builds(), self.profile.instructions == "masked")
            )
            self.writer.head.hosts = {
                "sender": self._bed.sender_facts.shown,
                "receiver": self._bed.receiver_facts.shown,
            }
            self.writer.write_head()
        return self._bed, self.writer

    def _builds(self) -> frozenset[str]:
        """Kernel modules of ours that the wanted cells need."""
        wanted = {self.cells[cell].path for cell in self.wanted} & self.paths.keys()
        return frozenset(name for path in wanted for name in self.paths[path].builds)

    def _keep_notes(self, event: Event) -> None:
        if isinstance(event, Note) and self.writer is not None:
            self.writer.head.notes.append(event.text)

    def close(self, error: BaseException | None = None) -> None:
        """Put the hosts back, then finish the record: ``complete``, or what ``error`` makes of it.

        Raises RecordError when the record cannot be written.
        """
        try:
            self._stack.__exit__(type(error) if error else None, error, None)
        except HarnessError as problem:
            error = error or problem
            self.events(Note(str(problem)))
        writer, self.writer = self.writer, None
        if writer is None:
            return
        self.finished = writer
        self._fill(writer, error)
        looks = {cell: count for some in self._looks.values() for cell, count in some.items()}
        # only now are all comparisons of the run known, and with them the level that its verdicts share
        writer.head.verdicts = judge.settled(writer.head.verdicts, self.samples, looks)
        with writer:
            if error is not None:
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                said = error.what if isinstance(error, HarnessError) else str(error)
                writer.finish("interrupted" if stopped else "failed", said or "stopped by a signal or Ctrl-C")

    finished: Writer | None = None

    def _fill(self, writer: Writer, error: BaseException | None) -> None:
        """Cells that were never reached are rows too."""
        known = {cell.id for cell in writer.head.cells}
        why = error.what if isinstance(error, HarnessError) else None
        reason = f"the run ended before it{f': {why}' if why else ''}"
        for cell in self.cells.values():
            if cell.id in self.wanted and cell.id not in known:
                writer.head.cells.append(cell.row("failed", reason))


def _never(profile: Profile, known: dict[str, DataPath]) -> list[str]:
    """What a profile names that can run on no host, a line each; found before anything boots.

    Raises ConfigError where a path is not known, or a suite has nothing left to compare with.
    """
    found = []
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            continue
        where = f"the profile {profile.name}, suite {suite.name}"
        if unknown := sorted(set(suite.paths) - set(known)):
            raise ConfigError(
                f"{where}: no data path is called {', '.join(unknown)}",
                next_step=f"name some of: {', '.join(sorted(known))}",
            )
        for name in suite.paths:
            setup = replace(suite.setup, cipher=None) if known[name].clear else suite.setup
            if reason := known[name].impossible(setup):
                if name == suite.baseline:
                    raise ConfigError(
                        f"{where}: its baseline {name} can never run with {suite.cipher}: {reason}",
                        next_step="choose another baseline or cipher",
                    )
                found.append(f"{suite.name}: {name} can never run with {suite.cipher}: {reason}")
    return found


def harness_version() -> str:
    """The harness's version, with the commit where it runs from a checkout."""
    try:
        known = version("pathproof")
    except PackageNotFoundError:
        known = "unknown"
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{known} ({done.stdout.strip()})" if done.returncode == 0 and done.stdout.strip() else known
