"""A record for other programs: CSV, Parquet, pytest-benchmark's JSON and JUnit's XML.

Columns carry their unit in the name and are listed in docs/record.md. Missing is empty or null, never zero.

CSV is UTF-8, comma, CRLF as RFC 4180 has it. A text that a spreadsheet would take for a formula gets an apostrophe in
front, in CSV alone.
"""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import pandas as pd

from harness.record import Cell, Run, Verdict
from hosts.errors import Refusal
from reports import frame

FORMULA = ("=", "+", "-", "@", "\t", "\r")
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold."""
BENCHMARKS = "benchmark.json"
JUNIT = "junit.xml"


def write(run: Run, folder: Path) -> list[Path]:
    """Write every format below ``folder``; the files. Raises Refusal when they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, table in frames(run).items():
            files += [folder / f"{name}.csv", folder / f"{name}.parquet"]
            files[-2].write_bytes(to_csv(table).encode("utf-8", "replace"))
            to_parquet(table, files[-1])
        files += [folder / BENCHMARKS, folder / JUNIT]
        files[-2].write_text(json.dumps(benchmarks(run), indent=1), encoding="utf-8")
        files[-1].write_bytes(junit(run))
    except OSError as error:
        raise Refusal(
            f"cannot write the export in {folder}: {error.strerror or error}",
            next_step="free some space or choose another folder with --to",
        ) from error
    return files


def frames(run: Run) -> dict[str, pd.DataFrame]:
    """The tables of a record by their name: ``samples``, ``cells``, ``verdicts``."""
    samples = frame.samples(run)
    cells = frame.cells(run, samples)
    fields = {name: _kind(field.annotation) for name, field in Verdict.model_fields.items()}
    verdicts = pd.DataFrame([verdict.model_dump() for verdict in run.head.verdicts], columns=list(fields))
    # a column keeps its type where a record knows nothing for it
    kinds = dict.fromkeys(cells.columns, "float64") | frame.COLUMNS | {"samples": "int64"}
    kinds |= dict.fromkeys(("unproven", *frame.LINKS), "str")
    return {
        "samples": samples,
        "cells": cells.astype({name: kinds[name] for name in cells.columns}),
        "verdicts": verdicts.astype(fields),
    }


def _kind(annotation: Any) -> str:
    """The type of a column that holds a field of a model."""
    if get_origin(annotation) is Literal:
        return "str"
    inner = get_args(annotation)
    if not inner:
        return {float: "float64", int: "Int64", bool: "boolean"}.get(annotation, "str")
    kinds = {_kind(one) for one in (inner[:1] if get_origin(annotation) is Annotated else inner) if one is not NoneType}
    return kinds.pop() if len(kinds) == 1 else "str"


def to_csv(table: pd.DataFrame) -> str:
    """A data frame as CSV text, every digit kept."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(_fields(table[name]) for name in table.columns), strict=True))
    return out.getvalue()


def _fields(column: pd.Series[Any]) -> list[Any]:
    values, missing = column.astype(object).tolist(), column.isna().tolist()
    known = ["" if absent else value for value, absent in zip(values, missing, strict=True)]
    if pd.api.types.is_numeric_dtype(column.dtype):
        return known
    return [f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value for value in known]


def to_parquet(table: pd.DataFrame, path: Path) -> None:
    """A data frame as a Parquet file. Raises OSError."""
    from reports.parquet import fastparquet

    texts = {name: "object" for name in table.columns if not pd.api.types.is_numeric_dtype(table[name].dtype)}
    plain = table.astype(texts).where(table.notna(), None) if texts else table
    plain = plain.astype({name: table[name].dtype for name in table.columns if name not in texts})
    fastparquet.write(str(path), plain, compression="ZSTD", object_encoding="utf8", has_nulls=True)


def benchmarks(run: Run) -> dict[str, Any]:
    """What pytest-benchmark stores of a run, for its ``compare``: the samples that count, in seconds."""
    from pytest_benchmark.stats import Stats

    head, counted = run.head, run.counted()
    found = []
    for cell in head.cells:
        times = [sample.seconds for sample in counted.get(cell.id, {}).values()]
        if not times:
            continue
        stats: Any = Stats()  # type: ignore[no-untyped-call]
        stats.data = times
        found.append(
            {
                "group": f"{cell.suite}, {cell.id.rpartition('/')[2]}",
                "name": f"test[{cell.id}]",
                "fullname": f"{cell.suite}::test[{cell.id}]",
                "params": {"cell": cell.id},
                "param": cell.id,
                "extra_info": {"cell": cell.id, "driver_found": cell.driver_found, "size_bytes": cell.size_bytes},
                "options": {"timer": "receiver_clock", "disable_gc": False, "warmup": True},
                "stats": stats.as_dict() | {"iterations": 1, "data": times},
            }
        )
    return {
        "machine_info": {
            "node": head.testbed.name,
            "hosts": _jsonable(head.hosts),
            "machine": _jsonable(head.testbed.machine),
        },
        "commit_info": {"id": head.harness, "project": "pathproof"},
        "benchmarks": found,
        "datetime": head.started.isoformat(),
        "version": "5.3",
    }


def _jsonable(value: Any) -> Any:
    """Facts without what JSON has no word for."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def junit(run: Run) -> bytes:
    """A test case for each cell: skipped where unsupported, failed where failed or invalid; its time is the mean."""
    head = run.head
    samples = frame.cells(run, frame.samples(run)).set_index("cell")
    times = samples["seconds"].to_dict()
    root = ET.Element("testsuites", name=_xml(head.run_id))
    for name in dict.fromkeys(cell.suite for cell in head.cells):
        cells = [cell for cell in head.cells if cell.suite == name]
        bad = sum(cell.outcome in ("failed", "invalid") for cell in cells)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_xml(name),
            tests=str(len(cells)),
            failures=str(bad),
            errors="0",
            skipped=str(sum(cell.outcome == "unsupported" for cell in cells)),
            timestamp=head.started.isoformat(),
            hostname=_xml(head.testbed.name),
        )
        properties = ET.SubElement(suite, "properties")
        for key, value in (("run", head.run_id), ("profile", head.profile.name), ("status", head.status)):
            ET.SubElement(properties, "property", name=key, value=_xml(value))
        for cell in cells:
            _case(suite, cell, times[cell.id])
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _case(suite: ET.Element, cell: Cell, seconds: Any) -> None:
    case = ET.SubElement(suite, "testcase", classname=_xml(cell.suite), name=_xml(cell.id))
    if not pd.isna(seconds):
        case.set("time", f"{seconds:.9f}")
    reason = _xml(cell.reason or "no reason was recorded")
    if cell.outcome == "unsupported":
        ET.SubElement(case, "skipped", message=reason)
    elif cell.outcome != "measured":
        ET.SubElement(case, "failure", type=cell.outcome, message=reason)


def _xml(text: str) -> str:
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
