"""Makes this machine fit for a lab: installs what is missing where it may, otherwise says what to do."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hosts.debian import apt, packages
from hosts.errors import Refusal
from hosts.processes import SYSTEM_PATH
from hosts.progress import Progress, silent

TUN = Path("/dev/net/tun")

BOOT = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "taskset": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
BOOT_QEMU = {"qemu-system-x86_64": "qemu-system-x86"}
BUILD = {"mmdebstrap": "mmdebstrap"}
UNPRIVILEGED_IDS = {"newuidmap": "uidmap", "newgidmap": "uidmap"}


@dataclass(frozen=True)
class Machine:
    """Where to look; tests look elsewhere."""

    uid: int
    path: str = os.environ.get("PATH", "") + ":" + SYSTEM_PATH
    tun: Path = TUN
    subuid: Path = Path("/etc/subuid")
    subgid: Path = Path("/etc/subgid")
    keyring: Path = apt.KEYRING

    @property
    def root(self) -> bool:
        """Whether nothing needs a user namespace."""
        return self.uid == 0


def make_ready(
    *,
    build: bool,
    qemu: bool = False,
    tun: bool = True,
    more_ids: bool = False,
    progress: Progress = silent,
    machine: Machine | None = None,
) -> None:
    """See that a lab can boot here, one of QEMU guests if ``qemu``, and, if ``build``, that its image can be built.

    ``tun``: its guests' network cards are TAP devices. ``more_ids``: its hosts have users beside root.

    As root, installs what is missing. Raises Refusal, before anything starts, when something remains.
    """
    machine = machine or Machine(os.geteuid())
    lacking = missing(machine, build=build, qemu=qemu, more_ids=more_ids)
    if lacking:
        if not machine.root:
            raise Refusal(
                f"the lab needs {' '.join(lacking)}, which this machine lacks",
                next_step=f"as root: apt-get install {' '.join(lacking)}",
            )
        packages.install(lacking, progress)
    if tun:
        check_tun(machine)
    check_processes()
    if qemu:
        check_thread_accounts()
    if not machine.root:
        check_user_namespaces()
        if build or more_ids:
            check_subordinate_ids(machine)


def missing(machine: Machine, *, build: bool, qemu: bool = False, more_ids: bool = False) -> list[str]:
    """Debian's names of the packages that the lab needs and this machine lacks."""
    needed = BOOT | (BOOT_QEMU if qemu else {}) | (BUILD if build else {})
    if (build or more_ids) and not machine.root:
        needed |= UNPRIVILEGED_IDS
    lacking = {package for program, package in needed.items() if not shutil.which(program, path=machine.path)}
    if build and not machine.keyring.exists():
        lacking.add("debian-archive-keyring")
    return sorted(lacking)


def check_tun(machine: Machine) -> None:
    """The guests' network cards are TAP devices. Raises Refusal."""
    if not machine.tun.exists():
        raise Refusal(
            f"the lab needs {machine.tun}, which this machine lacks",
            next_step="as root: modprobe tun (in a container: start it with --device /dev/net/tun)",
        )
    if not os.access(machine.tun, os.R_OK | os.W_OK, effective_ids=True):
        raise Refusal(
            f"the lab needs {machine.tun}, which user {_name(machine.uid)} may not read and write",
            next_step=f"as root: chmod 0666 {machine.tun}; or run as root",
        )


def check_processes() -> None:
    """The guests' CPU time is added up over the processes that they started. Raises Refusal."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        raise Refusal("the lab needs a kernel that lists child processes in /proc (CONFIG_PROC_CHILDREN)")


def check_thread_accounts() -> None:
    """A QEMU guest's CPU time is that of the threads which are its processors. Raises Refusal."""
    if not Path(f"/proc/{os.getpid()}/schedstat").exists():
        raise Refusal("the lab needs a kernel that accounts for threads in /proc (CONFIG_SCHED_INFO)")


def check_memory(guests: int, memory_mb: int) -> None:
    """Guests get memory as they use it; more than there is would end them in mid-run. Raises Refusal."""
    total_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    if guests * memory_mb > total_mb:
        raise Refusal(
            f"{guests} guests of {memory_mb} MB need more memory than the {total_mb} MB of this machine",
            next_step="set a smaller memory_mb in the testbed",
        )


def check_user_namespaces() -> None:
    """An ordinary user's lab lives in a user namespace. Raises Refusal."""
    tried = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"]
    result = subprocess.run(tried, capture_output=True, text=True, timeout=30, check=False)
    if result.returncode == 0:
        return
    switches = {
        "user.max_user_namespaces": "0",
        "kernel.unprivileged_userns_clone": "0",
        "kernel.apparmor_restrict_unprivileged_userns": "1",
    }
    said = [
        f"{name}={value}"
        for name, value in switches.items()
        if _read(Path("/proc/sys") / name.replace(".", "/")) == value
    ]
    because = f" ({', '.join(said)})" if said else f" ({result.stderr.strip()})"
    turn_on = " ".join(f"{s.split('=')[0]}={'0' if s.endswith('1') else '1'}" for s in said if "max" not in s)
    raise Refusal(
        f"an ordinary user's lab needs user namespaces, which this machine does not allow{because}",
        next_step=f"as root: sysctl {turn_on}; or run as root" if turn_on else "allow them, or run as root",
    )


def check_subordinate_ids(machine: Machine) -> None:
    """An ordinary user builds an image with subordinate ids. Raises Refusal."""
    name = _name(machine.uid)
    lacking = [
        str(table)
        for table in (machine.subuid, machine.subgid)
        if not any(line.split(":")[0] in (name, str(machine.uid)) for line in _read(table).splitlines())
    ]
    if lacking:
        raise Refusal(
            f"the lab or its image needs subordinate ids: {' and '.join(lacking)} has none for user {name}",
            next_step=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
        )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
