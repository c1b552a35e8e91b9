"""What a transfer takes across the border of user and kernel memory: one untimed transfer for each path and buffer.

Our own server counts its calls itself, exactly. Others are watched by strace, which slows them down many times over,
so it is never in a timed sample.
"""

from __future__ import annotations

import json

from harness.bed import Bed
from harness.bench import Bench, Payload
from harness.paths import Deployed
from harness.record import Crossing
from hosts.errors import HarnessError

OUT = "crossing.out"


def count(bed: Bed, bench: Bench, deployed: Deployed, payload: Payload, path: str, cipher: str) -> Crossing:
    """The crossings of one transfer. Raises HarnessError when it fails, or was not what the path claims to be."""
    offset = bed.sender.observe({"log": {"size": deployed.log}})["values"]["log"] or 0
    timeout = 60 + payload.size / 2e5
    if not deployed.counts:
        bench.sender.call("trace_start", 40.0, number=deployed.server, timeout=20.0)
    try:
        got = bed.receiver.call(
            "fetch", timeout + 15, url=deployed.url(payload.name), out=OUT, timeout=timeout, tls=deployed.tls
        )
        log = bed.sender.call("lines", 10.0, path=deployed.log, offset=offset, count=1, timeout=5.0)
    finally:
        seen = None if deployed.counts else bench.sender.call("trace_stop", 40.0)
    if got["error"]:
        raise HarnessError(f"{path}: counting its crossings failed: {got['error']}", host=bed.sender.name)
    if seen is not None and (absent := deployed.calls - seen["calls"].keys()):
        raise HarnessError(f"{path} made no {', '.join(absent)} call: it is not what it is said to be", host="sender")
    line = json.loads(log[0]) if seen is None else {}
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
