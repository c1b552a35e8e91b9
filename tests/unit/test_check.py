"""A check's own conclusions: what is lacking, what would be changed, whether the way is the one that is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import paths, profile, receiving
from harness.cli import check
from harness.measuring import way
from harness.measuring.way import BYTES, Carried
from harness.profile import TransferSuite
from harness.run import answers, feasible
from hosts import packages
from hosts.facts import PROGRAMS, Facts
from hosts.onhost.agent.values import Change
from hosts.remote import changes
from hosts.remote.foresight import Foreseen
from tests.support import commands
from tests.support.commands import HOSTS
from tests.support.made import programs_of_today
from tests.unit.test_abilities import able

BUILT_WITH = {"cc", "make", "headers"}


def without(role: str, *absent: str) -> Facts:
    """A host that has everything but these programs."""
    every = {**programs_of_today(), "headers": "1.0"}
    return able(role, programs={name: None if name in absent else version for name, version in every.items()})


def lacking(sender: Facts, receiver: Facts, name: str = "gigabit-3des", builds: bool = True) -> dict[str, set[str]]:
    found = answers.lacking(
        [profile.load(name)], receiving.beside(paths.discover()), sender, receiver, shapes=True, builds=builds
    )
    return {role: set(names) for role, names in found.items()}


def test_a_host_with_everything_lacks_nothing() -> None:
    assert lacking(without("sender"), without("receiver")) == {"sender": set(), "receiver": set()}


def test_bare_hosts_lack_what_the_profile_asks_for_and_nothing_else() -> None:
    every = (*PROGRAMS, "lighttpd-gnutls", "headers", "libcurl")
    found = lacking(without("sender", *every), without("receiver", *every))
    assert found["sender"] >= {"nginx", "lighttpd", "lighttpd-gnutls", "ip", "modprobe", "strace", "tc"} | BUILT_WITH
    assert "qatengine" not in found["sender"], "3DES has nothing to do with it"
    assert {"tc", "libcurl"} <= found["receiver"]
    assert not {"nginx", "strace", "openssl"} & found["receiver"], "nothing is served there"
    assert not BUILT_WITH & found["receiver"], "nor built"


@pytest.mark.parametrize("name", sorted(path.stem for path in profile.PROFILES.glob("*.toml")))
def test_what_was_said_to_be_lacking_is_enough(name: str) -> None:
    every = (*PROGRAMS, "lighttpd-gnutls", "headers", "libcurl")
    sender, receiver = without("sender", *every), without("receiver", *every)
    found = lacking(sender, receiver, name)
    given = answers.supposed(sender, found["sender"]), answers.supposed(receiver, found["receiver"])
    assert lacking(*given, name) == {"sender": set(), "receiver": set()}
    for answer in answers.answers(
        profile.load(name), receiving.beside(paths.discover()), *given, built=False, shapes=True
    ):
        assert "apt-get" not in str(answer)


def test_what_builds_our_modules_is_needed_only_where_they_are_built() -> None:
    sender = without("sender", "make", "headers")
    assert lacking(sender, without("receiver"))["sender"] == {"make", "headers"}
    assert lacking(sender, without("receiver"), builds=False)["sender"] == set()
    assert lacking(sender, without("receiver"), "servers")["sender"] == set()


def test_packages_are_named_as_the_distribution_does() -> None:
    wanted = ["cc", "headers", "tc", "strace"]
    assert packages.names(wanted, "6.12.1", "Debian GNU/Linux 13") == [
        *("gcc", "iproute2", "libc6-dev", "linux-headers-6.12.1", "strace")
    ]
    assert packages.names(wanted, "5.14.0", "Rocky Linux 9.4") == [
        *("gcc", "glibc-devel", "iproute-tc", "kernel-devel-5.14.0", "strace")
    ]


def test_what_can_run_now_and_what_once_packages_are_there() -> None:
    wanted = profile.load("gigabit-3des")
    now, then = (
        answers.answers(
            wanted, receiving.beside(paths.discover()), sender, without("receiver"), built=False, shapes=True
        )
        for sender in (without("sender", "lighttpd", "nginx"), without("sender"))
    )
    lines = check.of_profile(wanted, now, then)
    possible, later = (sum(answer.reason is None for answer in found) for found in (now, then))
    assert 0 < possible < later < len(now)
    assert lines[0] == (
        f"profile gigabit-3des: {possible} of {len(now)} paths can run now, {later} once the missing packages are "
        "installed"
    )
    assert lines[1] == "  its question, so-crypt against devcrypto-copy, can be answered"
    assert not any("nginx" in line for line in lines), "what is missing is told elsewhere"
    assert [line for line in lines if "small-files-kept/ktls: the kernel's TLS has no 3DES" in line]


@pytest.mark.parametrize(("name", "said"), [("wan-aes128gcm", "20 ms, 0.1 % lost"), ("load-processors", "is read")])
def test_more_than_a_rate_is_had_only_where_the_link_may_be_changed(name: str, said: str) -> None:
    asked = profile.load(name), receiving.beside(paths.discover()), without("sender"), without("receiver")
    found = answers.answers(*asked, built=True, shapes=False)
    wanted = {
        suite.name
        for suite in asked[0].suites
        if isinstance(suite, TransferSuite) and feasible.link_kept(suite, may_shape=False)
    }
    assert wanted and any(said in str(answer.reason) for answer in found)
    for answer in found:
        assert ("shape = true" in str(answer.reason)) == (answer.suite in wanted)
    assert not [one for one in answers.answers(*asked, built=True, shapes=True) if "shape" in str(one.reason)]


def test_whether_its_question_can_be_answered_is_told_with_what_is_missing() -> None:
    wanted = profile.load("gigabit-3des")
    sender = replace(without("sender"), modules=frozenset())
    found = answers.answers(
        wanted, receiving.beside(paths.discover()), sender, without("receiver"), built=True, shapes=True
    )
    said = "  its question, so-crypt against devcrypto-copy, CANNOT be answered there: devcrypto-copy cannot run"
    assert check.of_profile(wanted, found, found)[1].startswith(said.partition(":")[0])


def test_the_last_line_is_the_command_that_measures() -> None:
    assert check.lines(check.Checked(["x"]), "tox -e p") == ["x", "", "nothing is in the way; next: tox -e p"]
    assert check.lines(check.Checked(["x"], ["do", "do"]), "tox -e p")[2:] == [
        *("next:", "  - do", "then check again, or measure what can run: tox -e p")
    ]


# ------------------------------------------------------------------------------ what reads like a diff


def foreseen(*made: Change | Foreseen) -> list[str]:
    return check.changed((one if isinstance(one, Foreseen) else Foreseen(one) for one in made), "/dev/shm/run")


def policy(port: int, reqid: int) -> Change:
    add = f"ip xfrm policy add sport {port} reqid {reqid} level required".split()
    return changes.command(f"policy {port}", look=["x"], present="x", apply=add, undo=["x"])


def test_changes_are_told_once_and_the_like_of_them_together() -> None:
    secret = changes.command(
        "SA 0x1f2e3d4c", look=["x"], present="x", apply=["ip", "-batch", "-"], undo=["x"], stdin="k"
    )
    lines = foreseen(
        changes.directory("/dev/shm/run/schemes"),
        changes.directory("/srv/elsewhere"),
        Foreseen(changes.modules("esp4"), ("xfrm_algo", "esp4")),
        Foreseen(changes.modules("drbg", sticky=True), ("drbg",)),
        Foreseen(changes.modules("esp4"), ("xfrm_algo", "esp4")),
        changes.insmod("so_crypt", "/dev/shm/run/so_crypt.ko"),
        policy(18080, 70000),
        policy(18081, 80000),
        secret,
        changes.process("nginx for http", ["nginx"], "/dev/shm/run/out", "/dev/shm/run/err"),
    )
    assert lines == [
        "+ kernel modules: xfrm_algo esp4",
        "+ kernel modules that the kernel may keep until it is booted: drbg",
        "+ directory /srv/elsewhere",
        "+ kernel module of ours: so_crypt",
        "+ ip xfrm policy add sport … reqid … level required",
        "+ SA …",
        "+ process: nginx for http",
    ]


def test_what_would_be_refused_is_marked() -> None:
    rate = changes.command("rate of eth1", look=["tc"], present="x", apply=["tc"], undo=["tc"], refuse="y")
    assert foreseen(Foreseen(rate, refused="something else is in its place: qdisc tbf 1:")) == [
        "! rate of eth1: refused: something else is in its place: qdisc tbf 1:"
    ]


# --------------------------------------------------------------------------------- the way


def test_the_interface_that_is_named_must_have_carried_it() -> None:
    assert way.by_interface(Carried("sender", "eth1", BYTES, {"eth0": 900, "eth1": BYTES + 5000})).good
    other = way.by_interface(Carried("sender", "eth1", BYTES, {"eth0": BYTES + 5000, "eth1": 900}))
    assert other.good is False
    assert other.said == f"eth1 counted 900 bytes of {BYTES} that were transferred: eth0 did"
    assert other.next_step == "name eth0 as data_interface of the sender, or mend the route (ip route, ip rule)"
    gone = way.by_interface(Carried("receiver", "eth9", BYTES, {"eth0": 10}))
    assert gone.good is False
    assert gone.said == f"eth9 counted 0 bytes of {BYTES} that were transferred: they took another way"


def test_interfaces_are_counted_in_the_kernels_table() -> None:
    rows = {"lo": (10, 1, 10, 1), "eth1.5": (12345678, 4321, 9876543, 4320)}
    lines = [
        "Inter-| Receive | Transmit",
        " face |bytes packets errs drop fifo frame compressed multicast|bytes",
    ]
    lines += [f"{name:>6}:{a:8} {b:7}{6 * '    0'} {c:8} {d:7}{6 * '    0'}" for name, (a, b, c, d) in rows.items()]
    text = "\n".join(lines)
    assert way.counts(text, way.RECEIVED) == {"lo": 10, "eth1.5": 12345678}
    assert way.counts(text, way.SENT) == {"lo": 10, "eth1.5": 9876543}


def test_one_mtu_is_asked_for() -> None:
    assert way.mtus({"sender": 9000, "receiver": 9000}).good
    assert way.mtus({"sender": 9000, "receiver": 1500}).said == "sender 9000, receiver 1500"
    assert way.mtus({"sender": 9000, "receiver": 1500}).good is False
    assert way.mtus({"sender": 9000, "receiver": None}).good is None


def test_room_is_needed_for_every_size_there_and_for_a_block_here() -> None:
    wanted = profile.load("servers")
    suite = wanted.suites[0]
    assert isinstance(suite, profile.TransferSuite)
    sending, receiving = check.room_needed([wanted])
    assert sending == sum(suite.sizes) + check.SPARE_BYTES
    assert receiving == max(suite.sizes) * len(suite.paths) * (2 if suite.again else 1) + check.SPARE_BYTES
    assert check.room_needed([]) == (check.SPARE_BYTES, check.SPARE_BYTES)


# --------------------------------------------------------------------------------- the commands


def test_a_host_that_cannot_be_reached_is_told_beside_what_to_do(tmp_path: Path, closed_port: int) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    file = tmp_path / "hosts.toml"
    file.write_text(HOSTS.format(port=closed_port, known=known, more=""))
    done = commands.harness("check", "--testbed", str(file), "--profile", "servers")
    assert done.returncode == 1
    for role, address in (("sender", "127.0.0.1"), ("receiver", "127.0.0.2")):
        typed = f"ssh -p {closed_port} {address}"
        assert done.stdout.count(f"{role}: NOT REACHED by {typed} (root@{address} port {closed_port}): cannot") == 1
        assert done.stdout.count(f"- {role}: see whether this can, and what it says: {typed}") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("check", "--testbed", "lab", "--provision"), "--provision is for two hosts of yours"),
        (("deprovision", "--testbed", "lab"), "lab is a lab, where nothing is ever installed"),
        (("deprovision",), "the following arguments are required: --testbed"),
    ],
)
def test_bad_input_is_told_once(options: tuple[str, ...], said: str) -> None:
    done = commands.harness(*options)
    assert done.returncode == 2
    assert done.stderr.count(said) == 1
    assert "Traceback" not in done.stderr
