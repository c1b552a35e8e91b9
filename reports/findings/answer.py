"""What a run was made to decide and the one sentence that answers it, for its page and its row in the index.

The sentence is the terminal's (``harness/verdicts/answer.py``). Here it gets the words that older records lack, and a
sentence for runs that compared nothing and still found something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from harness.record import Cell, Head, Metric, Verdict
from harness.verdicts import answer
from harness.verdicts.answer import WORDS, Answer, Place
from reports import words


def about(head: Head) -> Answer | None:
    """What the run's answer is about; None where it has no question and compared nothing."""
    return answer.about(words.spoken(head))


def sentence(head: Head, told: Sequence[str] = (), known: Answer | None = None) -> str:
    """The run's answer in one sentence of at most WORDS words.

    ``told`` are sentences that need no comparison, on what kernel cryptography costs: the first speaks for a run that
    compared nothing. ``known``: what the answer is about, where that was asked before.
    """
    if told and (known or about(head)) is None:
        opening = answer.opening(words.spoken(head))
        short = (text for text in _shorter(told[0]) if len((opening + text).split()) <= WORDS)
        if text := next(short, ""):
            return f"{opening}{text}"
    return answer.sentence(words.spoken(head), _times, known)


def of_part(head: Head, verdicts: Iterable[Verdict]) -> str:
    """The same of some of a run's verdicts as if there were no others, without what is said of the whole run."""
    testbed = head.testbed.model_copy(update={"label": "hosts"})
    changes = {"verdicts": list(verdicts), "question": None, "status": "complete", "testbed": testbed}
    part = head.model_copy(update=changes)
    return sentence(part) if about(part) else "Nothing could be compared here."


def word(found: Answer, metric: Metric = "seconds") -> str:
    """The verdict's word where all places share it, else empty."""
    states = {place.word(metric) for place in found.places}
    return states.pop() if len(states) == 1 and states != {"missing"} else ""


def papers(head: Head, found: Answer) -> bool:
    """Whether the paper compared the same two schemes."""
    return answer.of_the_paper(words.spoken(head), [place.suite for place in found.places], found.paths)


def reason(head: Head, found: Answer, place: Place) -> str:
    """Why a place has no ratio, in a few words."""
    cells = {(cell.path, cell.suite, cell.size_bytes, cell.connections, cell.workers): cell for cell in head.cells}
    here = place.suite, place.size, place.connections, place.workers
    sides = [cells.get((path, *here)) for path in found.paths]
    wrong = [cell for cell in sides if isinstance(cell, Cell) and cell.outcome != "measured"]
    return f"{wrong[0].path} {wrong[0].outcome}" if wrong else "not measured"


def _times(ratio: float) -> str:
    return f"×{words.ratio(ratio)}"


def _shorter(told: str) -> Iterator[str]:
    """A sentence on kernel cryptography whole, without what stands in parentheses, and its first clause."""
    text = told.removesuffix(".")
    bare = re.sub(r" \([^()]*\)", "", text)
    yield from (f"{way}." for way in (text, bare, bare.partition(";")[0]))
