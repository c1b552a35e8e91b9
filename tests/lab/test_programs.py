"""Programs of ours are compiled in the lab's image once, by the image's compiler, and nothing of a failure is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hosts import programs
from hosts.errors import Refusal
from hosts.lab.uml import UmlParts
from hosts.programs import Program

SMALL = Program(
    "small", ("cc", "-Wall", "-Werror"), {"a.c": b'#include "a.h"\nint main(void) { return A; }\n', "a.h": b""}
)


def test_a_program_is_compiled_once_and_again_when_its_source_is_another(
    lab_parts: UmlParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "cache", lambda: tmp_path / "programs")
    image, said = lab_parts.image_path, list[str]()

    def compiled(value: int) -> bytes:
        program = replace(SMALL, sources={**SMALL.sources, "a.h": f"#define A {value}\n".encode()})
        return programs.in_image(image, program, lambda what, _done: said.append(what))

    first = compiled(3)
    assert first.startswith(b"\x7fELF")
    assert compiled(3) == first
    assert said == ["compiling small"]
    assert compiled(4) != first
    assert said == ["compiling small"] * 2


def test_what_does_not_compile_is_told_and_not_kept(
    lab_parts: UmlParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "cache", lambda: tmp_path / "programs")
    for _ in range(2):
        with pytest.raises(Refusal, match=r"small could not be compiled:[\s\S]*a\.c"):
            programs.in_image(lab_parts.image_path, SMALL)
    assert [path.name for path in (tmp_path / "programs").iterdir() if not path.name.startswith(".")] == []
