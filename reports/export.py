"""Samples and cells of a record as CSV, for spreadsheets and other programs.

Columns carry their unit in the name: ``_bytes``, ``_seconds``, ``_us`` (microseconds), ``_bits_per_second``,
``_cpu_seconds_per_gb`` (busy processor seconds of the whole host per 10^9 payload bytes); ``_low`` and ``_high`` are
the 95 % interval of the column they follow; ``warmup``, ``valid`` and ``counted`` are True or False; ``witness`` is
JSON. Empty is missing, never zero. UTF-8, comma, CRLF as RFC 4180 has it. A text that a spreadsheet would
take for a formula gets an apostrophe in front.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(frame: pd.DataFrame) -> str:
    """A data frame as CSV text, every digit kept."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(frame.columns)
    columns = [frame[name].astype(object).tolist() for name in frame.columns]
    writer.writerows([_field(value) for value in row] for row in zip(*columns, strict=True))
    return out.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    return "" if pd.isna(value) else value
