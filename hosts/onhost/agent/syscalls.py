"""What strace wrote, read back: how often each system call was made and how many bytes it moved where."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from .values import SystemCalls

READS = frozenset(("read", "pread64", "readv", "preadv", "preadv2", "recv", "recvfrom", "recvmsg"))
"""Calls whose result is a number of bytes that went from the kernel to the process's memory."""

WRITES = frozenset(("write", "pwrite64", "writev", "pwritev", "pwritev2", "send", "sendto", "sendmsg"))
"""Calls whose result is a number of bytes that went from the process's memory to the kernel."""

MOVES = frozenset(("sendfile", "sendfile64", "splice", "tee", "copy_file_range"))
"""Calls whose result is a number of bytes that stayed in the kernel."""

UNCOUNTED = frozenset((
    *("recvmmsg", "sendmmsg", "vmsplice", "process_vm_readv", "process_vm_writev"),
    *("io_submit", "io_getevents", "io_pgetevents", "io_uring_enter"),
))  # fmt: skip
"""Calls that may carry a payload, whose result does not say how many bytes crossed."""

_LINE = re.compile(r"(?P<pid>\d+)\s+(?P<rest>.*)", re.DOTALL)
_CALL = re.compile(r"(?:<\.\.\. )?(?P<name>[A-Za-z0-9_?]+)(?:\(| resumed>)")
# greedy: what looks like a result inside the arguments is not the last such thing
_RESULT = re.compile(r".*\)\s*= (?P<value>\?|-?\d+|0x[0-9a-f]+)(?:\s.*)?", re.DOTALL)


def count(lines: Iterable[str]) -> SystemCalls:
    """Sum up the lines of ``strace -f -o FILE``.

    A call counts when it returns: one that strace saw beginning but not ending (a server's wait for the next
    connection) does not. A failed call (EAGAIN) and one without a result (``?``: it will be restarted, or the process
    ended) count as calls of no bytes. ``uncounted`` names the calls that may have carried bytes which no result tells
    (recvmmsg, io_uring_enter). What a process reads from mapped memory is no call and not seen.

    Raises ValueError with the number of a line that is none of strace's (never with its text).
    """
    calls: Counter[str] = Counter()
    moved = {"read_bytes": 0, "written_bytes": 0, "moved_bytes": 0}
    sums = {"read_bytes": READS, "written_bytes": WRITES, "moved_bytes": MOVES}
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break  # the writer was ended in the middle of it
        found = _LINE.fullmatch(line.rstrip())
        if not found:
            raise ValueError(f"line {number} of strace's output is not understood")
        rest = found["rest"]
        if rest.startswith(("---", "+++")) or rest.endswith(("<unfinished ...>", "<detached ...>")):
            continue
        call, result = _CALL.match(rest), _RESULT.fullmatch(rest)
        if not call or not result:
            raise ValueError(f"line {number} of strace's output is not understood")
        calls[call["name"]] += 1
        value = 0 if result["value"] == "?" else int(result["value"], 0)
        for kind, names in sums.items():
            if call["name"] in names:
                moved[kind] += max(0, value)
    return SystemCalls(dict(sorted(calls.items())), **moved, uncounted=sorted(UNCOUNTED & calls.keys()))
