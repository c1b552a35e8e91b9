"""A block of transfers: what is asked of both hosts and when, and what is told of what was found."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.api.bench import Carried, Payload
from harness.api.path import Deployed, Observed, Witness
from harness.events import Events
from harness.measuring import sampling
from harness.measuring.opened import OpenTestbed
from harness.measuring.proof import Batch
from harness.profile import TransferSuite
from harness.record import SuiteEntry
from harness.run.suite import Outcomes
from harness.run.transfers import Transfers
from harness.samples import Sample
from hosts import offloads, quiet
from hosts.errors import HostLost, Refusal
from hosts.offloads import Link
from hosts.onhost.agent import counters
from hosts.onhost.agent.values import (
    AssociationCounter,
    Change,
    Counter,
    CpuTime,
    Decipher,
    Digested,
    Fetched,
    LinkState,
    LogTail,
    Observation,
    Received,
    SizeCounter,
    Tls,
)
from hosts.remote.agent import AgentError
from hosts.roles import Role
from tests.support.runs import profile_of, suite

SIZE = 10**6
PLAIN = hashlib.sha256(b"plain").hexdigest()
PAYLOAD = Payload("1MB.bin", SIZE, PLAIN)
IDLE = CpuTime(0.0, 0.01)
TLS = Tls("ca", "1.3", "NORMAL", None)
KEY = Decipher("des-ede3-cbc", "5ec2e7" * 8, "5ec2e7")


@dataclass
class Hosts:
    """Both hosts: what they were asked, in order, and what they have. ``step`` is called at each transfer with its URL.

    Each server counts its transfers in a file of its log's name and ``.taken``.
    """

    step: Callable[[str], Any] = lambda _url: None
    asked: list[str] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file of the receiver."""
    room = 0
    """Bytes that the receiver was told to have room for."""
    sizes: dict[str, int] = field(default_factory=dict)
    """What a size counter tells instead of a server's own count."""
    link: dict[str, Any] = field(default_factory=dict)
    """The state of the data interface."""
    refuses: bool = False
    """Whether the host refuses every change."""

    def apply(self, change: Change) -> int:
        if self.refuses:
            raise AgentError("not here", host="sender")
        self.asked.append(f"apply {change.what}")
        return len(self.asked)

    def undo(self, numbers: Sequence[int]) -> list[str]:
        self.asked.append(f"undo {len(numbers)}")
        return []

    def observe(self, counters: dict[str, Counter]) -> Observation:
        self.asked.append("look")
        values: dict[str, int | None] = {}
        states: dict[str, str | None] = {}
        for name, counter in counters.items():
            if isinstance(counter, AssociationCounter):
                states[name] = f"SA {counter.spi}"
            elif isinstance(counter, LinkState):
                states[name] = json.dumps(self.link)
            elif isinstance(counter, SizeCounter):
                lines = self.logs.get(counter.path.removesuffix(".taken"), [])
                values[name] = self.sizes.get(counter.path, len(lines))
        return Observation(values, states, IDLE, IDLE)

    def make_room(self, files: Sequence[str], size: int) -> None:
        self.room = size
        self.asked.append(f"room in {' '.join(files)}")

    def fetch(self, url: str, out: str, size: int, _timeout: float, _tls: Tls | None) -> Fetched:
        assert size == self.room, "it was made before"
        self.asked.append(f"fetch {url.partition('/')[0]} into {out}")
        got = self.step(url)
        if isinstance(got, Exception):
            raise got
        if got is None or got.error is None:
            self.logs.setdefault(url.partition("/")[0], []).append(json.dumps({"n": len(self.asked)}))
            self.files[out] = PLAIN
        return got or Fetched(None, 1.0, SIZE, IDLE, IDLE, None, None, 1, None)

    def fetch_many(self, url: str, count: int, *_: object) -> Fetched:
        self.asked.append(f"fetch {count} of {url.partition('/')[0]}")
        self.logs.setdefault(url.partition("/")[0], []).extend(["{}"] * count)
        return Fetched(None, 1.0, count * SIZE, IDLE, IDLE, None, [1.0] * count, count, sha256_ok=True)

    def prime(self, url: str, *_: object) -> None:
        self.asked.append(f"prime {url.partition('/')[0]}")
        self.logs.setdefault(url.partition("/")[0], []).append('{"primed": 1}')

    def lines(self, logs: Sequence[LogTail], _timeout: float) -> list[list[str]]:
        self.asked.append(f"lines {' '.join(f'{log.path}:{log.count}' for log in logs)}")
        return [self.logs.get(log.path, [])[log.offset_bytes :] for log in logs]

    def digest(self, files: Sequence[Received], decipher: Decipher | None = None) -> list[Digested]:
        self.asked.append(f"{'decipher' if decipher else 'digest'} {' '.join(file.path for file in files)}")
        return [Digested(PLAIN if decipher else self.files[file.path], None) for file in files]

    def agreed_cipher_suite(self, url: str, _tls: Tls) -> str:
        self.asked.append(f"suite of {url.partition('/')[0]}")
        return "TLS1.2 / X"

    def opened(self) -> OpenTestbed:
        host = SimpleNamespace(name="sender", agent=self, host=SimpleNamespace(data_interface="eth1"))
        both = SimpleNamespace(sender=host, receiver=host, meter=None, carried=Carried(), links={})
        return cast(OpenTestbed, both)


def verify(seen: Observed) -> Witness:
    taken = seen.sender["taken"]
    said = Witness({"taken": taken, "lines": len(seen.log), "suite": seen.cipher_suite})
    return replace(said, reason=None if taken == seen.requests else f"{taken} connections were taken")


def path(name: str, **more: Any) -> tuple[str, Deployed]:
    """A cell and its deployment, whose counter has the same name as that of all others."""
    deployed = Deployed(
        url=lambda payload: f"{name}/{payload}",
        log=name,
        server=1,
        verify=verify,
        sender_counters={"taken": SizeCounter(f"{name}.taken")},
    )
    return f"cell {name}", replace(deployed, **more)


def taken(hosts: Hosts, *cells: tuple[str, Deployed], size: int = SIZE, batch: Batch | None = None) -> list[Sample]:
    payload = replace(PAYLOAD, size=size)
    return sampling.take(hosts.opened(), cells, payload, 3, False, batch or Batch())


def fails(url: str, name: str, with_: Any) -> Any:
    return with_ if url.startswith(f"{name}/") else None


def test_between_two_transfers_both_hosts_are_looked_at_once_and_all_else_waits() -> None:
    hosts, began = Hosts(), list[str]()
    cells = [path("a"), path("b", asks_cipher_suite=True, tls=TLS), path("c")]
    samples = sampling.take(hosts.opened(), cells, PAYLOAD, 3, True, Batch(), began.append)
    looks = ["look", "look"]  # one of each host
    assert hosts.asked == [
        "room in 0.payload.out 1.payload.out 2.payload.out",
        *looks,
        "fetch a into 0.payload.out",
        *looks,
        "fetch b into 1.payload.out",
        *looks,
        "fetch c into 2.payload.out",
        *looks,
        "lines a:1 b:1 c:1",
        "suite of b",
        "digest 0.payload.out 1.payload.out 2.payload.out",
    ]
    assert began == [cell for cell, _ in cells] == [sample.cell for sample in samples]
    assert [(sample.block, sample.index, sample.warmup, sample.valid) for sample in samples] == [
        (3, place, True, True) for place in range(3)
    ]
    assert [sample.witness for sample in samples] == [
        {"taken": 1, "lines": 1, "suite": suite} for suite in (None, "TLS1.2 / X", None)
    ]


SWITCH = offloads.switch("tls-hw-tx-offload", True, "eth1")


def test_what_a_path_changes_is_in_force_during_its_own_transfer_only() -> None:
    hosts = Hosts()
    assert all(sample.valid for sample in taken(hosts, path("a"), path("b", during=(SWITCH,)), path("c")))
    looks = ["look", "look"]
    assert hosts.asked[1:-2] == [
        *looks,
        "fetch a into 0.payload.out",
        *looks,
        f"apply {SWITCH.what}",
        *looks,
        "fetch b into 1.payload.out",
        *looks,
        "undo 1",
        *looks,
        "fetch c into 2.payload.out",
        *looks,
    ]


def test_a_change_that_is_refused_makes_its_own_sample_invalid_and_no_other() -> None:
    hosts = Hosts(refuses=True)
    a, b, c = taken(hosts, path("a"), path("b", during=(SWITCH,)), path("c"))
    assert (a.valid, b.valid, c.valid) == (True, False, True)
    assert "not here" in str(b.reason)
    assert "fetch b into 1.payload.out" not in hosts.asked


def test_a_link_that_changes_during_a_transfer_makes_it_invalid() -> None:
    hosts = Hosts(link={"mtu": 1500, "generic-receive-offload": True})
    hosts.step = lambda url: hosts.link.update(mtu=9000) if url.startswith("b") else None
    a, b, c = taken(hosts, path("a"), path("b"), path("c"))
    assert (a.valid, b.valid, c.valid) == (True, False, True)
    assert (
        b.reason == "the sender's link changed: mtu 1500, then 9000; the receiver's link changed: mtu 1500, then 9000"
    )


def test_over_what_links_each_cell_went_is_told_and_may_be_refused() -> None:
    hosts, told = Hosts(link={"mtu": 1500}), list[tuple[str, object]]()

    def linked(cell: str, links: dict[Role, Link]) -> str | None:
        told.append((cell, links))
        return "another link" if cell == "cell b" else None

    samples = sampling.take(hosts.opened(), [path("a"), path("b")], PAYLOAD, 3, False, Batch(), linked=linked)
    both = {"sender": {"mtu": 1500}, "receiver": {"mtu": 1500}}
    assert told == [("cell a", both), ("cell b", both)]
    assert [(sample.valid, sample.reason) for sample in samples] == [(True, None), (False, "another link")]


def test_what_would_fill_the_receiver_is_checked_before_the_next_transfer() -> None:
    hosts = Hosts()
    assert all(sample.valid for sample in taken(hosts, path("a"), path("b"), size=sampling.KEPT_BYTES // 2 + 1))
    both = ["look", "look"]
    assert hosts.asked == [
        "room in payload.out",
        *(*both, "fetch a into payload.out", *both),
        "digest payload.out",
        *(*both, "fetch b into payload.out", *both),
        "digest payload.out",
        "lines a:1 b:1",
    ], "what the digest took is no transfer's"
    kept = Hosts()
    taken(kept, path("a"), path("b"), size=sampling.KEPT_BYTES // 2)
    assert kept.asked[-1] == "digest 0.payload.out 1.payload.out"


def test_a_cipher_text_is_deciphered_once_for_all_who_send_it() -> None:
    hosts = Hosts()
    opened = hosts.opened()
    cells = [path("a", decipher=KEY), path("b", decipher=KEY), path("c", decipher=replace(KEY, iv_hex="01"))]
    for block in range(2):
        assert all(sample.valid for sample in sampling.take(opened, cells, PAYLOAD, block, False, Batch()))
    assert [line for line in hosts.asked if "cipher" in line] == ["decipher 0.payload.out", "decipher 2.payload.out"]
    hosts.step = lambda url: hosts.files.update({"1.payload.out": "other"}) if url.startswith("c") else None
    a, b, c = sampling.take(opened, cells, PAYLOAD, 3, False, Batch())
    assert hosts.asked[-1] == "decipher 1.payload.out", "another cipher text is another question"
    assert (a.valid, b.valid, c.valid) == (True, True, True)
    assert "5ec2e7" not in repr(vars(opened.carried))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            Fetched("libcurl 28: timed out", 9.0, 5, IDLE, IDLE, None, None, None, None),
            "libcurl 28: timed out; 0 connections were taken",
        ),
        (Refusal("no space left"), "no space left; 0 connections were taken"),
    ],
)
def test_a_transfer_that_fails_spoils_no_other(failure: Any, reason: str) -> None:
    hosts = Hosts(step=lambda url: fails(url, "b", failure))
    a, b, c = taken(hosts, path("a"), path("b"), path("c"))
    assert (a.valid, c.valid) == (True, True)
    assert (b.valid, b.seconds, b.sha256_ok, b.reason) == (False, None, None, reason)
    assert hosts.asked[-2:] == ["lines a:1 b:0 c:1", "digest 0.payload.out 2.payload.out"], "nobody waits for its line"


def test_a_lost_host_ends_the_block() -> None:
    with pytest.raises(HostLost):
        taken(Hosts(step=lambda url: fails(url, "b", HostLost("gone"))), path("a"), path("b"))


def test_only_what_arrived_whole_counts() -> None:
    hosts = Hosts(step=lambda url: hosts.files.update({"0.payload.out": "other"}) if url.startswith("b") else None)
    a, b = taken(hosts, path("a"), path("b"))
    assert (a.sha256_ok, b.sha256_ok) == (False, True)
    assert a.reason == "payload: its SHA-256 is not the one of the source"


def test_sessions_are_made_before_anything_is_looked_at() -> None:
    hosts = Hosts()
    samples = taken(hosts, path("a", tls=TLS), path("b"), path("c", tls=TLS), batch=Batch(100, "resumed"))
    assert [line for line in hosts.asked if line != "look"] == [
        "prime a",
        "prime c",
        "lines a:1 c:1",
        "fetch 100 of a",
        "fetch 100 of b",
        "fetch 100 of c",
        "lines a:100 b:100 c:100",
    ]
    assert [sample.witness["lines"] for sample in samples] == [100, 100, 100]
    assert all(sample.valid and len(sample.latencies_us or ()) == 100 for sample in samples)


def test_cells_that_share_a_server_have_a_line_each() -> None:
    hosts = Hosts()
    (cell, deployed), other = path("a"), path("b")
    samples = taken(hosts, (cell, deployed), other, ("again", deployed))
    assert hosts.asked.count("lines a:2 b:1") == 1
    assert [sample.witness["lines"] for sample in samples] == [1, 1, 1]
    assert all(sample.valid for sample in samples)


def test_each_path_is_told_of_its_own_associations_under_its_own_names() -> None:
    seen: dict[str, str | None] = {}

    def told(name: str) -> Callable[[Observed], Witness]:
        return lambda observed: seen.update({name: observed.sender_states["sa"]}) or Witness({})

    def association(spi: int) -> dict[str, Counter]:
        return {"sa": AssociationCounter("10.0.0.1", spi, "protection")}

    cells = [path(name, verify=told(name), sender_counters=association(spi)) for spi, name in enumerate("ab")]
    assert all(sample.valid for sample in taken(Hosts(), *cells))
    assert seen == {"a": "SA 0", "b": "SA 1"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (4, 5, None),
        (4, 6, "2 connections were taken"),
        (4, 3, "the sender's counter taken went from 4 back to 3: it is not the one it was"),
    ],
)
def test_a_counter_that_went_backwards_is_said_to_have(before: int, after: int, reason: str | None) -> None:
    hosts = Hosts(sizes={"a.taken": before})
    hosts.step = lambda _url: hosts.sizes.update({"a.taken": after})
    (found,) = taken(hosts, path("a"))
    assert (found.valid, found.reason) == (reason is None, reason)


def test_the_share_of_transfers_is_of_all_blocks_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profile_of(suite("http", cipher="3des"))
    (asked,) = profile.suites
    assert isinstance(asked, TransferSuite)
    kind = Transfers(profile, asked, {}, cast(Outcomes, None), Events(), explain=False)
    kind.entry = SuiteEntry(name="s", figure=None, link_rate_bits_per_second=None, baseline="http")
    clock = iter([0.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    one = Sample(cell="c", block=0, index=0, warmup=False, seconds=1.5, valid=True)
    failed = Sample(cell="d", block=0, index=1, warmup=False, seconds=None, valid=False)
    monkeypatch.setattr(sampling, "take", lambda *_: [one, failed])
    for block in range(2):
        kind._take(Hosts().opened(), PAYLOAD, [], block, False, lambda _cell: None)
    assert kind.entry.transfer_share == {"1MB": 0.5}, "3 s of the 4 and 2 that its blocks took"


@pytest.mark.parametrize(("requests", "warming"), [(1, 1), (2, 2), (5, 2), (500, 50)])
def test_a_warm_up_makes_a_tenth_of_the_requests(monkeypatch: pytest.MonkeyPatch, requests: int, warming: int) -> None:
    (asked,) = profile_of(suite("http", cipher="3des", requests=requests)).suites
    assert isinstance(asked, TransferSuite)
    kind = Transfers(profile_of(suite("http", cipher="3des")), asked, {}, cast(Outcomes, None), Events(), explain=False)
    seen: list[int] = []

    def take(*given: Any) -> list[Sample]:
        seen.append(given[5].requests)
        return []

    monkeypatch.setattr(sampling, "take", take)
    for warmup in (True, False):
        kind._take(Hosts().opened(), PAYLOAD, [], 0, warmup, lambda _cell: None)
    assert seen == [warming, requests]


# one processor of many


def test_the_busiest_processor_is_the_one_whose_own_time_rose_most() -> None:
    """Not the one that was busiest since boot."""
    before, after = CpuTime(10.0, 0.01, [9.0, 1.0, 0.0]), CpuTime(11.5, 0.01, [9.1, 2.3, 0.1])
    busy = sampling.inside(before, after)
    assert busy.seconds == pytest.approx(1.5)
    assert busy.busiest == pytest.approx(1.3)


@pytest.mark.parametrize("each", [[], [1.0], [1.0, 2.0, 3.0]])
def test_where_there_is_one_processor_or_one_came_there_is_no_busiest(each: list[float]) -> None:
    assert sampling.inside(CpuTime(0.0, 0.01, [0.0, 0.0]), CpuTime(6.0, 0.01, each)).busiest is None


def test_every_processor_of_this_machine_has_its_time() -> None:
    now = counters.cpu()
    assert len(now.each) == len(quiet.numbers(Path("/sys/devices/system/cpu/online").read_text()))
    assert sum(now.each) == pytest.approx(now.busy_seconds, abs=len(now.each) * 7 * now.resolution_seconds)
