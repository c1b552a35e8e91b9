"""An ordinary user's lab, where user namespaces and the tun device are open to users.

Root arranges such a situation in a mount namespace of its own and becomes that user there; it is gone with the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.debian import image
from hosts.lab import uml
from hosts.lab.built_kernel import SERIES, Wanted

USER = 54321

SITUATION = """
set -eu
mount -t tmpfs -o mode=0755 test /mnt
mkdir -p /mnt/tun /mnt/home/.cache/pathproof/images /mnt/home/.cache/pathproof/uml-kernels
cp -a /dev/net/tun /mnt/tun/tun
chmod 0666 /mnt/tun/tun
mount --bind /mnt/tun/tun /dev/net/tun
cp -r --preserve=mode,links "$IMAGE" "/mnt/home/.cache/pathproof/$IMAGE_NAME"
cp -r --preserve=mode,links "$KERNEL" "/mnt/home/.cache/pathproof/$KERNEL_NAME"
chown -hR "$USER_ID:$USER_ID" /mnt/home
chmod 0700 /mnt/home
cd /mnt/home
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups "$@"
"""

PROGRAM = """
import subprocess, sys
from hosts.lab import uml
with uml.obtain(uml.UmlTestbed(kind="uml", name="lab", memory_mb=512)) as parts, parts.boot() as lab:
    for role in lab.processors:
        command = [sys.executable, "-m", "hosts.lab", "enter", role, "hostname; id -u; ping -qc1 receiver >&2"]
        subprocess.run(command, check=True, timeout=30)
    assert lab.cpu_seconds()["sender"] > 0
    keys = [str(lab.testbed.sender.identity_file), str(lab.testbed.sender.known_hosts)]
    assert all(open(key).read() for key in keys)
    print(lab.alive())
"""


def readable_by_all(path: Path) -> bool:
    """Whether every directory on the way lets any user through."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in path.parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="arranges another user's situation, which only root can")
def test_an_ordinary_user_boots_a_lab(lab_parts: uml.UmlParts, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = Path(sys.executable).resolve()
    packages = [Path(entry) for entry in sys.path if Path(entry).is_dir()]
    if not all(readable_by_all(path) for path in (interpreter, Path(uml.__file__), *packages)):
        pytest.skip("this Python is installed where an ordinary user cannot read it")
    names = {}
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    for variable, place in (
        ("IMAGE", image.location("trixie")),
        ("KERNEL", Wanted("trixie", SERIES["trixie"]).location),
    ):
        names[f"{variable}_NAME"] = f"{place.parent.name}/{place.name}"
    monkeypatch.undo()
    result = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", SITUATION, "sh", str(interpreter), "-c", PROGRAM),
        ],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(Path(uml.__file__).parents[3]), *map(str, packages)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/mnt/home",
            "USER_ID": str(USER),
            "IMAGE": str(lab_parts.places[0]),
            "KERNEL": str(lab_parts.places[1]),
            **names,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["sender", "0", "receiver", "0", "True"], result.stderr
