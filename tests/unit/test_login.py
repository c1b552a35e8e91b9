"""Which keys are offered to a host: files and a real SSH agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.remote import login
from hosts.remote.route import Route

PROGRAMS = ("ssh-agent", "ssh-add", "ssh-keygen")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"this machine lacks one of {PROGRAMS}")


def made(path: Path, *more: str, locked: bool = False) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", *more, "-N", "secret" if locked else "", "-C", path.name, "-f", path],
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``free``, ``locked`` (with a passphrase), ``old`` (the same, in the older format), ``other`` and ``signed``."""
    room = tmp_path_factory.mktemp("keys")
    made(room / "free")
    made(room / "other")
    made(room / "signed")
    certificate = ["ssh-keygen", "-q", "-s", str(room / "other"), "-I", "me", "-n", "me", str(room / "signed.pub")]
    subprocess.run(certificate, check=True)
    made(room / "locked", locked=True)
    made(room / "old", "-t", "ecdsa", "-m", "PEM", locked=True)
    return room


@pytest.fixture(scope="module")
def agent(keys: Path) -> Iterator[Path]:
    """An agent that has ``locked``, ``old`` and ``signed``, and a certificate for that."""
    sock, answer = keys / "agent", keys / "answer"
    answer.write_text("#!/bin/sh\necho secret\n")
    answer.chmod(0o700)
    asked = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force", "SSH_AUTH_SOCK": str(sock), "DISPLAY": ":0"}
    with subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL) as process:
        try:
            while not sock.exists():
                time.sleep(0.01)
            added = [keys / name for name in ("locked", "old", "signed")]
            subprocess.run(["ssh-add", "-q", *added], env=os.environ | asked, stdin=subprocess.DEVNULL, check=True)
            yield sock
        finally:
            process.terminate()


def offered(route: Route) -> tuple[list[str], list[str]]:
    """Names of the keys that are offered, with whence, and why others are not."""
    with login.offered(route) as offer:
        told = []
        for key in offer.keys:
            whence = f"{Path(key.comment).name} of the agent" if hasattr(key, "comment") else "a file"
            told.append(whence if key.get_name() == "ssh-ed25519" else f"{whence}, {key.get_name()}")
        return told, offer.left_out


def route(*identities: Path, only: bool = False, agent: Path | None = None) -> Route:
    return Route("web", 22, "me", identities, only, agent=agent)


def test_without_an_agent_only_files_without_a_passphrase_are_offered(keys: Path) -> None:
    said = offered(route(keys / "locked", keys / "old", keys / "free", keys / "none"))
    assert said == (
        ["a file"],
        [f"{keys / name} needs its passphrase: ssh-add {keys / name}" for name in ("locked", "old")],
    )


def test_the_agents_copy_comes_in_place_of_the_file(keys: Path, agent: Path) -> None:
    said = offered(route(keys / "locked", keys / "free", only=True, agent=agent))
    assert said == (["locked of the agent", "a file"], [])
    told, left_out = offered(route(keys / "free", keys / "locked", agent=agent))
    assert (told[:3], left_out) == (["a file", "locked of the agent", "old of the agent, ecdsa-sha2-nistp256"], [])
    assert len(told) == 5, "and the others of the agent"


def test_a_key_that_is_named_goes_with_the_agents_certificate_for_it(keys: Path, agent: Path) -> None:
    said = offered(route(keys / "signed", only=True, agent=agent))
    assert said == (["signed of the agent, ssh-ed25519-cert-v01@openssh.com", "signed of the agent"], [])


def test_the_public_half_is_enough_to_name_an_agents_key(keys: Path, agent: Path, tmp_path: Path) -> None:
    """As a file of its own, beside a key in the older format, or in a key in the newer one, be that encrypted."""
    assert offered(route(keys / "locked.pub", only=True, agent=agent)) == (["locked of the agent"], [])
    assert offered(route(keys / "old", only=True, agent=agent))[0] == ["old of the agent, ecdsa-sha2-nistp256"]
    shutil.copy(keys / "locked", tmp_path)
    assert offered(route(tmp_path / "locked", only=True, agent=agent)) == (["locked of the agent"], [])
    shutil.copy(keys / "free.pub", tmp_path)
    said = offered(route(tmp_path / "free.pub", only=True, agent=agent))
    assert said == ([], [f"the SSH agent has not {tmp_path / 'free.pub'}"])


def test_what_cannot_be_offered_is_told(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "empty").touch()
    said = offered(route(tmp_path / "damaged", tmp_path / "empty", tmp_path / "none", only=True))
    assert said[0] == []
    damaged, empty, none = said[1]
    assert damaged.startswith(f"{tmp_path / 'damaged'} cannot be read: ")
    assert empty.startswith(f"{tmp_path / 'empty'} cannot be read: ")
    assert none == f"there is no {tmp_path / 'none'}"
    (reason,) = offered(route(agent=tmp_path / "nobody"))[1]
    assert reason.startswith(f"the SSH agent at {tmp_path / 'nobody'} does not answer: ")


def test_a_certificate_of_the_user_goes_with_its_key(keys: Path, tmp_path: Path) -> None:
    authority = made(tmp_path / "authority")
    shutil.copy(keys / "free.pub", tmp_path / "signed.pub")
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", "me", tmp_path / "signed.pub"], check=True)
    certificates = (tmp_path / "none-cert.pub", tmp_path / "signed-cert.pub")
    with login.offered(Route("web", 22, "me", (keys / "free",), certificates=certificates)) as offer:
        (key,) = offer.keys
        assert key.public_blob and key.public_blob.key_type == "ssh-ed25519-cert-v01@openssh.com"
