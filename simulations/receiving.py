"""What the receiver costs: payloads kept and discarded by it, and iperf3, which discards what it gets, in turns.

``python -m simulations.receiving --testbed lab`` fetches a file over ``http`` in the way of all samples (kept, in a
file on tmpfs that is used again), then in the same way into a small ring of memory (discarded), and lets ``iperf3 -Z``
send for a while, all in each of many blocks. Its table has the rates and their ratio to iperf3's, with its 95 %
interval. The link is not shaped.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from harness import paths
from harness.api.parameters import Parameters
from harness.cli.console import Reporter
from harness.events import Events
from harness.measuring.opened import OpenTestbed, open_testbed
from harness.measuring.proof import OUT
from harness.verdicts import stats
from hosts import testbed
from hosts.errors import Refusal
from hosts.lab import best
from simulations.statistics import table

PORT = 18071
KEPT, DISCARDED, IPERF = "kept", "discarded", "iperf3 -Z"
RING_BYTES = 64 * 1024
DISCARD = """
import ctypes, json, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from agent import curl

class Calls(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("read", "write", "seek", "close")]

libc, size = ctypes.CDLL(None), int(sys.argv[3])
libc.fopencookie.restype = ctypes.c_void_p
# a full ring is written by a function of libc that makes no call and returns its first argument: the ring's size
written = ctypes.cast(libc.llabs, ctypes.c_void_p).value
stream = ctypes.c_void_p(libc.fopencookie(ctypes.c_void_p(size), b"w", Calls(None, written, None, None)))
ring = ctypes.create_string_buffer(size)
libc.setvbuf(stream, ring, 0, ctypes.c_size_t(size))
for _ in range(2):  # the first has this process's memory to take
    libc.fputc(0, stream)
    getattr(libc, "__fpurge")(stream)
    with curl.Handle(sys.argv[2], 60.0, None, SimpleNamespace(stream=stream)) as handle:
        error = handle.perform()
        told = [handle.told(info) for info in (curl.SIZE_DOWNLOAD, curl.TOTAL_TIME, curl.NAMELOOKUP_TIME)]
print(json.dumps([error, *told]))
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--testbed", default="lab")
    parser.add_argument("--mb", type=int, default=100, help="of a file")
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of iperf3 in each block")
    asked = parser.parse_args()
    with ExitStack() as stack:
        opened = stack.enter_context(
            open_testbed(best.settled(testbed.load(asked.testbed), print), Events([Reporter()]))
        )
        ways = deploy(opened, stack, asked.mb * 10**6, asked.seconds)
        with opened.measuring():
            blocks = [{name: take() for name, take in ways.items()} for _ in range(asked.blocks + 1)][1:]
    report(blocks)


def deploy(opened: OpenTestbed, stack: ExitStack, size: int, seconds: float) -> dict[str, Callable[[], float]]:
    """What takes a transfer of each kind, and tells its bit/s. Raises Refusal."""
    bench = opened.bench("receiving", stack)
    payload = opened.payload(size, 1)
    url = paths.discover()["http"].deploy(bench, Parameters(None)).url(payload.name)
    receiver, address = opened.receiver, str(bench.address)
    argv = ["iperf3", "-s", "-B", address, "-p", str(PORT)]
    bench.on_sender.serve("iperf3", argv, address, PORT, "receiving/iperf3")
    receiver.agent.make_room([OUT], size)

    def kept() -> float:
        got = receiver.agent.fetch(url, OUT, size, 60.0, None)
        if got.error:
            raise Refusal(got.error)
        return 8 * got.received_bytes / got.seconds

    def discarded() -> float:
        argv = [receiver.python, "-I", "-c", DISCARD, f"{receiver.directory}/agent.pyz", url, str(RING_BYTES)]
        error, got, ended, looked_up = json.loads(receiver.check(argv))
        if error:
            raise Refusal(error)
        return float(8 * got / ((ended - looked_up) / 1e6))

    def iperf() -> float:
        argv = ["iperf3", "-c", address, "-p", str(PORT), "-R", "-Z", "-t", f"{seconds:g}", "-J"]
        return float(json.loads(receiver.check(argv))["end"]["sum_received"]["bits_per_second"])

    return {KEPT: kept, IPERF: iperf, DISCARDED: discarded}


def report(blocks: Sequence[dict[str, float]]) -> None:
    """Print the table."""
    rows = {}
    for name in (IPERF, DISCARDED, KEPT):
        logs = tuple(math.log(block[name] / block[IPERF]) for block in blocks)
        found = stats.mean(stats.Series(logs))
        ratio, low, high = (math.exp(found.mean + part * found.half(stats.ALPHA)) for part in (0, -1, 1))
        rate = statistics.median(block[name] for block in blocks)
        rows[name] = [f"{rate / 1e9:.2f}", f"{ratio:.3f} [{low:.3f}, {high:.3f}]"]
    table(f"{len(blocks)} blocks", ["Gbit/s", f"times {IPERF}"], rows)


if __name__ == "__main__":
    main()
