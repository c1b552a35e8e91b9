"""Predictions stand on what every round measured, and are only made where prices are processor time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.api.path import Deployed, Witness
from harness.api.steps import Price
from harness.costs import prices, rehearsal
from harness.costs.explanation import Explanation
from harness.costs.prediction import Clear, Rehearsed, Take
from harness.costs.rehearsal import Stage
from harness.events import Events
from harness.profile import TransferSuite
from harness.record import SuiteEntry
from hosts.errors import Refusal
from hosts.facts import Facts
from tests.support.runs import PATHS, profile_of, suite

NAMES = ("syscall", "read", "alg_send", "alg_sendfile", "cipher", "kernel_cipher", "tcp_copy", "count")


def priced(call_ns: float) -> dict[str, Price]:
    """Every step alike, but that a system call has no bytes."""
    return dict.fromkeys(NAMES, Price(call_ns, 10.0)) | {"syscall": Price(call_ns, 0.0)}


PRICES = priced(1000.0)
MINE = ("afalg-copy", "so-crypt", "plain")
METRICS = ("seconds", "cpu_seconds_per_gb")


def explained(driver: str = "any", rounds: int = 5, question: Mapping[str, object] | None = None) -> Explanation:
    """A suite of two schemes by a driver."""
    profile = profile_of(suite(*MINE, cipher="aes128cbc", driver=driver), rounds=rounds, question=question)
    only = profile.suites[0]
    assert isinstance(only, TransferSuite)
    return Explanation(profile, only, PATHS, Events())


def take(factor: float = 1.0) -> Take:
    """A round in which the first path takes ``factor`` times as long."""
    base = {size: Clear(size * 1e-8, size * 1e-8, size * 5e-9) for size in (10**6, 3 * 10**6)}
    slower = {size: Clear(*(factor * part for part in vars(clear).values())) for size, clear in base.items()}
    return Take(PRICES, {path: Rehearsed(slower if path == MINE[0] else base) for path in MINE})


def test_every_take_predicts_by_itself() -> None:
    found = explained()
    found.takes = [replace(take(factor), round=number) for number, factor in ((0, 1.0), (0, 1.2), (1, 1.1))]
    for metric in METRICS:
        predicted = found.predict(10**6, cast(Any, metric), "so-crypt")
        assert [one.round for one in predicted] == [0, 0, 1]
        first, second, third = (one.ratio for one in predicted)
        assert first < third < second


def test_nothing_is_predicted_before_anything_was_measured() -> None:
    assert not any(explained().predict(10**6, cast(Any, metric), "so-crypt") for metric in METRICS)


# what a round measures


class Hosts:
    """What is asked of hosts while a suite is priced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work: dict[str, float] = {}
        self.transfers: list[tuple[str, int]] = []
        self.driver: list[str] = []
        monkeypatch.setattr(prices, "measure", self._prices)
        monkeypatch.setattr(rehearsal, "serve", self._serve)
        monkeypatch.setattr(rehearsal, "transfer", self._transfer)
        monkeypatch.setattr(rehearsal, "told", self._told)
        monkeypatch.setattr("harness.ciphers.drivers.chosen", lambda *_: "any")
        self.call_ns = 1000.0

    def _prices(self, *_: object) -> dict[str, Price]:
        return priced(self.call_ns)

    def _serve(self, _bench: object, name: str, way: Any, work_ns: float, _count_ns: float) -> Stage:
        self.work[name] = work_ns if way.calls != "sendfile" else 0.0
        return Stage(lambda _payload: name, None, self.work[name])

    def _transfer(self, _opened: object, stage: Stage, payload: Any) -> Clear:
        self.transfers.append((stage.url(""), payload.size))
        return Clear(payload.size * 1e-8, payload.size * 1e-8, payload.size * 5e-9)

    def _told(self, _opened: object, stages: Any, transfers: Any) -> dict[str, list[float]]:
        return {name: [1e-4] * transfers[name] for name, stage in stages.items() if stage.work_ns}

    @property
    def opened(self) -> Any:
        payload = lambda size, _seed: SimpleNamespace(size=size, name=str(size))  # noqa: E731
        receiver = SimpleNamespace(agent=SimpleNamespace(make_room=lambda *_: None))
        return SimpleNamespace(meter=True, payload=payload, sender_facts=None, priced={}, receiver=receiver)


class Bench:
    """A bench that only knows whether what was deployed on it is gone; its sender has no module of ours."""

    open = 0
    facts = Facts("sender", "6.12.1", {}, frozenset())

    @contextmanager
    def anew(self) -> Iterator[Bench]:
        self.open += 1
        yield self
        self.open -= 1


def entry() -> SuiteEntry:
    return SuiteEntry(name="schemes", figure=7, link_rate_bits_per_second=None, baseline="afalg-copy")


def deployed(*paths: str) -> Mapping[str, Deployed]:
    return {path: Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({})) for path in paths or MINE}


def test_a_round_prices_and_rehearses_and_a_record_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, found, shown, bench = Hosts(monkeypatch), explained(), entry(), Bench()
    for call_ns in (1000.0, 4000.0, 2000.0):
        hosts.call_ns = call_ns
        found.price(hosts.opened, cast(Any, bench), shown, deployed())
    assert bench.open == 0, "rehearsals are gone when they are over"
    assert shown.prices["cipher_call_ns"] == 2000.0, "the median of the rounds"
    assert [one["cipher_call_ns"] for one in shown.prices_by_round] == [1000.0, 4000.0, 2000.0]
    assert {one.path for one in shown.rehearsals} == set(MINE) == set(shown.taken)
    assert set(shown.ciphering) == {"cipher", "kernel_cipher"}
    assert {one.round for one in shown.rehearsals} == {0, 1, 2}
    assert {one.round for one in found.takes} == {0, 1, 2}
    for path in MINE:
        sizes = [one.size_bytes for one in shown.rehearsals if one.path == path]
        due = rehearsal.DEAR if path == "afalg-copy" else rehearsal.CHEAP
        assert sizes == [*due] * len(found.takes), "the more work, the fewer bytes; every transfer that counts is here"
    assert len(hosts.transfers) == len(shown.rehearsals) + 3 * len(MINE), "and a round's first ones count nowhere"
    assert "plain" not in hosts.work, "it rehearses as it is deployed"
    assert hosts.work["afalg-copy"] > hosts.work["so-crypt"] > 0.0, "AF_ALG's calls are work, too"
    assert len(found.predict(10**6, "seconds", "so-crypt")) == len(found.takes)


ASKED = {
    "candidate": "so-crypt",
    "baseline": "afalg-copy",
    "suites": ["small"],
    "sizes": {"1MB": {"blocks": 5}},
    "rounds": 5,
}


@pytest.mark.parametrize(("rounds", "taken"), [(1, 1), (2, 1), (3, 3), (5, 5), (8, 5)])
def test_prices_are_taken_as_often_as_an_interval_needs(
    monkeypatch: pytest.MonkeyPatch, rounds: int, taken: int
) -> None:
    hosts, found, shown = Hosts(monkeypatch), explained(rounds=rounds), entry()
    for _ in range(rounds):
        found.price(hosts.opened, cast(Any, Bench()), shown, deployed())
    assert len(shown.prices_by_round) == taken
    assert {one.round for one in shown.rehearsals} == {one.round for one in found.takes} == set(range(taken))


def test_the_question_s_rounds_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, found, shown = Hosts(monkeypatch), explained(rounds=2, question=ASKED), entry()
    for _ in range(5):
        found.price(hosts.opened, cast(Any, Bench()), shown, deployed("afalg-copy", "so-crypt"))
    for _ in range(2):
        found.price(hosts.opened, cast(Any, Bench()), shown, deployed())
    rounds = {path: {one.round for one in shown.rehearsals if one.path == path} for path in MINE}
    assert rounds == {"afalg-copy": set(range(6)), "so-crypt": set(range(6)), "plain": {5}}


def test_a_slow_link_is_not_kept_busy_by_rehearsals(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, found, shown = Hosts(monkeypatch), explained(), entry()
    shown.link = {"goodput_bits_per_second": 1e9, "far_bits_per_second": 1e8}
    found.price(hosts.opened, cast(Any, Bench()), shown, deployed())
    assert {one.size_bytes for one in shown.rehearsals if one.path == "plain"} == set(rehearsal.USUAL)
    assert {one.pace for one in found.takes} == {8e-8}


def test_a_card_is_priced_and_not_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, found, shown = Hosts(monkeypatch), explained("card"), entry()
    found.price(hosts.opened, cast(Any, Bench()), shown, deployed())
    assert shown.prices and not shown.rehearsals and not hosts.transfers
    assert not found.predict(10**6, "seconds", "so-crypt")


def test_a_rehearsal_that_fails_leaves_prices_and_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, found, shown = Hosts(monkeypatch), explained(), entry()

    def refuse(*_: object) -> None:
        raise Refusal("a rehearsal failed")

    monkeypatch.setattr(rehearsal, "transfer", refuse)
    found.price(hosts.opened, cast(Any, Bench()), shown, deployed())
    assert shown.prices and not found.predict(10**6, "seconds", "so-crypt")


def test_what_has_no_rehearsal_is_not_predicted() -> None:
    found = explained()
    whole = take()
    found.takes = [Take(PRICES, {name: one for name, one in whole.rehearsed.items() if name != "so-crypt"})]
    assert not found.predict(10**6, "seconds", "so-crypt")
    assert found.predict(10**6, "seconds", "plain")


def test_a_server_tells_what_the_work_of_each_transfer_took() -> None:
    asked: list[Any] = []
    log = ['{"event": "listening"}', *(f'{{"event": "request", "worked_ns": {ns}}}' for ns in (5, 7))]

    def lines(tails: list[Any], _timeout: float) -> list[list[str]]:
        asked.extend(tails)
        return [log for _ in tails]

    opened = cast(Any, SimpleNamespace(sender=SimpleNamespace(agent=SimpleNamespace(lines=lines))))
    stages = {"a": Stage(str, None, 1.0, "a.log"), "plain": Stage(str, None, 0.0)}
    assert rehearsal.told(opened, stages, {"a": 2, "plain": 2}) == {"a": [5e-9, 7e-9]}
    assert [(one.path, one.count) for one in asked] == [("a.log", 3)]
    with pytest.raises(Refusal, match="told of 2 transfers, not 3"):
        rehearsal.told(opened, stages, {"a": 3, "plain": 3})
