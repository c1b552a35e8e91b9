"""Does a guest with the suite's kernel come up with KVM here? /dev/kvm alone does not tell: it is found by trying."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import platformdirs

from hosts.lab import initrd
from hosts.lab.guest_kernel import GuestKernel
from hosts.lab.keys import MemoryFile
from hosts.lab.processes import SYSTEM_PATH
from hosts.progress import Progress

DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 30.0
ANSWER = "the-probe-is-up"


def unusable(kernel: GuestKernel, progress: Progress, device: Path = DEVICE) -> str | None:
    """Why guests with this kernel cannot have KVM here; None where they can.

    A guest that was booted to find out is remembered until the machine boots again.
    """
    if not os.access(device, os.R_OK | os.W_OK, effective_ids=True):
        return f"{device} is not there, or not this user's to use"
    found = _remembered(kernel)
    if found is None:
        progress("trying a guest with KVM", None)
        found = _try(kernel)
        with suppress(OSError):
            _memory().write_text(json.dumps({"for": _situation(kernel), "unusable": found}))
    return found or None


def _memory() -> Path:
    return platformdirs.user_cache_path("pathproof", ensure_exists=True) / "kvm.json"


def _situation(kernel: GuestKernel) -> str:
    """All that an answer holds for: this boot of this machine, this QEMU, this kernel."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return hashlib.sha256(f"{boot} {_qemu_version()} {kernel.about.vmlinuz_sha256}".encode()).hexdigest()


def _qemu_version() -> str:
    command = ["qemu-system-x86_64", "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def _remembered(kernel: GuestKernel) -> str | None:
    """What was found before: "" where KVM works; None where nobody has tried."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        memory = json.loads(_memory().read_text())
        if memory["for"] == _situation(kernel):
            return str(memory["unusable"])
    return None


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
    said = done.stdout.strip().splitlines()[-1:] or ["nothing"]
    return f"a guest that was booted to try it ended and said last: {said[0]}"
