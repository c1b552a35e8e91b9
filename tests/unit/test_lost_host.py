"""A lost host is not a refusal: what gives up one path on a refusal lets a lost host through, everywhere."""

from __future__ import annotations

import ast
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from harness import plan, record, records
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Witness
from harness.api.prices import Asked
from harness.ciphers.interfaces import AF_ALG, DEVCRYPTO
from harness.ciphers.table import CIPHERS
from harness.costs import prices
from harness.costs.explanation import Explanation
from harness.events import Event, Events, Note
from harness.measuring import crossings, opened
from harness.measuring.crossings import NotThisPath
from harness.plan import CellPlan
from harness.profile import CryptoSuite, TransferSuite
from harness.record import Cell, SuiteEntry
from harness.records import RecordError, Writer
from harness.run import qualifying
from harness.run.kernel_crypto import KernelCrypto
from harness.run.stage import StageRun
from harness.run.suite import Group, Outcomes
from harness.run.transfers import Transfers
from harness.servers import datapath, openssl
from harness.spans import Span
from hosts import errors, modules
from hosts.errors import ConfigError, HarnessError, HostLost, Refusal
from hosts.modules import NoHeaders
from hosts.onhost.agent.values import Fetched
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from tests.support.made import Bed
from tests.support.runs import CLEAR, PATHS, profile_of, suite
from tests.unit.test_paths import facts

ROOT = Path(__file__).parents[2]
LOST = HostLost("no answer after 30 s", host="sender")
REFUSALS = [kind("it says no") for kind in (Refusal, AgentError, ConfigError, NotThisPath, NoHeaders)]
refusals = pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)


class Raising:
    """Stands for anything: whatever of it is called raises ``error``."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _name: str) -> Raising:
        return self

    def __call__(self, *_arguments: object, **_named: object) -> NoReturn:
        raise self._error


# the two kinds


def test_the_two_kinds_stand_side_by_side() -> None:
    assert issubclass(HostLost, HarnessError) and issubclass(Refusal, HarnessError)
    assert not issubclass(HostLost, Refusal) and not issubclass(Refusal, HostLost)
    assert HarnessError.__subclasses__() == [HostLost, Refusal], "every other one is a kind of these"
    assert issubclass(RecordError, Refusal)


def test_nobody_raises_what_is_neither() -> None:
    paths = [path for layer in ("harness", "hosts", "reports", "suites") for path in (ROOT / layer).rglob("*.py")]
    assert [
        f"{path}:{node.lineno}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "HarnessError"
    ] == []


def test_the_hierarchy_is_described_where_it_is() -> None:
    assert "HostLost" in str(errors.__doc__) and "Refusal" in str(errors.__doc__)


# every place that goes on after a refusal

TRANSFERS = profile_of(suite("http", "afalg-copy", cipher="3des"))
CRYPTO = profile_of(
    {
        "name": "raw",
        "question": "kernel-crypto",
        "ciphers": ["3des"],
        "buffers": [64],
        "blocks": 2,
    }
)


class Told:
    """Notes that were told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events = Events([self.hear])

    def hear(self, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)


def writer(tmp_path: Path) -> Writer:
    head = record.Head(
        run_id=records.new_run_id("test"),
        profile=record.ProfileEntry(name="test", content={}, sha256=""),
        testbed=record.TestbedEntry(name="lab", kind="uml"),
        started=datetime.now(UTC),
        status="running",
        harness="test",
    )
    return Writer(tmp_path / "results", head)


def hosts(**more: Any) -> Any:
    known = {"sender_facts": facts("sender"), "receiver_facts": facts("receiver"), "may_shape": True, "priced": {}}
    return SimpleNamespace(**known, **more)


def transfers(tmp_path: Path, told: Told) -> tuple[Transfers, list[CellPlan]]:
    """A suite of transfers that was not begun, and its cells."""
    only = TRANSFERS.suites[0]
    assert isinstance(only, TransferSuite)
    outcomes = Outcomes(writer(tmp_path))
    kind = Transfers(TRANSFERS, only, dict(PATHS), outcomes, told.events, explain=False)
    return kind, plan.cells(TRANSFERS, CLEAR)


def crypto(tmp_path: Path, told: Told) -> tuple[KernelCrypto, list[CellPlan]]:
    only = CRYPTO.suites[0]
    assert isinstance(only, CryptoSuite)
    kind = KernelCrypto(CRYPTO, only, Outcomes(writer(tmp_path)), told.events)
    return kind, plan.cells(CRYPTO, CLEAR)


def running(kind: Transfers | KernelCrypto, cells: list[CellPlan], told: Told) -> StageRun:
    bench = SimpleNamespace(facts=facts("sender"))
    opened = hosts(bench=lambda *_: bench, measuring=nullcontext, surroundings=Bed().surroundings)
    (stage,) = plan.stages(kind.profile, cells)
    return StageRun(stage, {kind.suite.name: kind}, lambda: nullcontext(opened), kind.profile, told.events)


def raising(error: Exception) -> Callable[..., NoReturn]:
    return Raising(error)


def outcomes(cells: dict[str, Cell]) -> dict[str, tuple[str, str | None]]:
    return {cell.path: (cell.outcome, cell.reason) for cell in cells.values()}


def deploy_one_that_fails(tmp_path: Path, error: Exception) -> Outcomes:
    """Of two paths, the second one's deployment raises."""
    kind, cells = transfers(tmp_path, Told())
    made = Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}))
    good, bad = ({"deploy": what, "clear": True} for what in (lambda *_: made, raising(error)))
    kind.paths = cast(Any, {"http": SimpleNamespace(**good), "afalg-copy": SimpleNamespace(**bad)})
    for cell in cells:
        kind.outcomes.add(cell)
    kind._deploy(hosts(), cast(Any, SimpleNamespace()), cells)
    assert set(kind.deployed) == {"http"}
    return kind.outcomes


@refusals
def test_a_path_that_is_refused_fails_and_leaves_the_others(tmp_path: Path, error: Refusal) -> None:
    assert outcomes(deploy_one_that_fails(tmp_path, error).cells) == {
        "http": ("measured", None),
        "afalg-copy": ("failed", "not deployed: it says no"),
    }


def test_a_host_lost_while_a_path_is_deployed_ends_it(tmp_path: Path) -> None:
    with pytest.raises(HostLost):
        deploy_one_that_fails(tmp_path, LOST)


MAKERS = pytest.mark.parametrize("make", [transfers, crypto], ids=["transfers", "kernel-crypto"])


@MAKERS
@refusals
def test_a_suite_that_is_refused_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, error: Refusal
) -> None:
    told = Told()
    kind, cells = make(tmp_path, told)
    monkeypatch.setattr(kind, "prepare", raising(error))
    running(kind, cells, told).run()
    assert told.notes == [f"{kind.suite.name}: it says no"]
    assert {cell.outcome for cell in kind.outcomes.cells.values()} <= {"failed", "unsupported"}


@MAKERS
def test_a_host_lost_in_a_suite_ends_the_run_with_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    kind, cells = make(tmp_path, Told())
    monkeypatch.setattr(kind, "prepare", raising(LOST))
    with pytest.raises(HostLost):
        running(kind, cells, Told()).run()
    assert {cell.reason for cell in kind.outcomes.cells.values() if cell.outcome == "failed"} == {LOST.what}


def sample_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Cell:
    """A row of kernel crypto whose sample raises."""
    kind, cells = crypto(tmp_path, Told())
    cell = next(cell for cell in cells if cell.path == "raw-encrypt")
    group = Group("64B", [cell], Span(blocks=2), raising(error))
    monkeypatch.setattr(kind, "prepare", lambda *_: [group])
    running(kind, [cell], Told()).run()
    return kind.outcomes.cells[cell.id]


@refusals
def test_a_sample_that_is_refused_gives_up_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Refusal
) -> None:
    row = sample_one(tmp_path, monkeypatch, error)
    assert (row.outcome, row.reason) == ("failed", "it says no")


def test_a_host_lost_in_a_sample_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        sample_one(tmp_path, monkeypatch, LOST)


@refusals
def test_a_driver_that_cannot_answer_says_so(error: Refusal) -> None:
    bench = cast(Any, SimpleNamespace(sender=Raising(error)))
    said = str(qualifying.known_answers(bench, AF_ALG, CIPHERS["3des"], "some-driver"))
    assert said.startswith("some-driver could not answer ") and said.endswith(": it says no")


def test_a_host_lost_while_it_answers_is_no_wrong_answer() -> None:
    with pytest.raises(HostLost):
        bench = cast(Any, SimpleNamespace(sender=Raising(LOST)))
        qualifying.known_answers(bench, DEVCRYPTO, CIPHERS["3des"], "some-driver")


def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Outcomes:
    """Kernel crypto whose drivers cannot be looked for."""
    kind, cells = crypto(tmp_path, Told())
    for cell in cells:
        kind.outcomes.add(cell)
    monkeypatch.setattr(datapath, "compiled", lambda _bench: "")
    monkeypatch.setattr(kind, "_prepare", raising(error))
    with ExitStack() as stack:
        bench = cast(Any, SimpleNamespace())
        assert kind.prepare(hosts(measuring=nullcontext), bench, stack, cells, lambda _cell: Span(blocks=2)) == []
    return kind.outcomes


@refusals
def test_drivers_that_cannot_be_looked_for_fail_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Refusal
) -> None:
    rows = prepare(tmp_path, monkeypatch, error).cells.values()
    assert {(row.outcome, row.reason) for row in rows} == {("failed", "it says no")}


def test_a_host_lost_while_drivers_are_looked_for_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        prepare(tmp_path, monkeypatch, LOST)


def explained(told: Told) -> Explanation:
    only = TRANSFERS.suites[0]
    assert isinstance(only, TransferSuite)
    return Explanation(TRANSFERS, only, PATHS, told.events)


def entry() -> SuiteEntry:
    return SuiteEntry(
        name="small",
        figure=None,
        link_rate_bits_per_second=None,
        baseline="http",
        question="schemes",
        instructions="all",
    )


def price(monkeypatch: pytest.MonkeyPatch, told: Told, error: Exception) -> None:
    monkeypatch.setattr(prices, "measure", raising(error))
    explained(told).price(hosts(), cast(Any, None), entry(), {"afalg-copy": cast(Any, None)})


@refusals
def test_prices_that_are_refused_are_told(monkeypatch: pytest.MonkeyPatch, error: Refusal) -> None:
    told = Told()
    price(monkeypatch, told, error)
    assert told.notes == ["small: no prices in this round: it says no"]


def test_a_host_lost_while_it_is_priced_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        price(monkeypatch, Told(), LOST)


def openssl_price(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    """OpenSSL does not do cipher and MAC in one go: how often it is asked then for one of them."""
    asked: list[str] = []

    def speed(_host: object, _environment: object, what: list[str], _size: int) -> openssl.Speed:
        if "HMAC" in what[-1].upper():
            raise error
        asked.append(what[-1])
        return openssl.Speed(1, 1.0)

    monkeypatch.setattr(openssl, "speed", speed)
    bench = cast(Any, SimpleNamespace(in_environment=list, sender=None))
    openssl.PRICES.measure(Asked(bench, Parameters(CIPHERS["3des"]), {"openssl"}, {}))
    return len(set(asked))


@refusals
def test_what_openssl_does_not_do_in_one_go_it_does_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, error: Refusal
) -> None:
    assert openssl_price(monkeypatch, error) == 2


def test_a_host_lost_while_openssl_is_timed_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        openssl_price(monkeypatch, LOST)


def cross(monkeypatch: pytest.MonkeyPatch, told: Told, error: Exception) -> Refusal | None:
    monkeypatch.setattr(crossings, "count", raising(error))
    cell = next(cell for cell in plan.cells(TRANSFERS, CLEAR) if cell.path == "http")
    bench = cast(Any, SimpleNamespace(anew=nullcontext))
    usual = Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}))
    bed = hosts(payload=lambda *_: None)
    return explained(told).cross(bed, bench, entry(), cell, Parameters(None), usual)


@refusals
def test_crossings_that_are_refused_are_told(monkeypatch: pytest.MonkeyPatch, error: Refusal) -> None:
    told = Told()
    assert cross(monkeypatch, told, error) is error, "its kind says whether another path was seen, or none"
    assert told.notes == ["small: crossings of http not counted: it says no"]


def test_a_host_lost_while_crossings_are_counted_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        cross(monkeypatch, Told(), LOST)


def counted(fetch: Any, trace_stop: Any) -> object:
    """Crossings of a path that strace watches."""
    agent = SimpleNamespace(
        fetch=fetch, trace_start=lambda *_, **__: None, trace_stop=trace_stop, observe=lambda _: None
    )
    host = SimpleNamespace(agent=agent, name="sender", host=SimpleNamespace(data_interface="eth1"))
    hosts = cast(Any, SimpleNamespace(sender=host, receiver=host, links={}))
    usual = Deployed(url=str, log="", server=0, verify=lambda _seen: Witness({}))
    payload = cast(Any, SimpleNamespace(name="x", size=1))
    return crossings.count(hosts, usual, payload, "http", "none")


def test_a_trace_that_does_not_end_hides_no_lost_host() -> None:
    with pytest.raises(HostLost):
        counted(raising(LOST), raising(AgentError("no trace is running")))
    with pytest.raises(Refusal, match="the first"):
        counted(raising(AgentError("the first")), raising(AgentError("the second")))
    with pytest.raises(HostLost):
        counted(raising(AgentError("the first")), raising(LOST))
    failed = Fetched("libcurl 7", 0.0, 0, cast(Any, None), cast(Any, None), None, None, None, None)
    with pytest.raises(Refusal, match="counting the crossings of http failed: libcurl 7"):
        counted(lambda *_: failed, lambda: None)


def place(monkeypatch: pytest.MonkeyPatch, error: Exception) -> dict[str, str]:
    """The kernel module, built on a host of the user's own."""
    monkeypatch.setattr(modules, "on_host", raising(error))
    host, about = cast(Any, SimpleNamespace(name="sender")), facts("sender")
    opened._place_modules(host, about, ["so_crypt"], opened._Places(opened.Wanted()), Events())
    assert about.built == {}
    return about.not_built


@refusals
def test_a_module_that_cannot_be_built_there_is_a_fact(monkeypatch: pytest.MonkeyPatch, error: Refusal) -> None:
    assert place(monkeypatch, error) == {"so_crypt": "it says no"}


def test_a_host_lost_while_it_builds_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostLost):
        place(monkeypatch, LOST)


# what was changed is undone, and what is told is the worse of two errors


class Undoing:
    """A host whose changes are made, and whose undoing raises."""

    name = "sender"

    def __init__(self, error: Exception | None) -> None:
        self.agent = SimpleNamespace(apply=lambda _change: 0, undo=Raising(error) if error else lambda _numbers: [])


def left(undoing: Exception | None, body: BaseException | None) -> BaseException | None:
    """What comes out of a scope."""
    try:
        with Scope(cast(Any, Undoing(undoing))) as scope:
            scope.apply(changes.directory("/x"))
            if body:
                raise body
    except BaseException as error:
        return error
    return None


def test_a_lost_host_is_what_comes_out_of_a_scope() -> None:
    refused = AgentError("the first")
    assert left(None, None) is None
    assert left(LOST, None) is LOST
    assert left(LOST, refused) is LOST, "who goes on after a refusal would go on without a host"
    assert left(AgentError("the second"), refused) is refused
    other = replace_host(LOST, "receiver")
    assert left(LOST, other) is other
    stopped = KeyboardInterrupt()
    assert left(LOST, stopped) is stopped


def replace_host(error: HostLost, host: str) -> HostLost:
    return HostLost(error.what, host=host)


def stays(host: str, problem: str) -> Any:
    """A host whose change cannot be undone."""
    return SimpleNamespace(name=host, agent=SimpleNamespace(apply=lambda _: 0, undo=lambda _: [problem]))


def left_on_both(receiver: Any) -> HarnessError:
    """What comes out of the scopes of both hosts, of which the sender cannot undo its change."""
    with pytest.raises(HarnessError) as caught, changes.scopes(stays("sender", "a rate: no"), receiver) as both:
        for scope in both:
            scope.apply(changes.directory("/x"))
    return caught.value


def test_what_stays_on_each_host_is_told() -> None:
    both = left_on_both(stays("receiver", "a policy: no"))
    assert isinstance(both, AgentError)
    assert both.host == "sender"
    assert both.what == "could not be undone: a rate: no; receiver: could not be undone: a policy: no"
    assert str(both.next_step).count("put this back by hand") == 1
    lost = replace_host(LOST, "receiver")
    receiver = Undoing(lost)
    receiver.name = "receiver"
    found = left_on_both(receiver)
    assert isinstance(found, HostLost), "who goes on after a refusal would go on without a host"
    assert (found.host, found.what) == ("receiver", f"{LOST.what}; sender: could not be undone: a rate: no")


class Closing:
    """A host that is not put back when it is closed."""

    left = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def close(self, _error: BaseException | None) -> None:
        raise AgentError(f"not undone: {self.name}'s", host=self.name)


@pytest.mark.parametrize("ended_by", [None, Refusal("it says no"), replace_host(LOST, "a third one")])
def test_what_is_left_on_each_host_at_the_end_is_told(ended_by: BaseException | None) -> None:
    with pytest.raises(HarnessError) as caught, ThreadPoolExecutor(2) as pool:
        opened._closed(pool, cast(Any, [Closing("sender"), Closing("receiver")]), Events(), ended_by)
    told = str(caught.value)
    assert "not undone: sender's" in told and "not undone: receiver's" in told
    assert isinstance(caught.value, HostLost) == isinstance(ended_by, HostLost)


def test_an_error_of_our_own_is_raised_as_it_is() -> None:
    errors.raise_together([None])
    with pytest.raises(ZeroDivisionError):
        errors.raise_together([LOST, ZeroDivisionError()])
