"""What signals guests so that no packet waits: a process that is not there any more, and an end."""

from __future__ import annotations

import subprocess
import sys
import threading

from hosts.lab.reminder import PERIOD_SECONDS, Reminder

COUNTS = """
import signal, sys
seen = 0
def saw(*_):
    global seen
    seen += 1
    if seen == 20:
        print("enough", flush=True)
signal.signal(signal.SIGIO, saw)
print("ready", flush=True)
sys.stdin.read()
print(seen, flush=True)
"""


def counting() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", COUNTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_each_guest_is_signalled_until_the_end() -> None:
    guests, before = [counting(), counting()], threading.active_count()
    reminder = Reminder(guest.pid for guest in guests)
    try:
        for guest in guests:
            assert guest.stdout
            assert guest.stdout.readline() == "enough\n", "it waits for twenty signals"
    finally:
        reminder.close()
        reminder.close()
    counts = []
    for guest in guests:
        said, _ = guest.communicate("", timeout=10)
        counts.append(int(said))
        assert guest.returncode == 0
    assert min(counts) >= 20
    assert threading.active_count() <= before


def test_a_guest_that_ends_is_no_reason_to_forget_the_other() -> None:
    first, second = counting(), counting()
    first.kill()
    reminder = Reminder([first.pid, second.pid])  # still there for whoever asks for its status
    try:
        first.wait(timeout=10)
        assert second.stdout
        assert second.stdout.readline() == "enough\n"
    finally:
        reminder.close()
        second.communicate("", timeout=10)


def test_it_is_rare_enough_to_cost_little_and_often_enough_for_tcp() -> None:
    assert 0.005 <= PERIOD_SECONDS <= 0.05, "TCP sends again after 0.2 s at the earliest"
