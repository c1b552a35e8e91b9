"""Pure: a profile becomes cells and the order they are sampled in.

Orders come from a Williams design: over its sequences every cell stands in every place equally often and
follows every other cell equally often, so that drift and carry-over cancel (E. J. Williams, Aust. J. Sci. Res.
A 2, 1949). For two cells that is AB, BA, ….
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.profile import Profile, Suite, size_name
from harness.record import Cell, Outcome


@dataclass(frozen=True)
class CellPlan:
    """A cell that a profile asks for; ``cipher`` is ``none`` where the path does not encrypt."""

    suite: str
    path: str
    cipher: str
    driver: str
    size: int

    @property
    def id(self) -> str:
        """``suite/path/cipher/driver/size``."""
        return f"{self.suite}/{self.path}/{self.cipher}/{self.driver}/{size_name(self.size)}"

    def row(self, outcome: Outcome, reason: str | None) -> Cell:
        """Its row in the record."""
        return Cell(
            id=self.id,
            suite=self.suite,
            path=self.path,
            cipher=self.cipher,
            driver=self.driver,
            size_bytes=self.size,
            outcome=outcome,
            reason=reason,
        )


def cells(profile: Profile, clear_paths: frozenset[str]) -> list[CellPlan]:
    """Every cell of a profile, in the order of its text. ``clear_paths`` are the paths that do not encrypt."""
    return [cell for suite in profile.suites for size in suite.sizes for cell in at_size(suite, size, clear_paths)]


def at_size(suite: Suite, size: int, clear_paths: frozenset[str]) -> list[CellPlan]:
    """The cells of a suite that are compared with one another."""
    return [
        CellPlan(suite.name, path, "none", "any", size)
        if path in clear_paths
        else CellPlan(suite.name, path, suite.cipher, suite.driver, size)
        for path in suite.paths
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
