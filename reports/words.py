"""How things are called and numbers are written in reports: one place, so that every page says it alike."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from harness.api.words import Words
from harness.ciphers.table import CIPHERS
from harness.record import Cell, Head, SuiteEntry, TestbedEntry
from reports import older

CONNECTIONS = {"new": "new connections", "resumed": "resumed sessions", "kept": "one kept connection"}
OVER = {
    "new": " over new connections",
    "resumed": " over connections that resume a session",
    "kept": " over one kept connection",
}
QUESTIONS = {4: "kernel-crypto", 5: "large-files", 6: "small-files", 7: "schemes"}
MASKED = "AES and vector instructions were hidden from user space, so that both sides pay about the same per byte."
MASKED_ALONE = (
    "AES and vector instructions were hidden from user space, and the kernel may use them: "
    "comparing one with the other flatters the kernel."
)
UNMASKED = (
    "User space enciphers with the processor's AES and vector instructions here and the kernel's generic C does not: "
    "comparing one with the other flatters user space."
)
UNENCRYPTED = ("none", "", "-")
VERDICTS = {"faster": "▲ faster", "slower": "▼ slower", "same": "= same", "cannot_tell": "? cannot tell"}
CPU_VERDICTS = {"faster": "▲ cheaper", "slower": "▼ dearer", "same": "= same", "cannot_tell": "? cannot tell"}
METRICS = {
    "seconds": "time",
    "cpu_seconds_per_gb": "CPU per GB",
    "receiver_cpu_seconds_per_gb": "receiver CPU per GB",
}
INTERVAL = (
    "95 % interval over boots or deployments (where there was a single one, over its samples: it knows no other; where "
    "there were two, none)"
)
"""What is not compared has, in captions."""
FIGURES = {
    4: "Kernel cryptography by buffer size",
    5: "Large files: plain, TLS, IPsec",
    6: "Small files: the cost of a request",
    7: "The scheme against the traditional scheme",
}


def spoken(head: Head) -> Head:
    """A head that says how its paths and its testbed are called."""
    names = {cell.path for cell in head.cells}
    paths = {name: known for name in names if (known := older.PATHS.get(name))} | head.paths
    return head.model_copy(
        update={"paths": paths, "testbed": head.testbed.model_copy(update={"label": label(head.testbed)})}
    )


def label(testbed: TestbedEntry) -> str:
    """What a testbed's figures are called in a word: ``emulated``, or ``hosts``."""
    return testbed.label or older.TESTBEDS.get(testbed.kind, (testbed.kind, ""))[0]


def caveat(testbed: TestbedEntry) -> str:
    """What a reader of a testbed's figures must know; empty where there is nothing."""
    return testbed.caveat or older.TESTBEDS.get(testbed.kind, ("", ""))[1]


def size(n: float | None) -> str:
    """A size in decimal units: ``100 MB``. A whole number of KiB below 1 MB is written as KiB."""
    if n is None:
        return "any size"
    if n and n % 1024 == 0 and n < 2**20:
        return f"{n / 1024:g} KiB"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= factor:
            return f"{n / factor:g} {unit}"
    return f"{n:g} B"


def rate(bits_per_second: float | None) -> str:
    """A rate: ``1 Gbit/s``."""
    if bits_per_second is None:
        return "not limited"
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits_per_second >= factor:
            return f"{bits_per_second / factor:.4g} {unit}"
    return f"{bits_per_second:.4g} bit/s"


def number(value: float | None, digits: int = 4) -> str:
    """A number to ``digits`` significant digits without an exponent where one can do without."""
    if value is None or math.isnan(value):
        return "–"
    if value and not 1e-6 <= abs(value) < 1e12:
        return f"{value:.{digits}g}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.0f}"
    return f"{float(f'{value:.{digits}g}'):.10f}".rstrip("0").rstrip(".")


def raw(value: Any) -> str:
    """A value to six significant digits, for sorting and download; empty where missing."""
    if pd.isna(value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def ratio(value: float | None) -> str:
    """A ratio: two decimals below 10, three significant digits above, a power of ten from 10^4 on."""
    if value is None or math.isnan(value):
        return "–"
    if value >= 9.995:
        return f"{value:.3g}" if value < 999.5 else f"{value:.0f}" if value < 1e4 else f"{value:.1e}"
    if abs(value - 1) < 0.005 and f"{value:.3f}" != "1.000":
        return f"{value:.3f}"  # on which side of 1 it lies is the point
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage; beyond tenfold only that it is."""
    if fraction is None or math.isnan(fraction):
        return "–"
    if fraction > 10:
        return "over 1000 %"
    value = fraction * 100
    return f"{value:.1f} %" if value < 9.95 and round(value, 1) != round(value) else f"{value:.0f} %"


def nobreak(sentence: str) -> str:
    """A sentence in which numbers stay with their units, verdicts with their signs, and intervals in one piece."""
    sentence = re.sub(r"([▲▼=?]) (?=[a-z])", "\\1\N{NO-BREAK SPACE}", sentence)
    sentence = re.sub(r"× (?=\d)", "×\N{NO-BREAK SPACE}", sentence)
    sentence = re.sub(
        r"(\d) (%|[kMG]?B\b|Ki?B\b|blocks?\b|[kMG]?bit/s|µs\b|ns\b)", "\\1\N{NO-BREAK SPACE}\\2", sentence
    )
    return re.sub(r"(\d)–(\d)", "\\1\N{WORD JOINER}–\N{WORD JOINER}\\2", sentence)


def when(moment: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "–"


def lasted(started: datetime, finished: datetime | None) -> str:
    """How long between two moments."""
    if finished is None:
        return "unknown"
    seconds = round((finished - started).total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds % 60:02d} s"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 block``, ``6 blocks``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}".replace(",", "\N{THIN SPACE}")


def cipher(name: str) -> str:
    """A cipher's name as it stands before a noun: ``3DES``, ``null-cipher``."""
    known = CIPHERS.get(name)
    return "unencrypted" if name == "none" else known.title.replace(" ", "-") if known else name


def cipher_title(name: str) -> str:
    """A cipher's name as a heading."""
    known = CIPHERS.get(name)
    return known.title[0].upper() + known.title[1:] if known else cipher(name)


def path(head: Head, name: str) -> Words:
    """How a path is called, by its record; all empty where nobody ever said."""
    return head.paths.get(name) or older.PATHS.get(name) or Words()


def path_title(head: Head, name: str) -> str:
    """What a path is, in a few words; empty where unknown."""
    return path(head, name).label


def baseline(head: Head, name: str) -> str:
    """What a path is called where others are compared with it."""
    return path(head, name).baseline or name


def place(cell: Cell) -> str:
    """What tells a cell from others of its path: its file's size, or its buffer and depth: ``64 KiB × 16``."""
    if cell.size_bytes is not None or not cell.buffer_bytes:
        return size(cell.size_bytes) + over(cell.connections, cell.rate_share, cell.workers)
    return f"{size(cell.buffer_bytes)}{f' × {cell.depth}' if (cell.depth or 1) > 1 else ''}"


def over(connections: int | None, rate_share: float | None = None, workers: int | None = None) -> str:
    """What follows a size under load: `` × 64 connections, 4 workers at 80 %``; empty where one transfer follows the
    other."""
    if connections is None:
        return ""
    served = f", {count(workers, 'worker')}" if workers else ""
    rate = "" if rate_share is None else f" at {rate_share * 100:g} %"
    return f" × {count(connections, 'connection')}{served}{rate}"


def transfer(cell: Cell) -> str:
    """What a cell moves: ``100 MB 3DES transfers``, and by which driver if one was asked for."""
    kind = "" if cell.cipher in UNENCRYPTED else cipher(cell.cipher) + " "
    if cell.size_bytes is None and cell.buffer_bytes:
        return f"{kind}operations on {place(cell)}"
    driver = "" if cell.driver == "any" else f" by {cell.driver_found or cell.driver}"
    if cell.connections is not None:
        return f"{kind}transfers of {place(cell)}{driver}"
    return f"{size(cell.size_bytes)} {kind}transfers{driver}"


def hmac(suite: SuiteEntry, cipher: str) -> str:
    """The MAC that a suite's cipher goes with, as RFCs write it; empty where it has none, or nothing is enciphered."""
    return f"HMAC-{suite.integrity.upper()}" if suite.integrity and cipher not in UNENCRYPTED else ""


def question(suite: SuiteEntry) -> str:
    """What a suite asks: as it says itself, else by its figure in the paper; empty where neither tells."""
    return suite.question or QUESTIONS.get(suite.figure or 0, "")


def instructions(head: Head, suite: SuiteEntry, cells: list[Cell]) -> str:
    """Which side of a suite has instructions for its cipher that the other does without; empty where that is not known.

    A lab's kernel may have nothing but generic C, as its record says (older ones: by being User Mode Linux). In another
    emulation that is so where a cell was found to be bound to a generic driver.
    """
    fast = [cell for cell in cells if cell.suite == suite.name and cell.cipher.startswith(("aes", "chacha"))]
    bound = any("generic" in (cell.driver_found or "") for cell in fast)
    known = head.testbed.generic_ciphers
    only = head.testbed.kind == "uml" if known is None else known
    generic = only or (label(head.testbed) == "emulated" and bound)
    if suite.instructions == "masked":
        return MASKED if generic else MASKED_ALONE
    return UNMASKED if fast and generic else ""
