"""What transfers took across the border of user and kernel memory, beside the paper's model of its two schemes.

The model, for a file of p bytes moved in buffers of n: the traditional scheme copies 4 p / n buffers and switches
between user and kernel 8 p / n times; the paper's own scheme copies none and switches twice, whatever the file's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.api.words import Model, Words
from harness.record import Crossing, Head, SuiteEntry
from reports import words
from reports.drawing.tables import Table, Value, number, text

MB = 10**6
COUNTED = {"server": "exact, by the server", "strace": "seen by strace", "client": "exact, by the receiving client"}
READING = (
    "Counted in a separate transfer that was not timed. A system call is two mode switches, into the kernel and back. "
    "“Crossing” are bytes that a call took from user memory or put there, “copied” those that a processor copied on "
    "the way, both for each byte of the file.",
    "The paper's model, for 1 MB in buffers of n bytes: the traditional scheme copies 4 MB / n buffers between user "
    "and kernel and switches 8 MB / n times; the scheme copies none and switches twice for a file of any size. "
    "It stands only beside paths that it speaks of.",
    "Of ways of receiving it is the receiver's border, counted in a timed sample. The model's schemes do there what "
    "they do on the sender, so that both ends together have twice as much.",
)
COLUMNS = ("Path", "Cipher", "Buffer", "System calls per MB", "Mode switches per MB", "Model: switches",
           "Crossing per byte", "Copied per byte", "Buffers copied per MB", "Model: buffers", "Counted")  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """What the paper's model says of 1 MB: buffers copied, and mode switches (None where the buffer is not known)."""

    copies: float | None
    switches: float | None


SCHEME = Expected(0, 2)


def expected(model: Model | None, buffer: int | None) -> Expected | None:
    """What the paper expects of a path with this model and buffer; None for paths that it does not speak of."""
    if model == "traditional":
        return Expected(4 * MB / buffer, 8 * MB / buffer) if buffer else Expected(None, None)
    return SCHEME if model == "scheme" else None


def sentence(head: Head) -> str:
    """How often a byte crosses on the path that crosses most, and on the one that crosses least."""
    counted = [c for suite in head.suites for c in suite.crossings if c.cipher not in words.UNENCRYPTED]
    ordered = sorted(counted, key=lambda c: c.crossing_bytes / c.size_bytes)
    shown = [
        f"{n:.0f} times on {c.path}" for c in (ordered[-1:] + ordered[:1]) for n in [c.crossing_bytes / c.size_bytes]
    ]
    return f"A byte crosses between user and kernel memory {' and '.join(shown)}." if shown else ""


def tables(head: Head) -> list[Table]:
    """A table for each suite that counted anything."""
    return [_table(n, suite, head) for n, suite in enumerate(head.suites) if suite.crossings]


def _table(n: int, suite: SuiteEntry, head: Head) -> Table:
    return Table(
        id=f"crossings-{n + 1}",
        title=f"Suite {suite.name}",
        columns=COLUMNS,
        rows=[_row(crossing, words.path(head, crossing.path)) for crossing in suite.crossings],
        details=[("Calls by name", _calls(n, suite))],
    )


def _row(crossing: Crossing, path: Words) -> list[Value]:
    size = crossing.size_bytes
    calls = sum(crossing.calls.values()) * MB / size
    copied = crossing.copied_bytes
    paper = expected(path.model, crossing.buffer_bytes)
    buffers = copied / crossing.buffer_bytes * MB / size if copied is not None and crossing.buffer_bytes else None
    if copied == 0:
        buffers = 0.0
    return [
        Value(crossing.path, crossing.path, path.label),
        text("–" if crossing.cipher in words.UNENCRYPTED else words.cipher(crossing.cipher)),
        Value(words.size(crossing.buffer_bytes) if crossing.buffer_bytes else "–", crossing.buffer_bytes),
        number(calls),
        number(2 * calls),
        Value("2 a file", 2) if paper == SCHEME else number(paper.switches if paper else None),
        _crossing_bytes(crossing),
        number(None if copied is None else copied / size),
        number(buffers),
        number(paper.copies if paper else None),
        text(COUNTED[crossing.source], "; ".join([f"file of {words.size(size)}", *_not_seen(crossing)])),
    ]


def _crossing_bytes(crossing: Crossing) -> Value:
    """Bytes across the border for each of the file; the least there were, where calls carried others."""
    value = number(crossing.crossing_bytes / crossing.size_bytes)
    return value._replace(text=f"at least {value.text}") if crossing.uncounted else value


def _not_seen(crossing: Crossing) -> list[str]:
    return [f"without the bytes of {', '.join(crossing.uncounted)}"] if crossing.uncounted else []


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
