"""Make a small record of a real one, for tests: ``python -m tests.support.shrink results/RUN tests/data/NAME``.

Nothing is invented: suites, cells, blocks and digits are left out, and of the machine that emulated the hosts what its
kernel is called besides its version. What is kept was measured so, and the verdicts are the harness's own of the
samples that are kept.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from harness import record, records
from harness.blocks import BlockFacts
from harness.record import Cell, Run
from harness.samples import Sample
from harness.verdicts import judging, stats

DIGITS = 6
BLOCKS = 2
"""Those that count and are kept of a cell in each round, where it has so many; and a cell's first warm-up."""
CRYPTO_CIPHERS = ("null", "aes128cbc")
CRYPTO_BUFFERS = (64, 8192)
LEFT_OUT = ("schemes-aes128cbc",)
"""Suites that show nothing which another does not."""


def rounded(value: Any) -> Any:
    """Every number in a JSON value with DIGITS significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def kept(cell: Cell) -> bool:
    """Whether a cell is kept: of kernel crypto, some ciphers and buffers; of the schemes, one size."""
    if cell.size_bytes is None:
        return cell.cipher in CRYPTO_CIPHERS and cell.buffer_bytes in CRYPTO_BUFFERS
    return cell.suite not in LEFT_OUT and not (cell.suite.startswith("schemes") and cell.size_bytes < 10**7)


def first_ones(samples: Iterable[Sample]) -> list[Sample]:
    """A cell's warm-up, and the first blocks of each round; cells that are compared have these in common."""
    seen: Counter[tuple[str, int | None]] = Counter()
    found = []
    for sample in samples:
        place = sample.cell, None if sample.warmup else sample.round
        seen[place] += 1
        if seen[place] <= (1 if sample.warmup else BLOCKS):
            found.append(sample)
    return found


def shrunk(run: Run) -> Run:
    """The small record: a few samples of each kept cell, and the facts of their blocks."""
    cells = [cell for cell in run.head.cells if kept(cell)]
    names = {cell.id for cell in cells}
    few = first_ones(sample for sample in run.samples if sample.cell in names)
    samples = [msgspec.convert(rounded(msgspec.to_builtins(sample)), Sample) for sample in few]
    taken = {(sample.cell, sample.block) for sample in few}
    blocks = [
        msgspec.convert(rounded(msgspec.to_builtins(facts)) | {"cells": mine}, BlockFacts)
        for facts in run.blocks
        if (mine := [cell for cell in facts.cells if (cell, facts.block) in taken])
    ]
    rows = [row for row in run.head.verdicts if {row.baseline, row.candidate} <= names]
    suites = [suite for suite in run.head.suites if suite.name not in LEFT_OUT]
    verdicts = judging.settled(rows, samples)
    update = {"cells": cells, "suites": suites, "verdicts": verdicts, "estimator": stats.ESTIMATOR}
    head = run.head.model_copy(update=update)
    small = record.Head.model_validate(rounded(head.model_dump(mode="json", by_alias=True)))
    if kernel := small.testbed.machine.get("kernel"):
        small.testbed.machine["kernel"] = kernel.partition("-")[0]
    return Run(path=run.path, head=small, samples=samples, blocks=blocks)


def write(run: Run, folder: Path) -> Path:
    """Write a record as the harness does, below a folder that is made."""
    folder.mkdir(parents=True)
    head = run.head.model_dump(mode="json", by_alias=True)
    (folder / "run.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    for name, rows in (("samples", run.samples), ("blocks", run.blocks)):
        if name == "blocks" and not rows:  # as an older record
            continue
        lines = "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def main(argv: Collection[str]) -> None:
    source, target = map(Path, argv)
    folder = write(shrunk(records.read(source)), target)
    print(*(f"{path}: {path.stat().st_size} bytes" for path in sorted(folder.iterdir())), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
