"""What reminds guests of lost signals: a timer that was lost, a process that is not there any more, and an end."""

from __future__ import annotations

import subprocess
import sys
import threading

from hosts.lab.uml import reminder
from hosts.lab.uml.reminder import PERIOD_SECONDS, Reminder

COUNTS = """
import os, signal, sys
seen = {signal.SIGIO: 0, signal.SIGALRM: 0}
def saw(number, _):
    seen[number] += 1
    if seen[number] == 20:
        os.write(1, b"enough\\n")  # in one piece: another signal may come in the middle
for number in seen:
    signal.signal(number, saw)
print("ready", flush=True)
sys.stdin.read()
print(min(seen.values()), flush=True)
"""


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
