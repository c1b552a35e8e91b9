"""A program of ours is compiled again when anything that it is made of is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.servers import datapath
from hosts.programs import Program

SMALL = Program("small", ("cc", "-O2"), {"a.c": b"int main", "a.h": b"x"})
OTHERS = [
    replace(SMALL, name="other"),
    replace(SMALL, command=("cc", "-O3")),
    replace(SMALL, sources={"a.c": b"int main", "a.h": b"y"}),
    replace(SMALL, sources={"a.c": b"int main", "b.h": b"x"}),
    replace(SMALL, sources={"a.c": b"int mainx", "a.h": b""}),
    replace(SMALL, sources={"a.c": b"int main"}),
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_name_flag_or_source_is_another_program(other: Program) -> None:
    assert other.digest() != SMALL.digest()
    assert replace(other, **vars(SMALL)).digest() == SMALL.digest()


def test_headers_lie_beside_what_is_compiled() -> None:
    assert SMALL.build("/out") == ["cc", "-O2", "-o", "/out", "a.c"]


def test_our_server_is_made_of_all_its_sources_and_of_how_our_modules_are_spoken_to() -> None:
    found = datapath.program()
    assert {"datapath.c", "datapath.h", "serve.c", "so_crypt.h", "devcrypto.h"} <= found.sources.keys()
    assert "-Werror" in found.command
