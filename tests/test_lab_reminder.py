"""What reminds guests of lost signals: a timer that was lost, a process that is not there any more, and an end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hosts.lab import guests, reminder, uml
from hosts.lab.reminder import PERIOD_SECONDS, Reminder
from hosts.remote import RemoteHost

COUNTS = """
import signal, sys
seen = {signal.SIGIO: 0, signal.SIGALRM: 0}
def saw(number, _):
    seen[number] += 1
    if seen[number] == 20:
        print("enough", flush=True)
for number in seen:
    signal.signal(number, saw)
print("ready", flush=True)
sys.stdin.read()
print(min(seen.values()), flush=True)
"""
PTRACE_SEIZE, PTRACE_CONT, PTRACE_DETACH, PTRACE_GETSIGINFO = 0x4206, 7, 17, 0x4202
SI_TIMER, WALL = -2, 0x40000000


def counting() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", COUNTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_each_guest_is_signalled_until_the_end() -> None:
    processes, before = [counting(), counting()], threading.active_count()
    running = Reminder(guest.pid for guest in processes)
    try:
        for guest in processes:
            assert guest.stdout
            for _ in reminder.SIGNALS:
                assert guest.stdout.readline() == "enough\n", "it waits for twenty signals of each kind"
    finally:
        running.close()
        running.close()
    counts = []
    for guest in processes:
        said, _ = guest.communicate("", timeout=10)
        counts.append(int(said))
        assert guest.returncode == 0
    assert min(counts) >= 20
    assert threading.active_count() <= before


def test_a_guest_that_ends_is_no_reason_to_forget_the_other() -> None:
    first, second = counting(), counting()
    first.kill()
    running = Reminder([first.pid, second.pid])  # still there for whoever asks for its status
    try:
        first.wait(timeout=10)
        assert second.stdout
        assert second.stdout.readline() == "enough\n"
    finally:
        running.close()
        second.communicate("", timeout=10)


def test_it_is_rare_enough_to_cost_little_and_often_enough_for_tcp() -> None:
    assert 0.005 <= PERIOD_SECONDS <= 0.05, "TCP sends again after 0.2 s at the earliest"


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


@pytest.mark.lab
def test_a_guest_whose_timer_was_lost_goes_on(lab: uml.UmlLab, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = guests.processes(lab.pid)["sender"]

    def busy() -> float:
        """The guest's share of its processor, of which it asks nothing."""
        before, started = lab.cpu_seconds("sender"), time.monotonic()
        time.sleep(0.5)
        return (lab.cpu_seconds("sender") - before) / (time.monotonic() - started)

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
