"""Packages: installed by a real apt in the lab's own userland, remembered, taken away, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.events import Event, Events, Note
from harness.measuring import provided
from hosts import facts, managers, provision
from hosts.errors import HostLost, Refusal
from hosts.lab.uml import UmlParts
from hosts.provision import Provided
from hosts.remote.host import RemoteHost
from hosts.testbed import Host
from tests.support.userland import possible, userland

REPOSITORY = r"""
set -eu
umask 022
mkdir -p /repository
cd /repository
again() {  # PACKAGE: the archive's own, made again of what is installed
    built=build/$1
    mkdir -p "$built/DEBIAN"
    dpkg -L "$1" | while read -r file; do
        if [ -d "$file" ] && [ ! -L "$file" ]; then mkdir -p "$built$file"
        elif [ -e "$file" ]; then mkdir -p "$built${file%/*}"; cp -a "$file" "$built$file"; fi
    done
    dpkg-query -s "$1" | sed -e '/^Status:/d' -e '/^Conffiles:/,/^[^ C]/{/^Conffiles:/d;/^ /d}' >"$built/DEBIAN/control"
    for script in preinst postinst prerm postrm conffiles; do
        if [ -e "/var/lib/dpkg/info/$1.$script" ]; then cp "/var/lib/dpkg/info/$1.$script" "$built/DEBIAN/$script"; fi
    done
    dpkg-deb --build "$built" . >/dev/null
}
made() {  # PACKAGE VERSION DEPENDS PROVIDES [POSTINST]
    mkdir -p "build/$1/DEBIAN"
    printf '#!/bin/sh\n%s\n' "${5:-}" >"build/$1/DEBIAN/postinst"
    chmod 755 "build/$1/DEBIAN/postinst"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@localhost>\nDepends: %s\nProvides: %s\n' \
        "$1" "$2" "$3" "$4" | grep -v ': $' >"build/$1/DEBIAN/control"
    echo 'Description: x' >>"build/$1/DEBIAN/control"
    dpkg-deb --build "build/$1" . >/dev/null
}
again nginx
again nginx-common
made site 1 nginx-common ''
made newer 1 'base-files (>= 999)' ''
made base-files 999 '' ''
made library-t64 1 '' library
made cutting 1 nginx '' 'kill -KILL "$(cat /run/worker)"'
made failing 1 nginx '' 'exit 1'
made parting 1 nginx '' 'p=$$
until [ "$(cat "/proc/$p/comm")" = apt-get ]; do p=$(cut -d " " -f 4 "/proc/$p/stat"); [ "$p" -gt 1 ] || exit 1; done
kill -KILL "$(cut -d " " -f 4 "/proc/$p/stat")"'
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\n' "$file" "$(stat -c %s "$file")"
    printf 'SHA256: %s\n\n' "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
echo 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list
dpkg --purge nginx nginx-common >/dev/null 2>&1
# what Debian's scripts ask of an init system is written down
mkdir -p /run/systemd/system
cat >/usr/bin/systemctl <<'END'
#!/bin/sh
echo "$@" >>/run/systemctl
case "$*" in *is-enabled*) echo enabled ;; *is-active*nginx*) exit 3 ;; esac
END
chmod 755 /usr/bin/systemctl
"""
STATE = (
    "dpkg-query -W -f '${Package} ${Version} ${Status}\n'; apt-mark showmanual; "
    "find / -xdev -newer /repository/Packages ! -path '/var/lib/apt/*' ! -path '/var/cache/*' ! -path '/var/log/*' "
    "! -path '/var/lib/dpkg*' ! -type d; ls -A /dev/shm /var/lib /usr/sbin /etc /etc/init.d"
)
PACKAGES = ["nginx"]


@pytest.fixture(scope="module")
def place(lab_parts: UmlParts) -> Iterator[Host]:
    """A Debian that lacks nginx, and whose apt knows where it is."""
    if not possible():
        pytest.skip("needs root: a userland with several users")
    with userland(lab_parts.places[0]) as made:
        with RemoteHost("sender", made) as connected:
            connected.check(["sh", "-c", REPOSITORY])
        yield made


@pytest.fixture
def host(place: Host) -> Iterator[RemoteHost]:
    with RemoteHost("sender", place) as connected:
        yield connected


def state(host: RemoteHost) -> set[str]:
    """Packages, what a person asked for, files that are new: but for the run's own."""
    told = host.check(["sh", "-c", STATE]).splitlines()
    return {line for line in told if host.directory.rpartition("/")[2] not in line and not line.startswith("/proc/")}


def test_what_is_missing_is_installed_starts_nothing_and_goes_again(host: RemoteHost) -> None:
    before = state(host)
    done = provision.provision(host, managers.APT, [*PACKAGES, "no-such-thing", "python3", "library"])
    new, unknown = done.installed, done.unknown
    assert unknown == ("no-such-thing",)
    assert set(new) == {"nginx", "nginx-common", "library-t64"}, "which is what provides the library today"
    assert host.run(["nginx", "-v"]).ok
    asked = (host.read(["/run/systemctl"])["/run/systemctl"] or "").splitlines()
    assert [line for line in asked if re.search(r"\b(re)?start\b", line)] == []
    assert "disable --quiet nginx.service" in asked, "it would start with the next boot"
    assert host.read([provision.POLICY]) == {provision.POLICY: None}
    assert provision.provision(host, managers.APT, PACKAGES) == Provided(), "a second time"
    removed = provision.deprovision(host)
    assert (set(removed.packages), removed.kept) == (set(new), {})
    assert state(host) == before
    assert provision.deprovision(host).packages == (), "nothing is remembered any more"


def test_a_run_that_is_cut_while_apt_works_leaves_nothing_that_deprovision_does_not_take(place: Host) -> None:
    with RemoteHost("sender", place) as host:
        before = state(host)
        host.check(["sh", "-c", "echo $PPID >/run/worker; rm -f /run/systemctl"])
        with pytest.raises(HostLost):
            provision.provision(host, managers.APT, ["cutting"])
    with RemoteHost("sender", place) as host:
        assert host.run(["nginx", "-v"]).ok, "apt went on to its end"
        assert "disable --quiet nginx.service" in (host.read(["/run/systemctl"])["/run/systemctl"] or "").splitlines()
        removed = provision.deprovision(host)
        assert (set(removed.packages), removed.kept) == ({"cutting", "nginx", "nginx-common"}, {})
        assert state(host) == before


def test_what_was_due_after_an_installation_that_was_cut_is_done_before_it_is_removed(place: Host) -> None:
    """As by a loss of power: what was to mark the packages and to disable their units is gone."""
    with RemoteHost("sender", place) as host:
        before = state(host)
        host.check(["rm", "-f", "/run/systemctl"])
        with pytest.raises(Refusal, match="installing parting failed: it ended with status -9"):
            provision.provision(host, managers.APT, ["parting"])
    with RemoteHost("sender", place) as host:
        assert host.run(["nginx", "-v"]).ok
        assert "parting" in host.check(["apt-mark", "showmanual"]).split()
        assert "disable" not in (host.read(["/run/systemctl"])["/run/systemctl"] or "")
        removed = provision.deprovision(host)
        assert (set(removed.packages), removed.kept) == ({"parting", "nginx", "nginx-common"}, {})
        assert "disable --quiet nginx.service" in (host.read(["/run/systemctl"])["/run/systemctl"] or "").splitlines()
        assert state(host) == before


def test_what_forbade_services_in_a_run_that_lost_its_host_is_replaced(host: RemoteHost) -> None:
    stale = provision.POLICY_TEXT.format(directory="/dev/shm/pathproof-gone")
    host.check(["sh", "-c", 'cat >"$1" && chmod 755 "$1"', "sh", provision.POLICY], stdin=stale)
    assert {*provision.provision(host, managers.APT, PACKAGES).installed} == {"nginx", "nginx-common"}
    assert host.read([provision.POLICY]) == {provision.POLICY: None}
    provision.deprovision(host)


def test_what_is_half_installed_is_not_taken_for_installed_and_goes_again(place: Host) -> None:
    with RemoteHost("sender", place) as host:
        before = state(host)
        with pytest.raises(Refusal, match="installing failing failed: it ended with status"):
            provision.provision(host, managers.APT, ["failing"])
        assert provision.installed(host, managers.APT).unfinished == {"failing"}
        with pytest.raises(Refusal, match="failing is there, but not wholly installed"):
            provision.provision(host, managers.APT, ["failing"])
    with RemoteHost("sender", place) as host:
        removed = provision.deprovision(host)
        assert (set(removed.packages), removed.kept) == ({"failing", "nginx", "nginx-common"}, {})
        assert state(host) == before


def test_what_others_need_by_now_stays(host: RemoteHost) -> None:
    provision.provision(host, managers.APT, PACKAGES)
    host.check(["dpkg", "--install", "/repository/site_1_all.deb"])
    removed = provision.deprovision(host)
    assert removed.packages == ("nginx",)
    assert removed.kept == {"nginx-common": ("nginx", "site")} or removed.kept == {"nginx-common": ("site",)}
    host.check(["dpkg", "--purge", "site", "nginx-common"])


def test_what_somebody_asked_for_since_stays(host: RemoteHost) -> None:
    provision.provision(host, managers.APT, PACKAGES)
    host.check(["apt-get", "-q", "--yes", "install", "nginx"])
    removed = provision.deprovision(host)
    assert removed.packages == ()
    assert removed.kept["nginx"] == ()
    assert removed.kept["nginx-common"] == ("nginx",)
    host.check(["dpkg", "--purge", "nginx", "nginx-common"])


def test_a_transaction_that_would_upgrade_is_refused_before_anything_is_changed(host: RemoteHost) -> None:
    before = state(host)
    with pytest.raises(Refusal, match="it would upgrade base-files"):
        provision.provision(host, managers.APT, ["newer"])
    assert state(host) == before


def test_a_run_asks_anew_what_a_host_has_once_packages_are_there(host: RemoteHost) -> None:
    told: list[Event] = []
    first = facts.gather(host, "sender")
    assert first.missing(("nginx",)) == ["nginx"]
    known = first, replace(first, role="receiver")
    now = provided.provided((host, host), known, lambda *_: {"sender": {"nginx"}}, Events([told.append]))
    assert now[0].missing(("nginx",)) == []
    assert now[1] is known[1], "nothing was installed there"
    notes = [event.text for event in told if isinstance(event, Note)]
    assert re.fullmatch(r"sender: installed nginx-common \S+, nginx \S+", notes[0])
    assert notes[1:] == ["receiver: nothing had to be installed"]
    assert set(provision.deprovision(host).packages) == {"nginx", "nginx-common"}
