"""What a transfer takes across the border of user and kernel memory: one untimed transfer for each path and buffer.

Our own server counts its calls itself, exactly. Others are watched by strace, which slows them down many times over,
so it is never in a timed sample.
"""

from __future__ import annotations

from harness import measure
from harness.bed import Bed
from harness.bench import Bench, Payload
from harness.measure import Batch
from harness.paths import Deployed
from harness.record import Crossing
from hosts.errors import HarnessError


class NotThisPath(HarnessError):  # noqa: N818 - says what was found
    """The transfer did not take the path that it is said to take, or did not bring the payload."""


def count(bed: Bed, bench: Bench, deployed: Deployed, payload: Payload, path: str, cipher: str) -> Crossing:
    """The crossings of one transfer. Raises NotThisPath, or HarnessError when it could not be made or watched."""
    timeout = 60 + payload.size / 2e5
    before = measure.look(bed, deployed)
    if not deployed.counts:
        bench.sender.call("trace_start", 40.0, number=deployed.server, timeout=20.0)
    try:
        got = bed.receiver.call(
            "fetch", timeout + 15, url=deployed.url(payload.name), out=measure.OUT, timeout=timeout, tls=deployed.tls
        )
    finally:
        seen = None if deployed.counts else bench.sender.call("trace_stop", 40.0)
    if got["error"]:
        raise HarnessError(f"counting the crossings of {path} failed: {got['error']}", host=bed.sender.name)
    found = measure.judged(bed, deployed, payload, Batch(), got, before, measure.look(bed, deployed))
    if not found.valid:
        raise NotThisPath(f"an untimed transfer over {path}: {found.reason}", host=bed.sender.name)
    if seen is not None and (absent := deployed.calls - seen["calls"].keys()):
        raise NotThisPath(f"{path} made no {', '.join(sorted(absent))} call", host=bed.sender.name)
    line = found.log[0] if seen is None else {}
    return Crossing(
        path=path,
        cipher=cipher,
        size_bytes=payload.size,
        buffer_bytes=deployed.buffer_bytes,
        calls={name: calls for name, calls in (seen or line)["calls"].items() if calls},
        crossing_bytes=seen["read_bytes"] + seen["written_bytes"] if seen else line["crossing_bytes"],
        copied_bytes=line.get("copied_bytes"),
        source="strace" if seen else "server",
    )
