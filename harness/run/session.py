"""A whole run, done piece by piece as its results are asked for: a stage runs when the first of its cells is asked for,
the others replay what it found. Nothing is booted before that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import paths, plan, receiving
from harness.api.path import DataPath
from harness.events import Chosen, Event, Events, Note
from harness.measuring.opened import Fresh, OpenTestbed, Wanted, testbeds
from harness.plan import Stage
from harness.profile import CryptoSuite, Profile, TransferSuite
from harness.record import Cell, Head, ProfileEntry, QuestionEntry, TestbedEntry, Verdict
from harness.records import Writer, new_run_id
from harness.run import answers, settling
from harness.run.kernel_crypto import KernelCrypto
from harness.run.stage import StageRun
from harness.run.suite import Kind, Outcomes
from harness.run.transfers import Transfers
from harness.samples import Sample
from harness.verdicts import disturbed, judging, narrowing, stats
from hosts.errors import ConfigError, HarnessError
from hosts.facts import Facts, this_machine
from hosts.lab import kinds
from hosts.onhost.agent import fetch
from hosts.testbed import AnyTestbed, AutoTestbed, HostsTestbed, LabTestbed, Settled

ROOT = Path(__file__).parents[2]


class Session:
    """One run of a profile on a testbed; ``close`` leaves hosts as they were and a finished record.

    ``twins``: data paths that only the caller knows, by name. ``explain``: prices and crossings are measured too.
    ``run_id``: what the record is called, by default a new name.
    """

    def __init__(
        self,
        profile: Profile,
        testbed: AnyTestbed,
        results: Path,
        events: Events,
        *,
        twins: Mapping[str, DataPath] | None = None,
        explain: bool = True,
        run_id: str | None = None,
    ) -> None:
        self.profile, self.testbed, self.results, self.events = profile, testbed, results, events
        self.run_id = run_id
        self.paths = receiving.beside(paths.discover() | dict(twins or {}))
        self.explain = explain
        self.never = _never(profile, self.paths)
        clear = frozenset(name for name, path in self.paths.items() if path.clear)
        self.cells = {cell.id: cell for cell in plan.cells(profile, clear)}
        self.wanted = set(self.cells)
        self.writer: Writer | None = None
        self._fresh: Fresh | None = None
        self._stack = ExitStack()
        self._outcomes: dict[str, Outcomes] = {}
        self._kinds: dict[str, Kind] = {}
        self._run_stages: list[str] = []
        self._chosen = ""
        self.finished: Writer | None = None

    def select(self, cells: Iterable[str]) -> None:
        """Measure these cells only."""
        self.wanted = set(cells)

    @property
    def stages(self) -> list[Stage]:
        """What the wanted cells make of the profile: its question, then the rest."""
        return plan.stages(self.profile, [cell for cell in self.cells.values() if cell.id in self.wanted])

    def result(self, cell: str) -> tuple[Cell, list[Sample]]:
        """A cell and its samples; runs its stages as far as that was not done yet.

        Raises HarnessError when the testbed cannot be used, or a host was lost.
        """
        for stage in self.stages:
            if self.cells[cell] in stage.cells and stage.name not in self._run_stages:
                self._run_stages.append(stage.name)
                self._run(stage)
        outcomes = self._outcomes[self.cells[cell].suite]
        return outcomes.cells[cell], [sample for sample in outcomes.samples if sample.cell == cell]

    @property
    def unreached(self) -> bool:
        """Whether some of the wanted cells were asked for by nobody yet."""
        return any(stage.name not in self._run_stages for stage in self.stages)

    @property
    def samples(self) -> list[Sample]:
        """All samples so far."""
        return [sample for outcomes in self._outcomes.values() for sample in outcomes.samples]

    def _run(self, stage: Stage) -> None:
        fresh, writer = self._open()
        for name in stage.suites:
            if name not in self._kinds:
                self._outcomes[name] = Outcomes(writer)
                self._kinds[name] = self._kind(name)
        try:
            StageRun(stage, self._kinds, fresh, self.profile, self.events, partial(self._look, stage)).run()
        finally:
            writer.head.verdicts = self._verdicts()
            writer.write_head()

    def _kind(self, name: str) -> Kind:
        suite, outcomes = next(s for s in self.profile.suites if s.name == name), self._outcomes[name]
        if isinstance(suite, CryptoSuite):
            return KernelCrypto(self.profile, suite, outcomes, self.events)
        return Transfers(
            self.profile, suite, self.paths, outcomes, self.events, explain=self.explain and not suite.again
        )

    def _verdicts(self) -> list[Verdict]:
        """All verdicts from what there is, at the level that the whole run's plan asks for."""
        rows = [row for kind in self._kinds.values() for row in kind.verdicts()]
        of_question, others = plan.comparisons(self.profile)
        return judging.settled(rows, self.samples, self._looks(), others, of_question)

    def _looks(self) -> dict[str, int]:
        """How often the verdict of a candidate might have ended its sampling, as in stats.Series."""
        question = self.profile.question
        if question is None:
            return {}
        return {cell.id: len(question.looks) for cell in self._rows() if plan.of_question(self.profile, cell)}

    def _rows(self) -> list[Cell]:
        """The rows of all cells so far."""
        return [cell for outcomes in self._outcomes.values() for cell in outcomes.cells.values()]

    def _look(self, stage: Stage, _done: int) -> frozenset[str]:
        """Tell what the question stands at, and which of its cells are known well enough.

        At its looks alone: its intervals are paid for these, and whoever sees one may end the run by it.
        """
        question = self.profile.question
        if question is None:
            return frozenset()
        rows = [row for row in self._verdicts() if row.of_question]
        self.events(narrowing.so_far(rows, self._rows()))
        open_ = {row.candidate for row in rows if not judging.enough(row, question.precision)}
        known = {row.candidate for row in rows} - open_
        sizes = {(self.cells[cell].suite, self.cells[cell].what) for cell in known}
        return frozenset(cell.id for cell in stage.cells if (cell.suite, cell.what) in sizes)

    def _settle(self) -> Settled:
        """The testbed, the best lab at hand where that was asked for."""
        if isinstance(self.testbed, AutoTestbed):
            choice = settling.choose(
                self.testbed, self.profile, self.paths, self.events, self._builds(), self._receiver_builds()
            )
            self.testbed, self._chosen = choice.spec, choice.why
            self.events(Chosen(choice.why))
        return self.testbed

    def _open(self) -> tuple[Fresh, Writer]:
        spec = self._settle()
        if self.writer is None:
            head = Head(
                run_id=self.run_id or new_run_id(self.profile.name),
                profile=ProfileEntry(
                    name=self.profile.name, content=self.profile.content(), sha256=self.profile.sha256()
                ),
                testbed=_testbed_entry(spec, self._chosen),
                started=datetime.now(UTC),
                status="running",
                harness=harness_version(),
                question=_question(self.profile),
                estimator=stats.ESTIMATOR,
                paths=plan.words(self.cells.values(), {name: path.words for name, path in self.paths.items()}),
            )
            self.writer = Writer(self.results, head)
            self.events.subscribers.append(self._keep_notes)
            for reason in self.never:
                self.events(Note(reason))
        if self._fresh is None:
            masked = self.profile.instructions == "masked"
            wanted = Wanted(
                builds=self._builds(),
                receiver_builds=self._receiver_builds(),
                masked=masked,
                run=self.writer.head.run_id,
                offloads=self.profile.offloads,
                unrestricted=self.profile.af_alg == "unrestricted",
                near=self.profile.numa == "card",
                lacking=self._lacking,
            )
            fresh = self._stack.enter_context(testbeds(spec, self.events, wanted))
            self._fresh = partial(self._told, fresh)
        return self._fresh, self.writer

    @contextmanager
    def _told(self, fresh: Fresh) -> Iterator[OpenTestbed]:
        """The next testbed; what its hosts are goes to the record."""
        with fresh() as opened:
            if self.writer:
                self.writer.head.hosts = {"sender": opened.sender_facts.shown, "receiver": opened.receiver_facts.shown}
                self.writer.head.receiver = _receiver(opened.receiver_facts)
                self.writer.write_head()
            yield opened

    def _builds(self) -> frozenset[str]:
        """Kernel modules of ours that the wanted cells need, and what their paths' prices are measured by."""
        cells = [self.cells[cell] for cell in self.wanted]
        senders = {suite.sent_by for suite in self.profile.suites if isinstance(suite, TransferSuite) and suite.sent_by}
        named = {cell.path for cell in cells} | senders
        wanted = [self.paths[path] for path in named & self.paths.keys()]
        by_paths = {name for path in wanted for name in path.builds}
        by_prices = {name for path in wanted for source in path.prices for name in source.builds if self.explain}
        return frozenset(
            by_paths | by_prices | {name for cell in cells if cell.interface for name in cell.interface.builds}
        )

    def _receiver_builds(self) -> frozenset[str]:
        """The same of the receiver."""
        wanted = [self.paths[path] for path in {self.cells[cell].path for cell in self.wanted} & self.paths.keys()]
        by_paths = {name for path in wanted for name in path.receiver_builds}
        by_prices = {name for path in wanted for source in path.prices for name in source.receiver_builds}
        return frozenset(by_paths | by_prices if self.explain else by_paths)

    def _lacking(self, sender: Facts, receiver: Facts) -> dict[str, frozenset[str]]:
        """Programs that hosts would have to have for this profile, and lack."""
        shapes = isinstance(self.testbed, HostsTestbed) and self.testbed.shape
        return answers.lacking([self.profile], self.paths, sender, receiver, shapes=shapes, builds=True)

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
        # only now are all comparisons of the run known, and with them the level that its verdicts share
        writer.head.verdicts = judging.settled(writer.head.verdicts, self.samples, self._looks())
        blocks = [facts for outcomes in self._outcomes.values() for facts in outcomes.blocks]
        writer.head.verdicts = disturbed.told(writer.head.verdicts, self.samples, blocks)
        writer.head.notes += judging.remarks(writer.head.verdicts, self.samples) + disturbed.throttled(blocks)
        with writer:
            if error is not None:
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                said = error.what if isinstance(error, HarnessError) else str(error)
                writer.finish("interrupted" if stopped else "failed", said or "stopped by a signal or Ctrl-C")

    def _fill(self, writer: Writer, error: BaseException | None) -> None:
        """Cells that were never reached are rows too."""
        known = {cell.id for cell in writer.head.cells}
        why = error.what if isinstance(error, HarnessError) else None
        reason = f"the run ended before it{f': {why}' if why else ''}"
        for cell in self.cells.values():
            if cell.id in self.wanted and cell.id not in known:
                writer.head.cells.append(cell.row("failed", reason))


def _receiver(receiver: Facts) -> str:
    """How it receives: what of its libcurl's many parts may change a time."""
    client = receiver.programs.get("libcurl") or "without libcurl"
    return " ".join([fetch.NAME, *client.split()[:2]])


def _question(profile: Profile) -> QuestionEntry | None:
    if profile.question is None:
        return None
    asked = profile.question
    return QuestionEntry(
        candidate=asked.candidate, baseline=asked.baseline, suites=list(asked.suites), sizes_bytes=list(asked.sizes)
    )


def _testbed_entry(spec: Settled, chosen: str) -> TestbedEntry:
    if not isinstance(spec, LabTestbed):
        return TestbedEntry(name=spec.name, kind=spec.kind)
    lab = kinds.of(spec)
    return TestbedEntry(
        name=spec.name,
        kind=spec.kind,
        machine=this_machine(),
        label=lab.label,
        caveat=f"{lab.label.capitalize()}: {lab.caveat}",
        generic_ciphers=lab.generic_ciphers,
        chosen=chosen,
    )


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
        asked = suite.receives
        if other := next((name for name in suite.paths if known[name].receives != asked), None):
            raise ConfigError(
                f"{where}: {other} is {'no' if asked else 'a'} way of receiving",
                next_step="compare ways of receiving, and nothing else, by the questions receive and disk-to-disk",
            )
        for name in suite.paths:
            parameters = replace(suite.parameters, cipher=None) if known[name].clear else suite.parameters
            if reason := known[name].impossible(parameters):
                if name == suite.baseline and not suite.again:  # a path against itself is nobody else's baseline
                    raise ConfigError(
                        f"{where}: its baseline {name} can never run with {suite.cipher}: {reason}",
                        next_step="choose another baseline or cipher",
                    )
                found.append(f"{suite.name}: {name} can never run with {suite.cipher}: {reason}")
    return found


def harness_version() -> str:
    """The harness's version, with the commit where it runs from a checkout of its own and git is there."""
    try:
        known = version("pathproof")
    except PackageNotFoundError:
        known = "unknown"
    own = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}  # a repository around this folder is another's
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return known
    return f"{known} ({done.stdout.strip()})"
