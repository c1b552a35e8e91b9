"""What transfers took across the border of user and kernel memory, beside the paper's model of its two schemes.

The model, for a file of p bytes moved in buffers of n: the traditional scheme copies 4 p / n buffers and switches
between user and kernel 8 p / n times; the paper's own scheme copies none and switches twice, whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.record import Crossing, SuiteEntry
from reports import words
from reports.drawing.tables import Table, Value, number, text

MB = 10**6
TRADITIONAL = ("afalg-copy",)
SCHEME = ("afalg-splice", "so-crypt", "ktls", "http", "plain", "ipsec")
COUNTED = {"server": "exact, by the server", "strace": "seen by strace"}
READING = (
    "Counted in a separate transfer that was not timed. A system call is two mode switches, into the kernel and back. "
    "“Crossing” are bytes that a call took from user memory or put there, “copied” those that a processor copied on "
    "the way, both for each byte of the file.",
    "The paper's model, for 1 MB in buffers of n bytes: the traditional scheme copies 4 MB / n buffers between user "
    "and kernel and switches 8 MB / n times; the scheme copies none and switches twice for a file of any size. "
    "It stands only beside paths that it speaks of.",
)
COLUMNS = ("Path", "Cipher", "Buffer", "System calls per MB", "Mode switches per MB", "Model: switches",
           "Crossing per byte", "Copied per byte", "Buffers copied per MB", "Model: buffers", "Counted")  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What the paper's model says of 1 MB: buffers copied, and mode switches (None where the buffer is not known)."""

    copies: float | None
    switches: float | None


SCHEME_MODEL = Model(0, 2)


def model(path: str, buffer: int | None) -> Model | None:
    """The paper's model of a path; None for paths that it does not speak of."""
    if path in TRADITIONAL:
        return Model(4 * MB / buffer, 8 * MB / buffer) if buffer else Model(None, None)
    return SCHEME_MODEL if path in SCHEME else None


def tables(suites: Sequence[SuiteEntry]) -> list[Table]:
    """A table for each suite that counted anything."""
    return [_table(n, suite) for n, suite in enumerate(suites) if suite.crossings]


def _table(n: int, suite: SuiteEntry) -> Table:
    return Table(
        id=f"crossings-{n + 1}",
        title=f"Suite {suite.name}",
        columns=COLUMNS,
        rows=[_row(crossing) for crossing in suite.crossings],
        details=[("Calls by name", _calls(n, suite))],
    )


def _row(crossing: Crossing) -> list[Value]:
    size = crossing.size_bytes
    calls = sum(crossing.calls.values()) * MB / size
    copied = crossing.copied_bytes
    expected = model(crossing.path, crossing.buffer_bytes)
    buffers = copied / crossing.buffer_bytes * MB / size if copied is not None and crossing.buffer_bytes else None
    if copied == 0:
        buffers = 0.0
    return [
        Value(crossing.path, crossing.path, words.path_title(crossing.path)),
        text("–" if crossing.cipher in words.UNENCRYPTED else words.cipher(crossing.cipher)),
        Value(words.size(crossing.buffer_bytes) if crossing.buffer_bytes else "–", crossing.buffer_bytes),
        number(calls),
        number(2 * calls),
        Value("2 a file", 2) if expected == SCHEME_MODEL else number(expected.switches if expected else None),
        number(crossing.crossing_bytes / size),
        number(None if copied is None else copied / size),
        number(buffers),
        number(expected.copies if expected else None),
        text(COUNTED[crossing.source], f"file of {words.size(size)}"),
    ]


def _calls(n: int, suite: SuiteEntry) -> Table:
    """Every call by name and path, in the order of how often it was made."""
    names: dict[str, int] = {}
    for crossing in suite.crossings:
        for name, count in crossing.calls.items():
            names[name] = names.get(name, 0) + count
    rows = []
    for name in sorted(names, key=lambda name: (-names[name], name)):
        counts = [crossing.calls.get(name) for crossing in suite.crossings]
        rows.append([text(name), *(number(count, 12) for count in counts)])
    heads = [_head(crossing, suite.crossings) for crossing in suite.crossings]
    return Table(f"crossings-{n + 1}-calls", "", ["Call", *heads], rows)


def _head(crossing: Crossing, all_of_them: Sequence[Crossing]) -> str:
    """A path's name, with what tells it from others of the same path."""
    twins = [other for other in all_of_them if other.path == crossing.path]
    if len(twins) == 1:
        return crossing.path
    return f"{crossing.path}, {words.cipher(crossing.cipher)}, {words.size(crossing.size_bytes)}"
