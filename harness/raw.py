"""Runs one suite of raw kernel crypto (the paper's Figure 4): every cipher, buffer, driver and operation, in blocks.

A driver counts only if it gives the published answers first (``harness/vectors.py``), and after each sample the same
bytes as OpenSSL in user space for a buffer of that size: many drivers are fast and wrong, or fall back silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from harness import depths, drivers, judge, measure, plan, possible, prices, vectors
from harness.bed import Bed
from harness.bench import Bench
from harness.ciphers import CIPHERS, Cipher
from harness.events import Events, Note, Sampled, Sampling, SuiteEnded, SuiteStarted
from harness.paths import _card, _datapath, _need
from harness.plan import REFERENCE, CellPlan
from harness.profile import CryptoSuite, Profile
from harness.record import Cell, Sample, SuiteEntry, Verdict, Writer
from hosts import accelerators, crypto
from hosts.errors import HarnessError
from hosts.remote import AgentError
from hosts.ssh import SshError

TYPES = {"skcipher": ("skcipher", "lskcipher"), "aead": ("aead",)}
"""Types in /proc/crypto that AF_ALG's two kinds of cipher may bind."""


class WrongAnswer(HarnessError):  # noqa: N818 - says what was found
    """A driver enciphers or deciphers otherwise than OpenSSL in user space."""


class CryptoCampaign:
    """One suite's run. Outcomes, samples and verdicts go to the record as they happen.

    ``sabotage`` is for tests of the promises: called with the bench when all is ready.
    """

    def __init__(
        self,
        bed: Bed,
        profile: Profile,
        suite: CryptoSuite,
        writer: Writer,
        events: Events,
        sabotage: Callable[[Bench], None] | None = None,
    ) -> None:
        self.bed, self.profile, self.suite = bed, profile, suite
        self.writer, self.events = writer, events
        self.sabotage = sabotage
        self.samples: list[Sample] = []
        self.cells: dict[str, Cell] = {}
        self.looks: dict[str, int] = {}
        self._taken = 0

    def run(self, wanted: list[CellPlan]) -> None:
        """Measure the wanted cells, and those of drivers found on the way. Raises SshError when a host is lost."""
        reasons = {name: possible.why_not_raw(CIPHERS[name], self.bed.sender_facts) for name in self.suite.ciphers}
        for cell in wanted:
            reason = reasons[cell.cipher] if cell.path != REFERENCE else self._no_reference()
            self._add(cell, reason)
        self.writer.write_head()
        try:
            self._run([cell for cell in wanted if self.cells[cell.id].outcome == "measured"])
        except BaseException as error:
            reason = error.what if isinstance(error, HarnessError) else "the run was interrupted"
            for row in self.cells.values():
                if row.outcome == "measured" and len(judge.counted(self.samples, row.id)) < self.suite.blocks:
                    row.outcome, row.reason = "failed", reason
            if isinstance(error, SshError) or not isinstance(error, HarnessError):
                raise
            self.events(Note(f"{self.suite.name}: {error.what}"))
        finally:
            self._conclude()
            self.events(SuiteEnded(self.suite.name))

    def _add(self, cell: CellPlan, reason: str | None) -> None:
        self.cells[cell.id] = cell.row("unsupported" if reason else "measured", reason)
        self.writer.head.cells.append(self.cells[cell.id])

    def _no_reference(self) -> str | None:
        return _need.missing(self.bed.sender_facts, None, sender_programs=("openssl",))

    def _run(self, live: list[CellPlan]) -> None:
        if not live:
            return
        self.writer.head.suites.append(
            SuiteEntry(
                name=self.suite.name,
                figure=self.suite.figure,
                link_rate_bits_per_second=None,
                baseline="raw-encrypt",
                question=self.suite.question,
                instructions=self.profile.instructions,
            )
        )
        with ExitStack() as stack:
            bench = self.bed.bench(self.suite.name, stack)
            stack.enter_context(self.bed.measuring())
            self.events.progress(f"{self.suite.name}: compiling")
            _datapath.compiled(bench)
            if self.sabotage:
                self.sabotage(bench)
            for cipher in dict.fromkeys(cell.cipher for cell in live):
                self.events.progress(f"{self.suite.name}: {cipher}: finding drivers and checking their answers")
                mine = [cell for cell in live if cell.cipher == cipher]
                try:
                    live += self._prepare(bench, CIPHERS[cipher], mine)
                except SshError:
                    raise
                except HarnessError as error:
                    rows = [self.cells[cell.id] for cell in mine if cell.path != REFERENCE]
                    self._give_up(rows, "failed", error.what)
            live = [cell for cell in live if self.cells[cell.id].outcome == "measured"]
            groups = [
                [cell for cell in live if (cell.cipher, cell.buffer) == key]
                for key in dict.fromkeys((cell.cipher, cell.buffer) for cell in live)
            ]
            blocks = self.suite.blocks + self.profile.warmup_blocks
            self.events(SuiteStarted(self.suite.name, blocks * len(live)))
            for group in groups:
                self._blocks(bench, group, blocks)

    # finding and checking drivers

    def _prepare(self, bench: Bench, cipher: Cipher, mine: list[CellPlan]) -> list[CellPlan]:
        """Bind the named drivers, find the others, check answers; the cells of drivers that were only now found."""
        _datapath.load_alg(bench, cipher)
        bound: dict[str, str | None] = {}
        for name in dict.fromkeys(cell.driver for cell in mine if cell.path != REFERENCE):
            bound[name] = self._bind(bench, cipher, name, [cell for cell in mine if cell.driver == name])
        new: list[CellPlan] = []
        asked = {(cell.path, cell.buffer, cell.depth) for cell in mine if cell.driver == "any"}
        if "each" in self.suite.drivers:
            known = {*bound.values(), *bound}
            for driver in self._offered(bench, cipher):
                if driver not in known:
                    cells = plan.for_driver(self.suite, cipher.name, driver)
                    new += [cell for cell in cells if (cell.path, cell.buffer, cell.depth) in asked]
            for cell in new:
                self._add(cell, None)
            for name in dict.fromkeys(cell.driver for cell in new):
                self._bind(bench, cipher, name, [cell for cell in new if cell.driver == name])
        return new

    def _bind(self, bench: Bench, cipher: Cipher, driver: str, cells: Iterable[CellPlan]) -> str | None:
        """The driver behind a name; its cells are given up where it does not bind or answers wrongly."""
        name = cipher.kernel if driver == "any" else drivers.chosen(driver, cipher, self.bed.sender_facts)
        rows = [self.cells[cell.id] for cell in cells if cell.path != REFERENCE]
        if name is None:
            self._give_up(rows, "unsupported", drivers.no_card(cipher, self.bed.sender_facts))
            return None
        said = bench.sender.check([_datapath.compiled(bench), "probe", *_named(cipher, name)], timeout=60)
        told = next(line for line in map(json.loads, said.splitlines()) if line["event"] == "cipher")
        if not told["available"]:
            self._give_up(rows, "unsupported", f"{name}: {told['reason']}")
            return None
        found = str(told["driver"])
        for row in rows:
            row.driver_found = found
        if wrong := known_answers(bench, cipher, found):
            self._give_up(rows, "invalid", wrong)
        else:
            self._try_depths(bench, cipher, found, rows, bool(told["async"]))
        return found

    def _try_depths(self, bench: Bench, cipher: Cipher, driver: str, rows: Iterable[Cell], asynchronous: bool) -> None:
        """Give up the depths of a driver that queues nothing: /proc/crypto tells, and where it says yes, a trial."""
        deep = [row for row in rows if (row.depth or 1) > 1]
        if not deep:
            return
        if not asynchronous:
            self._give_up(deep, "unsupported", depths.synchronous(driver))
            return
        try:
            told = self._timed(bench, cipher, driver, deep[0].path, deep[0].buffer_bytes or 0, depths.TRIAL)
        except AgentError as error:
            self._give_up(deep, "failed", error.what)
        else:
            if reason := depths.not_queued(told):
                self._give_up(deep, "unsupported", reason)

    def _timed(self, bench: Bench, cipher: Cipher, driver: str, path: str, size: int, depth: int) -> dict[str, Any]:
        """What ``datapath raw`` says of one run. Raises AgentError when it ends without an answer."""
        argv = [_datapath.compiled(bench), "raw", *_named(cipher, driver), "--op", path.removeprefix("raw-")]
        argv += ["--size", str(size), "--seconds", str(self.suite.seconds), "--depth", str(depth)]
        told: dict[str, Any] = json.loads(bench.sender.check(argv, timeout=90))
        return told

    def _offered(self, bench: Bench, cipher: Cipher) -> list[str]:
        """Drivers that /proc/crypto offers for a cipher, that passed their self-test and AF_ALG may bind."""
        text = bench.sender.read(["/proc/crypto"])["/proc/crypto"] or ""
        return [
            driver.driver
            for driver in crypto.parse(text)
            if driver.algorithm == cipher.kernel
            and driver.type in TYPES[cipher.kind]
            and driver.passed
            and not driver.internal
        ]

    # sampling

    def _blocks(self, bench: Bench, group: list[CellPlan], blocks: int) -> None:
        """Blocks of one cipher and buffer; a cell that failed or is invalid is not sampled again."""
        for block, order in enumerate(plan.orders(len(group), blocks, self.profile.seed)):
            warmup = block < self.profile.warmup_blocks
            for index, which in enumerate(order):
                cell, row = group[which], self.cells[group[which].id]
                if row.outcome == "measured":
                    self.events(Sampling(cell.id, block, blocks, warmup))
                    take = self._reference if cell.path == REFERENCE else self._operations
                    try:
                        sample = take(bench, cell, block, index, warmup)
                    except SshError:
                        raise
                    except HarnessError as error:
                        outcomes = {WrongAnswer: "invalid", depths.NothingQueued: "unsupported"}
                        self._give_up([row], outcomes.get(type(error), "failed"), error.what)
                    else:
                        self.samples.append(sample)
                        self.writer.append(sample)
                        if not sample.valid:
                            self._give_up([row], "invalid", sample.reason or "not valid")
                self._taken += 1
                self.events(Sampled(cell.id, self._taken))

    def _operations(self, bench: Bench, cell: CellPlan, block: int, index: int, warmup: bool) -> Sample:
        """One timed batch of operations, then a check of the driver's answer for a buffer of this size."""
        cipher, size, depth = CIPHERS[cell.cipher], cell.buffer or 0, cell.depth or 1
        driver = self.cells[cell.id].driver_found or ""
        card = _card.proof(driver, self.bed.sender_facts)
        counters = card.counters if card else {}
        before = bench.sender.observe(counters)["values"]
        try:
            told = self._timed(bench, cipher, driver, cell.path, size, depth)
        except AgentError as error:
            if wrong := _wrong_answer(bench, cipher, driver, size):
                raise WrongAnswer(wrong) from error  # it stopped because its results differed
            raise
        if depth > 1 and (reason := depths.not_queued(told)):
            raise depths.NothingQueued(reason)
        risen = measure.delta(before, bench.sender.observe(counters)["values"])
        wrong = _wrong_answer(bench, cipher, driver, size)
        facts = {name: told[name] for name in ("operations", "driver", "key_bytes", "depth", "consistent")}
        if depth > 1:
            facts |= {name: told[name] for name in ("under_way", "sleeps_per_operation")}
        reason = wrong or (f"the driver was {told['driver']}, not {driver}" if told["driver"] != driver else None)
        if card:
            facts[f"card_{card.counts}"] = accelerators.rise(risen, card)
            reason = reason or accelerators.unproven(risen, card, _card.due(card, told["operations"]))
        return Sample(
            cell=cell.id,
            block=block,
            index=index,
            warmup=warmup,
            seconds=told["seconds"] / told["operations"],
            bytes=size,
            sha256_ok=wrong is None,
            witness=facts,
            valid=reason is None,
            reason=reason,
        )

    def _reference(self, bench: Bench, cell: CellPlan, block: int, index: int, warmup: bool) -> Sample:
        """One second of `openssl speed` with the same cipher and buffer, in user space."""
        cipher, size = CIPHERS[cell.cipher], cell.buffer or 0
        legacy = ["-provider", "legacy", "-provider", "default"] if cipher.legacy else []
        what = [*legacy, "-evp", cipher.evp or ""]
        told = prices.speed(bench.sender, bench.in_environment(), what, size)
        return Sample(
            cell=cell.id,
            block=block,
            index=index,
            warmup=warmup,
            seconds=told.seconds / told.operations,
            bytes=size,
            witness={
                "program": self.bed.sender_facts.programs.get("openssl"),
                "operations": told.operations,
                "clock_step_seconds": prices.SPEED_STEP_SECONDS,
            },
            valid=True,
        )

    def _give_up(self, rows: Iterable[Cell], outcome: str, reason: str) -> None:
        for row in rows:
            row.outcome = "unsupported" if outcome == "unsupported" else "failed" if outcome == "failed" else "invalid"
            row.reason = reason
        self.writer.write_head()

    def _conclude(self) -> None:
        """Verdicts: other drivers, depths and user space against the kernel's own choice, for each buffer."""
        measured = [row for row in self.cells.values() if row.outcome == "measured"]
        rows: list[Verdict] = []
        for base in measured:
            if base.driver != "any" or base.path == REFERENCE or (base.depth or 1) > 1:
                continue
            for other in measured:
                same = other.path == base.path or (other.path == REFERENCE and base.path == "raw-encrypt")
                same = same and (other.cipher, other.buffer_bytes) == (base.cipher, base.buffer_bytes)
                if same and other is not base:
                    both = judge.against(base, other, self.profile.margin)
                    rows += [row for row in both if row.metric == "seconds"]  # a batch's CPU is not an operation's
        self.writer.head.verdicts += judge.settled(rows, self.samples)
        self.writer.write_head()


def known_answers(bench: Bench, cipher: Cipher, driver: str) -> str | None:
    """What a driver answers wrongly of the published vectors, both ways; None when it gives them all."""
    for vector in (vector for vector in vectors.VECTORS if vector.cipher == cipher.name):
        for encrypt, text, due in ((True, vector.text, vector.answer), (False, vector.answer, vector.text)):
            try:
                told = bench.sender.call(
                    "alg_answer",
                    kind=vector.kind,
                    name=driver,
                    key=vector.key,
                    iv=vector.iv,
                    text=text,
                    aad=vector.aad,
                    encrypt=encrypt,
                )
            except SshError:
                raise
            except HarnessError as error:
                return f"{driver} could not answer {vector.source}: {error.what}"
            if told["answer"] != due:
                way = "encrypting" if encrypt else "decrypting"
                return f"{driver} gives a wrong result {way} the known answer of {vector.source}"
    return None


def _wrong_answer(bench: Bench, cipher: Cipher, driver: str, size: int) -> str | None:
    """How a driver's answer for a buffer of this size differs from OpenSSL's, or does not decipher back; or None."""
    found: str | None = bench.sender.call(
        "alg_verify",
        30.0,
        kind=cipher.kind,
        name=driver,
        evp=cipher.evp,
        key_bytes=cipher.key_bytes,
        iv_bytes=cipher.iv_bytes,
        size=size,
        aad_bytes=0,
    )
    return found


def _named(cipher: Cipher, name: str) -> list[str]:
    return ["--cipher", name, *(["--key-bytes", str(cipher.key_bytes)] if cipher.key_bytes else [])]
