"""Profiles: every mistake in one is told in one message that says where; nothing is guessed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import profile
from hosts.errors import ConfigError

GOOD = """
description = "d"
margin = 0.03
warmup_blocks = 1

[quick]
largest = "10MB"
blocks = 4

[[suites]]
name = "one"
question = "large-files"
cipher = "3des"
link_rate = "1gbit"
baseline = "http"
paths = ["http", "https"]
sizes = { "1MB" = 12, "10MB" = 3, "100MB" = 6 }

[[suites]]
name = "two"
question = "schemes"
cipher = "null"
link_rate = "unshaped"
baseline = "plain"
paths = ["plain"]
sizes = { "100MB" = 6 }
"""


def load(folder: Path, text: str | bytes) -> profile.Profile:
    (folder / "mine.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return profile.load("mine", folder)


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("margin = 0.03", "margn = 0.03", "margn", "there is no such key"),
        ("margin = 0.03", "margin = 0", "margin", "greater than 0"),
        ("margin = 0.03", 'margin = "wide"', "margin", "number"),
        ("warmup_blocks = 1", "warmup_blocks = 0", "warmup_blocks", "greater than or equal to 1"),
        ('description = "d"', "", "description", "required"),
        ('largest = "10MB"', 'largest = "10 megabytes"', "quick.largest", "'10 megabytes' is not a size"),
        ("blocks = 4", "blocks = 1", "quick.blocks", "greater than or equal to 2"),
        ('cipher = "3des"', 'cipher = "3dse"', "suites.0", "no cipher is called '3dse' (known: "),
        ('cipher = "3des"', 'cypher = "3des"', "suites.0.cypher", "there is no such key"),
        ('baseline = "http"', 'baseline = "htpp"', "suites.0", "the baseline 'htpp' is not among its paths"),
        ('["http", "https"]', '["http", "http"]', "suites.0", "named twice"),
        ('["http", "https"]', "[]", "suites.0.paths", "at least 1"),
        ('["http", "https"]', '["http", "HTTPS"]', "suites.0.paths.1", "pattern"),
        ('"1MB" = 12', '"1 MiB" = 12', "suites.0.sizes", "'1 MiB' is not a size like"),
        ('"1MB" = 12', '"0MB" = 12', "suites.0.sizes", "no bytes"),
        ('"1MB" = 12', '"10000kB" = 12', "suites.0.sizes", "the same"),
        ('"1MB" = 12', '"1MB" = 1', "suites.0.sizes", "greater than or equal to 2"),
        ('"1MB" = 12', '"1MB" = "many"', "suites.0.sizes", "integer"),
        ('{ "100MB" = 6 }', "{ }", "suites.1.sizes", "at least 1"),
        ('{ "100MB" = 6 }', '["100MB"]', "suites.1.sizes", "sizes are a table"),
        ('"1gbit"', '"1 Gb/s"', "suites.0.link_rate", "'1 Gb/s' is not a rate like"),
        ('"1gbit"', '"0gbit"', "suites.0.link_rate", "not a rate"),
        ('"1gbit"', "1000000000", "suites.0.link_rate", "not a rate"),
        ('link_rate = "1gbit"', "", "suites.0.link_rate", "required"),
        ('question = "schemes"', 'question = "why"', "suites.1.question", "large-files"),
        ('name = "two"', 'name = "one"', "file", "two suites have the same name"),
        ('name = "two"', 'name = "T w o"', "suites.1.name", "pattern"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, where: str, what: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    said = str(caught.value)
    start = f"the profile {tmp_path / 'mine.toml'} is not right: "
    assert said.startswith(start)
    parts = said.removeprefix(start).split("; ")
    assert any(part.startswith((f"{where}: ", f"{where}.")) and what in part for part in parts), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("margin = ", "is not valid TOML"),
        (GOOD + GOOD, "is not valid TOML"),
        (GOOD.replace('"1MB" = 12', '"1MB" = 12, "1MB" = 13'), "is not valid TOML"),
        (b"description = '\xff'", "is not valid TOML"),
        ("", "suites: Field required"),
    ],
)
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, text: str | bytes, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert what in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read the profile"):
        profile.load("mine", tmp_path)


@pytest.mark.parametrize("name", ["other", "../mine", "mine.toml", ""])
def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path: Path, name: str) -> None:
    load(tmp_path, GOOD)
    with pytest.raises(ConfigError) as caught:
        profile.load(name, tmp_path)
    assert caught.value.what == f"no profile is called {name!r}"
    assert caught.value.next_step == "name one of: mine"


@given(st.integers(0, 10**12))
def test_a_size_and_its_name_are_each_others_inverse(size: int) -> None:
    assert profile.parse_size(profile.size_name(size)) == size


@given(st.integers(1, 999), st.sampled_from(["B", "kB", "MB", "GB"]), st.sampled_from(["", " "]))
def test_a_size_is_named_as_people_write_it(number: int, unit: str, space: str) -> None:
    assert profile.size_name(profile.parse_size(f"{number}{space}{unit}")) == f"{number}{unit}"


@given(st.text())
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    try:
        size = profile.parse_size(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert str(size).rstrip("0") in text or size == 0


def test_quick_asks_the_same_questions_with_less(tmp_path: Path) -> None:
    whole = load(tmp_path, GOOD)
    quick = whole.quickened()
    assert quick.suites[0].sizes == {10**6: 4, 10**7: 3}, "never more blocks than the profile asks for"
    assert quick.suites[1].sizes == {10**8: 4}, "a suite keeps its smallest size"
    same = [suite.model_copy(update={"sizes": {}}) for suite in whole.suites]
    assert [suite.model_copy(update={"sizes": {}}) for suite in quick.suites] == same
    assert quick.sha256() != whole.sha256()


def test_the_hash_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    first = load(tmp_path, GOOD)
    assert first.sha256() == load(tmp_path, "# remark\n" + GOOD).sha256()
    assert first.sha256() != load(tmp_path, GOOD.replace("1gbit", "2gbit")).sha256()
    assert json.loads(json.dumps(first.content()))["suites"][0]["link_rate"] == 10**9
    assert first.suites[1].link_rate is None


@pytest.mark.parametrize("path", sorted(profile.PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_profiles_that_come_with_it_are_right(path: Path) -> None:
    loaded = profile.load(path.stem)
    assert loaded.name == path.stem
    assert len(loaded.suites) == len(tomllib.loads(path.read_text())["suites"])
