"""How things are called and numbers are written in reports: one place, so that every page says it alike."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from harness.record import Cell

PATHS = {
    "http": "plain HTTP, sendfile",
    "plain": "no encryption, sendfile",
    "https": "TLS in user space",
    "ktls-write": "kernel TLS, write",
    "ktls": "kernel TLS, sendfile",
    "ipsec": "HTTP over IPsec (ESP)",
    "afalg-copy": "the traditional scheme: AF_ALG with copies",
    "afalg-splice": "the scheme with mainline calls: AF_ALG with splice",
    "so-crypt": "the scheme itself: sendfile on a SO_CRYPT socket",
    "so-crypt-send": "ablation: read and send on a SO_CRYPT socket",
}
CIPHERS = {"3des": "3DES", "aes128cbc": "AES-128-CBC", "null": "null-cipher", "none": "unencrypted"}
BASELINES = {"afalg-copy": "the traditional scheme", "http": "plain HTTP", "https": "HTTPS in user space"}
NAMES = {
    "so-crypt": "SO_CRYPT",
    "so-crypt-send": "SO_CRYPT with read and send",
    "afalg-splice": "AF_ALG with splice",
    "ktls": "kernel TLS",
    "ipsec": "IPsec",
    "https": "HTTPS",
}
SUBJECTS = {
    "so-crypt": "Taking the data off user space (so-crypt)",
    "afalg-splice": "Taking the data off user space (afalg-splice)",
    "so-crypt-send": "Encrypting in the socket but still reading through user space (so-crypt-send)",
    "plain": "Not encrypting at all (plain)",
    "http": "Not encrypting at all (http)",
}
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


def ratio(value: float | None) -> str:
    """A ratio: two decimals below 10, then three significant digits."""
    if value is None or math.isnan(value):
        return "–"
    if value >= 9.995:
        return f"{value:.3g}" if value < 1e4 else f"{value:.1e}"
    if abs(value - 1) < 0.005 and f"{value:.3f}" != "1.000":
        return f"{value:.3f}"  # on which side of 1 it lies is the point
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage."""
    if fraction is None or math.isnan(fraction):
        return "–"
    value = fraction * 100
    return f"{value:.1f} %" if value < 9.95 and round(value, 1) != round(value) else f"{value:.0f} %"


def nobreak(sentence: str) -> str:
    """A sentence whose numbers stay together with their units, and intervals in one piece."""
    sentence = re.sub(r"(\d) (%|[kMG]?B\b|Ki?B\b|blocks?\b)", "\\1\N{NO-BREAK SPACE}\\2", sentence)
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


def path_title(path: str) -> str:
    """What a path is, in a few words; empty where unknown."""
    return PATHS.get(path, "")


def transfer(cell: Cell) -> str:
    """What a cell moves: ``100 MB 3DES transfers``."""
    unencrypted = cell.cipher in UNENCRYPTED
    return f"{size(cell.size_bytes)} {'' if unencrypted else cipher(cell.cipher) + ' '}transfers"
