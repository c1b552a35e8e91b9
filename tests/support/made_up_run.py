"""Stands for a run of a profile where the way of an errand is tested: a copy of the small real record, under its name.

``python made_up_run.py RESULTS RUN_ID TESTBED PROFILE SECONDS OUTCOME``: takes so many seconds; SIGTERM interrupts it,
as it does a run. ``OUTCOME``: complete; lost (no host is seen); nothing (no record); stubborn (SIGTERM is ignored).
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "gigabit-3des"


def main(results: Path, run_id: str, testbed: str, profile: str, seconds: float, outcome: str) -> int:
    """The exit status."""
    if outcome == "nothing":
        print("ERROR: no profile is called so")
        return 4
    handler = signal.SIG_IGN if outcome == "stubborn" else signal.default_int_handler
    signal.signal(signal.SIGTERM, handler)
    path = results / run_id
    path.mkdir(parents=True)
    for name in ("samples.jsonl", "blocks.jsonl"):
        if (DATA / name).exists():
            shutil.copy(DATA / name, path)
    head = json.loads((DATA / "run.json").read_text())
    head["run_id"], head["testbed"]["name"], head["profile"]["name"] = run_id, testbed, profile
    head["status"], finished = "running", head.pop("finished")

    def put(**more: object) -> None:
        (path / "run.json").write_text(json.dumps(head | more))

    put()
    try:
        print("it began", flush=True)
        time.sleep(seconds)
    except KeyboardInterrupt:
        put(status="interrupted", reason="stopped by SIGTERM", finished=finished)
        return 2
    if outcome == "lost":
        put(status="failed", reason="the host's key changed", finished=finished, hosts={})
        return 3
    put(status="complete", finished=finished)
    return 0


if __name__ == "__main__":
    _, folder, name, bed, wanted, took, became = sys.argv
    sys.exit(main(Path(folder), name, bed, wanted, float(took), became))
