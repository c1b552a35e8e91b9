"""Pure: the answer of a run in one sentence, from the verdicts of what it was made to decide.

The terminal and the report say the same: both take it from here. A record that does not say how its paths and its
testbed are called gets those words first (``head.paths``, ``head.testbed.label``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.ciphers.table import CIPHERS
from harness.record import Cell, Head, Metric, Verdict
from harness.units import size_words

METRICS: tuple[Metric, ...] = ("seconds", "cpu_seconds_per_gb")
"""The second stands for the CPU of whichever host is compared."""
WORDS = 30
"""The answer has at most so many."""
LISTED = 4
"""So many sizes are listed; of more it is told how many."""
CLEAR = ("none", "", "-")
"""What stands for a cipher where nothing is enciphered."""
ORDER = ("faster", "slower", "same", "cannot_tell", "missing")
TIME = {"faster": "faster", "slower": "slower", "same": "same", "cannot_tell": "undecided", "missing": "unmeasured"}
CPU = TIME | {"faster": "cheaper", "slower": "dearer"}
BOTH = {"faster": "less CPU", "slower": "more CPU", "same": "the same CPU"}
"""What it costs, where CPU has the same verdicts as time."""
LOWER = ("no answer", "this run")
"""What a sentence may begin with that is no name."""
UNFINISHED = {"running": "so far", "interrupted": "interrupted", "failed": "run failed"}


@dataclass(frozen=True)
class Place:
    """Where the answer's two sides are compared: a suite, a size, a load, with what was found. None: not compared."""

    suite: str
    cipher: str
    size: int
    """Bytes of the file, or of kernel crypto's buffer."""
    time: Verdict | None
    cpu: Verdict | None
    connections: int | None = None
    """That ask at once, of load."""
    workers: int | None = None
    """That serve, of load, where a suite compares numbers of them."""

    def verdict(self, metric: Metric) -> Verdict | None:
        """Of one metric."""
        return self.time if metric == "seconds" else self.cpu

    def word(self, metric: Metric) -> str:
        """The verdict's word, or ``missing``: one without a ratio has decided nothing, since nothing was compared."""
        verdict = self.verdict(metric)
        return verdict.verdict if verdict and verdict.ratio else "missing"

    @property
    def compared(self) -> bool:
        """Whether anything was."""
        return any(self.word(metric) != "missing" for metric in METRICS)


@dataclass(frozen=True)
class Answer:
    """What a run is about: one side against another, everywhere that this is compared."""

    candidate: str
    """As a sentence's subject: ``SO_CRYPT``."""
    baseline: str
    """As its object: ``the traditional scheme``."""
    paths: tuple[str, str]
    """Both by their paths' names, or drivers where these tell them apart."""
    places: tuple[Place, ...]

    @property
    def host(self) -> str:
        """Whose CPU is compared."""
        return next((cpu_host(place.cpu) for place in self.places if place.cpu), "sender")

    @property
    def compared(self) -> bool:
        """Whether anything was."""
        return any(place.compared for place in self.places)


def cpu_host(verdict: Verdict) -> str:
    """Whose CPU a verdict is about."""
    return "receiver" if verdict.metric == "receiver_cpu_seconds_per_gb" else "sender"


def about(head: Head) -> Answer | None:
    """What a run's answer is about; None where it has no question and compared nothing.

    That is its question; where it names none, the comparison that speaks for it, at all sizes: the paper's Figure 7
    first, then the suites in their order, and of each what the paths themselves put first; kernel crypto last.
    """
    cells = {cell.id: cell for cell in head.cells}
    known = [verdict for verdict in head.verdicts if verdict.candidate in cells and verdict.baseline in cells]
    if head.question is None:
        places = {suite.name: n for n, suite in reversed(list(enumerate(head.suites)))}
        first = min(known, key=lambda verdict: _rank(head, cells, places, verdict), default=None)
        if first is None:
            return None
        sides = _side(first.candidate), _side(first.baseline)
        mine = [v for v in known if (_side(v.candidate), _side(v.baseline)) == sides]
        cell, base = cells[first.candidate], cells[first.baseline]
        if cell.path == base.path:
            pair = f"{cell.path} ({cell.driver})", f"{base.path} ({base.driver})"
            return Answer(*pair, pair, _places(mine, cells, []))
        pair = cell.path, base.path
        return Answer(_subject(head, pair[0]), _object(head, pair[1]), pair, _places(mine, cells, []))
    asked = head.question
    pair = asked.candidate, asked.baseline
    mine = [
        v
        for v in known
        if (cells[v.candidate].path, cells[v.baseline].path) == pair
        and cells[v.candidate].suite in asked.suites
        and cells[v.candidate].size_bytes in asked.sizes_bytes
    ]
    ciphers = {cell.suite: cell.cipher for cell in head.cells if cell.path == asked.candidate}
    wanted = [
        Place(suite, ciphers.get(suite, ""), size, None, None, connections, workers)
        for suite in asked.suites
        for size in asked.sizes_bytes
        for connections, workers in _loads(head).get(suite, {(None, None): None})
    ]
    return Answer(_subject(head, pair[0]), _object(head, pair[1]), pair, _places(mine, cells, wanted))


def sentence(head: Head, times: Callable[[float], str] | None = None, known: Answer | None = None) -> str:
    """The answer in a sentence of at most WORDS words, with the least and greatest ratio that the intervals allow.

    It says whether the run is whole, whether its testbed is emulated, and every size that is undecided, not measured
    or contradicts another. ``times``: how a ratio is written, by default as in ``x1.07``. ``known``: what it is about,
    where that was asked before.
    """
    before = opening(head)
    found = known or about(head)
    forms = list(_forms(found, times or ratio) if found and found.compared else _nothing(head, found))
    chosen = next((form for form in forms if len((before + form).split()) <= WORDS), forms[-1])
    return before + chosen if before or not chosen.startswith(LOWER) else chosen[0].upper() + chosen[1:]


def opening(head: Head) -> str:
    """What nobody may miss, in front of a sentence: how the run ended and that its testbed is emulated; else empty."""
    label = head.testbed.label if head.testbed.label != "hosts" else ""
    said = ", ".join(part for part in (UNFINISHED.get(head.status, ""), label) if part)
    return f"{said[0].upper()}{said[1:]}: " if said else ""


def ratio(value: float) -> str:
    """``x1.07``; three decimals where two would hide on which side of 1 it lies, three digits from 10 on."""
    if abs(value - 1) < 0.005 and f"{value:.3f}" != "1.000":
        return f"x{value:.3f}"
    if value < 9.995:
        return f"x{value:.2f}" if value >= 0.1 else f"x{value:.2g}"
    return f"x{value:.3g}" if value < 999.5 else f"x{value:.0f}"


def sizes(values: Iterable[int]) -> str:
    """Sizes in decimal units that are told once: ``1, 10 and 100 MB``. Whole KiB below 1 MB are KiB."""
    pairs = [size_words(value) for value in dict.fromkeys(values)]
    if len(pairs) > LISTED:
        return f"{len(pairs)} sizes"
    last = len(pairs) - 1
    texts = [
        number if n < last and unit == pairs[n + 1][1] else f"{number} {unit}" for n, (number, unit) in enumerate(pairs)
    ]
    return listed(texts)


def spots(places: Iterable[Place]) -> str:
    """Where places are: their sizes, of load their connections: ``1, 8 and 64 connections``."""
    some = list(places)
    connections = [place.connections for place in some if place.connections is not None]
    if not connections:
        return sizes(place.size for place in some)
    several = len({place.size for place in some}) > 1
    workers = list(dict.fromkeys(str(place.workers) for place in some if place.workers))
    served = f" with {listed(workers)} worker{'s' if workers != ['1'] else ''}" if workers else ""
    return (f"{sizes(place.size for place in some)} over " if several else "") + _connected(connections) + served


def _connected(numbers: Iterable[int]) -> str:
    known = list(dict.fromkeys(numbers))
    if len(known) > LISTED:
        return f"{len(known)} numbers of connections"
    return f"{listed([str(number) for number in known])} connection{'s' if known != [1] else ''}"


def _loads(head: Head) -> dict[str, dict[tuple[int | None, int | None], None]]:
    """The numbers of connections and workers that suites are compared at, by suite; none where it is no load."""
    found: dict[str, dict[tuple[int | None, int | None], None]] = {}
    for cell in head.cells:
        found.setdefault(cell.suite, {})[cell.connections, cell.workers] = None
    return found


def listed(texts: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part)


def of_the_paper(head: Head, suites: Collection[str], paths: tuple[str, str]) -> bool:
    """Whether the paper compared these two schemes in one of these suites (its Figure 7), as models of its own."""
    models = [head.paths[path].model if path in head.paths else None for path in paths]
    figures = {suite.figure for suite in head.suites if suite.name in suites}
    clear = all(cell.cipher in CLEAR for cell in head.cells if cell.path == paths[0] and cell.suite in suites)
    return 7 in figures and models == ["scheme", "traditional"] and not clear


def _rank(head: Head, cells: dict[str, Cell], places: dict[str, int], verdict: Verdict) -> tuple[object, ...]:
    cell, base = cells[verdict.candidate], cells[verdict.baseline]
    place = places.get(cell.suite, len(head.suites))
    figure = head.suites[place].figure if place < len(head.suites) else None
    words = head.paths.get(cell.path)
    order = words.order if words else 100
    if words and base.cipher in CLEAR and words.order_over_clear is not None:
        order = words.order_over_clear
    return (
        verdict.ratio is None,
        cell.buffer_bytes is not None,
        cell.cipher in CLEAR or cell.cipher == "null",
        figure != 7,
        place,
        order,
    )


def _side(cell: str) -> str:
    """A cell's id without its size."""
    return cell.rpartition("/")[0]


def _places(verdicts: Iterable[Verdict], cells: dict[str, Cell], wanted: Iterable[Place]) -> tuple[Place, ...]:
    """A place for each suite, size and load, those that were ``wanted`` too, in that order."""
    found = {(place.suite, place.size, place.connections, place.workers): place for place in wanted}
    for verdict in verdicts:
        cell = cells[verdict.candidate]
        spot = cell.suite, bytes_of(cell), cell.connections, cell.workers
        place = found.get(spot) or Place(cell.suite, cell.cipher, spot[1], None, None, *spot[2:])
        time, cpu = (verdict, place.cpu) if verdict.metric == "seconds" else (place.time, verdict)
        found[spot] = replace(place, time=time, cpu=cpu)
    suites = list(dict.fromkeys(suite for suite, *_ in found))
    order = [(suites.index(at.suite), at.size, at.workers or 0, at.connections or 0) for at in found.values()]
    return tuple(place for _, place in sorted(zip(order, found.values(), strict=True), key=lambda both: both[0]))


def _subject(head: Head, path: str) -> str:
    words = head.paths.get(path)
    return (words.short or words.baseline if words else "") or path


def _object(head: Head, path: str) -> str:
    words = head.paths.get(path)
    return (words.baseline or words.short if words else "") or path


def _nothing(head: Head, found: Answer | None) -> Iterator[str]:
    """Ways to say why there is no answer, the fullest first; reasons are told elsewhere."""
    if found is None:
        yield f"no answer, since nothing was compared: {len(head.measured)} of {len(head.cells)} cells measured."
        return
    text = f"no answer, since {found.candidate} and {found.baseline} were not compared"
    wrong = [cell for cell in head.cells if cell.path in found.paths and cell.outcome != "measured"]
    what = dict.fromkeys(f"{cell.path} {cell.outcome}" for cell in wrong)
    if what:
        yield f"{text} ({', '.join(what)})."
    yield f"{text}."


def _forms(answer: Answer, times: Callable[[float], str]) -> Iterator[str]:
    """Ways to say it, the fullest first; the last one is always short."""
    lost = [place for place in answer.places if not place.compared]
    answer = replace(answer, places=tuple(place for place in answer.places if place.compared))
    groups = [group for metric in METRICS for group in _groups(answer, metric).values()]
    several = len({place.suite for place in (*answer.places, *lost)}) > 1 or not all(map(_listable, groups))
    ciphers = [CIPHERS[name].title if name in CIPHERS else name for name in _ciphers(answer)]
    uniform = not lost and all(len(_groups(answer, metric)) <= 1 for metric in METRICS)
    if uniform or not several:
        end = f"; not measured at {spots(lost)}." if lost else "."
        enciphered = f" with {listed(ciphers)}" if ciphers else ""
        for kind, written in ((enciphered, times), ("", times), (enciphered, None), ("", None)):
            yield _plain(answer, kind, written) + end
        if not several:
            yield f"{answer.candidate} against {answer.baseline}: {_compact(answer, _at)}{end}"
            yield f"{' against '.join(answer.paths)}: {_compact(answer, _at)}{end}"
    end = f"; {len(lost)} not measured." if lost else "."
    yield f"{' against '.join(answer.paths)}: {_compact(answer, _number)}{end}"


def _listable(places: Iterable[Place]) -> bool:
    """Whether sizes, connections and workers, each listed by itself, name exactly these places."""
    known = {(place.size, place.connections, place.workers) for place in places}
    return len(known) == math.prod(len(set(each)) for each in zip(*known, strict=True))


def _ciphers(answer: Answer) -> list[str]:
    return [cipher for cipher in dict.fromkeys(place.cipher for place in answer.places) if cipher not in CLEAR]


def _groups(answer: Answer, metric: Metric) -> dict[str, list[Place]]:
    """The places by word, decided ones first; none where no place has this metric."""
    found = {word: [place for place in answer.places if place.word(metric) == word] for word in ORDER}
    found = {word: places for word, places in found.items() if places}
    return {} if list(found) == ["missing"] else found


def _plain(answer: Answer, kind: str, times: Callable[[float], str] | None) -> str:
    """Subject, verb, object; without ``times`` no spans."""
    time, cpu = _groups(answer, "seconds"), _groups(answer, "cpu_seconds_per_gb")
    everywhere = f" at {spots(answer.places)}"
    name, base = answer.candidate, answer.baseline + kind
    said = {
        "faster": f"{name} is faster than {base}",
        "slower": f"{name} is slower than {base}",
        "same": f"{name} is as fast as {base}",
        "cannot_tell": f"this run cannot tell whether {name} is faster than {base}",
    }
    further = {"slower": "slower", "same": "as fast", "cannot_tell": "undecided", "missing": "not measured"}
    if len(time) > 1 and time == cpu:  # both say the same everywhere: told once
        costs_it = "costs" if answer.host == "sender" else f"costs the {answer.host}"
        both = {word: f"{text} and {costs_it} {BOTH[word]}" if word in BOTH else text for word, text in said.items()}
        return _clauses(time, both, further | {"slower": "slower and dearer"}, "seconds", everywhere, times)
    text = _clauses(time, said, further, "seconds", everywhere, times)
    costs = {
        **{word: f"costs the {answer.host} {spent}" for word, spent in BOTH.items()},
        "cannot_tell": f"the {answer.host}'s CPU is undecided",
    }
    more = {"slower": "more", "same": "the same", "cannot_tell": "undecided", "missing": "not measured"}
    spent = _clauses(cpu, costs, more, "cpu_seconds_per_gb", "", times)
    if not (text and spent):
        return text or (spent and f"{name}{everywhere} {spent}")
    if list(time) == list(cpu) == ["cannot_tell"]:
        return f"{text}, or {costs['faster']}{_span(answer.places, 'cpu_seconds_per_gb', times)}"
    joined = " and " if len(time) == 1 and not {"cannot_tell", "missing"} & {*time, *cpu} else "; "
    it = "it " if joined == "; " and next(iter(cpu)) != "cannot_tell" else ""
    return f"{text}{joined}{it}{spent}"


def _clauses(
    groups: dict[str, list[Place]],
    first: dict[str, str],
    further: dict[str, str],
    metric: Metric,
    everywhere: str,
    times: Callable[[float], str] | None,
) -> str:
    """One metric: where all places agree with the span of the intervals, else word by word with its sizes."""
    if len(groups) == 1:
        (word, places), *_ = groups.items()
        return first[word] + everywhere + _span(places, metric, times)
    clauses = [
        f"{first[word] if n == 0 else further[word]} at {spots(places)}"
        for n, (word, places) in enumerate(groups.items())
    ]
    return ", ".join(clauses)


def _span(places: Iterable[Place], metric: Metric, times: Callable[[float], str] | None) -> str:
    """From the least to the greatest ratio of all intervals; empty where one has none, or without ``times``."""
    lows: list[float] = []
    highs: list[float] = []
    for place in places:
        verdict = place.verdict(metric)
        if times is None or verdict is None or verdict.ci_low is None or verdict.ci_high is None:
            return ""
        lows.append(verdict.ci_low)
        highs.append(verdict.ci_high)
    return f" ({times(min(lows))} to {times(max(highs))})" if times and lows else ""


def _compact(answer: Answer, where: Callable[[dict[str, list[Place]], dict[str, str]], str]) -> str:
    cpu = "CPU" if answer.host == "sender" else f"{answer.host} CPU"
    found = {"time": (_groups(answer, "seconds"), TIME), cpu: (_groups(answer, "cpu_seconds_per_gb"), CPU)}
    return "; ".join(f"{what} {where(groups, words)}" for what, (groups, words) in found.items() if groups)


def _at(groups: dict[str, list[Place]], words: dict[str, str]) -> str:
    """``faster at 1 and 10, undecided at 100 MB``: the unit is said once where all have it."""
    parts = [spots(places) for places in groups.values()]
    units = {part.rpartition(" ")[2] for part in parts}
    if len(units) == 1:
        parts = [part.rpartition(" ")[0] for part in parts[:-1]] + parts[-1:]
    return ", ".join(f"{words[word]} at {part}" for word, part in zip(groups, parts, strict=True))


def _number(groups: dict[str, list[Place]], words: dict[str, str]) -> str:
    return ", ".join(f"{len(places)} {words[word]}" for word, places in groups.items())


def bytes_of(cell: Cell) -> int:
    """Of its file, or of kernel crypto's buffer."""
    return cell.size_bytes if cell.size_bytes is not None else cell.buffer_bytes or 0
