"""The published JSON Schemas are those of the models, take a real record, and refuse what is wrong."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness import night as nights
from harness.schemas import schemas, text
from tests.support.fleets import entry, night
from tests.support.real import DATA

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"


@cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((PUBLISHED / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def test_what_is_published_is_what_is_written() -> None:
    assert {path.name for path in PUBLISHED.iterdir()} == set(schemas())
    for name, schema in schemas().items():
        said = "python -m harness.schemas docs/schema writes it anew"
        assert (PUBLISHED / name).read_text(encoding="utf-8") == text(schema), said


def test_a_real_record_is_valid() -> None:
    validator("run").validate(json.loads((DATA / "run.json").read_text()))
    samples, blocks = lines("samples.jsonl"), lines("blocks.jsonl")
    assert len(samples) > 50 and len(blocks) > 10
    for line in samples:
        validator("sample").validate(line)
    for line in blocks:
        validator("block").validate(line)


def test_a_night_is_valid(tmp_path: Path) -> None:
    nights.write(tmp_path, night(entry("lab", "esp")))
    validator("night").validate(json.loads((tmp_path / nights.FILE).read_text()))


@pytest.mark.parametrize("changes", [{"status": "fine"}, {"schema": 2}, {"started": None}, {"cells": [{"id": "x"}]}])
def test_what_is_wrong_is_refused(changes: dict[str, Any]) -> None:
    head = json.loads((DATA / "run.json").read_text()) | changes
    assert not validator("run").is_valid(head)


def test_what_is_added_is_taken() -> None:
    sample = lines("samples.jsonl")[0]
    assert validator("sample").is_valid(sample | {"something_new": 1})
    assert not validator("sample").is_valid(sample | {"block": -1})
    assert not validator("sample").is_valid({key: value for key, value in sample.items() if key != "cell"})
