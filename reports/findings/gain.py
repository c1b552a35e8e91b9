"""What the question's candidate would gain on other machines, by the harness's own prediction from prices alone.

Two prices vary, both in nanoseconds a byte: that of a crossing (all that the baseline pays and the candidate does not,
but for the cipher's work on each byte: calls and copies, shared among the crossings of a byte that were counted), and
that of the cipher. All others stay as this run measured them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.api.steps import CHUNK_BYTES, Price, Steps
from harness.costs import prediction
from harness.costs.prediction import Clear
from harness.record import Cell, Head, SuiteEntry
from harness.verdicts import reasons
from harness.verdicts.answer import Answer
from reports import older, words
from reports.findings import answer, headline, kernel_crypto
from reports.table import Columns

PAPER_CROSSINGS = 2
"""Of a request to /dev/crypto: its data are copied in and out."""
PAPER_GAINS = (1.27, 1.37)
"""What "27 %" may mean: throughput x1.27, or time -27 %, which is 1 / 0.73."""
POINTS = 72
"""Of the map, each way."""
CROSSING_NS, CIPHER_NS = (0.03, 20.0), (1.0, 300.0)
"""What the axes reach at least, in nanoseconds a byte: a copy by a processor of today, and the paper's; AES by
instructions, and 3DES by an old card."""

LOWEST = CROSSING_NS[0] / 1e3
"""What a crossing costs where it costs next to nothing, nanoseconds a byte."""
CLEAR = ("seconds", "sender_cpu_seconds", "receiver_cpu_seconds")
COLUMNS = ("cell", "counted", "sender_cpu_seconds_per_gb", *CLEAR)
"""What of a run's samples the prediction stands on."""

Grid = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """One machine on the map: the prices of a crossing and of the cipher in nanoseconds a byte."""

    crossing: float
    cipher: float


@dataclass(frozen=True)
class Model:
    """The prediction for one size of one suite, as a function of two prices."""

    suite: SuiteEntry
    size: int
    cipher: str
    crossings: float
    """Of each byte, that the candidate saves."""
    baseline: Steps
    candidate: Steps
    prices: Mapping[str, Price]
    clear: Clear
    saved: frozenset[str]
    """The prices that the baseline pays and the candidate does not, but for the cipher."""
    ciphering: frozenset[str]
    """Those that are the cipher's own."""

    @cached_property
    def here(self) -> Place:
        """Where this run is."""
        own = prediction.own_seconds
        bare = {name: replace(price, byte_ns=0.0) if name in self.ciphering else price
                for name, price in self.prices.items()}  # fmt: skip
        spent = [own(steps.sender, bare, self.size) for steps in (self.baseline, self.candidate)]
        return Place((spent[0] - spent[1]) * 1e9 / self.size / self.crossings, self._byte_ns)

    @property
    def _byte_ns(self) -> float:
        """What the candidate's cipher costs for each byte."""
        return sum(self.prices[step.price].byte_ns for step in self.candidate.sender if step.price in self.ciphering)

    def prices_at(self, place: Place) -> dict[str, Price]:
        """The prices of a machine at ``place``."""
        here = self.here
        dearer, cipher = place.crossing / here.crossing, place.cipher / here.cipher
        call = min(self.prices[step.price].call_ns for step in self.candidate.sender if step.price in self.ciphering)

        def there(name: str, price: Price) -> Price:
            if name in self.saved:
                return Price(price.call_ns * dearer, price.byte_ns * dearer)
            if name not in self.ciphering:
                return price
            more = max(0.0, price.call_ns - call)  # what the cipher's call costs the baseline more is a crossing's
            return Price(price.call_ns - more + more * dearer, price.byte_ns * cipher)

        return {name: there(name, price) for name, price in self.prices.items()}

    def gain(self, place: Place) -> float:
        """The predicted ratio of times, baseline / candidate, of a machine at ``place``."""
        prices = self.prices_at(place)
        found = prediction.predicted("seconds", self.baseline, self.candidate, prices, self.clear, self.size)
        return found or math.nan

    def limit(self, place: Place) -> str | None:
        """What the candidate waits for at ``place``: ``link`` or ``receiver``; None where it is the sender."""
        prices, clear = self.prices_at(place), self.clear
        sender, receiver = (
            spent + prediction.own_seconds(steps, prices, self.size)
            for spent, steps in (
                (clear.sender_cpu, self.candidate.sender),
                (clear.receiver_cpu, self.candidate.receiver),
            )
        )
        if sender >= max(receiver, clear.seconds):
            return None
        return "link" if clear.seconds >= receiver else "receiver"

    @property
    def apart(self) -> float:
        """The gain where a crossing costs next to nothing: not 1 where the two sides' ciphers differ in price."""
        return self.gain(Place(LOWEST, self.here.cipher))

    def crossing_for(self, gain: float) -> float | None:
        """The price of a crossing at which this run's cipher would show this gain; None where none on the map would."""
        from scipy.optimize import brentq  # here: it takes a fifth of a second to import, and most pages need none

        cipher, (low, high) = self.here.cipher, (LOWEST, CROSSING_NS[1] * 1e3)

        def short(crossing: float) -> float:
            return self.gain(Place(crossing, cipher)) - gain

        return float(brentq(short, low, high)) if short(low) < 0 < short(high) else None


def paper_crossing() -> float:
    """What a crossing cost the paper's machine, nanoseconds a byte in buffers of 64 KiB.

    By its null cipher (Figure 4): 6.7 µs a request and 12.5 ns a byte, which crosses twice.
    """
    line = kernel_crypto.paper_line()
    return line.seconds(CHUNK_BYTES) * 1e9 / CHUNK_BYTES / PAPER_CROSSINGS


@dataclass(frozen=True)
class Map:
    """The gain over both prices."""

    model: Model
    crossing: Grid
    cipher: Grid
    gain: Grid
    """A row for each price of the cipher."""
    limits: npt.NDArray[np.object_]
    """What limits there beside the sender, as ``Model.limit`` has it."""
    here: Place
    paper: float
    """The paper's price of a crossing."""


def model(head: Head, samples: Columns) -> Model | str:
    """The prediction of a run's question, for its largest size that can be predicted; why there is none.

    ``samples``: of the run, with COLUMNS at least.
    """
    found = answer.about(head)
    if found is None:
        return "This run compared nothing that prices could predict."
    entry = headline.suite_of(head, found.places[0].suite)
    if reasons.judged(entry) == "receiver":
        return "A map of other machines is drawn from what the sender does, and this question is about receiving."
    if not entry.prices:
        return "This record holds no prices of this suite's steps, so nothing can be predicted for other machines."
    pair = _pair(head, found)
    taken = entry.taken or older.TAKEN
    if pair is None or not {pair[0].path, pair[1].path} <= taken.keys():
        return "This record does not say which steps these paths take, so nothing can be predicted for other machines."
    return _of_pair(head, samples, entry, pair, taken)


def _of_pair(
    head: Head, samples: Columns, entry: SuiteEntry, pair: tuple[Cell, Cell], taken: Mapping[str, Steps]
) -> Model | str:
    ciphering = frozenset(entry.ciphering) if entry.taken else older.CIPHERING
    candidate, baseline = (taken[cell.path] for cell in pair)
    needed = baseline.names() | candidate.names()
    known = {name for name in needed if {f"{name}_call_ns", f"{name}_byte_ns"} <= entry.prices.keys()}
    prices = {name: Price(entry.prices[f"{name}_call_ns"], entry.prices[f"{name}_byte_ns"]) for name in known}
    saved = {step.price for step in baseline.sender} - {step.price for step in candidate.sender} - ciphering
    fewer = reasons.crossings_saved(entry.crossings, (pair[0].path, pair[1].path))
    if not saved or not fewer:
        return "No crossing that the candidate saves was counted in this suite, so the map would have no axis."
    bare = [cell for cell in head.cells if cell.suite == entry.name and taken.get(cell.path) == Steps()]
    clears = {cell.size_bytes: _clear(samples, cell.id) for cell in bare if cell.size_bytes}
    size, clear = max(((size, clear) for size, clear in clears.items() if clear), default=(0, None), key=lambda s: s[0])
    if clear is None or known < needed:
        return (
            "Plain sendfile or a step was not measured in this suite, so nothing can be predicted for other machines."
        )
    found = Model(entry, size, pair[0].cipher, fewer[0], baseline, candidate, prices, clear, frozenset(saved),
                  ciphering & known)  # fmt: skip
    if found.here.crossing <= 0 or found.here.cipher <= 0:
        return "A crossing or the cipher cost nothing that could be measured here, which no logarithmic axis can show."
    return found


def _clear(samples: Columns, cell: str) -> Clear | None:
    """Medians of a clear sendfile's counted samples; None where it was not measured or CPU not finely enough."""
    mine = samples["counted"] & (samples["cell"] == cell) & (samples["sender_cpu_seconds_per_gb"] > 0)
    rows = np.stack([samples[name][mine] for name in CLEAR])
    known = rows[:, ~np.isnan(rows).any(axis=0)]
    return Clear(*np.median(known, axis=1).tolist()) if known.size else None


def _pair(head: Head, found: Answer) -> tuple[Cell, Cell] | None:
    """The cells of the first comparison that was made, candidate and baseline."""
    cells = {cell.id: cell for cell in head.cells}
    made = next((v for place in found.places for v in (place.time, place.cpu) if v), None)
    return (cells[made.candidate], cells[made.baseline]) if made else None


def drawn(model: Model) -> Map:
    """The map of a model, wide enough for this run and the paper's machine."""
    here, paper = model.here, paper_crossing()
    x = _reach(CROSSING_NS, here.crossing)
    y = _reach(CIPHER_NS, here.cipher)
    places = [[Place(float(a), float(b)) for a in x] for b in y]
    gains = np.array([[model.gain(place) for place in row] for row in places])
    limits = np.array([[model.limit(place) for place in row] for row in places], dtype=object)
    return Map(model, x, y, gains, limits, here, paper)


def _reach(least: tuple[float, float], here: float) -> Grid:
    return np.geomspace(min(least[0], here / 2), max(least[1], here * 2), POINTS)


def held(model: Model) -> str:
    """The prices that the map holds as they were measured here."""
    clear, gb = model.clear, model.size / 1e9
    names = model.suite.steps or older.STEPS
    fixed = [
        f"{words.number(clear.seconds / gb, 3)} s/GB on the link",
        f"{words.number(clear.sender_cpu / gb, 3)} s/GB of CPU",
    ]
    calls = [
        f"{names.get(name, name)} ({words.number(model.prices[name].call_ns / 1e3, 3)} µs a call)"
        for name in dict.fromkeys(step.price for step in model.candidate.sender)
        if model.prices[name].call_ns
    ]
    return f"plain sendfile ({' and '.join(fixed)})" + (f" and {'; '.join(calls)}" if calls else "")
