"""The stored truth of one run: what ``results/<run-id>/run.json`` holds, and the samples beside it.

Schema 1. Other programs read these files, so a change of meaning is a new schema number. Units are in the names; what
is missing is absent or null, never zero. ``harness/records.py`` reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness import samples
from harness.api.steps import Steps
from harness.api.words import Words
from harness.blocks import BlockFacts
from harness.samples import Sample
from hosts.onhost.agent.values import CryptoInterface
from hosts.roles import Role

SCHEMA = 1
Outcome = Literal["measured", "unsupported", "failed", "invalid"]
Status = Literal["running", "complete", "interrupted", "failed"]
Metric = Literal["seconds", "cpu_seconds_per_gb", "receiver_cpu_seconds_per_gb"]
"""Of CPU, that of the sender, or of the receiver where ways of receiving are compared."""
VerdictWord = Literal["same", "faster", "slower", "cannot_tell"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cell(_Model):
    """One bar of a figure."""

    id: str
    """suite/path/cipher/driver/size, with the driver as requested."""
    suite: str
    path: str
    cipher: str
    """``none`` where the path does not encrypt."""
    driver: str
    """As requested."""
    size_bytes: int | None = Field(default=None, ge=0)
    """Of the file; None for kernel crypto."""
    buffer_bytes: int | None = Field(default=None, ge=1)
    """Of kernel crypto."""
    depth: int | None = Field(default=None, ge=1)
    """Of kernel crypto: requests under way at once."""
    connections: int | None = Field(default=None, ge=1)
    """That ask at once; None where one transfer follows the other."""
    rate_share: float | None = Field(default=None, gt=0)
    """Of an open loop: the rate of its requests, as a share of what the baseline's closed loop gave in this run."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that serve, each on a processor of its own; None for one, on whatever processor."""
    interface: CryptoInterface | None = None
    """Of kernel crypto: by which the kernel was asked; in older records, which do not say it, AF_ALG."""
    outcome: Outcome
    reason: str | None = None
    """Why it was not measured."""
    driver_found: str | None = None
    """What the kernel or library bound."""
    receiver_driver: str | None = None
    """What the receiver's kernel bound, where a way of receiving tells who deciphered."""
    unproven: str | None = None
    """What the proof of a measured path lacks, and why."""
    links: dict[Role, dict[str, bool | int | str]] = {}
    """What of both hosts' data interfaces changes a result, by role: ``mtu``, ``congestion_control``, and offloads by
    ethtool's names. Each of its samples had it so; none of kernel crypto, and none in older records."""


class Verdict(_Model):
    """Of one comparison, from paired blocks."""

    comparison: str
    """In words for a person."""
    baseline: str
    """The id of a cell."""
    candidate: str
    """The id of a cell."""
    metric: Metric
    ratio: Positive | None
    """baseline / candidate: over 1 the candidate is better."""
    ci_low: Positive | None
    """Where the interval of the ratio begins: at 95 % for the whole run."""
    ci_high: Positive | None
    """Where it ends."""
    blocks: int = Field(ge=0)
    """How many were paired."""
    disturbed: int | None = Field(default=None, ge=0)
    """How many of these were disturbed (``harness/blocks.py``); None where nothing is known of any, as in older
    records."""
    verdict: VerdictWord
    margin: Positive
    """How far from 1 a ratio still counts as the same."""
    detectable: Positive | None
    """The fraction by which a candidate must differ to be found with 80 % power at this noise."""
    of_question: bool = False
    """Whether it is one of those that the profile's question asks for, which share an error of their own."""
    rounds: int | None = Field(default=None, ge=1)
    """How many boots or deployments its blocks come from; None in older records, which have one."""
    between: float | None = Field(default=None, ge=0, le=1)
    """The share of its error's variance that lies between these rounds; None where that is not known."""
    ceiling: Positive | None = None
    """The prediction: the ratio that the prices of the steps allow."""
    ceiling_low: Positive | None = None
    """Where the prediction's own interval begins, from what its prices are known to; None in older records."""
    ceiling_high: Positive | None = None
    """Where it ends."""
    bottleneck: str | None = None
    """What the candidate waited for; the generator of load where either side did."""


class ProfileEntry(_Model):
    """The profile a run was made from: its name, its whole content, and the SHA-256 of that content."""

    name: str
    content: dict[str, Any]
    sha256: str


class QuestionEntry(_Model):
    """What a run was made to decide: one path over another, time and CPU, in these suites and sizes."""

    candidate: str
    """A path."""
    baseline: str
    """A path."""
    suites: list[str]
    sizes_bytes: list[int]


class TestbedEntry(_Model):
    """Which testbed a run was made on."""

    name: str
    kind: str
    """``hosts``, or a lab's."""
    machine: dict[str, Any] = {}
    """Facts of the machine that emulates both hosts of a lab."""
    label: str = ""
    """What a lab's figures are called in a word."""
    caveat: str = ""
    """What the reader of a lab's figures must know."""
    generic_ciphers: bool | None = None
    """Whether a lab's kernel has its ciphers in generic C only; None where that is not known beforehand."""
    chosen: str = ""
    """Why it is this lab, where the run chose it."""


class Crossing(_Model):
    """What one transfer took across the border of user and kernel memory: an untimed one on the sender, or a timed one,
    by a way of receiving, on the receiver."""

    path: str
    cipher: str
    size_bytes: int = Field(ge=1)
    buffer_bytes: int | None = Field(default=None, ge=1)
    """Of the path's buffer or TLS record, where it has one."""
    calls: dict[str, int]
    """System calls by name."""
    crossing_bytes: int = Field(ge=0)
    """In or out of user memory."""
    copied_bytes: int | None = Field(default=None, ge=0)
    """Those that a processor copied, where known."""
    source: Literal["server", "strace", "client"]
    """``server`` where our own server counted (exact), ``strace`` where the calls were seen from outside, ``client``
    where our own client on the receiver counted (exact)."""
    uncounted: list[str] = []
    """Calls that may have carried bytes which nobody can count: ``crossing_bytes`` is then the least."""


class Rehearsal(_Model):
    """A path's transfer in clear, with work in the place of its cipher: what a prediction stands on."""

    path: str
    round: int = Field(ge=0)
    size_bytes: int = Field(ge=1)
    work_ns: float = Field(ge=0)
    """For each chunk, by its price."""
    worked_seconds: float | None = Field(default=None, ge=0)
    """What the work of the transfer took the sender, looks at the clock included."""
    seconds: float = Field(ge=0)
    sender_cpu: float = Field(ge=0)
    """Busy seconds of the sender."""
    receiver_cpu: float = Field(ge=0)


ON_DISK = "files on disk, read cold and written through"
"""What is said of a suite whose files were not in memory."""


class SuiteEntry(_Model):
    """What a suite asked."""

    name: str
    figure: int | None
    """Which of the paper's it answers."""
    link_rate_bits_per_second: int | None
    """None where the link is not shaped."""
    conditions: str | None = None
    """What the way was made like beyond its rate, in words: round trip, loss, MTU; None where it is as it is."""
    baseline: str
    """The path that others are compared with."""
    sent_by: str | None = None
    """The path that sends, where its paths are ways of receiving; a way that only one path can send has that one's."""
    files: Literal["memory", "disk"] = "memory"
    """Where files lay on both hosts: in memory (tmpfs), or on a real file system, read cold and written through."""
    link: dict[str, float | None] = {}
    """What measuring the link gave: ``seconds_1mb`` and ``goodput_bits_per_second``; under conditions also
    ``rtt_seconds``, ``lost_share`` and ``far_bits_per_second``."""
    prices: dict[str, float] = {}
    """What steps cost on the sender, where a ratio was predicted: ``{step}_call_ns``, ``{step}_byte_ns``.

    Medians of ``prices_by_round``; in older records the fastest of one measurement. What is a difference of two
    measurements may be below zero; in older records it is zero then."""
    prices_by_round: list[dict[str, float]] = []
    """The same as each round measured it; in no older record."""
    rehearsals: list[Rehearsal] = []
    steps: dict[str, str] = {}
    """What these steps are called, by name."""
    taken: dict[str, Steps] = {}
    """Which steps each path takes beyond plain sendfile, by path; older records do not say it."""
    ciphering: list[str] = []
    """Those of the prices that are the cipher's own, by the names of their steps."""
    question: str | None = None
    tls: str | None = None
    """The version of TLS of its TLS paths: ``1.2``, ``1.3``."""
    integrity: str | None = None
    """The hash of the HMAC beside a cipher that is no AEAD; None where no path authenticates, or the cipher does."""
    connection: Literal["new", "resumed", "kept"] | None = None
    """Each request has its own (``new``), resumes a TLS session (``resumed``) or shares one (``kept``)."""
    requests: int = Field(default=1, ge=1)
    """In a sample."""
    instructions: Literal["all", "masked"] = "all"
    """``masked`` where AES and vector instructions were hidden from user space."""
    crossings: list[Crossing] = []
    transfer_share: dict[str, float] = {}
    """What part of the time of its blocks was transfers, by size (``1MB``); the rest is looks, logs and digests."""


class Head(_Model):
    """The content of run.json."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    run_id: str
    profile: ProfileEntry
    testbed: TestbedEntry
    started: datetime
    finished: datetime | None = None
    status: Status
    reason: str | None = None
    """Why the run is not complete."""
    harness: str
    """Version and commit of the one that measured."""
    question: QuestionEntry | None = None
    """None where the profile names none, and in older records."""
    estimator: str | None = None
    """How intervals were made, by name (``harness/verdicts``); None in older records: ``trimmed-1``."""
    receiver: str | None = None
    """How payloads were received, by name, and the receiver's libcurl with its TLS library: ``stream-1 libcurl/8.14.1
    GnuTLS/3.8.9``. None in older records: ``callback-1``, pycurl with a function of Python's."""
    suites: list[SuiteEntry] = []
    hosts: dict[Role, dict[str, Any]] = {}
    """Facts by role."""
    paths: dict[str, Words] = {}
    """How the cells' paths are called, by name; older records do not say it."""
    cells: list[Cell] = []
    verdicts: list[Verdict] = []
    notes: list[str] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)

    @property
    def measured(self) -> set[str]:
        """The cells that were measured."""
        return {cell.id for cell in self.cells if cell.outcome == "measured"}

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """Facts of the hosts by role, and of a lab those of the ``machine`` that emulates both."""
        facts: dict[str, dict[str, Any]] = {str(role): shown for role, shown in self.hosts.items()}
        return facts | ({"machine": self.testbed.machine} if self.testbed.machine else {})


@dataclass
class Run:
    """A record read back. ``lost``: what the samples on disk lack, as a sentence without its end; None if nothing."""

    path: Path
    head: Head
    samples: list[Sample]
    lost: str | None = None
    blocks: list[BlockFacts] = field(default_factory=list)
    """What else happened while each block was taken; older records have none."""

    def counted(self) -> dict[str, dict[int, Sample]]:
        """The samples that count, by cell and block."""
        return samples.counted(self.samples, self.head.measured)
