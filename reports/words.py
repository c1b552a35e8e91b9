"""How things are called and numbers are written in reports: one place, so that every page says it alike."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from harness.record import Cell, SuiteEntry

PATHS = {
    "http": "plain HTTP, sendfile",
    "plain": "no encryption, sendfile",
    "https": "TLS in user space",
    "https-qat": "TLS in user space, by Intel's QAT engine",
    "ktls-write": "kernel TLS, write",
    "ktls": "kernel TLS, sendfile",
    "ipsec": "HTTP over IPsec (ESP)",
    "afalg-copy": "the traditional scheme: AF_ALG with copies",
    "afalg-splice": "the scheme with mainline calls: AF_ALG with splice",
    "so-crypt": "the scheme itself: sendfile on a SO_CRYPT socket",
    "so-crypt-send": "ablation: read and send on a SO_CRYPT socket",
    "raw-encrypt": "kernel cryptography alone: enciphering through AF_ALG",
    "raw-decrypt": "kernel cryptography alone: deciphering through AF_ALG",
    "openssl-speed": "cryptography in user space alone: openssl speed",
}
CIPHERS = {
    "null": "null-cipher",
    "des": "DES",
    "3des": "3DES",
    "aes128cbc": "AES-128-CBC",
    "aes256cbc": "AES-256-CBC",
    "aes128gcm": "AES-128-GCM",
    "aes256gcm": "AES-256-GCM",
    "chacha20poly1305": "ChaCha20-Poly1305",
    "none": "unencrypted",
}
BASELINES = {
    "afalg-copy": "the traditional scheme",
    "http": "plain HTTP",
    "plain": "plain sendfile",
    "https": "TLS in user space",
}
NAMES = {
    "so-crypt": "SO_CRYPT",
    "so-crypt-send": "SO_CRYPT with read and send",
    "afalg-splice": "AF_ALG with splice",
    "ktls": "kernel TLS",
    "ktls-write": "kernel TLS with write",
    "ipsec": "IPsec",
    "https": "HTTPS",
    "https-qat": "HTTPS on QAT",
}
SUBJECTS = {
    "so-crypt": "Taking the data off user space (so-crypt)",
    "afalg-splice": "Taking the data off user space (afalg-splice)",
    "so-crypt-send": "Encrypting in the socket but still reading through user space (so-crypt-send)",
    "ktls": "Encrypting TLS in the kernel and taking the data off user space (ktls)",
    "ktls-write": "Encrypting TLS in the kernel but still writing from user space (ktls-write)",
    "https": "Encrypting with TLS in user space (https)",
    "https-qat": "Encrypting TLS in user space by the QAT engine (https-qat)",
    "ipsec": "Encrypting below TCP with IPsec (ipsec)",
    "plain": "Not encrypting at all (plain)",
    "http": "Not encrypting at all (http)",
}
CONNECTIONS = {"new": "new connections", "resumed": "resumed sessions", "kept": "one kept connection"}
OVER = {
    "new": " over new connections",
    "resumed": " over connections that resume a session",
    "kept": " over one kept connection",
}
QUESTIONS = {4: "kernel-crypto", 5: "large-files", 6: "small-files", 7: "schemes"}
MASKED = "AES and vector instructions were hidden from user space, so that both sides pay about the same per byte."
UNMASKED = (
    "User space enciphers with the processor's AES and vector instructions here and the kernel's generic C does not: "
    "comparing one with the other flatters user space."
)
UNENCRYPTED = ("none", "", "-")
OUTCOMES = {
    "measured": "measured",
    "unsupported": "unsupported",
    "failed": "failed",
    "invalid": "invalid",
}
VERDICTS = {"faster": "▲ faster", "slower": "▼ slower", "same": "= same", "cannot_tell": "? cannot tell"}
CPU_VERDICTS = {"faster": "▲ cheaper", "slower": "▼ dearer", "same": "= same", "cannot_tell": "? cannot tell"}
METRICS = {"seconds": "time", "cpu_seconds_per_gb": "CPU per GB"}
FIGURES = {
    4: "Kernel cryptography by buffer size",
    5: "Large files: plain, TLS, IPsec",
    6: "Small files: the cost of a request",
    7: "The scheme against the traditional scheme",
}
KINDS = {
    "uml": "Emulated: both hosts are User Mode Linux kernels on one machine, where a system call costs many times "
    "what it costs on hardware and no crypto card exists; so the gain from saved crossings comes out too large, "
    "and absolute rates too low.",
    "qemu": "Emulated: both hosts run on QEMU's software processor, whose instructions and crypto card cost unlike "
    "any real ones and drift from boot to boot; read ratios within this run, never absolute rates.",
    "netns": "One machine: both hosts are network namespaces of one kernel and share its processors and memory, so "
    "sender and receiver slow each other down as two machines would not.",
}
EMULATED = ("uml", "qemu")


def kind(testbed: str) -> str:
    """A testbed's kind as a label."""
    return "emulated" if testbed in EMULATED else testbed


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
    """A cipher's name as people write it."""
    return CIPHERS.get(name, name)


def cipher_title(name: str) -> str:
    """A cipher's name as a heading."""
    return "Null cipher" if name == "null" else cipher(name)


def path_title(path: str) -> str:
    """What a path is, in a few words; empty where unknown."""
    return PATHS.get(path, "")


def place(cell: Cell) -> str:
    """What tells a cell from others of its path: its file's size, or its buffer and depth: ``64 KiB × 16``."""
    if cell.size_bytes is not None or not cell.buffer_bytes:
        return size(cell.size_bytes)
    return f"{size(cell.buffer_bytes)}{f' × {cell.depth}' if (cell.depth or 1) > 1 else ''}"


def transfer(cell: Cell) -> str:
    """What a cell moves: ``100 MB 3DES transfers``, and by which driver if one was asked for."""
    kind = "" if cell.cipher in UNENCRYPTED else cipher(cell.cipher) + " "
    if cell.size_bytes is None and cell.buffer_bytes:
        return f"{kind}operations on {place(cell)}"
    driver = "" if cell.driver == "any" else f" by {cell.driver_found or cell.driver}"
    return f"{size(cell.size_bytes)} {kind}transfers{driver}"


def hmac(suite: SuiteEntry, cipher: str) -> str:
    """The MAC that a suite's cipher goes with, as RFCs write it; empty where it has none, or nothing is enciphered."""
    return f"HMAC-{suite.integrity.upper()}" if suite.integrity and cipher not in UNENCRYPTED else ""


def question(suite: SuiteEntry) -> str:
    """What a suite asks: as it says itself, else by its figure in the paper; empty where neither tells."""
    return suite.question or QUESTIONS.get(suite.figure or 0, "")


def generic(kind: str, suite: SuiteEntry, cells: list[Cell]) -> bool:
    """Whether user space has instructions for a suite's cipher that the kernel under test does without.

    That is so in User Mode Linux; on QEMU where a cell was found to be bound to a generic driver.
    """
    fast = [cell for cell in cells if cell.suite == suite.name and cell.cipher.startswith(("aes", "chacha"))]
    bound = any("generic" in (cell.driver_found or "") for cell in fast)
    return suite.instructions == "all" and bool(fast) and (kind == "uml" or (kind == "qemu" and bound))
