"""A check of the lab's guests, by the command: what it says, and that it leaves them as they were."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from harness.measuring import way
from hosts.lab.uml import UmlLab
from hosts.remote.host import RemoteHost
from hosts.roles import ROLES
from tests.support.commands import harness
from tests.support.lab import shell, unchanged

UNLOAD = "modprobe -r -q xfrm_user; modprobe -r -q tls; modprobe -r -q algif_skcipher; true"
"""What tests before this one, and their looks at IPsec, left in the kernel."""
STATE = (
    "cut -d' ' -f1 /proc/modules | sort; cat /proc/crypto; ip -o link; tc qdisc show; "
    "ls -A /dev/shm /run /tmp /root; "
    "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done | "
    "grep -v -e '^$' -e sshd -e ' -c ' -e '^tr ' -e '^grep ' -e '^sleep ' -e '^sort '"
)


def test_two_hosts_are_checked_and_nothing_is_changed_or_loaded(lab: UmlLab, hosts_file: Path) -> None:
    places = (lab.testbed.sender, lab.testbed.receiver)
    for place in places:
        shell(place, UNLOAD)
    before = [Counter(shell(place, STATE).splitlines()) for place in places]
    done = harness("check", "--testbed", str(hosts_file), "--profile", "gigabit-3des")
    after = [Counter(shell(place, STATE).splitlines()) for place in places]
    assert [now - then for now, then in zip(after, before, strict=True)] == [{}, {}], "not even a module"
    assert [then - now for now, then in zip(after, before, strict=True)] == [{}, {}]
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    for role in ROLES:
        address = getattr(lab.testbed, role).address
        assert any(line.startswith(f"{role}: reached by ssh ") and f"root@{address} port 22" in line for line in lines)
    found = {line.split("  ")[0]: line for line in lines if "  " in line}
    for what in (
        "TCP from 10.98.0.2 port 18070 to 10.98.0.3",
        "sender: data_interface vec1",
        "receiver: data_interface vec1",
        "ESP (IP protocol 50) from the sender to the receiver",
        "ESP (IP protocol 50) from the receiver to the sender",
        "MTU",
    ):
        assert found[what].removeprefix(what).strip().startswith("ok"), found[what]
    # named as hosts of one's own, they are asked for what builds a module; the image has no headers of this kernel
    assert any(line.startswith("sender: linux-headers-6.12") for line in lines)
    told = next(line for line in lines if line.startswith("profile gigabit-3des: "))
    counts = re.search(r"(\d+) of (\d+) paths can run now, (\d+) once the missing packages are installed", told)
    assert counts, told
    now, of_all, later = map(int, counts.groups())
    assert 0 < now < later < of_all
    changes = lines[lines.index("a run would change this, and undo it in reverse order:") :]
    assert "+ tc qdisc add dev vec1 root handle ca11: netem rate 1000000000bit limit 4000" in changes
    assert any(line.startswith("+ kernel modules: ") and " esp4 " in line for line in changes)
    assert lines[-2] == "- install the missing packages, or give --provision"
    command = f"tox -e gigabit-3des -- --testbed {hosts_file}"
    assert lines[-1] == f"then check again, or measure what can run: {command}"


def test_esp_that_is_dropped_on_one_side_is_told_with_its_direction(
    lab: UmlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "SECONDS", 1.0)
    rule = "src 10.98.0.2 dst 10.98.0.3 proto 50 dir in"
    with unchanged(lab.testbed):
        shell(lab.testbed.receiver, f"ip xfrm policy add {rule} action block")
        try:
            with (
                RemoteHost("sender", lab.testbed.sender) as sender,
                RemoteHost("receiver", lab.testbed.receiver) as other,
            ):
                there, back = way.try_esp(sender, other)
        finally:
            shell(lab.testbed.receiver, f"ip xfrm policy delete {rule}; rmmod xfrm_user; rmmod xfrm_algo")
    assert (there.good, back.good) == (False, True)
    assert there.next_step == ("let IP protocol 50 through from 10.98.0.2 to 10.98.0.3: a firewall on the way drops it")
