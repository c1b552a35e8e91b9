"""Records for other programs: every format is read back by the program or library that it is for."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import fastparquet
import numpy as np
import pandas as pd
import pytest

from harness import records
from harness.record import Outcome, Run
from reports import export
from reports.__main__ import main
from tests.support import real
from tests.support.pages import HOSTILE

DOCUMENT = Path(__file__).parents[2] / "docs" / "record.md"
OUTCOMES: dict[str, tuple[Outcome, str]] = {
    "schemes/so-crypt/3des/any/10MB": ("unsupported", HOSTILE),
    "schemes/so-crypt-send/3des/any/10MB": ("failed", "no route"),
    "schemes/afalg-splice/3des/any/10MB": ("invalid", "the witness saw nothing"),
}
TABLES = ("samples", "cells", "verdicts")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    edits = [real.became(cell, outcome, reason) for cell, (outcome, reason) in OUTCOMES.items()]
    return records.read(real.written(tmp_path / "results", *edits))


def test_the_command_writes_every_format(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "a" / "b"
    assert main(["export", run.path.name, "--to", str(to), "--results", str(run.path.parent)]) == 0
    files = capsys.readouterr().out.splitlines()
    assert files == [str(to / f"{name}.{kind}") for name in TABLES for kind in ("csv", "parquet")] + [
        str(to / "benchmark.json"), str(to / "junit.xml"),
    ]  # fmt: skip
    assert all(Path(name).stat().st_size for name in files)
    (tmp_path / "file").write_text("")
    assert main(["export", str(run.path), "--to", str(tmp_path / "file")]) == 1
    assert "cannot write the export" in capsys.readouterr().err


def test_parquet_and_csv_hold_the_same(run: Run, tmp_path: Path) -> None:
    export.write(run, tmp_path)
    for name, table in export.frames(run).items():
        back = fastparquet.ParquetFile(str(tmp_path / f"{name}.parquet")).to_pandas()
        assert list(back.columns) == list(table.columns)
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
        assert len(back) == len(rows) == len(table) > 0
        for column in table.columns:
            missing = table[column].isna()
            assert (back[column].isna() == missing).all(), column
            assert [row[column] == "" for row, absent in zip(rows, missing, strict=True) if absent] == [True] * sum(
                missing
            )
            known = table[column][~missing]
            if pd.api.types.is_numeric_dtype(table[column].dtype):
                assert np.array_equal(back[column][~missing].to_numpy(float), known.to_numpy(float)), column
            else:
                assert back[column][~missing].tolist() == known.tolist(), column


def test_parquet_keeps_its_types_where_nothing_is_known(tmp_path: Path) -> None:
    kinds = []
    for number, edits in enumerate(([], [real.only()])):
        run = records.read(real.written(tmp_path / str(number), *edits))
        export.write(run, tmp_path / f"out{number}")
        files = [fastparquet.ParquetFile(str(tmp_path / f"out{number}" / f"{name}.parquet")) for name in TABLES]
        kinds.append([(field.name, field.type) for file in files for field in file.schema.schema_elements[1:]])
    assert kinds[0] == kinds[1]


def test_pytest_benchmark_compares_the_files(run: Run, tmp_path: Path) -> None:
    other = records.read(real.written(tmp_path / "results", real.night(2)))
    for one, name in ((run, "a"), (other, "b")):
        export.write(one, tmp_path / name)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "a/benchmark.json", "b/benchmark.json",
               "--columns=median,rounds,ops", "--group-by=param", "--csv=out"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    counted = [s.seconds for s in run.samples if s.cell == "schemes/plain/none/any/10MB" and not s.warmup]
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    mine = [row for row in rows if "schemes/plain/none/any/10MB" in row["name"]]
    assert len(mine) == 2 and {row["rounds"] for row in mine} == {str(len(counted))}
    assert float(mine[0]["median"]) == pytest.approx(np.median([s for s in counted if s is not None]))
    named = {bench["param"] for bench in export.benchmarks(run)["benchmarks"]}
    assert named == {cell.id for cell in run.head.cells if cell.outcome == "measured"}, "only what was measured"
    assert named and not named & set(OUTCOMES)


def test_junit_says_why(run: Run, tmp_path: Path) -> None:
    root = ET.fromstring(export.junit(run))  # noqa: S314 (our own text)
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == [suite.name for suite in run.head.suites]
    schemes = suites["schemes"]
    assert [schemes.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "2", "0", "1"]
    cases = {case.get("name"): case for case in schemes.iter("testcase")}
    expected = {"unsupported": "skipped", "failed": "failure", "invalid": "failure"}
    for name, (outcome, reason) in OUTCOMES.items():
        (child,) = cases[name]
        assert child.tag == expected[outcome]
        assert child.get("message") == reason.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
        assert cases[name].get("time") is None
    assert float(cases["schemes/plain/none/any/10MB"].get("time") or 0) > 0
    properties = {one.get("name"): one.get("value") for one in schemes.iter("property")}
    assert properties == {"run": run.head.run_id, "profile": "gigabit-3des", "status": "complete"}


def test_facts_that_json_cannot_hold(tmp_path: Path) -> None:
    path = real.written(tmp_path, real.told("sender", load=float("nan"), more=[float("inf")]))
    hosts = export.benchmarks(records.read(path))["machine_info"]["hosts"]
    assert hosts["sender"]["load"] is None and hosts["sender"]["more"] == [None]
    json.dumps(hosts, allow_nan=False)


def documented(name: str) -> dict[str, tuple[str, str]]:
    """The columns that docs/record.md lists for a table: name to (unit, meaning)."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = re.search(rf"^### `{name}`$(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert section, f"docs/record.md has no section on {name}"
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", section[1], re.M)
    return {column: (unit.strip(), meaning.strip()) for column, unit, meaning in rows}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_documented(run: Run, name: str) -> None:
    listed = documented(name)
    real = list(export.frames(run)[name].columns)
    assert list(listed) == real
    assert all(meaning for _, meaning in listed.values())
    units = {
        "seconds": "s",
        "bytes": "B",
        "us": "µs",
        "second": "bit/s",
        "seconds_per_gb": "s/GB",
        "joules_per_gb": "J/GB",
    }
    for column, (unit, _) in listed.items():
        stem = column.removesuffix("_low").removesuffix("_high")
        due = next((due for end, due in units.items() if stem == end or stem.endswith(f"_{end}")), unit)
        assert unit == due, column
