"""Pure: sizes and rates as people write them."""

from __future__ import annotations

import re

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
LONGEST_DELAY_MS = 2000
RATES = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


def parse_size(text: object) -> int:
    """``"10MB"`` -> 10000000 (bytes; MB is 10^6). Raises ValueError."""
    match = re.fullmatch(r"([0-9]+)\s*(B|kB|MB|GB)", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a size like 15B, 1MB or 100MB")
    return int(match[1]) * UNITS[match[2]]


def size_name(size: int) -> str:
    """10000000 -> ``"10MB"``: the largest unit that divides it."""
    for unit in ("GB", "MB", "kB"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{size}B"


def size_words(value: int) -> tuple[str, str]:
    """A size as a number and its unit, as sentences have it: whole KiB below 1 MB are KiB."""
    if value and value % 1024 == 0 and value < 2**20:
        return f"{value // 1024}", "KiB"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= factor:
            return f"{value / factor:g}", unit
    return f"{value}", "B"


def parse_rate(text: object) -> int | None:
    """``"1gbit"`` -> 1000000000 (bit/s), ``"unshaped"`` -> None. Raises ValueError."""
    if text == "unshaped":
        return None
    match = re.fullmatch(r"([1-9][0-9]*)\s*(kbit|mbit|gbit)", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a rate like 100mbit or 1gbit, nor unshaped")
    return int(match[1]) * RATES[match[2]]


def parse_delay(text: object) -> object:
    """``"20ms"`` -> 0.02 (seconds). Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*ms", str(text))
    if not match or not 0 < float(match[1]) <= LONGEST_DELAY_MS:
        raise ValueError(f"{text!r} is no time like 20ms, of at most {LONGEST_DELAY_MS} ms")
    return float(match[1]) / 1e3
