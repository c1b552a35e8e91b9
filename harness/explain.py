"""Why the paths of a suite cost what they do: prices of their steps, predictions from these, crossings. All untimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness import ceiling, crossings, drivers, prices
from harness.bed import Bed
from harness.bench import Bench
from harness.ciphers import CIPHERS
from harness.crossings import NotThisPath
from harness.events import Events, Note
from harness.paths import DataPath, Deployed
from harness.plan import CellPlan
from harness.profile import Profile, TransferSuite, size_name
from harness.record import Metric, SuiteEntry
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.ssh import SshError

CLEAR = ("plain", "http")
"""Paths that a prediction may stand on: sendfile in clear."""
CIPHERING = frozenset({"cipher", "kernel_cipher", "openssl", "openssl_qat", "gnutls", "esp"})
"""Prices of the sender that are the cipher's (and its MAC's) own."""
CROSSING_BYTES = 10**7
"""Crossings are counted with the largest file of a suite up to this size."""


class Explanation:
    """Of one suite. Until ``price`` was called, and of what could not be priced, nothing is known."""

    def __init__(
        self, bed: Bed, profile: Profile, suite: TransferSuite, paths: Mapping[str, DataPath], events: Events
    ) -> None:
        self.bed, self.profile, self.suite, self.paths, self.events = bed, profile, suite, paths, events
        self.prices: dict[str, ceiling.Price] = {}

    def _steps(self, path: str) -> ceiling.Steps | None:
        return self.paths[path].steps(Setup(None) if self.paths[path].clear else self.suite.setup)

    def price(self, bench: Bench, entry: SuiteEntry, deployed: Mapping[str, Deployed]) -> None:
        """Measure what the steps of the deployed paths cost on these hosts. Raises SshError when a host is lost."""
        needed = {
            name
            for path in self.suite.paths
            if path in deployed
            for name in (self._steps(path) or ceiling.Steps()).names()
        }
        if not needed:
            return
        self.events.progress(f"{self.suite.name}: measuring what calls, copies and the cipher cost")
        try:
            driver = drivers.chosen(self.suite.driver, CIPHERS[self.suite.cipher], self.bed.sender_facts)
            self.prices = prices.measure(bench, replace(self.suite.setup, driver=driver or drivers.CARD), needed)
        except SshError:
            raise
        except HarnessError as error:
            self.events(Note(f"{self.suite.name}: no prices, so no prediction: {error.what}"))
        for name, price in self.prices.items():
            entry.prices |= {f"{name}_call_ns": price.call_ns, f"{name}_byte_ns": price.byte_ns}

    def enciphering(self, path: str, size: int) -> float | None:
        """Seconds that the cipher alone takes the sender for one transfer, by its price; None where not known."""
        steps = self._steps(path)
        known = [step for step in steps.sender if step.price in CIPHERING] if steps else []
        if not known or any(step.price not in self.prices for step in known):
            return None
        return sum(size * self.prices[step.price].byte_ns for step in known) / 1e9

    def predictions(self, size: int, clear: ceiling.Clear | None) -> Callable[[Metric, str], float | None]:
        """The predicted ratio of the baseline to a path, for one size that takes ``clear`` by sendfile in clear.

        None for a driver of its own: what a card's request takes is waited for, which is no processor time to add up.
        """
        first = self._steps(self.suite.baseline)

        def predict(metric: Metric, path: str) -> float | None:
            second = self._steps(path)
            if self.suite.driver != "any" or clear is None or first is None or second is None or not self.prices:
                return None
            return ceiling.predicted(metric, first, second, self.prices, clear, size)

        return predict

    def cross(self, bench: Bench, entry: SuiteEntry, cell: CellPlan, setup: Setup, usual: Deployed) -> str | None:
        """Count what a path takes across the border, with its usual buffer and others.

        Returns why it is not the path that it claims to be, if that is what was seen. Raises SshError.
        """
        size = max([size for size in self.suite.sizes if size <= CROSSING_BYTES], default=min(self.suite.sizes))
        payload = self.bed.payload(size, self.profile.seed)
        self.events.progress(f"{self.suite.name}: counting the crossings of {cell.path} (untimed)")
        others = self.paths[cell.path].buffers if usual.buffer_bytes is not None else ()
        for buffer in (None, *others):
            try:
                with bench.anew() as other:
                    how = usual
                    if buffer is not None:
                        how = self.paths[cell.path].deploy(other, replace(setup, buffer_bytes=buffer))
                    entry.crossings.append(crossings.count(self.bed, bench, how, payload, cell.path, cell.cipher))
            except SshError:
                raise
            except HarnessError as error:
                what = f" with {size_name(buffer)}" if buffer else ""
                self.events(Note(f"{self.suite.name}: crossings of {cell.path}{what} not counted: {error.what}"))
                if isinstance(error, NotThisPath) and buffer is None:
                    return error.what
        return None
