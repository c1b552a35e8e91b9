"""A guest whose timer was lost goes on, because it is reminded."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pytest

from hosts.lab import guests, uml
from hosts.lab.uml import reminder
from hosts.lab.uml.reminder import PERIOD_SECONDS
from hosts.remote.host import RemoteHost

PTRACE_SEIZE, PTRACE_CONT, PTRACE_DETACH, PTRACE_GETSIGINFO = 0x4206, 7, 17, 0x4202
SI_TIMER, WALL = -2, 0x40000000


def lose_a_timer(process: int) -> None:
    """Take away the next signal with which a timer of its own tells a process that it expired."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
    if libc.ptrace(PTRACE_SEIZE, process, 0, 0):
        pytest.skip(f"this user may not trace a guest: {os.strerror(ctypes.get_errno())}")
    about, deadline = (ctypes.c_int * 32)(), time.monotonic() + 10
    lost = over = False
    while not over:
        _, status = os.waitpid(process, WALL)
        number = 0 if status >> 16 else os.WSTOPSIG(status)
        if number == signal.SIGALRM:
            libc.ptrace(PTRACE_GETSIGINFO, process, 0, ctypes.addressof(about))
            lost = about[2] == SI_TIMER
        over = lost or time.monotonic() > deadline
        libc.ptrace(PTRACE_DETACH if over else PTRACE_CONT, process, 0, 0 if lost else number)
    assert lost, "no timer expired in ten seconds"


def test_a_guest_whose_timer_was_lost_goes_on(lab: uml.UmlLab, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = guests.processes(lab.pid, lab.guest)["sender"]

    def busy() -> float:
        """The guest's share of its processor, of which it asks nothing."""
        before, started = lab.cpu_seconds()["sender"], time.monotonic()
        time.sleep(0.5)
        return (lab.cpu_seconds()["sender"] - before) / (time.monotonic() - started)

    with RemoteHost("sender", lab.testbed.sender) as host:
        idle = busy()
        with monkeypatch.context() as without:
            without.setattr(reminder, "SIGNALS", (signal.SIGIO,))
            time.sleep(5 * PERIOD_SECONDS)
            lose_a_timer(guest)
            spinning = busy()
        assert spinning > 5 * idle, "this is what the reminder is for: where it is not, so need not be the reminder"
        host.check(["sleep", "0.1"], timeout=10)
        assert busy() < spinning / 5
