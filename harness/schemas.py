"""What others read, as JSON Schema (draft 2020-12): ``python -m harness.schemas docs/schema`` writes the files.

They are made from the models that write the files, so that they cannot say anything else. Fields may be added without
a new schema number: an object may have more than is named.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.blocks import BlockFacts
from harness.night import Night
from harness.record import Head
from harness.samples import Sample

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by the names of their files: of run.json, of a line of samples.jsonl and of blocks.jsonl, and of a
    fleet's night.json."""
    made = {
        "run": Head.model_json_schema(by_alias=True),
        "sample": msgspec.json.schema(Sample),
        "block": msgspec.json.schema(BlockFacts),
        "night": Night.model_json_schema(by_alias=True),
    }
    return {f"{name}.schema.json": {"$schema": DIALECT} | _open(schema) for name, schema in made.items()}


def _open(value: Any) -> Any:
    """The same without a word that nothing more may be there."""
    if isinstance(value, dict):
        return {key: _open(inner) for key, inner in value.items() if (key, inner) != ("additionalProperties", False)}
    return [_open(inner) for inner in value] if isinstance(value, list) else value


def text(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / name).write_text(text(schema), encoding="utf-8")
