"""The benchmark of what a minute resolves: what it draws, what it says, and that it goes on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from harness import plan
from harness.verdicts import stats
from simulations import minutes, resolution
from simulations.minutes import Kind, Minute
from simulations.resolution import Round

LOOKS = (5, 10)


def made_up(effect: float, deviation: float, rounds: int = 10, blocks: int = 20, seed: int = 1) -> list[Round]:
    """Rounds whose twin takes ``effect`` (as a log) longer, both metrics alike."""
    source = np.random.default_rng(seed)
    both = source.normal(0, deviation, (rounds, blocks, 4))
    both[:, :, 2:] += effect
    return list(both)


def test_the_profile_asks_one_question_and_nothing_else() -> None:
    asked = minutes.profile("so-crypt", "so-crypt-dearer-10", "3des", "1MB", 10, 20.0)
    assert plan.comparisons(asked) == (2, 0)
    (stage,) = plan.stages(asked, plan.cells(asked, frozenset()))
    assert (stage.rounds, stage.looks, len(stage.cells)) == (10, LOOKS, 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clear_difference_is_found_in_its_direction(sign: int) -> None:
    rounds = made_up(sign * 0.05, 0.005)
    assert resolution.ours(rounds, LOOKS).tolist() == [-sign, -sign]
    for name, rule in resolution.others().items():
        found = rule(rounds).tolist()
        assert found == ([0, 0] if "1.1 apart" in name else [-sign, -sign]), name


def test_others_calibrated_on_noise_say_of_it_no_more_than_ours_promises() -> None:
    noise = [made_up(0, 0.03, seed=seed) for seed in range(20)]
    source = np.random.default_rng(4)
    pool = [blocks for rounds in noise for blocks in rounds]
    for name, rule in resolution.calibrated(source, noise, 10).items():
        said = [rule(resolution.draw(source, pool, 10, deal=True)).any() for _ in range(400)]
        assert sum(said) <= 400 * resolution.ALPHA + 4 * (400 * resolution.ALPHA) ** 0.5, name
        assert rule(made_up(0.05, 0.005)).tolist() == [-1, -1], name


def test_noise_alone_is_told_from_itself_as_seldom_as_promised() -> None:
    said = [resolution.ours(made_up(0, 0.03, blocks=6, seed=seed), LOOKS).any() for seed in range(300)]
    assert 0 < sum(said) <= 300 * resolution.ALPHA + 3 * (300 * resolution.ALPHA) ** 0.5


def test_a_drawn_minute_is_made_of_whole_rounds() -> None:
    pool = made_up(0.01, 0.02, rounds=3, blocks=12)
    known = {blocks.tobytes() for blocks in pool}
    turned = {np.ascontiguousarray(blocks[:, [2, 3, 0, 1]]).tobytes() for blocks in pool}
    source = np.random.default_rng(3)
    for deal, whole in ((False, known), (True, known | turned)):
        drawn = resolution.draw(source, pool, 100, deal)
        assert {np.ascontiguousarray(blocks).tobytes() for blocks in drawn} == whole


def test_what_must_be_seen_is_what_verdicts_ask_for() -> None:
    """At 80 % it is the harness's own detectable change."""
    shift = resolution.needed(10, 2, stats.POWER)
    assert stats.detectable(0.001, 9, resolution.ALPHA / 2 / 2) == pytest.approx(np.expm1(0.001 * shift), rel=1e-6)
    assert resolution.needed(10, 2) > shift


def test_measuring_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measured(_spec: object, _asked: object, kind: Kind, _events: object) -> Minute:
        calls.append(kind)
        if len(calls) == 4:
            raise KeyboardInterrupt
        blocks: list[list[list[int | None]]] = [
            [[430000, 420000, 434300, 424200, 4300 * (kind == "dearer"), 0, 10**6]] * 5
        ] * 3
        per_mille = 10 * (kind == "dearer")
        return Minute(kind, "so-crypt", per_mille, "2026-01-01T00:00:00+00:00", 60.0, "cpu", "0", {}, blocks)

    file = tmp_path / "minutes.jsonl"
    monkeypatch.setattr(minutes, "measure", measured)
    asked = argparse.Namespace(file=file, minutes=2, testbed="lab")
    with pytest.raises(KeyboardInterrupt):
        minutes.measure_all(asked)
    assert [minute.kind for minute in minutes.load(file)] == ["dearer", "same", "dearer"]
    minutes.measure_all(asked)
    assert [minute.kind for minute in minutes.load(file)] == ["dearer", "same", "dearer", "same"]
    minutes.measure_all(asked)
    assert len(minutes.load(file)) == 4, "nothing is measured twice"
    assert len(calls) == 5
    assert resolution.logs(minutes.load(file)[0])[0][0] == pytest.approx(np.log([430000, 420000, 434300, 424200]))
