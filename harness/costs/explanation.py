"""Why the paths of a suite cost what they do: prices of their steps, predictions from these, crossings. All untimed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import DataPath, Deployed
from harness.api.prices import Asked, PriceSource
from harness.api.steps import Price, Steps
from harness.ciphers import drivers
from harness.ciphers.table import CIPHERS
from harness.costs import prediction, prices, rehearsal
from harness.costs.prediction import Clear, Predicted, Rehearsed, Take, Told
from harness.costs.rehearsal import Stage
from harness.events import Events, Note
from harness.measuring import crossings
from harness.measuring.crossings import NotThisPath
from harness.measuring.opened import OpenTestbed
from harness.plan import CellPlan
from harness.profile import Profile, TransferSuite
from harness.record import Metric, Rehearsal, SuiteEntry
from harness.servers import datapath, receiver
from harness.units import size_name
from hosts.errors import Refusal

ENOUGH_ROUNDS = 5
"""Prices of a path in so many rounds are enough for an interval; the other rounds' time goes into transfers."""
TOO_FEW_ROUNDS = 2
"""What is measured in so many has no interval, and a prediction one that agrees with everything: one round's prices say
as much."""
CROSSING_BYTES = 10**6
"""Crossings are counted with the largest file of a suite up to this size."""
REHEARSING_SECONDS = 0.8
"""Rehearsals of a round are repeated for so long, once at least,"""
MOST_TIMES = 10
"""and so often at most."""
NONE = Clear(0.0, 0.0, 0.0)
OPENINGS = 3
"""So often a connection that carries a byte is tried, of paths with TLS."""


class Explanation:
    """Of one suite. Until ``price`` was called, and of what could not be priced, nothing is known."""

    def __init__(self, profile: Profile, suite: TransferSuite, paths: Mapping[str, DataPath], events: Events) -> None:
        self.profile, self.suite, self.paths, self.events = profile, suite, paths, events
        self.prices: dict[str, Price] = {}
        """Medians of all rounds so far."""
        self.takes: list[Take] = []
        self._rounds: list[dict[str, Price]] = []
        self._times: Counter[str] = Counter()

    def _steps(self, path: str) -> Steps | None:
        return self.paths[path].steps(Parameters(None) if self.paths[path].clear else self.suite.parameters)

    def price(self, opened: OpenTestbed, bench: Bench, entry: SuiteEntry, deployed: Mapping[str, Deployed]) -> None:
        """Measure what the deployed paths' steps and rehearsals cost on these hosts, for one more round.

        Prices that another suite measured since these hosts were opened are not measured again. Raises HostLost.
        """
        known = {path: self._steps(path) for path in self.suite.paths if path in deployed}
        mine = {path: steps for path, steps in known.items() if steps}
        if all(self._times[path] >= self._enough(path) for path in mine):
            return
        self._times.update(list(mine))
        needed = {name for steps in mine.values() for name in steps.names()}
        if not needed:
            return
        needed.add(datapath.COUNT)
        sources = [source for path in mine for source in self.paths[path].prices]
        self.events.progress(f"{self.suite.name}: measuring what calls, copies and the cipher cost")
        try:
            driver = drivers.chosen(self.suite.driver, CIPHERS[self.suite.cipher], opened.sender_facts)
            asked = replace(self.suite.parameters, driver=driver or drivers.CARD)
            prices_now = prices.measure(bench, asked, sources, needed, opened.priced)
            self._keep(entry, prices_now, sources, Asked(bench, asked, needed, prices_now))
            entry.taken |= mine
        except Refusal as error:
            self.events(Note(f"{self.suite.name}: no prices in this round: {error.what}"))
            return
        if self.suite.driver != "any":
            return
        try:
            self._rehearse(opened, bench, entry, deployed, mine, prices_now)
        except Refusal as error:
            self.events(
                Note(f"{self.suite.name}: no rehearsals in this round, so nothing is predicted of it: {error.what}")
            )

    def _enough(self, path: str) -> int:
        """In how many rounds a path is priced."""
        asked = self.profile.question
        of_question = asked and self.suite.name in asked.suites and path in (asked.candidate, asked.baseline)
        rounds = asked.rounds if asked and of_question else self.profile.rounds
        return ENOUGH_ROUNDS if rounds > TOO_FEW_ROUNDS else 1

    def _keep(
        self, entry: SuiteEntry, found: Mapping[str, Price], sources: Sequence[PriceSource], asked: Asked
    ) -> None:
        self._rounds.append(dict(found))
        flat = [_flat(one) for one in self._rounds]
        entry.prices_by_round = flat
        names = dict.fromkeys(name for one in flat for name in one)
        entry.prices = {name: median(one[name] for one in flat if name in one) for name in names}
        self.prices = {
            name: Price(entry.prices[f"{name}_call_ns"], entry.prices[f"{name}_byte_ns"])
            for name in dict.fromkeys(name for one in self._rounds for name in one)
        }
        entry.steps |= {name: called for source in sources for name, called in source.called(asked).items()}
        entry.ciphering = sorted({name for source in sources for name in source.ciphering} & self.prices.keys())

    def _rehearse(
        self,
        opened: OpenTestbed,
        bench: Bench,
        entry: SuiteEntry,
        deployed: Mapping[str, Deployed],
        mine: Mapping[str, Steps],
        known: Mapping[str, Price],
    ) -> None:
        """Each path's rehearsal, all in turn, as often as time allows; each turn is a take of its own."""
        possible = {path: steps for path, steps in mine.items() if steps.names() <= set(known)}
        if not possible:
            return
        self.events.progress(f"{self.suite.name}: rehearsing paths without their ciphers")
        number, seed = len(self._rounds) - 1, self.profile.seed
        goodput = entry.link.get("far_bits_per_second") or entry.link.get("goodput_bits_per_second")
        pace = 8 / goodput if goodput else 0.0
        with bench.anew() as other:
            stages = {path: self.stage(other, path, steps, known, deployed[path]) for path, steps in possible.items()}
            opening = self._opening(opened, stages, deployed)
            clear = next((path for path, steps in possible.items() if self.clear(path, steps)), None)
            lengths = {
                path: rehearsal.sizes(opened, mine[path].way, stage.work_ns, pace) for path, stage in stages.items()
            }
            for size in {size for some in lengths.values() for size in some}:
                opened.payload(size, seed)
            # what a server does for the first time, and what the making of files left to do, is in no block either
            rehearsal.once(opened, stages, seed, {path: some[:1] for path, some in lengths.items()})
            tried: list[dict[str, dict[int, Clear]]] = []
            started = time.monotonic()
            while not tried or (len(tried) < MOST_TIMES and time.monotonic() - started < REHEARSING_SECONDS):
                tried.append(rehearsal.once(opened, stages, seed, lengths, number + len(tried)))
            each = {path: len(tried) * len(some) for path, some in lengths.items()}
            counts = {path: (OPENINGS if path in opening else 0) + 1 + each[path] for path in stages}
            told = {path: some[-each[path] :] for path, some in rehearsal.told(opened, stages, counts).items()}
        for turn, one in enumerate(tried):
            mine_now = {
                path: Told(
                    dict(zip(lengths[path], some[turn * len(lengths[path]) :], strict=False)),
                    stages[path].work_ns,
                    mine[path].way.chunk,
                )
                for path, some in told.items()
            }
            slowness, work = prediction.work_of(known[datapath.COUNT], mine_now) if mine_now else (1.0, {})
            rehearsed = {path: Rehearsed(one[path], work.get(path, {}), opening.get(path, NONE)) for path in stages}
            self.takes.append(Take(known, rehearsed, clear, number, slowness, pace))
            entry.rehearsals += [
                Rehearsal(
                    path=path,
                    round=number,
                    size_bytes=size,
                    work_ns=stage.work_ns,
                    worked_seconds=work.get(path, {}).get(size),
                    **vars(spent),
                )
                for path, stage in stages.items()
                for size, spent in one[path].items()
            ]

    def clear(self, path: str, steps: Steps) -> bool:
        """Whether it is plain sendfile in clear and nothing beyond it."""
        return self.paths[path].clear and steps == Steps()

    def stage(self, bench: Bench, path: str, steps: Steps, known: Mapping[str, Price], usual: Deployed | None) -> Stage:
        """A path's rehearsal, served. ``usual``: the path as it is deployed. Raises Refusal, HostLost."""
        if usual and self.clear(path, steps):
            return rehearsal.deployed(usual)  # there is no cipher to leave out
        if steps.way.calls == "packets":
            null = replace(self.suite.parameters, cipher=CIPHERS["null"])
            return rehearsal.deployed(self.paths[path].deploy(bench.beside(f"null-{path}"), null))
        if datapath.COUNT not in known or known[datapath.COUNT].byte_ns <= 0:
            raise Refusal("what a count takes is not known")
        work_ns = prediction.standing_in(steps, known)
        served = rehearsal.serve(bench, path, steps.way, work_ns, known[datapath.COUNT].byte_ns)
        if not (taken := self.paths[path].rehearses):
            return served
        return replace(served, client=tuple(receiver.command(bench, taken.by, served.url(""), taken)))

    def _opening(
        self, opened: OpenTestbed, stages: Mapping[str, Stage], deployed: Mapping[str, Deployed]
    ) -> dict[str, Clear]:
        """What paths with TLS take for a file of a byte, beyond their rehearsals: the handshake."""
        own = {path: rehearsal.deployed(deployed[path]) for path in stages if deployed[path].tls}
        length, found = rehearsal.NOTHING, dict[str, Clear]()
        if not own:
            return found
        both = {f"rehearsed {path}": stages[path] for path in own} | own
        tried = [
            rehearsal.once(opened, both, self.profile.seed, dict.fromkeys(both, (length,))) for _ in range(OPENINGS)
        ]
        for path in own:
            full, without = (
                prediction.typical(one[name][length] for one in tried) for name in (path, f"rehearsed {path}")
            )
            found[path] = Clear(*(vars(full)[part] - vars(without)[part] for part in vars(full)))
        return found

    def enciphering(self, path: str, size: int) -> float | None:
        """Seconds that the cipher alone takes the sender for one transfer, by its price; None where not known."""
        steps = self._steps(path)
        own = {name for source in self.paths[path].prices for name in source.ciphering}
        known = [step for step in steps.sender if step.price in own] if steps else []
        if not known or any(step.price not in self.prices for step in known):
            return None
        return sum(size * self.prices[step.price].byte_ns for step in known) / 1e9

    def predict(self, size: int, metric: Metric, path: str) -> list[Predicted]:
        """The predicted ratios of the baseline to a path, for one size: of each take, with its round.

        None of them for a driver of its own: what a card's request takes is waited for, which is no processor time to
        add up.
        """
        first, second = self._steps(self.suite.baseline), self._steps(path)
        if first is None or second is None:
            return []
        baseline, candidate = (self.suite.baseline, first), (path, second)
        ratios = [(take.round, take.ratio(metric, baseline, candidate, size)) for take in self.takes]
        return [Predicted(number, ratio) for number, ratio in ratios if ratio is not None]

    def cross(
        self,
        opened: OpenTestbed,
        bench: Bench,
        entry: SuiteEntry,
        cell: CellPlan,
        parameters: Parameters,
        usual: Deployed,
    ) -> Refusal | None:
        """Count what a path takes across the border, with its usual buffer and others.

        Returns why that could not be seen with its usual buffer, NotThisPath where it was seen to be another path; None
        where all is as it should be. Raises HostLost.
        """
        size = counted_size(self.suite)
        payload = opened.payload(size, self.profile.seed)
        self.events.progress(f"{self.suite.name}: counting the crossings of {cell.path} (untimed)")
        others = self.paths[cell.path].buffers if usual.buffer_bytes is not None else ()
        wrong = None
        for buffer in (None, *others):
            try:
                with bench.anew() as other:
                    how = usual
                    if buffer is not None:
                        how = self.paths[cell.path].deploy(other, replace(parameters, buffer_bytes=buffer))
                    entry.crossings.append(crossings.count(opened, how, payload, cell.path, cell.cipher))
            except Refusal as error:
                what = f" with {size_name(buffer)}" if buffer else ""
                self.events(Note(f"{self.suite.name}: crossings of {cell.path}{what} not counted: {error.what}"))
                if buffer is None:
                    wrong = error
                if isinstance(wrong, NotThisPath):
                    break
        return wrong


def counted_size(suite: TransferSuite) -> int:
    """The bytes of the file that a suite's crossings are counted with."""
    return max([size for size in suite.sizes if size <= CROSSING_BYTES], default=min(suite.sizes))


def _flat(known: Mapping[str, Price]) -> dict[str, float]:
    """Prices as a record has them."""
    found: dict[str, float] = {}
    for name, price in known.items():
        found |= {f"{name}_call_ns": price.call_ns, f"{name}_byte_ns": price.byte_ns}
    return found
