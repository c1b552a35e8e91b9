"""The link is what the profile says it is, or the run does not begin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api.bench import Bench
from harness.measuring import link
from hosts.errors import HarnessError

rates = st.integers(10**3, 10**11)


def at(rate: float, short: float = 1.0, long: float = 1.0) -> dict[str, float | None]:
    """What measuring a link of ``rate`` gives; its times for a short file and goodput off by factors."""
    return {"seconds_1mb": short * 8e6 / rate, "goodput_bits_per_second": long * rate}


@given(rates, st.floats(0.96, 1.99), st.floats(0.81, 1.01))
def test_a_link_with_its_headers_is_right(rate: int, short: float, long: float) -> None:
    assert link.wrong(rate, at(rate, short, long)) is None


@given(rates, st.floats(0.01, 0.94) | st.floats(2.01, 100))
def test_a_short_file_at_another_speed_is_told(rate: int, short: float) -> None:
    """Faster: a burst is let through unshaped. Slower: something else is in the way."""
    said = link.wrong(rate, at(rate, short))
    assert said is not None
    assert said.startswith("1 MB took ")


@given(rates, st.floats(0.01, 0.79) | st.floats(1.03, 100))
def test_another_rate_in_the_long_run_is_told(rate: int, long: float) -> None:
    said = link.wrong(rate, at(rate, 1.0, long))
    assert said is not None
    assert said.startswith("in the long run ")


@pytest.mark.parametrize("missing", ["seconds_1mb", "goodput_bits_per_second"])
def test_what_was_not_measured_is_not_right(missing: str) -> None:
    assert link.wrong(10**9, at(10**9) | {missing: None}) == "it was not measured"


NO_BENCH = cast(Bench, None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A link that gives ``measured``, one after another; what was shaped is noted."""
    noted: dict[str, Any] = {"shaped": [], "measured": [], "times": [], "pauses": []}
    monkeypatch.setattr(link, "shape", lambda _bench, rate: noted["shaped"].append(rate))

    def measure(_bench: Bench, _rate: int | None, times: tuple[int, int] = (5, 2)) -> link.Measured:
        noted["times"].append(times)
        return cast(link.Measured, noted["measured"].pop(0))

    monkeypatch.setattr(link, "measure", measure)
    monkeypatch.setattr(time, "sleep", noted["pauses"].append)
    yield noted


@pytest.mark.parametrize(("rate", "may_shape"), [(None, True), (10**9, False)])
def test_what_may_not_or_need_not_be_shaped_is_measured_as_it_is(
    calls: dict[str, Any], rate: int | None, may_shape: bool
) -> None:
    calls["measured"] = [at(12345)]
    assert link.prepare(NO_BENCH, rate, may_shape, {}) == at(12345)
    assert calls["shaped"] == []


def test_a_passing_disturbance_is_forgiven(calls: dict[str, Any]) -> None:
    calls["measured"] = [at(10**9, 9.0), at(10**9)]
    assert link.prepare(NO_BENCH, 10**9, True, {}) == at(10**9)
    assert calls["shaped"] == [10**9]


def test_a_link_is_measured_once_at_a_rate_and_put_to_it_every_time(calls: dict[str, Any]) -> None:
    calls["measured"] = [at(10**9), at(54321), at(2 * 10**9)]
    known: dict[int | str | None, link.Measured] = {}
    for rate, due in ((10**9, 10**9), (10**9, 10**9), (None, 54321), (2 * 10**9, 2 * 10**9), (None, 54321)):
        assert link.prepare(NO_BENCH, rate, True, known) == at(due)
    assert calls["measured"] == []
    assert calls["shaped"] == [10**9, 10**9, 2 * 10**9], "what shapes a link is undone with its suite"


def test_a_later_round_looks_whether_the_link_is_at_its_rate_and_leaves_the_record_s_number(
    calls: dict[str, Any],
) -> None:
    """Briefly; what looks wrong then is measured as it was at first."""
    calls["measured"] = [at(10**9, 1.5), at(10**9, 9.0), at(10**9, 1.2)]
    earlier = at(10**9, 1.1)
    assert link.prepare(NO_BENCH, 10**9, True, {}, earlier) == earlier
    assert link.prepare(NO_BENCH, 10**9, True, {}, earlier) == earlier
    assert calls["times"] == [link.BRIEFLY, link.BRIEFLY, (5, 2)]
    calls["measured"] = [at(10**9, 1.0, 0.5)] * len(link.PAUSES)
    with pytest.raises(HarnessError, match="500 Mbit/s"):
        link.prepare(NO_BENCH, 10**9, True, {}, earlier)


def test_a_link_without_a_rate_is_measured_in_the_first_round_only(calls: dict[str, Any]) -> None:
    assert link.prepare(NO_BENCH, None, True, {}, at(12345)) == at(12345)
    assert calls["times"] == []


def test_a_link_that_was_wrong_is_not_known(calls: dict[str, Any]) -> None:
    known: dict[int | str | None, link.Measured] = {}
    calls["measured"] = [at(10**9, 1.0, 0.5)] * len(link.PAUSES)
    with pytest.raises(HarnessError):
        link.prepare(NO_BENCH, 10**9, True, known)
    calls["measured"] = [at(10**9)]
    assert link.prepare(NO_BENCH, 10**9, True, known) == at(10**9)


def test_a_link_that_stays_wrong_ends_the_suite_with_both_rates(calls: dict[str, Any]) -> None:
    calls["measured"] = [at(10**9, 1.0, 0.5)] * 10
    with pytest.raises(HarnessError) as caught:
        link.prepare(NO_BENCH, 10**9, True, {})
    assert "1000 Mbit/s of the profile" in caught.value.what
    assert "500 Mbit/s" in caught.value.what
    assert len(calls["measured"]) == 10 - len(link.PAUSES), "it was tried a few times"
    assert calls["pauses"] == list(link.PAUSES), "with longer and longer pauses, as others may use the machines"
