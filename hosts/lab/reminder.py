"""Reminds guests of User Mode Linux of packets that wait for them.

A guest is told of a packet by a signal, and looks then. Now and then it looks before the packet can be seen; then the
packet waits for the next signal, mostly until TCP sends again 0.2 to 1 s later. So each guest is signalled, and looks,
every hundredth of a second. docs/labs.md has what was measured with and without.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress

PERIOD_SECONDS = 0.01


class Reminder:
    """Signals these processes until it is closed. They must handle SIGIO by now: it ends a process that does not."""

    def __init__(self, guests: Iterable[int]) -> None:
        """Raises OSError where one is gone."""
        self._guests = [os.pidfd_open(guest) for guest in guests]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reminder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            for guest in self._guests:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(guest, signal.SIGIO)

    def close(self) -> None:
        """Signal nobody any more; a second call does nothing."""
        self._over.set()
        self._thread.join()
        while self._guests:
            os.close(self._guests.pop())
