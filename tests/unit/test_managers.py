"""What apt and dnf say of a transaction, taken apart; and which of our packages stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts import managers
from hosts.managers import Installed, Transaction

SAID = Path(__file__).parents[1] / "data" / "transactions"
"""What apt 2.6 and dnf 4.14 said, of Debian's archive and of packages made for it."""


def apt(name: str) -> Transaction:
    return managers.parse_apt((SAID / f"apt-{name}.txt").read_text())


def dnf(name: str) -> Transaction:
    return managers.parse_dnf((SAID / f"dnf-{name}.txt").read_text())


def test_apt_adds_only() -> None:
    due = apt("install")
    assert due.installs["nginx-common"] == "1.22.1-9+deb12u11"
    assert {*due.installs} == {"nginx", "nginx-common", "lighttpd", "lighttpd-mod-gnutls"}
    assert due.refused is None
    assert due.error is None


@pytest.mark.parametrize(
    ("due", "refused"),
    [
        (apt("upgrades"), "it would upgrade libgcrypt20-dev, libgcrypt20"),
        (apt("purge"), "it would remove build-essential, g++, gcc"),
        (dnf("upgrades"), "it would upgrade glibc"),
        (dnf("erasing"), "it would remove glibc"),
        (dnf("replaces"), "it would remove glibc"),
        (dnf("remove"), "it would remove nginx-core, site"),
    ],
)
def test_what_would_change_what_is_there_is_refused(due: Transaction, refused: str) -> None:
    assert due.refused == refused


def test_dnf_adds_only_however_wide_its_table_is() -> None:
    long_name = "a-filesystem-package-with-a-name-that-is-much-longer-than-columns"
    wide = (SAID / "dnf-install.txt").read_text()
    narrow = wide.replace(f" {long_name} ", f" {long_name}\n   ")
    assert narrow != wide
    for text in (wide, narrow):
        due = managers.parse_dnf(text)
        assert due.installs == dict.fromkeys(("nginx", "nginx-core", long_name), "1.20.1-14.el9")
        assert due.refused is None
        assert due.error is None


def test_a_section_that_is_not_known_is_refused_by_its_title() -> None:
    text = (SAID / "dnf-install.txt").read_text()
    module = text.replace("\n\nTransaction", "\nEnabling module streams:\n nginx   1.14\n\nTransaction")
    assert managers.parse_dnf(module).refused == "it would also be enabling module streams nginx 1.14"
    skipped = text.replace("\n\nTransaction", "\nSkipping packages with conflicts:\n x noarch 1 new 5 k\n\nTransaction")
    assert managers.parse_dnf(skipped).refused is None


def test_what_is_not_to_be_had_is_named() -> None:
    assert apt("unknown").unknown == ("no-such-thing", "qatengine")
    assert apt("unknown").error is None
    assert (apt("unknown-dots").unknown, apt("unknown-dots").error) == (("nosuch-6.18.44-x",), None)
    assert apt("foreign").unknown == ("nginx:i386",)
    assert dnf("unknown").unknown == ("nosuch",)
    assert dnf("unknown").error is None
    virtual = managers.parse_apt("E: Package 'x' has no installation candidate\nE: Could not get lock")
    assert (virtual.unknown, virtual.error) == (("x",), "Could not get lock")


def test_a_conflict_is_an_error_in_its_own_words() -> None:
    assert dnf("conflict").error == "problem with installed package glibc-2.34-1.noarch"
    assert dnf("nothing") == Transaction()


def test_installed_packages_are_known_by_the_names_that_apt_uses() -> None:
    text = "amd64\nii |libc6:amd64|2.41\nii |libc6:i386|2.41\nrc |nginx|1.22\nun |x|\nhi |held|1\n"
    assert managers.parse_dpkg(text) == Installed(
        {"libc6": "2.41", "libc6:i386": "2.41", "held": "1"}, frozenset({"nginx"})
    )
    assert managers.parse_dpkg(text).some == {"libc6", "libc6:i386", "held"}
    assert managers.parse_rpm("bash|5.1-1\nglibc|2.34-1\n").versions == {"bash": "5.1-1", "glibc": "2.34-1"}


@pytest.mark.parametrize("status", ["iU ", "iF ", "iHR", "iW ", "it ", "rF "])
def test_a_package_that_is_half_installed_is_neither_there_nor_gone(status: str) -> None:
    found = managers.parse_dpkg(f"amd64\nii |libc6:amd64|2.41\n{status}|nginx|1.22\n")
    assert found == Installed({"libc6": "2.41"}, unfinished=frozenset({"nginx"}))
    assert found.some == {"libc6", "nginx"}


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("Debian GNU/Linux 13 (trixie)", "apt"),
        ("Ubuntu 22.04.5 LTS", "apt"),
        ("Rocky Linux 9.4 (Blue Onyx)", "dnf"),
        ("Alpine Linux v3.20", None),
        (None, None),
    ],
)
def test_the_manager_follows_from_the_distribution(system: str | None, name: str | None) -> None:
    found = managers.of(system)
    assert (found.name if found else None) == name


# ------------------------------------------------------------------------------- what stays

NAMES = [f"ours{n}" for n in range(5)] + [f"other{n}" for n in range(3)]
needs = st.dictionaries(st.sampled_from(NAMES), st.frozensets(st.sampled_from(NAMES), max_size=3))


def removals(needed: dict[str, frozenset[str]], ours: list[str]) -> dict[str, frozenset[str]]:
    """What goes with each of ours: all that needs it, directly or not."""
    found = {}
    for name in ours:
        going = {name}
        while more := {other for other, its in needed.items() if its & going} - going:
            going |= more
        found[name] = frozenset(going)
    return found


@given(needs, st.frozensets(st.sampled_from(NAMES[:5])))
def test_nothing_that_stays_loses_what_it_needs_and_nothing_stays_for_nobody(
    needed: dict[str, frozenset[str]], wanted: frozenset[str]
) -> None:
    ours = NAMES[:5]
    kept = managers.kept(removals(needed, ours), wanted)
    going = set(ours) - kept.keys()
    staying = set(NAMES) - going
    assert wanted <= kept.keys()
    for name in staying:
        assert not needed.get(name, frozenset()) & going, f"{name} stays and loses something"
    for name, users in kept.items():
        assert name in wanted or users
        assert set(users) <= staying


def test_a_circle_of_ours_goes_as_a_whole() -> None:
    both = frozenset({"a", "b"})
    assert managers.kept({"a": both, "b": both}, ()) == {}
    assert managers.kept({"a": both, "b": both}, ["a"]) == {"a": (), "b": ("a",)}


def test_an_error_of_dpkg_is_told_with_its_reason() -> None:
    """It comes before a summary that has the names only."""
    text = "Setting up a (1) ...\n/var/lib/dpkg/info/b.postinst: 4: confmodule: not found\n"
    text += "dpkg: error processing package b (--configure):\n old b subprocess returned error exit status 127\n"
    text += "".join(f"Setting up c{n} (1) ...\n" for n in range(20)) + "Errors were encountered while processing:\n b\n"
    said = managers.last_words(text)
    assert said.startswith("/var/lib/dpkg/info/b.postinst: 4: confmodule: not found / dpkg: error processing package b")
    assert managers.last_words("one\n\n two\n") == "one / two"
