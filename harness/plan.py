"""Pure: a profile becomes cells and the order they are sampled in.

Orders come from a Williams design: over its sequences every cell stands in every place equally often and
follows every other cell equally often, so that drift and carry-over cancel (E. J. Williams, Aust. J. Sci. Res.
A 2, 1949). For two cells that is AB, BA, …. An odd number of cells takes two squares, the second one mirrored: each
balances places, only both together what follows what.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.api.words import Words
from harness.ciphers import interfaces
from harness.ciphers.interfaces import INTERFACES, OPERATIONS, Interface
from harness.profile import CryptoSuite, Profile, Question, TransferSuite
from harness.record import Cell, Outcome
from harness.spans import Span
from harness.units import size_name
from hosts.onhost.agent.values import CryptoInterface


@dataclass(frozen=True)
class CellPlan:
    """A cell that a profile asks for."""

    suite: str
    path: str
    cipher: str
    """``none`` where the path does not encrypt."""
    driver: str
    size: int | None = None
    """Bytes of the file; None for kernel crypto."""
    buffer: int | None = None
    """Bytes, of kernel crypto."""
    depth: int | None = None
    """Requests under way at once, of kernel crypto."""
    connections: int | None = None
    """That ask at once, of load."""
    rate_share: float | None = None
    """Of load in an open loop: its rate, as a share of the baseline's capacity."""
    workers: int | None = None
    """That serve, of load, where the suite says how many."""

    @property
    def side(self) -> str:
        """Which deployment it measures: its path, that path's second one, or the one with so many workers."""
        parts = [self.path, *([AGAIN] if self.driver == AGAIN else []), *([f"w{self.workers}"] if self.workers else [])]
        return " ".join(parts)

    @property
    def what(self) -> str:
        """The last part of its id: the file's size, or the buffer's, with the depth where that is above 1; of load
        with the connections, workers and the rate: ``10kBx64``, ``10kBx64w4``, ``10kBx64@80%``."""
        if self.connections is not None:
            rate = "" if self.rate_share is None else f"@{self.rate_share * 100:g}%"
            workers = f"w{self.workers}" if self.workers else ""
            return f"{size_name(self.size or 0)}x{self.connections}{workers}{rate}"
        if self.buffer is None:
            return size_name(self.size or 0)
        return f"{self.buffer}B" + (f"x{self.depth}" if self.depth and self.depth > 1 else "")

    @property
    def id(self) -> str:
        """``suite/path/cipher/driver/size``."""
        return f"{self.suite}/{self.path}/{self.cipher}/{self.driver}/{self.what}"

    @property
    def interface(self) -> Interface | None:
        """By which the kernel's cipher is asked, of kernel crypto."""
        return interfaces.of_path(self.path)

    def row(self, outcome: Outcome, reason: str | None) -> Cell:
        """Its row in the record."""
        return Cell(
            id=self.id,
            suite=self.suite,
            path=self.path,
            cipher=self.cipher,
            driver=self.driver,
            size_bytes=self.size,
            buffer_bytes=self.buffer,
            depth=self.depth,
            connections=self.connections,
            rate_share=self.rate_share,
            workers=self.workers,
            interface=self.interface.name if self.interface else None,
            outcome=outcome,
            reason=reason,
        )


MOST_BLOCKS = 2000
"""Of one size: more tell nothing that boots would not hide."""
AGAIN = "again"
"""The driver of a cell whose path was deployed a second time, to be compared with itself."""
REFERENCE = "openssl-speed"
"""The path of a cell that `openssl speed` answers: the same work in user space."""
KERNEL_CRYPTO_WORDS = {
    one.path(operation): Words(
        label=f"kernel cryptography alone: {does} through {one.name}",
        subject=f"Asking the kernel by {one.name}",
        short=one.name,
        baseline=one.name,
    )
    for one in INTERFACES.values()
    for operation, does in OPERATIONS.items()
} | {
    REFERENCE: Words(label="cryptography in user space alone: openssl speed"),
}
"""Of what cells of kernel crypto have in a path's place."""


def words(planned: Iterable[CellPlan], paths: Mapping[str, Words]) -> dict[str, Words]:
    """How the planned cells' paths are called, by name, for the record. ``paths``: those of the data paths."""
    known = {**paths, **KERNEL_CRYPTO_WORDS}
    return {cell.path: known[cell.path] for cell in planned}


def cells(profile: Profile, clear_paths: frozenset[str]) -> list[CellPlan]:
    """Every cell that a profile names, in the order of its text. ``clear_paths``: the paths that do not encrypt.

    Those of drivers that are only found on the host (``each``) come to a run's record later.
    """
    planned: list[CellPlan] = []
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            planned += operations(suite)
        else:
            planned += [
                replace(cell, connections=connections, rate_share=share, workers=workers)
                for size in suite.sizes
                for share in (None, *suite.rates)
                for workers in suite.workers or (None,)
                for connections in suite.connections or (None,)
                for cell in at_size(suite, size, clear_paths)
            ]
    return planned


def at_size(suite: TransferSuite, size: int, clear_paths: frozenset[str]) -> list[CellPlan]:
    """The cells of a suite that are compared with one another."""
    once = [
        CellPlan(suite.name, path, "none", "any", size)
        if path in clear_paths
        else CellPlan(suite.name, path, suite.cipher, suite.driver, size)
        for path in suite.paths
    ]
    return [*once, *(replace(cell, driver=AGAIN) for cell in once)] if suite.again else once


@dataclass(frozen=True)
class Stage:
    """A part of a run: cells of its suites are sampled in ``rounds``, each a boot of a lab or a deployment on hosts.

    ``spans``: how long, by suite and file size (None for kernel crypto). ``looks``: the rounds after which verdicts are
    looked at, the last of them included; none where that would change nothing.
    """

    name: str
    cells: tuple[CellPlan, ...]
    rounds: int
    spans: Mapping[tuple[str, int | None], Span]
    looks: tuple[int, ...]

    @property
    def suites(self) -> list[str]:
        """The suites of its cells, in order."""
        return list(dict.fromkeys(cell.suite for cell in self.cells))


QUESTION, REST = "question", "rest"


def stages(profile: Profile, wanted: Sequence[CellPlan]) -> list[Stage]:
    """The question first, where the profile names one, then the rest. Stages without a cell are left out.

    The question's baseline is in both where others are compared with it, which is done in blocks of their own.
    """
    question = profile.question
    asked = _asked(question, wanted) if question else []
    compared = {(cell.suite, cell.what) for cell in wanted if cell not in asked}
    again = [cell for cell in asked if question and cell.path == question.baseline]
    rest = [cell for cell in wanted if cell not in asked or (cell in again and (cell.suite, cell.what) in compared)]
    found = []
    if question and asked:
        own = {(cell.suite, cell.size): question.sizes[cell.size or 0] for cell in asked}
        found.append(Stage(QUESTION, tuple(asked), question.rounds, own, question.looks))
    if rest:
        found.append(Stage(REST, tuple(rest), profile.rounds, _spans(profile), ()))
    return found


def _asked(question: Question, wanted: Sequence[CellPlan]) -> list[CellPlan]:
    """The cells of a question that are wanted: both sides of a comparison, or none of it."""
    both = {question.candidate, question.baseline}
    cells = [
        cell
        for cell in wanted
        if cell.suite in question.suites
        and cell.size in question.sizes
        and cell.path in both
        and cell.rate_share is None
    ]
    sides = Counter((cell.suite, cell.what) for cell in cells)
    return [cell for cell in cells if sides[cell.suite, cell.what] == len(both)]


def of_question(profile: Profile, cell: Cell) -> bool:
    """Whether the verdict of a cell against its suite's baseline is one of the question's."""
    question = profile.question
    if question is None or cell.suite not in question.suites or cell.size_bytes not in question.sizes:
        return False
    return cell.path == question.candidate and cell.rate_share is None


def _spans(profile: Profile) -> dict[tuple[str, int | None], Span]:
    found: dict[tuple[str, int | None], Span] = {}
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            found[suite.name, None] = Span(blocks=suite.blocks)
        else:
            found |= {(suite.name, size): span for size, span in suite.sizes.items()}
    return found


def due(blocks: int, rounds: int, done: int) -> int:
    """How many of ``blocks`` are taken when ``done`` of the rounds are over: all alike, as far as it goes."""
    return -(-blocks * done // rounds)


def blocks(span: Span, seconds_per_block: float) -> int:
    """How many blocks that count a span gives, where one takes so many seconds within transfers."""
    return max(span.blocks, math.ceil(min(MOST_BLOCKS, span.seconds / seconds_per_block)))


def comparisons(profile: Profile) -> tuple[int, int]:
    """How many verdicts a whole run of a profile is going to hold: of its question, and others.

    Two metrics of a transfer, one of kernel crypto. At a fixed rate all paths give the same, so it has none.
    """
    found = asked = 0
    question = profile.question
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            found += sum(cell.driver != "any" or cell.path not in _compared_with(suite) for cell in operations(suite))
        else:
            each = 2 * max(1, len(suite.connections)) * max(1, len(suite.workers))
            found += each * len(suite.sizes) * (len(suite.paths) * (1 + suite.again) - 1)
            if question and suite.name in question.suites:
                asked += each * len(question.sizes)
    return asked, found - asked


def _compared_with(suite: CryptoSuite) -> set[str]:
    """The paths of the cells that others are compared with, where the kernel chooses the driver."""
    return {INTERFACES[suite.interfaces[0]].path(operation) for operation in suite.operations}


def compared(base: Cell, other: Cell, first: CryptoInterface) -> bool:
    """Whether a cell of kernel crypto is judged against another one. ``first``: the interface that is the others' base.

    Drivers and depths against the kernel's own choice by the same interface; that choice by another interface, and user
    space, against it by the first.
    """
    if base.driver != "any" or base.path == REFERENCE or (base.depth or 1) > 1 or other.id == base.id:
        return False
    if (other.cipher, other.buffer_bytes) != (base.cipher, base.buffer_bytes):
        return False
    if other.path == base.path:
        return True
    if base.interface != first:
        return False
    does = interfaces.operation(base.path)
    if other.path == REFERENCE:
        return does == "encrypt"
    return does == interfaces.operation(other.path) and other.driver == "any" and (other.depth or 1) == 1


def operations(suite: CryptoSuite) -> list[CellPlan]:
    """The cells of kernel crypto whose drivers the profile names, and those of the user-space reference."""
    planned = []
    drivers = [driver for driver in suite.drivers if driver != "each"]
    for cipher in suite.ciphers:
        planned += [
            cell
            for interface in suite.interfaces
            for driver in drivers
            for cell in for_driver(suite, INTERFACES[interface], cipher, driver)
        ]
        if cipher != "null" and "encrypt" in suite.operations:
            planned += [
                CellPlan(suite.name, REFERENCE, cipher, "any", buffer=n, depth=1) for n in suite.reference_buffers
            ]
    return planned


def for_driver(suite: CryptoSuite, interface: Interface, cipher: str, driver: str) -> list[CellPlan]:
    """The cells of one cipher by one driver that is asked by one interface."""
    sizes = [(size, 1) for size in suite.buffers]
    sizes += [(max(suite.buffers), depth) for depth in suite.depths if depth > 1]
    return [
        CellPlan(suite.name, interface.path(operation), cipher, driver, buffer=size, depth=depth)
        for operation in suite.operations
        for size, depth in sizes
    ]


def williams(count: int) -> list[list[int]]:
    """The sequences of a Williams design for ``count`` treatments: ``count`` of them, twice that if odd."""
    if count < 1:
        raise ValueError("a design needs at least one treatment")
    first, low, high = [0], 1, count - 1
    while low <= high:
        first.append(low)
        low += 1
        if low <= high:
            first.append(high)
            high -= 1
    square = [[(value + shift) % count for value in first] for shift in range(count)]
    return square if count % 2 == 0 else square + [row[::-1] for row in square]


def orders(count: int, blocks: int, seed: int) -> list[list[int]]:
    """An order for each of ``blocks`` blocks: the design's squares one after another, rows shuffled within each.

    So every ``count`` blocks from the last one back balance places, and every whole design what follows what. Where the
    number does not fit, the incomplete square stands first.
    """
    source = random.Random(seed)
    design = williams(count)
    rows: list[list[int]] = []
    while len(rows) < blocks:
        start = len(rows) % len(design)
        rows += source.sample(design[start : start + count], count)
    return rows[len(rows) - blocks :]
