"""The nightly runner: every profile on its testbeds, whatever became of the one before, and one status in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from harness import profile
from hosts import testbed
from hosts.lab import best
from hosts.testbed import LabTestbed
from suites import __main__ as nightly

# stands for Python: notes how it was called, and does what it is told for a word among its arguments
STUB = """#!/bin/sh
printf '%s\\n' "$*" >>{log}
case " $* " in
{actions}
esac
exit 0
"""


class Stub:
    """A command in the interpreter's place."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "python", folder / "calls"
        self.acts()

    def acts(self, **actions: str) -> None:
        """What it does for a word on its command line (a profile's name, ``reports``): a line of shell."""
        lines = (f"*' {word} '*) {action} ;;" for word, action in actions.items())
        self.path.write_text(STUB.format(log=self.log, actions="\n".join(lines)))
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """How it was called, a line each."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub(tmp_path)
    monkeypatch.setattr(sys, "executable", str(made.path))
    choice = best.Choice(cast(LabTestbed, testbed.load("lab")), "the lab is lab, and that is why")
    monkeypatch.setattr(best, "choose", lambda *_: choice)
    return made


def run(*arguments: str) -> int:
    return nightly.main(["nightly", *arguments])


def test_every_profile_runs_on_each_of_its_testbeds_then_nights_are_compared(stub: Stub) -> None:
    assert run("--results", "/there") == 0
    named = [(name, bed) for name in nightly.known() for bed in profile.load(name).testbeds]
    wanted = [(name, "lab" if bed == "auto" else bed) for name, bed in named]
    assert len(wanted) > len(nightly.known()), "one profile has several testbeds"
    assert stub.calls == [
        *(f"-m pytest suites --profile {name} --testbed {bed} --results /there -q" for name, bed in wanted),
        "-m reports nightly --results /there",
    ]


def test_named_profiles_run_alone_and_quickly(stub: Stub) -> None:
    assert run("--quick", "--results", "/there", "esp", "servers") == 0
    assert stub.calls == [
        "-m pytest suites --profile esp --testbed lab --results /there -q --quick",
        "-m pytest suites --profile servers --testbed lab --results /there -q --quick",
        "-m reports nightly --results /there",
    ]


@pytest.mark.parametrize("command", ["nightly", "kernels"])
def test_started_in_another_folder_all_of_it_uses_that_folder_s_results(
    stub: Stub, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nightly.main([command, "servers"]) == 0
    ran = [call for call in stub.calls if "hosts.lab" not in call]
    assert len(ran) == 2
    assert all(f"--results {tmp_path}/results" in call for call in ran)


KERNELS = profile.load("kernels-3des").testbeds


def test_kernels_runs_on_every_testbed_whatever_became_of_the_first_and_makes_the_page(stub: Stub) -> None:
    stub.acts(**{"lab-bookworm": "exit 1"})
    assert nightly.main(["kernels", "kernels-3des", "--results", "/there", "-k", "ipsec", "--quick"]) == 1
    assert stub.calls == [
        *(f"-m hosts.lab image --testbed {bed}" for bed in KERNELS),
        *(
            f"-m pytest suites --profile kernels-3des --testbed {bed} --results /there -k ipsec --quick"
            for bed in KERNELS
        ),
        "-m reports kernels kernels-3des --results /there",
    ]
    stub.acts()
    assert nightly.main(["kernels", "kernels-3des"]) == 0


def test_kernels_runs_on_the_testbeds_that_are_named(stub: Stub) -> None:
    assert nightly.main(["kernels", "kernels-3des", "--testbeds", "lab,lab-7-3", "--results", "/there", "--quick"]) == 0
    assert stub.calls == [
        *(f"-m hosts.lab image --testbed {bed}" for bed in ("lab", "lab-7-3")),
        *(
            f"-m pytest suites --profile kernels-3des --testbed {bed} --results /there --quick"
            for bed in ("lab", "lab-7-3")
        ),
        "-m reports kernels kernels-3des --results /there",
    ]


def test_a_kernel_that_nobody_has_any_more_is_told_and_gets_its_record(
    stub: Stub, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its run fails too, which spoils nothing; another one's failure does."""
    stub.acts(**{"lab-7-2": "echo 'trixie has no linux-source-7.2' >&2; exit 3"})
    assert nightly.main(["kernels", "kernels-3des"]) == 0
    ran = [call.split()[6] for call in stub.calls if call.startswith("-m pytest")]
    assert ran == list(KERNELS)
    said = capfd.readouterr()
    assert "no linux-source-7.2" in said.err
    assert "lab-7-2 cannot be had" in said.out


@pytest.mark.parametrize("action", ["exit 1", "exit 3", "kill -9 $$"])
def test_a_run_that_fails_spoils_the_night_but_not_the_others(
    stub: Stub, action: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.acts(esp=action)
    assert run("esp", "servers") == 1
    assert len(stub.calls) == 3
    said = capfd.readouterr().out
    assert said.startswith("the lab is lab, and that is why\n")
    assert "1/2: esp on lab" in said
    assert "esp on lab: ended with status" in said
    assert "servers on lab: complete" in said


def test_a_night_that_got_worse_is_not_a_good_one(stub: Stub) -> None:
    stub.acts(reports="exit 1")
    assert run("servers") == 1


def test_a_mistake_is_told_before_anything_runs(stub: Stub, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("servers", "no-such-profile") == 2
    assert stub.calls == []
    said = capfd.readouterr().err
    assert "no profile is called 'no-such-profile'" in said
    assert "Traceback" not in said
    with pytest.raises(SystemExit) as caught:
        nightly.main(["weekly"])
    assert caught.value.code == 2


def test_a_night_that_is_over_ends_its_run_and_names_what_was_not_run(
    stub: Stub, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stub.acts(esp=f"trap 'echo told >{tmp_path}/told; exit 5' TERM; sleep 30 & wait")
    assert run("--minutes", "0.02", "esp", "servers") == 1
    assert (tmp_path / "told").exists()
    assert [call.split()[1] for call in stub.calls] == ["pytest", "reports"], "one run, then the comparison"
    said = capfd.readouterr().out
    assert "esp on lab: ended with status 5" in said
    assert "servers on lab: not run: 0.02 minutes were over" in said


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "soon"])
def test_minutes_that_are_none_are_refused(stub: Stub, minutes: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(f"--minutes={minutes}", "servers")
    assert caught.value.code == 2
    assert stub.calls == []
    assert "--minutes" in capfd.readouterr().err


def test_a_run_that_takes_too_long_is_told_to_end_and_the_next_begins(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nightly, "LONGEST_SECONDS", 1.0)
    stub.acts(esp=f"trap 'echo told >{tmp_path}/told; exit 5' TERM; sleep 3 & wait")
    assert run("esp", "servers") == 1
    assert (tmp_path / "told").read_text() == "told\n", "SIGTERM: pytest puts the hosts back"
    assert len(stub.calls) == 3


def test_a_run_that_does_not_end_when_told_is_killed(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "LONGEST_SECONDS", 1.0)
    monkeypatch.setattr(nightly, "LEAVE_SECONDS", 0.3)
    stub.acts(esp="trap '' TERM; while :; do sleep 0.1; done")
    assert run("esp", "servers") == 1
    assert len(stub.calls) == 3


def test_interrupted_it_waits_for_its_run_and_ends(tmp_path: Path) -> None:
    """Ctrl-C reaches both: the run puts its hosts back first."""
    stub = Stub(tmp_path)
    waits = "sleep 9 2>/dev/null & wait"  # who outlives the night keeps nobody's pipe open
    stub.acts(esp=f"trap 'sleep 0.5; echo back >{tmp_path}/back; exit 2' INT; echo up >{tmp_path}/up; {waits}")
    script = (
        f"import runpy, sys; sys.executable = {str(stub.path)!r}; "
        "sys.argv = ['suites', 'nightly', 'esp', 'servers']; runpy.run_module('suites', run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "up").exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert (tmp_path / "back").exists()
    assert len(stub.calls) == 1
