"""A stage's run: blocks spread over rounds, and whatever ends it, every cell has its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import plan, records
from harness.cli.console import Reporter
from harness.events import Event, Events, Planned, Sampled, StageEnded, StageStarted
from harness.measuring.opened import OpenTestbed
from harness.profile import Profile, TransferSuite
from harness.record import Run
from harness.records import Writer
from harness.run.stage import WARM_BLOCKS, StageRun
from harness.run.suite import GivenUp, Outcomes
from harness.samples import Sample
from harness.verdicts import judging
from hosts.errors import HostLost, Refusal
from tests.support.made import Bed, Made, Place, Step
from tests.support.runs import profile_of, suite
from tests.unit.test_record import head

BLOCKS = 3
PATHS = ("a", "b", "c", "absent")
A, B, C, ABSENT = (f"small/{path}/3des/any/1MB" for path in PATHS)
QUESTION = {"baseline": "a", "candidate": "b", "suites": ["small"], "sizes": {"1MB": {"blocks": 20}}}


def small(rounds: int = 1, question: dict[str, Any] | None = None, **more: Any) -> Profile:
    """A profile of one suite."""
    asked = suite(*PATHS, cipher="3des", **({"sizes": {"1MB": {"blocks": BLOCKS}}} | more))
    return profile_of(asked, rounds=rounds, question=question)


@dataclass
class Done:
    """What became of a run."""

    run: Run
    told: list[Event]
    bed: Bed
    kinds: dict[str, Made]
    looks: list[int] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[str, tuple[str, str | None]]:
        return {cell.id: (cell.outcome, cell.reason) for cell in self.run.head.cells}

    @property
    def compared(self) -> set[str]:
        rows = judging.settled([row for kind in self.kinds.values() for row in kind.verdicts()], self.run.samples)
        return {row.candidate for row in rows if row.blocks}

    def taken(self, cell: str) -> Counter[tuple[int, bool]]:
        """How many samples of a cell there are, by round and whether they are a warm-up."""
        return Counter((sample.round, sample.warmup) for sample in self.run.samples if sample.cell == cell)

    def blocks(self, cell: str) -> dict[int, int]:
        """How many counted blocks of a cell there are, by round."""
        return {number: count for (number, warmup), count in sorted(self.taken(cell).items()) if not warmup}

    def ends(self, number: int = -1) -> StageEnded:
        return [event for event in self.told if isinstance(event, StageEnded)][number]


def done(
    results: Path,
    profile: Profile | None = None,
    step: Step = lambda _place: None,
    ready: Callable[[int], None] = lambda _boot: None,
    look: Callable[[int], frozenset[str]] = lambda _round: frozenset(),
    raises: type[BaseException] | None = None,
    warm_share: float = 1.0,
) -> Done:
    """All stages of a profile. ``raises``: what the run ends with."""
    profile = profile or small()
    writer, told, bed = Writer(results, head()), list[Event](), Bed()
    kinds = {one.name: Made(profile, one, Outcomes(writer), step, ready, warm_share) for one in profile.suites}
    looks: list[int] = []

    def looked(number: int) -> frozenset[str]:
        looks.append(number)
        return look(number)

    def run() -> None:
        for stage in plan.stages(profile, plan.cells(profile, frozenset())):
            StageRun(stage, kinds, bed.fresh, profile, Events([told.append]), looked).run()

    with writer:
        if raises:
            with pytest.raises(raises):
                run()
        else:
            run()
        writer.write_head()
    assert not bed.up
    return Done(records.read(writer.path), told, bed, kinds, looks)


def fail(error: BaseException) -> Any:
    raise error


def test_all_that_is_possible_is_measured_and_compared(tmp_path: Path) -> None:
    made = done(tmp_path)
    assert made.outcomes == dict.fromkeys((A, B, C), ("measured", None)) | {
        ABSENT: ("unsupported", "no such path here")
    }
    counted = {name: set(blocks) for name, blocks in made.run.counted().items()}
    assert counted == {name: {1, 2, 3} for name in (A, B, C)}, "after the warm-up"
    assert made.compared == {B, C}
    assert [event.count for event in made.told if isinstance(event, Sampled)] == [*range(1, 3 * (1 + BLOCKS) + 1)]
    assert made.ends() == StageEnded(plan.REST, "measured")
    assert made.kinds["small"].finished == [[A, B, C]]


@pytest.mark.parametrize(
    ("spoil", "outcome", "kept"),
    [
        (lambda: {"valid": False, "reason": "no witness"}, ("invalid", "no witness"), 1),
        (lambda: {"valid": False, "seconds": None, "reason": "timed out"}, ("failed", "timed out"), 1),
        (lambda: fail(GivenUp("unsupported", "nothing queued")), ("unsupported", "nothing queued"), 0),
        (lambda: fail(GivenUp("invalid", "wrong answer")), ("invalid", "wrong answer"), 0),
        (lambda: fail(Refusal("refused")), ("failed", "refused"), 0),
    ],
)
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("block", [0, WARM_BLOCKS + 1])
def test_a_cell_that_is_spoilt_is_not_sampled_again_and_spoils_no_other(
    tmp_path: Path, spoil: Callable[[], Any], outcome: tuple[str, str], kept: int, rounds: int, block: int
) -> None:
    """Whichever round it is in, and none of the others is taken for it."""
    seen: list[int] = []

    def step(place: Place) -> Any:
        if place.cell.id != B:
            return None
        seen.append(place.block)
        return spoil() if len(seen) == block + 1 else None

    made = done(tmp_path, small(rounds, sizes={"1MB": {"blocks": 6}}), step)
    assert made.outcomes[B] == outcome
    assert len(seen) == block + 1
    assert sum(sample.cell == B for sample in made.run.samples) == block + kept
    for name in (A, C):
        assert made.outcomes[name] == ("measured", None)
        assert list(made.blocks(name).values()) == [6 // rounds] * rounds
    assert made.compared == {C}


ENDS = pytest.mark.parametrize(
    ("error", "ended", "reason"),
    [
        (KeyboardInterrupt("stopped"), "interrupted", "the run was interrupted"),
        (HostLost("the connection ended"), "failed", "the connection ended"),
        (ZeroDivisionError("what"), "failed", "ZeroDivisionError: what"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)


@ENDS
@pytest.mark.parametrize("boot", [1, 2, 3])
def test_what_ends_a_round_in_the_middle_is_the_reason_of_all_that_it_leaves_undone(
    tmp_path: Path, error: BaseException, ended: str, reason: str, boot: int
) -> None:
    made = done(tmp_path, small(3), lambda at: fail(error) if at.boot == boot else None, raises=type(error))
    assert {made.outcomes[name] for name in (A, B, C)} == {("failed", reason)}
    assert made.outcomes[ABSENT][0] == "unsupported"
    assert made.compared == set()
    assert made.ends() == StageEnded(plan.REST, ended)
    assert made.bed.boots == boot


@ENDS
@pytest.mark.parametrize("boot", [1, 2])
def test_a_boot_that_does_not_come_up_leaves_every_cell_its_outcome(
    tmp_path: Path, error: BaseException, ended: str, reason: str, boot: int
) -> None:
    """Cells of which nothing is known yet have no row: a session gives them one."""
    fresh = Bed.fresh
    with pytest.MonkeyPatch.context() as patch:

        @contextmanager
        def refuse(bed: Bed) -> Iterator[OpenTestbed]:
            if bed.boots + 1 == boot:
                raise error
            with fresh(bed) as opened:
                yield opened

        patch.setattr(Bed, "fresh", refuse)
        made = done(tmp_path, small(3), raises=type(error))
    failed = dict.fromkeys((A, B, C), ("failed", reason)) | {ABSENT: ("unsupported", "no such path here")}
    assert made.outcomes == (failed if boot > 1 else {})
    assert made.ends() == StageEnded(plan.REST, ended)


def test_what_is_whole_stays_measured_when_the_suite_is_interrupted_after_it(tmp_path: Path) -> None:
    sizes = {"1MB": {"blocks": BLOCKS}, "10MB": {"blocks": BLOCKS}}

    def last(place: Place) -> None:
        if place.cell.size == 10**7 and not place.warmup:
            raise KeyboardInterrupt

    made = done(tmp_path, small(sizes=sizes), step=last, raises=KeyboardInterrupt)
    found = {name: outcome for name, outcome in made.outcomes.items() if "absent" not in name}
    assert {outcome for name, outcome in found.items() if name.endswith("/1MB")} == {("measured", None)}
    assert {outcome for name, outcome in found.items() if name.endswith("/10MB")} == {
        ("failed", "the run was interrupted")
    }
    assert made.ends() == StageEnded(plan.REST, "interrupted")


def test_what_cannot_be_prepared_fails_its_suite_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = profile_of(suite(*PATHS, cipher="3des"), suite(*PATHS, cipher="3des", name="other"))
    calls: list[int] = []

    def ready(boot: int) -> None:
        calls.append(boot)
        if len(calls) == 1:
            raise Refusal("the link is not at its rate")

    made = done(tmp_path, whole, ready=ready)
    assert {made.outcomes[name] for name in (A, B, C)} == {("failed", "the link is not at its rate")}
    assert {made.outcomes[name.replace("small", "other")] for name in (A, B, C)} == {("measured", None)}
    reporter = Reporter()
    for event in made.told:
        reporter(event)
    assert "small: the link is not at its rate" in capsys.readouterr().err


# rounds


@pytest.mark.parametrize(
    ("blocks", "rounds", "due"),
    [(6, 3, [2, 2, 2]), (7, 3, [3, 2, 2]), (4, 5, [1, 1, 1, 1]), (2, 5, [1, 0, 1]), (3, 1, [3])],
)
def test_blocks_are_spread_over_rounds_and_no_boot_is_for_nothing(
    tmp_path: Path, blocks: int, rounds: int, due: list[int]
) -> None:
    made = done(tmp_path, small(rounds, sizes={"1MB": {"blocks": blocks}}))
    found = {number: count for number, count in enumerate(due) if count}
    assert [made.blocks(name) for name in (A, B, C)] == [found] * 3
    assert made.bed.boots == len(found)
    warmups = {number: count for (number, warmup), count in made.taken(A).items() if warmup}
    assert warmups == dict.fromkeys(found, 1), "each boot has its warm-up"


def test_a_block_takes_every_path_and_orders_go_on_over_rounds(tmp_path: Path) -> None:
    """Six blocks are a whole design for three paths, however many boots they are spread over."""
    for rounds in (1, 2, 3, 6):
        made = done(tmp_path / str(rounds), small(rounds, sizes={"1MB": {"blocks": 6}}))
        rows: dict[int, list[Sample]] = {}
        for sample in made.run.samples:
            if not sample.warmup:
                rows.setdefault(sample.block, []).append(sample)
        names = [A, B, C]
        taken = [[names.index(one.cell) for one in sorted(row, key=lambda one: one.index)] for row in rows.values()]
        assert sorted(taken) == sorted(plan.williams(3))


def test_no_block_has_the_number_of_another_and_rounds_are_counted_on(tmp_path: Path) -> None:
    """The baseline's blocks of both stages are told apart, and so are their boots."""
    made = done(tmp_path, small(3, QUESTION | {"rounds": 4}, sizes={"1MB": {"blocks": 6}}))
    for name in (A, B, C):
        numbers = [sample.block for sample in made.run.samples if sample.cell == name]
        assert len(set(numbers)) == len(numbers)
    assert made.blocks(B) == dict.fromkeys(range(4), 5)
    assert made.blocks(C) == dict.fromkeys(range(4, 7), 2)
    assert made.blocks(A) == made.blocks(B) | made.blocks(C)
    counted = made.run.counted()
    both = set(counted[A]) & set(counted[B]), set(counted[A]) & set(counted[C])
    assert both == (set(counted[B]), set(counted[C])), "each is compared in blocks of its own"
    assert made.bed.boots == 7
    assert [event.stage for event in made.told if isinstance(event, StageStarted)] == [plan.QUESTION, plan.REST]


SECONDS = {"1MB": 1.0, "10MB": 9.0, "100MB": 90.0}


def lasts(place: Place) -> dict[str, Any]:
    """Three paths take so long together."""
    return {"seconds": SECONDS[place.cell.what] / 3}


def test_the_warm_up_tells_how_many_blocks_there_are(tmp_path: Path) -> None:
    spans = {size: {"seconds": 36, "blocks": 3} for size in SECONDS}
    made = done(tmp_path, small(2, sizes=spans), lasts)
    found = {size: sum(made.blocks(A.replace("1MB", size)).values()) for size in SECONDS}
    assert found == {"1MB": 36, "10MB": 4, "100MB": 3}
    for path in PATHS[:3]:
        assert {s: sum(made.blocks(f"small/{path}/3des/any/{s}").values()) for s in SECONDS} == found


def test_the_quickest_block_of_the_warm_up_counts(tmp_path: Path) -> None:
    """The first one has all the caches to fill."""
    slow = done(tmp_path, small(sizes={"1MB": {"seconds": 12, "blocks": 3}}), lambda at: {"seconds": 9.0 / 3**at.block})
    assert sum(slow.blocks(A).values()) == 4, "3 paths of 1 s each"


def test_a_warm_up_of_fewer_requests_tells_how_long_all_of_them_take(tmp_path: Path) -> None:
    """A batch of small files is warmed up by a tenth of its requests."""

    def batch(place: Place) -> dict[str, Any]:
        return {"seconds": 0.1 if place.warmup else 1.0}

    made = done(tmp_path, small(sizes={"1MB": {"seconds": 12, "blocks": 3}}), batch, warm_share=0.1)
    assert sum(made.blocks(A).values()) == 4, "3 paths of 1 s each"


def test_where_nothing_could_be_timed_there_are_the_fewest_blocks(tmp_path: Path) -> None:
    def never(_place: Place) -> None:
        raise GivenUp("unsupported", "not here")

    made = done(tmp_path, small(2, sizes={"1MB": {"seconds": 100, "blocks": 3}}), never)
    assert {outcome for outcome, _ in made.outcomes.values()} == {"unsupported"}
    assert made.run.samples == []
    assert made.bed.boots == 1, "nothing is left for a second one"


def test_a_boot_is_warmed_up_by_what_it_measures_first(tmp_path: Path) -> None:
    made = done(tmp_path, small(2, sizes={"1MB": {"blocks": 4}, "10MB": {"blocks": 4}}))
    assert made.taken(A) == {(0, True): 1, (0, False): 2, (1, True): 1, (1, False): 2}
    assert made.taken(A.replace("1MB", "10MB")) == {(0, False): 2, (1, False): 2}


def test_what_has_seconds_is_warmed_up_to_learn_how_long_its_blocks_take(tmp_path: Path) -> None:
    spans = {"1MB": {"blocks": 4}, "10MB": {"blocks": 4, "seconds": 0.1}}
    made = done(tmp_path, small(2, sizes=spans))
    assert made.taken(A) == {(0, True): 1, (0, False): 2, (1, True): 1, (1, False): 2}
    assert made.taken(A.replace("1MB", "10MB")) == {(0, True): WARM_BLOCKS, (0, False): 2, (1, False): 2}


def test_what_is_untimed_is_done_once(tmp_path: Path) -> None:
    assert done(tmp_path, small(3)).kinds["small"].finished == [[A, B, C]]


# looks


TWO = {"1MB": {"blocks": 10}, "10MB": {"blocks": 10}}
LARGE = {name: name.replace("1MB", "10MB") for name in (A, B, C)}


def of_size(size: str) -> frozenset[str]:
    return frozenset(f"small/{path}/3des/any/{size}" for path in PATHS)


def asking(rounds: int = 10, blocks: int = 10) -> Profile:
    """A question about two sizes, and nothing else but a path that is not there."""
    sizes = {"1MB": {"blocks": blocks}, "10MB": {"blocks": blocks}}
    asked = suite("a", "b", cipher="3des", sizes=sizes)
    return profile_of(asked, question=QUESTION | {"rounds": rounds, "sizes": sizes})


def test_a_size_that_is_let_go_is_not_sampled_again(tmp_path: Path) -> None:
    made = done(tmp_path, asking(), look=lambda number: of_size("1MB") if number == 5 else frozenset())
    assert made.looks == [5, 10]
    for name in (A, B):
        assert made.blocks(name) == dict.fromkeys(range(5), 1)
        assert made.blocks(LARGE[name]) == dict.fromkeys(range(10), 1)
        assert made.outcomes[name] == ("measured", None)
    assert max(sample.round for sample in made.run.samples if sample.cell in (A, B)) == 4, "nor warmed up with"
    counts = [event.count for event in made.told if isinstance(event, Sampled)]
    planned = [event.samples for event in made.told if isinstance(event, Planned)]
    assert counts[-1] == planned[-1], "what is not taken any more is not waited for"


def test_no_boot_for_what_was_let_go(tmp_path: Path) -> None:
    made = done(tmp_path, asking(), look=lambda _: of_size("1MB") | of_size("10MB"))
    assert (made.looks, made.bed.boots) == ([5], 5)


def test_no_boot_where_what_is_left_has_no_block_due(tmp_path: Path) -> None:
    """Of 10 MB there are two blocks in ten rounds, of which the second one is taken in the sixth."""
    sizes = {"1MB": {"blocks": 10}, "10MB": {"blocks": 2}}
    whole = profile_of(suite("a", "b", cipher="3des", sizes=sizes), question=QUESTION | {"rounds": 10, "sizes": sizes})
    made = done(tmp_path, whole, look=lambda _: of_size("1MB"))
    assert made.blocks(LARGE[A]) == {0: 1, 5: 1}
    assert made.bed.boots == 6


@ENDS
def test_what_was_let_go_is_known_whatever_ends_the_run_later(
    tmp_path: Path, error: BaseException, ended: str, reason: str
) -> None:
    """It has fewer blocks than the profile asks for because no more were needed."""
    whole = asking(blocks=20)
    made = done(
        *(tmp_path, whole, lambda at: fail(error) if at.boot == 7 else None),
        look=lambda _: of_size("1MB"),
        raises=type(error),
    )
    assert {made.outcomes[name] for name in (A, B)} == {("measured", None)}
    assert {made.outcomes[LARGE[name]] for name in (A, B)} == {("failed", reason)}
    assert made.ends() == StageEnded(plan.QUESTION, ended)


def test_a_look_that_is_interrupted_ends_the_run_as_anything_else(tmp_path: Path) -> None:
    made = done(tmp_path, asking(), look=lambda _: fail(KeyboardInterrupt()), raises=KeyboardInterrupt)
    assert {outcome for outcome, _ in made.outcomes.values()} == {"failed"}
    assert made.ends() == StageEnded(plan.QUESTION, "interrupted")


# what the end of one stage, or the refusal of one round, leaves of others


def test_the_question_needs_its_own_number_of_blocks(tmp_path: Path) -> None:
    """Of its candidate, the suite's few are not enough."""
    whole = small(3, QUESTION | {"rounds": 4}, sizes={"1MB": {"blocks": 2}})
    made = done(tmp_path, whole, lambda at: fail(HostLost("gone")) if at.boot == 4 else None, raises=HostLost)
    assert made.outcomes == {A: ("failed", "gone"), B: ("failed", "gone")}


@ENDS
def test_what_ends_the_rest_leaves_the_question_answered(
    tmp_path: Path, error: BaseException, ended: str, reason: str
) -> None:
    whole = small(3, QUESTION | {"rounds": 5}, sizes={"1MB": {"blocks": 30}})
    made = done(tmp_path, whole, lambda at: fail(error) if at.boot == 6 else None, raises=type(error))
    assert made.outcomes[B] == ("measured", None)
    assert made.outcomes[C] == ("failed", reason)
    assert made.blocks(B) == dict.fromkeys(range(5), 4)
    assert [made.ends(0).ended, made.ends(1).ended] == ["measured", ended]


@pytest.mark.parametrize(("boot", "kept"), [(1, False), (2, False), (4, True)])
def test_a_round_that_is_refused_fails_what_has_too_few_blocks(tmp_path: Path, boot: int, kept: bool) -> None:
    """Twelve blocks by the warm-up, of which three are the fewest: six are there after two rounds of four."""
    spans = {"1MB": {"seconds": 12, "blocks": 6}}
    whole = small(4, sizes=spans)

    def ready(number: int) -> None:
        if number == boot:
            raise Refusal("the link is not at its rate")

    made = done(tmp_path, whole, lambda _: {"seconds": 1 / 3}, ready)
    outcome = ("measured", None) if kept else ("failed", "the link is not at its rate")
    assert {made.outcomes[name] for name in (A, B, C)} == {outcome}
    assert made.bed.boots == (4 if kept else boot), "what failed is not tried again"
    assert made.ends().ended == "measured"


def test_a_round_that_is_refused_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    def ready(number: int) -> None:
        if number == 3:
            raise Refusal("the link is not at its rate")

    whole = small(4, sizes={"1MB": {"seconds": 12, "blocks": 6}})
    made = done(tmp_path, whole, lambda _: {"seconds": 1 / 3}, ready)
    assert made.blocks(A) == {0: 3, 1: 3, 3: 6}


@given(
    rounds=st.integers(1, 6),
    question=st.none() | st.integers(2, 7),
    blocks=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    let_go=st.sets(st.sampled_from(["1MB", "10MB"])),
    broken=st.none() | st.tuples(st.integers(1, 10), st.integers(0, 40)),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_every_cell_that_is_measured_has_its_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: int,
    question: int | None,
    blocks: tuple[int, int],
    let_go: set[str],
    broken: tuple[int, int] | None,
) -> None:
    """And every other one a reason; blocks are whole, numbers are given once, no boot is for nothing."""
    spans = {size: {"blocks": count} for size, count in zip(("1MB", "10MB"), blocks, strict=True)}
    asked = QUESTION | {"sizes": spans, "rounds": question} if question else None
    seen: Counter[int] = Counter()

    def step(place: Place) -> None:
        seen[place.boot] += 1
        if broken and place.boot == broken[0] and seen[place.boot] > broken[1]:
            raise HostLost("gone")

    known = frozenset(cell for size in let_go for cell in of_size(size))
    whole = small(rounds, asked, sizes=spans)
    error: type[BaseException] | None = None
    try:
        made = done(tmp_path_factory.mktemp("any"), whole, step, look=lambda _: known)
    except HostLost:
        error = HostLost
        seen.clear()
        made = done(tmp_path_factory.mktemp("any"), whole, step, look=lambda _: known, raises=HostLost)
    only = whole.suites[0]
    assert isinstance(only, TransferSuite)
    counted = made.run.counted()
    for cell in made.run.head.cells:
        if cell.outcome == "measured":
            free = question and cell.id in known and cell.path in "ab"
            assert len(counted[cell.id]) >= (1 if free else only.sizes[cell.size_bytes or 0].blocks)
        else:
            assert cell.reason == ("no such path here" if cell.path == "absent" else "gone")
    if not error:
        assert {cell.id for cell in made.run.head.cells} == set(of_size("1MB") | of_size("10MB"))
        assert {cell.outcome for cell in made.run.head.cells if cell.path != "absent"} == {"measured"}
    numbers = Counter((sample.cell, sample.block) for sample in made.run.samples)
    assert set(numbers.values()) <= {1}
    of_rounds = {sample.round for sample in made.run.samples if not sample.warmup}
    assert error or len(of_rounds) == made.bed.boots
