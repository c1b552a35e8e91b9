"""A record as data frames: one row per sample, one row per cell.

Only samples that count (``harness/samples.py``) are in a summary; the others stay in the frame, marked. Goodput is
summarised by the geometric mean (so that it agrees with the verdicts, which are made of log ratios), CPU by the
arithmetic mean, where the clock was fine enough for every sample. Intervals are t intervals at 95 %, made of one number
from each round as those of the verdicts are: blocks of one boot are more alike than those of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from harness.ciphers import interfaces
from harness.record import Cell, Run
from harness.samples import Sample, cpu_seconds_per_gb, joules_per_gb
from harness.verdicts.stats import FEWEST
from hosts.roles import ROLES, Role

LEVEL = 0.95
CELL_FIELDS = (
    *("suite", "path", "cipher", "driver", "driver_found", "size_bytes", "buffer_bytes", "depth"),
    *("connections", "rate_share", "workers", "interface", "outcome"),
)
LINKS = tuple(f"{role}_link" for role in ROLES)
QUANTITIES = (
    "seconds",
    "goodput_bits_per_second",
    "sender_cpu_seconds_per_gb",
    "receiver_cpu_seconds_per_gb",
    "latency_p50_us",
)
CPU = ("sender_cpu_seconds_per_gb", "receiver_cpu_seconds_per_gb")
GEOMETRIC = ("seconds", "goodput_bits_per_second", "latency_p50_us")


def samples(run: Run) -> pd.DataFrame:
    """One row per sample in the order they were taken, with the fields of its cell."""
    counted = run.counted()
    fields: dict[str, dict[str, Any]] = {cell.id: _fields(cell) for cell in run.head.cells}
    unknown = dict.fromkeys(CELL_FIELDS)
    rows = [_measured(sample) for sample in run.samples]
    columns: dict[str, list[Any]] = {"cell": [sample.cell for sample in run.samples]}
    of_cells = [fields.get(sample.cell, unknown) for sample in run.samples]
    columns |= {name: [one[name] for one in of_cells] for name in CELL_FIELDS}
    own = ("block", "index", "round", "warmup", "valid")
    columns |= {name: [getattr(sample, name) for sample in run.samples] for name in own}
    columns["counted"] = [counted.get(one.cell, {}).get(one.block) is one for one in run.samples]
    columns |= {name: [row[name] for row in rows] for name in COLUMNS if name not in columns}
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in COLUMNS.items()})


def _fields(cell: Cell) -> dict[str, Any]:
    """A cell's own; the interface of kernel crypto, which older records do not say, by its path."""
    found = interfaces.of_path(cell.path)
    return {name: getattr(cell, name) for name in CELL_FIELDS} | {"interface": found.name if found else None}


def _measured(sample: Sample) -> dict[str, Any]:
    goodput = sample.bytes * 8 / sample.seconds if sample.bytes and sample.seconds else None
    latencies = sample.latencies_us or None
    return {
        "seconds": sample.seconds,
        "handshake_seconds": sample.handshake_seconds,
        "bytes": sample.bytes,
        "goodput_bits_per_second": goodput,
        **_host("sender", sample),
        **_host("receiver", sample),
        "latency_p50_us": float(np.quantile(latencies, 0.5)) if latencies else None,
        "latency_p99_us": float(np.quantile(latencies, 0.99)) if latencies else None,
        "sha256_ok": sample.sha256_ok,
        "witness": json.dumps(sample.witness, sort_keys=True) if sample.witness else "",
        "reason": sample.reason or "",
    }


def _host(role: Role, sample: Sample) -> dict[str, float | None]:
    host = sample.sender if role == "sender" else sample.receiver
    return {
        f"{role}_cpu_seconds": host.cpu_seconds,
        f"{role}_cpu_resolution_seconds": host.cpu_resolution_seconds,
        f"{role}_cpu_seconds_per_gb": cpu_seconds_per_gb(sample, role),
        f"{role}_joules_per_gb": joules_per_gb(sample, role),
    }


def cells(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """One row per cell of the record: its fields, how many samples count, and each quantity with its interval."""
    counted = frame[frame["counted"]]
    groups = counted.groupby("cell", sort=False).indices
    columns = {name: counted[name].to_numpy(dtype=float) for name in QUANTITIES}
    rounds = counted["round"].to_numpy()
    rows = []
    for cell in run.head.cells:
        mine = groups.get(cell.id, np.array([], dtype=np.intp))
        row: dict[str, Any] = {"cell": cell.id} | _fields(cell)
        row |= {"reason": cell.reason or "", "unproven": cell.unproven or ""}
        row |= {f"{role}_link": _link(cell.links.get(role)) for role in ROLES} | {"samples": len(mine)}
        for name, values in columns.items():
            known = values[mine]
            if name in CPU and np.isnan(known).any():
                known = np.full_like(known, np.nan)  # those that could be measured are no fair sample of all
            row[name], row[f"{name}_low"], row[f"{name}_high"] = interval(known, rounds[mine], name in GEOMETRIC)
        rows.append(row)
    names = ["cell", *CELL_FIELDS, "reason", "unproven", *LINKS, "samples"]
    names += [name + end for name in QUANTITIES for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=names)


def _link(link: Mapping[str, Any] | None) -> str:
    return json.dumps(link, sort_keys=True) if link else ""


def interval(values: NDArray[np.float64], rounds: NDArray[np.int64], geometric: bool) -> tuple[float, float, float]:
    """Mean and its t interval; NaN where there is nothing to say.

    ``rounds``: of each value. Of several rounds each has its mean as one number, and limits are NaN where there are
    two; of a single one, which knows that boot alone, they are NaN for fewer than two values.
    """
    known = np.isfinite(values) & ((values > 0) | (not geometric))
    values, rounds = values[known], rounds[known]
    if geometric:
        values = np.log(values)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    fewest, places = 2, np.unique(rounds, return_inverse=True)[1]
    if (taken := np.bincount(places)).size > 1:
        fewest, values = FEWEST, np.bincount(places, weights=values) / taken
    mean = float(values.mean())
    low = high = float("nan")
    if len(values) >= fewest:
        half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * float(values.std(ddof=1)) / len(values) ** 0.5
        low, high = mean - half, mean + half
    if geometric:
        with np.errstate(over="ignore"):  # an interval may have no upper end that can be held
            return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))
    return mean, float(np.maximum(low, 0.0)), high


COLUMNS = {
    "cell": "str",
    "suite": "str",
    "path": "str",
    "cipher": "str",
    "driver": "str",
    "driver_found": "str",
    "size_bytes": "Int64",
    "buffer_bytes": "Int64",
    "depth": "Int64",
    "connections": "Int64",
    "rate_share": "float64",
    "workers": "Int64",
    "interface": "str",
    "outcome": "str",
    "block": "int64",
    "index": "int64",
    "round": "int64",
    "warmup": "bool",
    "valid": "bool",
    "counted": "bool",
    "seconds": "float64",
    "handshake_seconds": "float64",
    "bytes": "Int64",
    "goodput_bits_per_second": "float64",
    "sender_cpu_seconds": "float64",
    "sender_cpu_resolution_seconds": "float64",
    "sender_cpu_seconds_per_gb": "float64",
    "sender_joules_per_gb": "float64",
    "receiver_cpu_seconds": "float64",
    "receiver_cpu_resolution_seconds": "float64",
    "receiver_cpu_seconds_per_gb": "float64",
    "receiver_joules_per_gb": "float64",
    "latency_p50_us": "float64",
    "latency_p99_us": "float64",
    "sha256_ok": "boolean",
    "witness": "str",
    "reason": "str",
}
