"""What is said of a host that was put back after a crash, or lost in mid-run."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import main as cli
from hosts import disks, provision
from hosts.provision import Remembered
from hosts.remote.restore import LOOK, Restored, told

PUT_BACK = Restored(["pathproof-1: put back"], [], [], 90, "boot-1")
BOOTED = Restored([], [], ["the module so_crypt"], 2, "boot-2")
FAILED = Restored([], ["pathproof-2: marker m: it ended with status 1"], ["the directory /dev/shm/pathproof-2"], 9, "b")
OTHERS = replace(PUT_BACK, remaining=["pathproof-3: of user 1000, left alone"])


@pytest.mark.parametrize(
    ("found", "boot", "said"),
    [
        (PUT_BACK, None, "the sender was put back: pathproof-1: put back"),
        (PUT_BACK, "boot-1", "the sender was put back: pathproof-1: put back"),
        (BOOTED, None, "the sender was put back: nothing was left to undo; still there: the module so_crypt"),
        (
            FAILED,
            "b",
            "the sender was not wholly put back: pathproof-2: marker m: it ended with status 1; "
            "still there: the directory /dev/shm/pathproof-2",
        ),
        (
            OTHERS,
            None,
            "the sender was not wholly put back: pathproof-3: of user 1000, left alone; undone: pathproof-1: put back",
        ),
    ],
)
def test_what_was_undone_and_what_is_left_are_told(found: Restored, boot: str | None, said: str) -> None:
    assert told("sender", found, boot) == said


def test_a_host_that_was_booted_anew_in_mid_run_tells_what_stays() -> None:
    said = told("sender", BOOTED, "boot-1")
    assert said.startswith("the sender was booted anew in mid-run, 2 min ago: files on tmpfs, modules, settings, ")
    assert "packages that were installed stay, and so do pathproof-files on a disk and /usr/sbin/policy-rc.d, " in said
    assert said.endswith("; still there: the module so_crypt")


def test_what_outlives_a_reboot_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "PLACE", str(tmp_path / "state" / "packages.json"))
    folder, policy = tmp_path / disks.FOLDER, tmp_path / "policy-rc.d"
    assert looked(folder, policy) == []
    policy.write_text("#!/bin/sh\nexit 101\n")
    assert looked(folder, policy) == [], "somebody else's"
    policy.write_text(provision.POLICY_TEXT.format(directory="/dev/shm/pathproof-gone"))
    folder.mkdir()
    assert looked(folder, policy) == [f"the directory {folder}", f"the file {policy}"]
    assert looked("", policy) == [f"the file {policy}"], "a host whose testbed names no disk"
    policy.unlink()
    folder.rmdir()
    cut = Remembered("apt", {"nginx": "1"}, unsettled=["nginx"])
    for known in (cut, replace(cut, unsettled=[])):
        subprocess.run(provision._remembering(known), check=True)
        seen = ["packages whose installation was cut, which deprovision removes"] if known is cut else []
        assert looked(folder, policy) == seen


def looked(folder: Path | str, policy: Path) -> list[str]:
    """What is seen of these; others may have runs of their own on this machine."""
    command = ["sh", "-c", LOOK, "sh", "/dev/shm/pathproof-own", str(folder), str(policy), provision.PLACE]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in said if str(policy.parent) in line or line.startswith("packages ")]


def test_a_lab_has_nothing_to_restore(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "--testbed", "lab"]) == 2
    assert capsys.readouterr().err == "lab is a lab: nothing of it outlives the program that booted it\n"
