"""Pure: a profile becomes cells and the order they are sampled in.

Orders come from a Williams design: over its sequences every cell stands in every place equally often and
follows every other cell equally often, so that drift and carry-over cancel (E. J. Williams, Aust. J. Sci. Res.
A 2, 1949). For two cells that is AB, BA, ….
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from harness.profile import CryptoSuite, Profile, TransferSuite, size_name
from harness.record import Cell, Outcome


@dataclass(frozen=True)
class CellPlan:
    """A cell that a profile asks for; ``cipher`` is ``none`` where the path does not encrypt.

    ``size`` of the file, or ``buffer`` and ``depth`` of raw crypto, in bytes and requests under way at once.
    """

    suite: str
    path: str
    cipher: str
    driver: str
    size: int | None = None
    buffer: int | None = None
    depth: int | None = None

    @property
    def side(self) -> str:
        """Which deployment it measures: its path, or that path's second one."""
        return f"{self.path} {AGAIN}" if self.driver == AGAIN else self.path

    @property
    def what(self) -> str:
        """The last part of its id: the file's size, or the buffer's, with the depth where that is above 1."""
        if self.buffer is None:
            return size_name(self.size or 0)
        return f"{self.buffer}B" + (f"x{self.depth}" if self.depth and self.depth > 1 else "")

    @property
    def id(self) -> str:
        """``suite/path/cipher/driver/size``."""
        return f"{self.suite}/{self.path}/{self.cipher}/{self.driver}/{self.what}"

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
            outcome=outcome,
            reason=reason,
        )


AGAIN = "again"
"""The driver of a cell whose path was deployed a second time, to be compared with itself."""
REFERENCE = "openssl-speed"
"""The path of a cell that `openssl speed` answers: the same work in user space."""


def cells(profile: Profile, clear_paths: frozenset[str]) -> list[CellPlan]:
    """Every cell that a profile names, in the order of its text. ``clear_paths``: the paths that do not encrypt.

    Those of drivers that are only found on the host (``each``) come to a run's record later.
    """
    found: list[CellPlan] = []
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            found += operations(suite)
        else:
            found += [cell for size in suite.sizes for cell in at_size(suite, size, clear_paths)]
    return found


def at_size(suite: TransferSuite, size: int, clear_paths: frozenset[str]) -> list[CellPlan]:
    """The cells of a suite that are compared with one another."""
    once = [
        CellPlan(suite.name, path, "none", "any", size)
        if path in clear_paths
        else CellPlan(suite.name, path, suite.cipher, suite.driver, size)
        for path in suite.paths
    ]
    return [*once, *(replace(cell, driver=AGAIN) for cell in once)] if suite.again else once


def comparisons(profile: Profile) -> int:
    """How many verdicts a whole run of a profile is going to hold: two metrics of a transfer, one of raw crypto."""
    found = 0
    for suite in profile.suites:
        if isinstance(suite, CryptoSuite):
            found += sum(cell.driver != "any" or cell.path == REFERENCE for cell in operations(suite))
        else:
            found += 2 * len(suite.sizes) * (len(suite.paths) * (1 + suite.again) - 1)
    return found


def operations(suite: CryptoSuite) -> list[CellPlan]:
    """The cells of raw crypto whose drivers the profile names, and those of the user-space reference."""
    found = []
    drivers = [driver for driver in suite.drivers if driver != "each"]
    for cipher in suite.ciphers:
        found += [cell for driver in drivers for cell in for_driver(suite, cipher, driver)]
        if cipher != "null" and "encrypt" in suite.operations:
            found += [
                CellPlan(suite.name, REFERENCE, cipher, "any", buffer=n, depth=1) for n in suite.reference_buffers
            ]
    return found


def for_driver(suite: CryptoSuite, cipher: str, driver: str) -> list[CellPlan]:
    """The cells of one cipher by one driver."""
    sizes = [(size, 1) for size in suite.buffers]
    sizes += [(max(suite.buffers), depth) for depth in suite.depths if depth > 1]
    return [
        CellPlan(suite.name, f"raw-{operation}", cipher, driver, buffer=size, depth=depth)
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
    """An order for each of ``blocks`` blocks: whole designs one after another, rows shuffled within each.

    Where the number does not fit, the incomplete design stands first: there the warm-up is, so that the blocks
    that count are whole designs wherever their own number allows.
    """
    source = random.Random(seed)
    rows: list[list[int]] = []
    while len(rows) < blocks:
        design = williams(count)
        source.shuffle(design)
        rows += design
    return rows[len(rows) - blocks :]
