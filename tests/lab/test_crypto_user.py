"""The crypto_user netlink and the change of a driver's priority, on a real kernel: the lab's.

Two drivers of one algorithm are had there with aes-generic (priority 100) and aes-fixed-time (101, module aes_ti):
whichever has the higher priority ends up inside every template that is built anew, as ``cbc(aes-generic)`` on kernel
6.1 and ``cbc(ecb(aes-generic))`` on 6.12.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hosts import facts
from hosts.crypto import proc_crypto
from hosts.crypto.proc_crypto import Driver
from hosts.errors import HarnessError, HostLost
from hosts.lab.uml import UmlLab
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost, agent_zip
from tests.support.lab import eventually_as_before, shell, state

MODULES = ("crypto_user", "algif_skcipher", "algif_aead", "ecb", "cbc", "hmac", "authenc", "aes_ti")
LOW, HIGH = "aes-generic", "aes-fixed-time"
ESP = "authenc(hmac(sha1),cbc(aes))"


@pytest.fixture(scope="module")
def host(lab: UmlLab) -> Iterator[RemoteHost]:
    with RemoteHost("sender", lab.testbed.sender) as sender:
        yield sender


@pytest.fixture(scope="module")
def scope(host: RemoteHost) -> Iterator[Scope]:
    """That host with both drivers and all templates; every test leaves the priorities as they were."""
    with Scope(host) as scope:
        for module in MODULES:
            scope.apply(changes.modules(module))
        yield scope


def drivers(host: RemoteHost) -> tuple[Driver, ...]:
    """What the host's /proc/crypto lists now."""
    return proc_crypto.parse(host.read(["/proc/crypto"])["/proc/crypto"] or "")


def priority(host: RemoteHost, name: str) -> int | None:
    """A driver's priority now; None where there is no such driver."""
    found = proc_crypto.named(drivers(host), name)
    return found.priority if found else None


def bind(host: RemoteHost, kind: str, name: str) -> None:
    """Ask the kernel for an algorithm or a driver by name, as ESP and AF_ALG do."""
    script = "import socket, sys; socket.socket(38, 5, 0).bind((sys.argv[1], sys.argv[2]))"
    host.check(["python3", "-c", script, kind, name])


def asked(host: RemoteHost, kind: str, algorithm: str) -> str:
    """Ask the kernel for an algorithm; the driver that it takes."""
    bind(host, kind, algorithm)
    found = proc_crypto.taken(drivers(host), algorithm)
    assert found is not None
    return found.driver


def codec(host: RemoteHost, expression: str, user: int = 0) -> str:
    """An expression over the agent's codec, evaluated on the host by another process; what it gives."""
    path = host.put(agent_zip(), "codec.zip")
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from agent import crypto_user\n"
        f"os.setresuid({user}, {user}, {user})\n"
        "try:\n"
        f"    print({expression})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    return host.check(["python3", "-c", script, path]).strip()


def test_the_netlink_and_the_list_tell_the_same(host: RemoteHost, scope: Scope) -> None:
    asked(host, "aead", ESP)
    listed = drivers(host)
    fields = "[(a.name, a.driver, a.module, a.priority, a.flags) for a in crypto_user.everything()]"
    told = json.loads(codec(host, f"__import__('json').dumps({fields})"))
    assert {(d.algorithm, d.driver, d.module, d.priority) for d in listed} == {tuple(row[:4]) for row in told}
    assert len(told) == len(listed) > 4
    assert {row[1] for row in told if row[4] & 0x400} == {d.driver for d in listed if d.passed}
    flags = host.agent.crypto_flags()
    assert flags == {row[1]: row[4] for row in told}
    assert {d.kernel_driver_only for d in proc_crypto.flagged(listed, flags)} == {False}, "a lab has no card"


def test_one_driver_is_asked_for_by_name(host: RemoteHost, scope: Scope) -> None:
    assert codec(host, f"crypto_user.get({HIGH!r}).priority") == "101"
    assert codec(host, "crypto_user.get('no-such-driver')") == "None"
    assert codec(host, "crypto_user.update('no-such-driver', 5)") == "False"


def test_a_priority_decides_what_the_kernel_takes_and_is_put_back(host: RemoteHost, scope: Scope) -> None:
    assert HIGH in asked(host, "skcipher", "cbc(aes)")
    with Scope(host) as steered:
        steered.apply(changes.priority(LOW, 102))
        assert priority(host, LOW) == 102
        assert LOW in asked(host, "skcipher", "cbc(aes)")
    assert (priority(host, LOW), priority(host, HIGH)) == (100, 101)
    assert HIGH in asked(host, "skcipher", "cbc(aes)")


def test_a_template_built_before_would_keep_its_driver_so_it_is_forgotten(host: RemoteHost, scope: Scope) -> None:
    """What the change does beyond the netlink's own: without it, an instance that exists is found again."""
    old = asked(host, "aead", ESP)
    assert HIGH in old
    assert codec(host, f"crypto_user.update({LOW!r}, 5000)") == "True"
    assert asked(host, "aead", ESP) == old, "the kernel forgets on its own by now: the change need not do it"
    assert codec(host, f"crypto_user.update({LOW!r}, 100)") == "True"
    with Scope(host) as steered:
        steered.apply(changes.priority(LOW, 5000))
        assert LOW in asked(host, "aead", ESP)
    assert asked(host, "aead", ESP) == old


def test_who_uses_an_instance_keeps_it(host: RemoteHost, scope: Scope) -> None:
    """A cipher that is in use goes on with the driver it has while priorities change."""
    path = host.put(agent_zip(), "codec.zip")
    script = f"""
import socket, sys
sys.path.insert(0, sys.argv[1])
from agent import crypto_user
from agent.priority import Priority
from agent.values import PriorityChange
alg = socket.socket(38, 5, 0)
alg.bind(("skcipher", "cbc(aes)"))
alg.setsockopt(279, 1, bytes(16))
use, _ = alg.accept()
def encrypt():
    use.sendmsg_afalg([bytes(4096)], op=socket.ALG_OP_ENCRYPT, iv=bytes(16))
    return use.recv(4096)
before = encrypt()
change = PriorityChange("", {LOW!r}, 700)
undo = Priority().look(change)
Priority().apply(change, undo)
assert encrypt() == before
Priority().undo(undo)
assert encrypt() == before
print("the same")
"""
    assert host.check(["python3", "-c", script, path]).strip() == "the same"
    assert priority(host, LOW) == 100


def test_a_driver_that_is_an_instance_can_be_steered_to(host: RemoteHost, scope: Scope) -> None:
    """cryptd(…) stands upon its own rival: to forget what was built upon that would take it away."""
    with Scope(host) as steered:
        for module in ("cryptd", "algif_hash"):
            steered.apply(changes.modules(module))
        wanted = "cryptd(sha1-generic)"
        bind(host, "hash", wanted)
        assert priority(host, wanted) == 150
        steered.apply(changes.priority("sha1-generic", 3000))
        bind(host, "hash", wanted)
        steered.apply(changes.priority(wanted, 9000))
        assert asked(host, "hash", "sha1") == wanted
        assert priority(host, wanted) == 9000
    assert priority(host, "sha1-generic") == 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-driver", "the kernel has no crypto driver no-such-driver now"),
        ("x" * 64, "cannot be a crypto driver's name"),
    ],
)
def test_what_cannot_be_changed_is_refused(host: RemoteHost, scope: Scope, name: str, message: str) -> None:
    before = drivers(host)
    with pytest.raises(AgentError, match=re.escape(message)):
        scope.apply(changes.priority(name, 7))
    assert drivers(host) == before


def test_without_its_module_the_netlink_is_refused_and_not_loaded(lab: UmlLab) -> None:
    with RemoteHost("receiver", lab.testbed.receiver) as other, Scope(other) as none:
        with pytest.raises(AgentError, match="module crypto_user is not loaded: load it first"):
            none.apply(changes.priority(LOW, 7))
        assert other.agent.crypto_flags() is None
        assert "crypto_user" not in (other.read(["/proc/modules"])["/proc/modules"] or "")
        assert priority(other, LOW) == 100


def test_a_user_without_rights_may_look_and_not_change(host: RemoteHost, scope: Scope) -> None:
    assert codec(host, f"crypto_user.get({HIGH!r}).priority", user=65534) == "101"
    said = codec(host, f"crypto_user.update({HIGH!r}, 1)", user=65534)
    assert "only root may change a crypto driver's priority" in said
    assert priority(host, HIGH) == 101


def test_a_priority_that_somebody_else_changed_meanwhile_is_left_alone(host: RemoteHost, scope: Scope) -> None:
    number = scope.apply(changes.priority(LOW, 700))
    codec(host, f"crypto_user.update({LOW!r}, 333)")
    assert host.agent.undo([number]) == []
    assert priority(host, LOW) == 333
    codec(host, f"crypto_user.update({LOW!r}, 100)")
    assert host.agent.undo([number]) == [], "once it is as it was there is nothing left to do"


def test_a_driver_that_was_unloaded_meanwhile_needs_no_undoing(host: RemoteHost, scope: Scope) -> None:
    number = scope.apply(changes.priority(HIGH, 700))
    host.check(["rmmod", "aes_ti"])
    assert priority(host, HIGH) is None
    assert host.agent.undo([number]) == []
    host.check(["modprobe", "aes_ti"])
    assert priority(host, HIGH) == 101


@pytest.mark.parametrize("whom", ["worker", "both"])
def test_a_kill_leaves_no_priority_behind(lab: UmlLab, whom: str) -> None:
    """After kill -9 of the worker its guardian puts everything back; of both, the next agent does."""
    place = lab.testbed.receiver
    before = state(place)
    host = RemoteHost("receiver", place)
    scope = Scope(host)
    for module in ("crypto_user", "aes_ti"):
        scope.apply(changes.modules(module))
    scope.apply(changes.priority(LOW, 4321))
    assert priority(host, LOW) == 4321
    worker = int(host.check(["sh", "-c", "echo $PPID"]))
    parent = host.check(["ps", "-o", "ppid=", "-p", str(worker)]).strip()
    victims = f"{parent} {worker}" if whom == "both" else str(worker)
    shell(place, f"kill -{int(signal.SIGKILL)} {victims}")
    with pytest.raises(HostLost):
        host.agent.ping()
    with suppress(HarnessError):
        host.close()
    if whom == "both":
        with RemoteHost("receiver", place) as following:
            assert [line.rpartition(": ")[2] for line in following.recovered] == ["put back"]
    eventually_as_before(place, before)
    listed = proc_crypto.parse(shell(place, "cat /proc/crypto"))
    assert [(d.driver, d.priority) for d in listed if d.algorithm == "aes"] == [(LOW, 100)]


def test_a_module_that_somebody_uses_by_the_end_is_told_and_tried_again(lab: UmlLab) -> None:
    place, used = lab.testbed.receiver, "crypto_user in use; the next run or restore tries again"
    before = state(place)
    host = RemoteHost("receiver", place)
    Scope(host).apply(changes.modules("crypto_user"))
    # a netlink socket of its protocol holds it
    hold = "import socket, time; held = socket.socket(16, socket.SOCK_RAW, 21); print(flush=True); time.sleep(90)"
    start = f"mkfifo /run/held; setsid python3 -c '{hold}' >/run/held 2>&1 </dev/null & read -r _ </run/held; echo $!"
    holder = int(shell(place, start))
    try:
        host.close()
        assert host.left == f"kernel module crypto_user: {used}"
        with RemoteHost("receiver", place) as following:
            assert [line.partition(": ")[2] for line in following.remaining] == [f"left to others: {host.left}"]
    finally:
        shell(place, f"kill {holder}; rm /run/held")
    with RemoteHost("receiver", place) as last:
        assert [line.partition(": ")[2] for line in last.recovered] == ["put back"]
    eventually_as_before(place, before)


def test_facts_tell_every_driver(host: RemoteHost, scope: Scope, tmp_path: Path) -> None:
    found = facts.gather(host, "sender")
    assert [d.driver for d in found.drivers] == [d.driver for d in drivers(host)]
    shown = {row["driver"]: row for row in found.shown["crypto_drivers"]}
    assert shown[HIGH]["priority"] == 101
    assert shown[HIGH]["module"] == "aes_ti"
    assert shown[HIGH]["passed"] is True
    assert shown[HIGH]["card"] is None
    assert shown[HIGH]["kernel_driver_only"] is False
    assert found.shown["accelerators"] == {"devices": [], "witnesses": {}}
    json.dumps(found.shown)
