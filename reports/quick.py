"""A record's samples, read fast: for what looks at hundreds of runs.

The structures say the same as ``harness.record.Sample``, field by field and limit by limit. What they do not accept is
given to the record's own reader, so that a file is refused, or read as cut off, by that reader alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from harness import record
from harness.record import Head, Sample

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class QuickHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``record.HostSample``."""

    cpu_seconds: Seconds | None = None
    cpu_resolution_seconds: Positive | None = None
    counters: dict[str, int | None] = {}


class QuickSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``record.Sample``."""

    cell: str
    block: Count
    index: Count
    warmup: bool
    seconds: Positive | None
    valid: bool
    handshake_seconds: Seconds | None = None
    bytes: Count | None = None
    sha256_ok: bool | None = None
    witness: dict[str, int | float | str | bool | None] = {}
    reason: str | None = None
    sender: QuickHost = QuickHost()
    receiver: QuickHost = QuickHost()
    latencies_us: list[float] | None = None


DECODER = msgspec.json.Decoder(QuickSample)
Samples = Sequence[QuickSample] | Sequence[Sample]


def samples(path: Path, head: Head) -> tuple[Samples, str | None]:
    """The samples of a record, and what they lack (``record.lost``). Raises RecordError as ``record.read`` does."""
    try:
        data = (path / "samples.jsonl").read_bytes()
        found = DECODER.decode_lines(data)
        if data.count(b"\n") == len(found) and data.endswith(b"\n") == bool(found):
            counted = {one.cell for one in found if one.valid and not one.warmup}
            return found, record.lost(head, counted, cut=False)  # a sample on each line
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        pass
    run = record.read(path)
    return run.samples, run.lost
