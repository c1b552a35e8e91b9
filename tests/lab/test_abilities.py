"""What the lab's hosts can do, told by the command."""

from __future__ import annotations

from pathlib import Path

from hosts.lab.uml import UmlLab
from hosts.roles import ROLES
from tests.support.commands import abilities
from tests.support.lab import unchanged


def test_two_hosts_are_described_and_left_as_they_were(lab: UmlLab, hosts_file: Path) -> None:
    with unchanged(lab.testbed):
        done = abilities("--testbed", str(hosts_file), "--profile", "gigabit-3des")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for role in ROLES:
        start = next(n for n, line in enumerate(lines) if line.startswith(f"{role}: Debian GNU/Linux 13"))
        mine = lines[start : lines.index("", start)]
        assert any(line.split()[:3] == ["*", "aes", "aes-generic"] for line in mine)
        assert mine[-1] == "  crypto cards: none found"
    told = {(words[0], words[1]): " ".join(words[2:]) for words in map(str.split, lines) if len(words) > 2}
    assert told["ipsec", "3des"] == "can run"
    assert told["ktls", "3des"].startswith("cannot run: the kernel's TLS has no 3DES")
    assert [line for line in lines if line.startswith("profile ")] == [
        line for line in lines if line.startswith("profile gigabit-3des: ")
    ]
