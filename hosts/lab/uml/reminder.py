"""Reminds guests of User Mode Linux of what they missed: packets that wait for them, and their timer.

Signals tell a guest of both. One that comes while it must not be disturbed is noted in a word of memory, and the word
is read and cleared in two steps: what is noted between them is lost. After a lost SIGIO a packet waits for the next
one, mostly until TCP sends again 0.2 to 1 s later. After a lost SIGALRM nothing sets the timer again, so no timer of
the guest expires any more, and it spins where it would sleep. Either signal once more mends what was lost, so each
guest gets both every hundredth of a second. docs/labs.md has what was measured with and without.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress

PERIOD_SECONDS = 0.01
SIGNALS = (signal.SIGIO, signal.SIGALRM)


class Reminder:
    """Signals these processes until it is closed. They must handle SIGNALS by now, which end a process otherwise."""

    def __init__(self, guests: Iterable[int]) -> None:
        """Raises OSError where one is gone."""
        self._guests = [os.pidfd_open(guest) for guest in guests]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reminder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            for guest in self._guests:
                for number in SIGNALS:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(guest, number)

    def close(self) -> None:
        """Signal nobody any more; a second call does nothing."""
        self._over.set()
        self._thread.join()
        while self._guests:
            os.close(self._guests.pop())
