"""A session before anything boots: what a profile names that can run nowhere is told, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import paths, profile
from harness.ciphers import CIPHERS
from harness.events import Events
from harness.profile import Profile, TransferSuite
from harness.session import Session
from hosts import testbed
from hosts.errors import ConfigError, HarnessError

PATHS = paths.discover()


def asked(*names: str, **more: Any) -> Profile:
    """A profile of one suite, its first path the baseline."""
    suite = {
        "name": "one",
        "question": "schemes",
        "cipher": "3des",
        "link_rate": "1gbit",
        "baseline": names[0],
        "paths": names,
        "sizes": {"1MB": 2},
    }
    return Profile.model_validate({"name": "mine", "description": "d", "suites": [suite | more]})


def session(wanted: Profile, tmp_path: Path) -> Session:
    return Session(wanted, testbed.load("lab"), tmp_path / "results", Events())


def test_a_path_that_nobody_knows_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        session(asked("http", "httpss"), tmp_path)
    assert caught.value.what == "the profile mine, suite one: no data path is called httpss"
    assert all(name in str(caught.value.next_step) for name in PATHS)


@pytest.mark.parametrize(
    ("path", "cipher", "reason"),
    [
        ("ktls", "3des", "the kernel's TLS has no 3DES-EDE-CBC"),
        ("so-crypt", "aes128gcm", "AES-128-GCM is an AEAD"),
        ("https", "null", "TLS 1.2 has no suite with null cipher"),
    ],
)
def test_a_baseline_that_can_run_nowhere_is_refused_before_anything_boots(
    tmp_path: Path, path: str, cipher: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        session(asked(path, "http", cipher=cipher), tmp_path)
    assert caught.value.what.startswith(
        f"the profile mine, suite one: its baseline {path} can never run with {cipher}: {reason}"
    )
    assert caught.value.next_step == "choose another baseline or cipher"
    assert not (tmp_path / "results").exists()


def test_another_path_that_can_run_nowhere_is_told_and_the_rest_runs(tmp_path: Path) -> None:
    made = session(asked("http", "https", "ktls", "ktls-write"), tmp_path)
    assert [line.partition(":")[2].partition(" can never run with 3des: ")[0] for line in made.never] == [
        " ktls",
        " ktls-write",
    ]
    assert len(made.cells) == 4, "they are cells all the same, to be unsupported with their reason"


@pytest.mark.parametrize("driver", ["any", "qat_3des"])
def test_a_driver_is_no_matter_of_clear_paths(tmp_path: Path, driver: str) -> None:
    never = session(asked("http", "plain", "afalg-copy", "https", driver=driver), tmp_path).never
    assert len(never) == (0 if driver == "any" else 1)


@pytest.mark.parametrize("name", sorted(path.stem for path in profile.PROFILES.glob("*.toml")))
@pytest.mark.parametrize("quick", [False, True])
def test_every_profile_that_comes_with_it_begins(tmp_path: Path, name: str, quick: bool) -> None:
    whole = profile.load(name)
    made = session(whole.quickened() if quick else whole, tmp_path)
    transfers = [suite for suite in made.profile.suites if isinstance(suite, TransferSuite)]
    told = {tuple(line.split(": ")[:1]) for line in made.never}
    for suite in transfers:
        impossible = [p for p in suite.paths if not PATHS[p].clear and PATHS[p].impossible(suite.setup)]
        assert bool(impossible) == ((suite.name,) in told)
        assert set(impossible) <= {"ktls", "ktls-write", "https", "https-qat"}, "named on purpose, to be told why"
    for suite in transfers:
        if suite.connection == "resumed":
            assert CIPHERS[suite.cipher].tls, "a suite about TLS sessions needs some"


def test_a_testbed_that_cannot_be_reached_ends_in_a_record_that_says_so(tmp_path: Path) -> None:
    """Nothing listens at this address of the loopback interface."""
    bed = tmp_path / "nowhere.toml"
    host = "address = '127.0.0.1'\nport = 9\ndata_address = '127.0.0.1'\ndata_interface = 'lo'\n"
    bed.write_text(f"kind = 'hosts'\n[sender]\n{host}[receiver]\n{host}")
    made = Session(asked("http", "plain"), testbed.load(str(bed)), tmp_path / "results", Events())
    with pytest.raises(HarnessError) as caught:
        made.result("one/http/none/any/1MB")
    made.close(caught.value)
    assert made.finished is not None
    head = made.finished.head
    assert head.status == "failed"
    assert {(cell.outcome, str(cell.reason).partition(":")[0]) for cell in head.cells} == {
        ("failed", "the run ended before it")
    }
    assert len(head.cells) == 2
