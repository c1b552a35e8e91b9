"""Profiles: every mistake in one is told in one message that says where; nothing is guessed."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from harness import profile, units
from harness.api.parameters import Parameters
from harness.ciphers.table import CIPHERS
from harness.profile import FEWEST_ROUNDS, CryptoSuite, Profile, Question, TransferSuite
from harness.spans import Quick, Span
from hosts import testbed
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
sizes = { "1MB" = { seconds = 8, blocks = 12 }, "10MB" = { blocks = 3 }, "100MB" = { blocks = 6 } }

[[suites]]
name = "two"
question = "schemes"
cipher = "null"
link_rate = "unshaped"
baseline = "plain"
paths = ["plain"]
sizes = { "100MB" = { blocks = 6 } }

[[suites]]
name = "three"
question = "kernel-crypto"
ciphers = ["aes128cbc", "aes128gcm"]
buffers = [64, 1024]
reference_buffers = [64]
blocks = 5

[[suites]]
name = "four"
question = "small-files"
cipher = "aes128gcm"
link_rate = "unshaped"
tls = "1.2"
connection = "kept"
requests = 500
baseline = "ktls"
paths = ["ktls"]
sizes = { "15B" = { seconds = 2, blocks = 7 } }
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
        ("blocks = 4\n", "blocks = 1\n", "quick.blocks", "greater than or equal to 2"),
        ('cipher = "3des"', 'cipher = "3dse"', "suites.0", "no cipher is called '3dse' (known: "),
        ('cipher = "3des"', 'cypher = "3des"', "suites.0.cypher", "there is no such key"),
        ('baseline = "http"', 'baseline = "htpp"', "suites.0", "the baseline 'htpp' is not among its paths"),
        ('["http", "https"]', '["http", "http"]', "suites.0", "named twice"),
        ('["http", "https"]', "[]", "suites.0.paths", "at least 1"),
        ('["http", "https"]', '["http", "HTTPS"]', "suites.0.paths.1", "pattern"),
        ('"1MB" = { seconds', '"1 MiB" = { seconds', "suites.0.sizes", "'1 MiB' is not a size like"),
        ('"1MB" = { seconds', '"0MB" = { seconds', "suites.0.sizes", "no bytes"),
        ('"1MB" = { seconds', '"10000kB" = { seconds', "suites.0.sizes", "the same"),
        ("blocks = 12", "blocks = 1", "suites.0.sizes.1000000.blocks", "greater than or equal to 2"),
        ("blocks = 12", 'blocks = "many"', "suites.0.sizes.1000000.blocks", "integer"),
        ("blocks = 12", "block = 12", "suites.0.sizes.1000000.block", "there is no such key (blocks is missing)"),
        (", blocks = 12", "", "suites.0.sizes.1000000.blocks", "required"),
        ("{ seconds = 8, blocks = 12 }", "12", "suites.0.sizes.1000000", "dictionary"),
        ("seconds = 8", "seconds = -1", "suites.0.sizes.1000000.seconds", "greater than or equal to 0"),
        ("seconds = 8", "seconds = 90000", "suites.0.sizes.1000000.seconds", "less than or equal to 86400"),
        ('{ "100MB" = { blocks = 6 } }', "{ }", "suites.1.sizes", "at least 1"),
        ('{ "100MB" = { blocks = 6 } }', '["100MB"]', "suites.1.sizes", "sizes are a table"),
        ('"1gbit"', '"1 Gb/s"', "suites.0.link_rate", "'1 Gb/s' is not a rate like"),
        ('"1gbit"', '"0gbit"', "suites.0.link_rate", "not a rate"),
        ('"1gbit"', "1000000000", "suites.0.link_rate", "not a rate"),
        ('link_rate = "1gbit"', "", "suites.0.link_rate", "required"),
        ('question = "schemes"', 'question = "why"', "suites.1", "large-files"),
        ('question = "schemes"', "", "suites.1", "question"),
        ('name = "two"', 'name = "one"', "file", "two suites have the same name"),
        ('name = "two"', 'name = "T w o"', "suites.1.name", "pattern"),
        (
            'cipher = "3des"',
            'cipher = "3des"\ntls = "1.3"',
            "suites.0",
            "TLS 1.3 has no 3DES (versions that have it: 1.2)",
        ),
        (
            'cipher = "null"',
            'cipher = "null"\ntls = "1.2"',
            "suites.1",
            "TLS 1.2 has no null cipher (versions that have it: none)",
        ),
        ('cipher = "null"', 'cipher = "null"\ntls = "1.4"', "suites.1.tls", "'1.2' or '1.3'"),
        ('cipher = "null"', 'cipher = "null"\nintegrity = "md5"', "suites.1.integrity", "'sha1' or 'sha256'"),
        ('tls = "1.2"', 'integrity = "sha256"', "suites.3", "AES-128-GCM protects integrity by itself"),
        ("requests = 500", "", "suites.3", "a connection that is kept needs requests of 2 or more"),
        ("requests = 500", "requests = 1", "suites.3", "needs requests of 2 or more"),
        ("requests = 500", "requests = 0", "suites.3.requests", "greater than or equal to 1"),
        ('connection = "kept"', 'connection = "pooled"', "suites.3.connection", "'resumed'"),
        (
            "buffers = [64, 1024]\n",
            "buffers = [64, 1000]\n",
            "suites.2",
            "buffers of [1000] bytes are no whole blocks of aes128cbc",
        ),
        ("buffers = [64, 1024]\n", "buffers = [0, 64]\n", "suites.2.buffers.0", "greater than or equal to 1"),
        ("buffers = [64, 1024]\n", "buffers = [64, 262144]\n", "suites.2.buffers.1", "less than or equal to 131072"),
        ("buffers = [64, 1024]\n", "buffers = [64, 64]\n", "suites.2", "named twice"),
        ("buffers = [64, 1024]\n", "buffers = []\n", "suites.2.buffers", "at least 1"),
        (
            "reference_buffers = [64]",
            "reference_buffers = [16]",
            "suites.2",
            "reference buffers [16] are not among its buffers",
        ),
        ("blocks = 5\n", 'blocks = 5\ndrivers = ["each"]\n', "suites.2", "drivers must have any"),
        ("blocks = 5\n", "blocks = 5\ndepths = [4]\n", "suites.2", "and depths 1"),
        ("blocks = 5\n", "blocks = 5\ndepths = [1, 65]\n", "suites.2.depths.1", "less than or equal to 64"),
        ("blocks = 5\n", 'blocks = 5\noperations = ["hash"]\n', "suites.2.operations.0", "'encrypt' or 'decrypt'"),
        ("blocks = 5\n", "blocks = 5\nseconds = 60\n", "suites.2.seconds", "less than or equal to 10"),
        ("blocks = 5\n", 'blocks = 5\nlink_rate = "1gbit"\n', "suites.2.link_rate", "there is no such key"),
        ('ciphers = ["aes128cbc", "aes128gcm"]', 'ciphers = ["aes127"]', "suites.2", "no cipher is called 'aes127'"),
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
        (GOOD.replace('"1MB" = {', '"1MB" = { blocks = 13 }, "1MB" = {'), "is not valid TOML"),
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


@pytest.mark.parametrize("name", ["other", "../mine", "mine.tom", ""])
def test_an_unknown_profile_is_answered_with_the_known_ones(tmp_path: Path, name: str) -> None:
    load(tmp_path, GOOD)
    with pytest.raises(ConfigError) as caught:
        profile.load(name, tmp_path)
    assert caught.value.what == f"no profile is called {name!r}"
    assert caught.value.next_step == "name one of: mine"


@given(st.integers(0, 10**12))
def test_a_size_and_its_name_are_each_others_inverse(size: int) -> None:
    assert units.parse_size(units.size_name(size)) == size


@given(st.integers(1, 999), st.sampled_from(["B", "kB", "MB", "GB"]), st.sampled_from(["", " "]))
def test_a_size_is_named_as_people_write_it(number: int, unit: str, space: str) -> None:
    assert units.size_name(units.parse_size(f"{number}{space}{unit}")) == f"{number}{unit}"


@given(st.text())
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    try:
        size = units.parse_size(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert str(size).rstrip("0") in text or size == 0


def span(seconds: float, blocks: int) -> Span:
    return Span(seconds=seconds, blocks=blocks)


def test_quick_asks_the_same_questions_with_less(tmp_path: Path) -> None:
    whole = load(tmp_path, GOOD)
    quick = whole.quickened()
    one, two, three, four = quick.suites
    assert isinstance(one, TransferSuite)
    assert isinstance(two, TransferSuite)
    assert isinstance(three, CryptoSuite)
    assert isinstance(four, TransferSuite)
    assert one.sizes == {10**6: span(2, 4), 10**7: span(0, 3)}, "never more blocks than the profile asks for"
    assert two.sizes == {10**8: span(0, 4)}, "a suite keeps its smallest size"
    assert (four.sizes, four.requests) == ({15: span(0.5, 4)}, 100)
    assert (one.requests, three.blocks) == (1, 4)
    assert (three.seconds, three.buffers, three.reference_buffers) == (0.03, (64,), ())
    less = {"sizes": {}, "requests": 1, "blocks": 2, "seconds": 1.0, "buffers": (), "reference_buffers": ()}
    for before, after in zip(whole.suites, quick.suites, strict=True):
        fields = {name: value for name, value in less.items() if name in type(before).model_fields}
        assert before.model_copy(update=fields) == after.model_copy(update=fields)
    assert (quick.rounds, whole.rounds, quick.question) == (3, 5, None)
    assert quick.sha256() != whole.sha256()


# the question

ASKING = (
    GOOD
    + """
[question]
candidate = "https"
baseline = "http"
suites = ["one"]
sizes = { "1MB" = { seconds = 40, blocks = 20 }, "10MB" = { seconds = 60, blocks = 10 } }
rounds = 12
precision = 0.02
"""
)


def test_a_question_names_two_paths_suites_and_sizes(tmp_path: Path) -> None:
    asked = load(tmp_path, ASKING).question
    assert asked == Question(
        candidate="https",
        baseline="http",
        suites=("one",),
        sizes={"1MB": {"seconds": 40, "blocks": 20}, "10MB": {"seconds": 60, "blocks": 10}},  # type: ignore[dict-item]
        rounds=12,
        precision=0.02,
    )
    assert load(tmp_path, GOOD).question is None
    assert load(tmp_path, GOOD).sha256() != load(tmp_path, ASKING).sha256()


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ('["one"]', '["onne"]', "file", "the question names 'onne', which is no suite that transfers files"),
        ('["one"]', '["three"]', "file", "the question names 'three', which is no suite that transfers files"),
        ('["one"]', "[]", "question.suites", "at least 1"),
        ('baseline = "http"', 'baseline = "ftp"', "file", "the question's baseline must be that of one, http"),
        ('baseline = "http"', 'baseline = "https"', "file", "the question's baseline must be that of one, http"),
        ('candidate = "https"', 'candidate = "http"', "file", "and not its candidate"),
        ('candidate = "https"', 'candidate = "ktls"', "file", "the question's candidate 'ktls' is not among the paths"),
        ('["one"]', '["one", "two"]', "file", "the question's baseline must be that of two, plain"),
        ('"10MB"', '"20MB"', "file", "the question asks for 20MB, which is no size of one"),
        ("blocks = 20", "blocks = 1", "question.sizes.1000000.blocks", "greater than or equal to 2"),
        ("rounds = 12", "rounds = 1", "question.rounds", "greater than or equal to 2"),
        ("rounds = 12", "round = 12", "question.round", "there is no such key"),
        ("precision = 0.02", "precision = 0", "question.precision", "greater than 0"),
        ("precision = 0.02", "precision = 1", "question.precision", "less than 1"),
        ('candidate = "https"\n', "", "question.candidate", "required"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told(tmp_path: Path, old: str, new: str, where: str, what: str) -> None:
    text = ASKING.removeprefix(GOOD)
    assert text.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD + text.replace(old, new))
    said = str(caught.value).partition(" is not right: ")[2]
    assert said.startswith((f"{where}: ", f"{where}.")) and what in said, said


@given(st.integers(2, 100))
def test_a_question_is_looked_at_when_enough_boots_are_known_and_at_its_end(rounds: int) -> None:
    asked = Question.model_validate(
        {"candidate": "a", "baseline": "b", "suites": ["s"], "sizes": {"1MB": {"blocks": 2}}, "rounds": rounds}
    )
    assert asked.looks[-1] == rounds
    assert list(asked.looks) == sorted(set(asked.looks))
    assert len(asked.looks) <= 2
    assert all(look >= FEWEST_ROUNDS and look * 2 >= rounds for look in asked.looks[:-1])


def test_quick_asks_the_question_in_fewer_rounds_and_smaller_files(tmp_path: Path) -> None:
    whole = load(tmp_path, ASKING.replace('largest = "10MB"', 'largest = "1MB"'))
    quick = whole.quickened().question
    assert whole.question and quick
    assert (quick.rounds, quick.looks) == (FEWEST_ROUNDS, (FEWEST_ROUNDS,))
    assert quick.sizes == {10**6: span(10, 4)}
    less = {"sizes": {}, "rounds": 5}
    assert quick.model_copy(update=less) == whole.question.model_copy(update=less)
    three = load(tmp_path, ASKING.replace("rounds = 12", "rounds = 3")).quickened().question
    assert three and three.rounds == 3


def test_quick_takes_the_fewest_blocks_of_what_is_not_the_question(tmp_path: Path) -> None:
    quick = load(tmp_path, ASKING).quickened()
    one, two, three, four = quick.suites
    assert isinstance(one, TransferSuite)
    assert isinstance(two, TransferSuite)
    assert isinstance(three, CryptoSuite)
    assert isinstance(four, TransferSuite)
    assert one.sizes == {10**6: span(0, 4), 10**7: span(0, 3)}
    assert (two.sizes, four.sizes, three.blocks) == ({10**8: span(0, 4)}, {15: span(0, 4)}, 4)
    assert quick.question and quick.question.sizes == {10**6: span(10, 4), 10**7: span(15, 4)}


@pytest.mark.parametrize("text", [GOOD, ASKING])
def test_against_itself_every_path_stands_alone_and_there_is_no_question(tmp_path: Path, text: str) -> None:
    whole = load(tmp_path, text)
    itself = whole.against_itself()
    assert itself.question is None
    assert [suite.name for suite in itself.suites] == ["one-http", "one-https", "two-plain", "four-ktls"]
    for suite in itself.suites:
        assert isinstance(suite, TransferSuite)
        assert (suite.paths, suite.again) == ((suite.baseline,), True)
    one, other = whole.suites[0], itself.suites[1]
    update = {"name": "", "paths": (), "baseline": "", "again": False}
    assert one.model_copy(update=update) == other.model_copy(update=update)
    only = whole.model_copy(update={"suites": whole.suites[2:3]})
    with pytest.raises(ConfigError, match="the profile mine transfers no files"):
        only.against_itself()


def test_the_hash_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    first = load(tmp_path, GOOD)
    assert first.sha256() == load(tmp_path, "# remark\n" + GOOD).sha256()
    assert first.sha256() != load(tmp_path, GOOD.replace("1gbit", "2gbit")).sha256()
    assert json.loads(json.dumps(first.content()))["suites"][0]["link_rate"] == 10**9
    assert isinstance(first.suites[1], TransferSuite)
    assert first.suites[1].link_rate is None


def test_a_suite_says_what_it_asks_of_its_paths(tmp_path: Path) -> None:
    one, _, _, four = load(tmp_path, GOOD).suites
    assert isinstance(one, TransferSuite)
    assert isinstance(four, TransferSuite)
    assert one.parameters == Parameters(CIPHERS["3des"], "any", "1.2", "sha1", "new")
    assert four.requests > 1
    assert four.parameters == Parameters(CIPHERS["aes128gcm"], "any", "1.2", "sha1", "kept", requests=four.requests)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_without_a_word_it_is_the_newest_version_of_tls_that_has_the_cipher(tmp_path: Path, cipher: str) -> None:
    suite = load(tmp_path, GOOD.replace('cipher = "3des"', f'cipher = "{cipher}"')).suites[0]
    assert isinstance(suite, TransferSuite)
    assert suite.parameters.tls == ("1.3" if CIPHERS[cipher].aead else "1.2")


# what a whole profile has in common, and profiles that are like another

COMMON = """
description = "d"
cipher = "aes128cbc"
link_rate = "1gbit"
integrity = "sha256"
tls = "1.2"

[[suites]]
name = "one"
question = "large-files"
baseline = "http"
paths = ["http", "https"]
sizes = { "1MB" = { blocks = 12 } }

[[suites]]
name = "two"
question = "schemes"
cipher = "3des"
link_rate = "unshaped"
integrity = "sha1"
baseline = "http"
paths = ["http"]
sizes = { "1MB" = { blocks = 12 } }

[[suites]]
name = "three"
question = "kernel-crypto"
ciphers = ["3des"]
buffers = [64]
blocks = 5
"""


def test_what_stands_at_the_top_is_for_suites_that_do_not_say_it(tmp_path: Path) -> None:
    one, two, three = load(tmp_path, COMMON).suites
    assert isinstance(one, TransferSuite)
    assert isinstance(two, TransferSuite)
    assert isinstance(three, CryptoSuite)
    assert (one.cipher, one.link_rate, one.integrity, one.tls) == ("aes128cbc", 10**9, "sha256", "1.2")
    assert (two.cipher, two.link_rate, two.integrity, two.tls) == ("3des", None, "sha1", "1.2")


@pytest.mark.parametrize("key", ["baseline", "driver", "connection", "ciphers", "requests"])
def test_nothing_else_stands_at_the_top(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: there is no such key"):
        load(tmp_path, f"{key} = 'new'\n{COMMON}")


def write(folder: Path, **profiles: str) -> None:
    for name, text in profiles.items():
        (folder / f"{name}.toml").write_text(text)


def test_a_profile_like_another_is_that_one_with_what_it_says_itself(tmp_path: Path) -> None:
    write(tmp_path, model=COMMON, mine='like = "model"\ndescription = "mine"\nlink_rate = "2gbit"\nmargin = 0.1')
    model, mine = (profile.load(name, tmp_path) for name in ("model", "mine"))
    assert (mine.name, mine.description, mine.margin) == ("mine", "mine", 0.1)
    assert [suite.name for suite in mine.suites] == [suite.name for suite in model.suites]
    one, two, three = mine.suites
    assert isinstance(one, TransferSuite)
    assert isinstance(two, TransferSuite)
    assert (one.link_rate, two.link_rate) == (2 * 10**9, None)
    assert three == model.suites[2]
    assert mine.sha256() != model.sha256()


def test_a_profile_like_another_says_its_own_suites_or_none(tmp_path: Path) -> None:
    own = '[[suites]]\nname = "only"\nquestion = "schemes"\nbaseline = "http"\npaths = ["http"]\n'
    own += 'sizes = { "1MB" = { blocks = 2 } }'
    write(tmp_path, model=COMMON, mine=f'like = "model"\n{own}')
    (suite,) = profile.load("mine", tmp_path).suites
    assert isinstance(suite, TransferSuite)
    assert (suite.name, suite.cipher) == ("only", "aes128cbc")


def test_a_profile_like_an_unknown_one_is_named_with_it(tmp_path: Path) -> None:
    write(tmp_path, model=COMMON, mine='like = "modle"')
    with pytest.raises(ConfigError) as caught:
        profile.load("mine", tmp_path)
    assert caught.value.what == f"the profile {tmp_path / 'mine.toml'} is like another: no profile is called 'modle'"
    assert caught.value.next_step == "name one of: mine, model"


@pytest.mark.parametrize("like", ["middle", "mine"])
def test_profiles_are_not_chained(tmp_path: Path, like: str) -> None:
    write(tmp_path, model=COMMON, middle='like = "model"', mine=f'like = "{like}"')
    with pytest.raises(ConfigError, match=f"is like {like}, which itself is like another: name the first one"):
        profile.load("mine", tmp_path)


def test_a_mistake_made_by_being_like_another_is_told_of_the_profile_that_makes_it(tmp_path: Path) -> None:
    write(tmp_path, model=COMMON, mine='like = "model"\ncipher = "aes128gcm"')
    with pytest.raises(ConfigError) as caught:
        profile.load("mine", tmp_path)
    assert caught.value.what.startswith(f"the profile {tmp_path / 'mine.toml'} is not right: suites.0: AES-128-GCM")


@pytest.mark.parametrize("path", sorted(profile.PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_profiles_that_come_with_it_are_right(path: Path) -> None:
    loaded = profile.load(path.stem)
    assert loaded.name == path.stem
    said = tomllib.loads(path.read_text())
    model = tomllib.loads((path.parent / f"{said['like']}.toml").read_text()) if "like" in said else said
    assert [suite.name for suite in loaded.suites] == [suite["name"] for suite in model["suites"]]
    assert "description" in said, "what tells it from the one that it is like"


def test_every_profile_has_a_tox_environment_and_testbeds_that_exist() -> None:
    known = re.findall(r"^\[testenv:(\S+)\]", (profile.PROFILES.parent.parent / "tox.ini").read_text(), re.MULTILINE)
    for path in profile.PROFILES.glob("*.toml"):
        assert path.stem in known
        for name in profile.load(path.stem).testbeds:
            assert testbed.load(name).name == name


def test_what_only_tests_need_is_installed_for_them_alone() -> None:
    """A browser's driver and a type checker are a third of what would be installed before a profile's first run."""
    tox = configparser.ConfigParser()
    tox.read(profile.PROFILES.parent.parent / "tox.ini", encoding="utf-8")
    usual = tox["testenv"]
    for name in tox.sections():
        if name.startswith("testenv"):
            commands = tox[name].get("commands", usual["commands"])
            develops = "pytest tests" in commands or "mypy" in commands
            assert ("dev" in tox[name].get("extras", usual.get("extras", "")).split()) == develops, name


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('cipher = "3des"', 'cypher = "3des"', "suites.0.cypher: there is no such key (cipher is missing)"),
        ("margin = 0.03", "margn = 0.03", "margn: there is no such key"),
        ('["http", "https"]', '["http", "HTTPS"]', "suites.0.paths.1: String should match pattern"),
        ('name = "two"', 'nmae = "two"', "suites.1.nmae: there is no such key (name is missing)"),
    ],
)
def test_one_mistake_is_told_as_one(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Not what follows from it, as a list that lacks the item with the mistake."""
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    _, _, mistakes = caught.value.what.partition(" is not right: ")
    assert mistakes.startswith(said)
    assert ";" not in mistakes


def test_two_mistakes_are_both_told(tmp_path: Path) -> None:
    text = GOOD.replace('cipher = "3des"', "zipher = 1", 1).replace("margin = 0.03", "margin = 0")
    with pytest.raises(ConfigError, match=r"margin: .*; .*suites\.0\.zipher: there is no such key"):
        load(tmp_path, text)


# the reference of keys


TABLES: dict[str, type[BaseModel]] = {
    "The profile": Profile,
    "`[question]`": Question,
    "`[quick]`": Quick,
    "`[[suites]]` that transfer files": TransferSuite,
    "`[[suites]]` of kernel crypto": CryptoSuite,
}


@pytest.mark.parametrize("heading", TABLES)
def test_the_reference_lists_every_key_with_its_default(heading: str) -> None:
    text = (profile.PROFILES.parents[1] / "docs" / "profile.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    fields = TABLES[heading].model_fields
    assert list(told) == list(fields)
    for name, said in told.items():
        if said == "–":
            assert fields[name].is_required(), name
        elif said == "none":
            assert not fields[name].is_required() and fields[name].default is None, name
        elif said.startswith("`"):
            value = tomllib.loads(f"x = {said.strip('`')}")["x"]
            value = units.parse_size(value) if name == "largest" else tuple(value) if type(value) is list else value
            assert value == fields[name].default, name
        else:
            assert name in ("name", "tls", "question", "quick"), name
