"""Checks that run inside a guest of the lab, where the kernel has what this machine's may lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.paths._datapath import COMPILE
from hosts.lab.uml import UmlLab
from hosts.remote import RemoteHost

pytestmark = pytest.mark.lab
HERE = Path(__file__).parent
SOURCES = HERE.parent / "hosts"


@pytest.fixture
def guest(lab: UmlLab) -> Iterator[RemoteHost]:
    with RemoteHost("sender", lab.testbed.sender) as host:
        yield host


def put(guest: RemoteHost, files: list[Path]) -> list[str]:
    """Files into the run's directory on the guest; their names."""
    for path in files:
        guest.put(path.read_bytes(), path.name)
    return [path.name for path in files if path.suffix == ".c"]


def test_datapath_in_a_guest(guest: RemoteHost) -> None:
    """Cipher text equals OpenSSL's for every cipher, size and mode; system calls counted as strace counts them."""
    sources = put(guest, [*sorted((SOURCES / "datapath").glob("*.[ch]")), SOURCES / "kernel/so_crypt/so_crypt.h"])
    guest.check([*COMPILE, "datapath", *sources], timeout=120)
    put(guest, [HERE / "datapath_guest.py"])
    command = f"TMPDIR={guest.directory} python3 datapath_guest.py {guest.directory}/datapath --modprobe --strace"
    done = guest.run(["sh", "-c", command], timeout=400)
    assert done.ok, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all well" in done.stdout
