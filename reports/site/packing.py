"""What a page holds for its scripts, in few bytes: JSON, gzipped, in base64 (``packed``).

The samples of a record are in it as columns of base64 with no more digits than the page shows. ``i``: whole numbers
of one or two bytes, little-endian. ``f``: the upper three bytes of a 32-bit float, little-endian, NaN where missing;
that keeps a relative error below 2^-16, and four figures are shown. ``d``: a dictionary by row number, where most rows
have nothing. The CSV file beside the page has every digit.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hosts.roles import ROLES, Role
from reports import words

SPARSE = 0.25
"""A column with fewer values than this share of its rows is written as a dictionary."""


def packed(value: object) -> str:
    """A value for ``assets/data.js``; nothing in it can end the element that it stands in. ValueError for NaN."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return _base64(gzip.compress(text.encode("ascii"), mtime=0))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, Any]:
    """A table for ``assets/tables.js``: a field is what it shows, or [value, shown] where its value has more."""
    return {"columns": list(columns), "rows": [[_field(value) for value in row] for row in rows]}


def _field(value: object) -> str | list[str] | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    shown, whole = words.number(value), words.raw(value)
    return shown if shown == whole else [whole, shown]


def sample_columns(samples: pd.DataFrame, cells: list[str]) -> dict[str, Any]:
    """The samples as packed columns."""
    index = {name: n for n, name in enumerate(dict.fromkeys([*cells, *samples["cell"]]))}
    # 0 counts, 1 warm-up, 2 not valid, 3 valid but its cell does not count
    state = [
        0 if counted else 1 if warmup else 3 if valid else 2
        for counted, warmup, valid in zip(samples["counted"], samples["warmup"], samples["valid"], strict=True)
    ]
    moved = [None if pd.isna(value) else int(value) for value in samples["bytes"]]
    usual = _usual([index[name] for name in samples["cell"]], moved)
    return {
        "cells": list(index),
        "sizes": usual,
        "rows": len(samples),
        "cell": whole([index[name] for name in samples["cell"]]),
        "block": whole(samples["block"].tolist()),
        "index": whole(samples["index"].tolist()),
        "state": whole(state),
        "seconds": floats(samples["seconds"].tolist()),
        "handshake": floats(samples["handshake_seconds"].tolist()),
        # only where it is not what is usual for the cell
        "bytes": {
            n: size
            for n, (name, size) in enumerate(zip(samples["cell"], moved, strict=True))
            if size != usual.get(index[name])
        },
        **{role: floats(_busy(samples, role)) for role in ROLES},
        "latency": floats(samples["latency_p50_us"].tolist()),
        "reason": {n: reason for n, reason in enumerate(samples["reason"]) if reason},
    }


def _busy(samples: pd.DataFrame, role: Role) -> list[float]:
    """A host's busy seconds; NaN where its clock is too coarse for the sample."""
    seconds: list[float] = samples[f"{role}_cpu_seconds"].where(samples[f"{role}_cpu_seconds_per_gb"].notna()).tolist()
    return seconds


def _usual(cells: Sequence[int], moved: Sequence[int | None]) -> dict[int, int]:
    """The most frequent number of bytes of each cell's samples."""
    seen: dict[int, Counter[int]] = {}
    for cell, size in zip(cells, moved, strict=True):
        if size is not None:
            seen.setdefault(cell, Counter())[size] += 1
    return {cell: counter.most_common(1)[0][0] for cell, counter in seen.items()}


def whole(values: Sequence[int]) -> str | list[int]:
    """Whole numbers from 0 to 65535 in one or two bytes each; any others as they are."""
    top = max(values, default=0)
    if top >= 1 << 16 or min(values, default=0) < 0:
        return list(values)
    return f"i{1 if top < 256 else 2}" + _base64(np.array(values, dtype="<u1" if top < 256 else "<u2").tobytes())


def floats(values: Sequence[float]) -> str | dict[int, float]:
    """Numbers as the upper three bytes of 32-bit floats, rounded; a dictionary where most are missing."""
    known = {n: float(f"{value:.5g}") for n, value in enumerate(values) if not math.isnan(value)}
    if len(known) < SPARSE * len(values) or not values:
        return known
    with np.errstate(over="ignore"):  # what 32 bits cannot hold is without end
        bits = np.array(values, dtype="<f4").view("<u4").astype("<u8")
    rounded = np.where(np.isnan(np.array(values)), bits, bits + 0x80).astype("<u4")
    return "f3" + _base64(rounded.view("u1").reshape(-1, 4)[:, 1:].tobytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
