"""Tries whether a guest with the release's kernel comes up with KVM here: /dev/kvm alone does not tell."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import platformdirs

from hosts.lab.keys import MemoryFile
from hosts.lab.qemu import initrd
from hosts.lab.qemu.guest_kernel import GuestKernel
from hosts.processes import SYSTEM_PATH
from hosts.progress import Progress

DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 30.0
ANSWER = "the-probe-is-up"


def inaccessible(device: Path = DEVICE) -> str | None:
    """Why this user has no KVM here at all; None where trying alone tells."""
    if os.access(device, os.R_OK | os.W_OK, effective_ids=True):
        return None
    return f"{device} is not there, or not this user's to use"


def unusable(kernel: GuestKernel, progress: Progress, device: Path = DEVICE) -> str | None:
    """Why guests with this kernel cannot have KVM here; None where they can.

    A guest that was booted to find out is remembered until the machine boots again.
    """
    if reason := inaccessible(device):
        return reason
    known, situation = _remembered(), _situation(kernel)
    if situation not in known:
        progress("trying a guest with KVM", None)
        known[situation] = _try(kernel)
        with suppress(OSError):
            _memory().write_text(json.dumps({"boot": _boot(), "unusable": known}))
    return known[situation] or None


def _memory() -> Path:
    return platformdirs.user_cache_path("pathproof", ensure_exists=True) / "kvm.json"


def _situation(kernel: GuestKernel) -> str:
    """All that an answer holds for, as long as this machine runs: this QEMU, this kernel."""
    return hashlib.sha256(f"{_qemu_version()} {kernel.about.vmlinuz_sha256}".encode()).hexdigest()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _qemu_version() -> str:
    command = ["qemu-system-x86_64", "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def _remembered() -> dict[str, str]:
    """What was found since this machine booted, by situation: "" where KVM works."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        memory = json.loads(_memory().read_text())
        if memory["boot"] == _boot():
            return {str(situation): str(found) for situation, found in memory["unusable"].items()}
    return {}


def _try(kernel: GuestKernel) -> str:
    """Boot one guest that only says that it is up; why it did not, or ""."""
    disk = MemoryFile("initrd", initrd.make(kernel.path / "busybox", [], {}))
    command = [
        # It ends with this process, and leaves no core where QEMU gives up by aborting.
        *("setpriv", "--pdeathsig", "KILL", "prlimit", "--core=0"),
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"),
        *("-serial", "stdio", "-no-reboot", "-machine", "q35", "-smp", "1", "-m", "256", "-accel", "kvm"),
        *("-cpu", "host", "-kernel", str(kernel.path / "vmlinuz"), "-initrd", f"/proc/self/fd/{disk.fd}"),
        *("-append", f"console=ttyS0 quiet panic=-1 no_timer_check probe={ANSWER}"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            pass_fds=[disk.fd],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"a guest that was booted to try it did not come up in {PROBE_SECONDS:.0f} s"
    finally:
        disk.close()
    if ANSWER in done.stdout:
        return ""
    # QEMU names the reason in the line before the one by which it gives up
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()][-2:] or ["nothing"]
    return f"a guest that was booted to try it ended and said last: {'; '.join(said).rstrip('.')}"
