"""The map of predicted gain as places in percent, for a template to draw: contours, where something else limits,
machines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reports import words
from reports.findings import gain
from reports.findings.gain import PAPER_GAINS, Grid, Map

ALIKE = 0.03
"""Ciphers of the two sides that differ in price by less change no sentence."""
LEVELS = (1.05, 1.1, *PAPER_GAINS, 2.0)
HEIGHTS = dict(zip(LEVELS, (56, 42, 7, 15, 32), strict=True))
"""Where the names of the contours stand, in percent from the top: apart, since contours are near one another."""
NAMES = dict(zip(PAPER_GAINS, ("paper", "paper-time"), strict=True))
Point = tuple[float, float]
Points = Sequence[Point]
"""Places in percent, from the left and from the top."""
NAMED = 30.0, 8.0
"""What this run's name takes: to the right of its place, and around its height."""


@dataclass(frozen=True)
class Region:
    """Where the gain is at least ``level``."""

    level: float
    name: str
    outline: str
    """Its corners, for SVG in thousandths."""
    edge: str
    """The same without the map's border."""
    label: Point | None
    """Where its name stands; None where there is no room."""


@dataclass(frozen=True)
class Picture:
    """What the template draws; ``sentences`` say what it means."""

    title: str
    regions: tuple[Region, ...]
    limited: str
    """Corners of where something else than the sender limits, for CSS; empty where nothing does."""
    limited_label: tuple[float, float]
    limited_by: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    here: tuple[float, float]
    here_label: str
    paper: float
    card: tuple[float, float] | None
    """From where to where the paper's own gain puts the price of its card; None where that is not on the map."""
    cipher: str
    sentences: tuple[str, ...]
    caption: str


def picture(drawn: Map) -> Picture:
    """The picture of a map."""
    here, model = drawn.here, drawn.model
    regions = [found for level in LEVELS if (found := _region(drawn, level))]
    limited = [(x, _lowest(drawn.limits[:, n])) for n, x in enumerate(drawn.crossing)]
    outline = [(_x(drawn, x), _y(drawn, drawn.cipher[row])) for x, row in limited if row is not None]
    corners = [(0.0, 100.0), *outline, (outline[-1][0], 100.0)] if outline else []
    card = [_edge(drawn.cipher, _column(drawn, drawn.paper), level) for level in reversed(PAPER_GAINS)]
    known = [_y(drawn, value) for value in card if value]
    return Picture(
        title="The predicted gain by the price of a crossing and of the cipher",
        regions=tuple(regions),
        limited=", ".join(f"{x:g}% {y:g}%" for x, y in corners),
        limited_label=(2.0, 97.0),
        limited_by=_limiting(drawn),
        x_ticks=tuple((_x(drawn, tick), f"{tick:g}") for tick in _ticks(drawn.crossing)),
        y_ticks=tuple((_y(drawn, tick), f"{tick:g}") for tick in _ticks(drawn.cipher)),
        here=(_x(drawn, here.crossing), _y(drawn, here.cipher)),
        here_label=f"this run: × {words.ratio(model.gain(here))}",
        paper=_x(drawn, drawn.paper),
        card=(min(known), max(known)) if len(known) == len(card) else None,
        cipher=words.cipher_title(model.cipher),
        sentences=_sentences(drawn),
        caption=_caption(drawn),
    )


def _sentences(drawn: Map) -> tuple[str, ...]:
    """What the map says of this run, with subject, verb and object."""
    model, here = drawn.model, drawn.here
    cipher = words.cipher(model.cipher) if model.cipher != "null" else "the null cipher"
    crossing, byte = words.number(here.crossing, 2), words.number(here.cipher, 2)
    saved, gained = words.number(model.crossings), words.ratio(model.gain(here))
    said = [f"A crossing costs {crossing} ns a byte here, and {cipher} costs {byte} ns."]
    limit, apart = model.limit(here), model.apart
    since = f", since the {limit} limits." if limit else "."
    if abs(math.log(apart)) > math.log1p(ALIKE):
        said.append(f"By these prices alone, the whole change gains × {gained}{since}")
        said.append(f"The two sides' ciphers alone, were crossings free, make × {words.ratio(apart)} of it.")
    else:
        said.append(f"By these prices alone, saving {saved} crossings gains × {gained}{since}")
    dearer = model.crossing_for(PAPER_GAINS[0])
    if dearer is None:
        more = apart > PAPER_GAINS[0]
        said.append(
            f"{'Any' if more else 'No'} price of a crossing gives {'more than ' * more}× {PAPER_GAINS[0]} here."
        )
    else:
        times = dearer / here.crossing
        how = f"{words.number(times, 2)} times as dear" if times > 1 else f"{words.number(1 / times, 2)} times cheaper"
        said.append(f"The paper's × {PAPER_GAINS[0]} needs crossings {how}.")
    return tuple(said)


def _limiting(drawn: Map) -> str:
    """What limits somewhere on the map beside the sender: ``the link limits``."""
    known = sorted({str(what) for what in drawn.limits.flat if what})
    return f"the {' or the '.join(known or ['link'])} limits"


def _caption(drawn: Map) -> str:
    model = drawn.model
    return (
        f"Predicted for {words.size(model.size)} by prices alone; a call's price is shared among the bytes of its "
        f"buffer. Held as measured here: {gain.held(model)}. Hatched: {_limiting(drawn)}, so that saved crossings gain "
        "less. The paper's Figure 4 gives the price of its crossings (null cipher: 6.7 µs a call, 12.5 ns a byte, two "
        "crossings), and its text none of its card; the bar marks what that would cost for "
        f"× {PAPER_GAINS[0]} to × {PAPER_GAINS[1]}."
    )


def _region(drawn: Map, level: float) -> Region | None:
    """Where the gain is at least ``level``: for each price of a crossing, prices of the cipher from one to another."""
    edges = []
    for n, x in enumerate(drawn.crossing):
        column = drawn.gain[:, n]
        low, high = _edge(drawn.cipher[::-1], column[::-1], level), _edge(drawn.cipher, column, level)
        if low and high:
            edges.append((_x(drawn, x), _y(drawn, low), _y(drawn, high)))
    if len(edges) < 2:
        return None
    upper, lower = [(x, high) for x, _, high in edges], [(x, low) for x, low, _ in reversed(edges)]
    inside = [[(x, y) for x, y in edge if 0 < y < 100] for edge in (lower, upper)]
    line = _points([*inside[0], *inside[1]])
    here = _x(drawn, drawn.here.crossing), _y(drawn, drawn.here.cipher)
    label = _label(inside[1], HEIGHTS[level], here)
    return Region(level, NAMES.get(level, "level"), _points([*upper, *lower]), line, label)


def _points(places: Points) -> str:
    return " ".join(f"{x * 10:.5g},{y * 10:.5g}" for x, y in places)


def _label(edge: Points, height: float, here: Point) -> Point | None:
    """A place on an edge for a word, as far from the top if it can be, beside the name of what is ``here``."""
    right, around = NAMED
    room = [
        (x, y) for x, y in edge if 4 < x < 94 and y > 5 and not (-5 < x - here[0] < right and abs(y - here[1]) < around)
    ]
    return min(room, key=lambda place: abs(place[1] - height), default=None)


def _edge(along: Grid, values: Grid, level: float) -> float | None:
    """The last value of ``along`` at which ``values`` are at least ``level``, between two of them; None if none is."""
    inside = np.flatnonzero(values >= level)
    if not len(inside):
        return None
    last = int(inside[-1])
    if last == len(values) - 1:
        return float(along[-1])
    a, b = values[last], values[last + 1]
    share = (a - level) / (a - b)
    return float(math.exp(math.log(along[last]) + share * math.log(along[last + 1] / along[last])))


def _column(drawn: Map, crossing: float) -> Grid:
    """The gains at one price of a crossing."""
    return np.array([drawn.model.gain(gain.Place(crossing, float(cipher))) for cipher in drawn.cipher])


def _lowest(limited: Iterable[object]) -> int | None:
    """Up to which row something else than the sender limits."""
    rows = [n for n, one in enumerate(limited) if one]
    return rows[-1] if rows else None


def _share(value: float, along: Grid) -> float:
    return 100 * math.log(value / along[0]) / math.log(along[-1] / along[0])


def _x(drawn: Map, value: float) -> float:
    return round(_share(value, drawn.crossing), 2)


def _y(drawn: Map, value: float) -> float:
    return round(100 - _share(value, drawn.cipher), 2)


def _ticks(along: Grid) -> list[float]:
    powers = range(math.floor(math.log10(along[0])), math.ceil(math.log10(along[-1])) + 1)
    return [10.0**power for power in powers if along[0] <= 10.0**power <= along[-1]]
