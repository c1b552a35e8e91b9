"""What tests of records and pages share: text that wants out of its place, a page's data, a verdict, an edited head."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

from harness import record

HOSTILE = "</script><script>alert(1)</script>\"'&\u2028\x1b[31m<img src=x onerror=alert(1)>"
FASTER_CELL = "schemes/so-crypt/3des/any/100MB"


def page_data(page: str) -> dict[str, dict[str, Any]]:
    """What a page carries for its scripts."""
    found = re.search(r'<script type="application/gzip" id="report-data">([A-Za-z0-9+/=]*)</script>', page)
    assert found
    return unpacked(found[1])


def unpacked(text: str) -> dict[str, Any]:
    """What ``packing.packed`` packed."""
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text, validate=True)))
    return data


def edit(folder: Path, **changes: object) -> None:
    """Change top-level fields of a record's head."""
    head = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(head | changes))


def verdict(word: str, ratio: float | None, low: float | None, high: float | None, **more: object) -> record.Verdict:
    """A verdict on so-crypt, 3DES, 100 MB."""
    fields = {"comparison": "x", "baseline": "schemes/afalg-copy/3des/any/100MB", "candidate": FASTER_CELL}
    fields |= {"metric": "seconds"}
    numbers = {"ratio": ratio, "ci_low": low, "ci_high": high, "blocks": 6, "margin": 0.03, "detectable": 0.04}
    return record.Verdict.model_validate(fields | numbers | {"verdict": word} | more)
