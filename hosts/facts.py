"""What a host is and can do, found out without changing anything on it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hosts import disks, energy, kernel_config, offloads, quiet
from hosts.capabilities import SYS_MODULE, holds
from hosts.crypto import accelerators, afalg, proc_crypto, qat
from hosts.crypto.afalg import AfAlg
from hosts.crypto.cards import recognise
from hosts.crypto.proc_crypto import Driver
from hosts.crypto.qat import Engine
from hosts.disturbance import quotas
from hosts.offloads import Offload
from hosts.onhost.agent.afalg import FIPS, RESTRICT
from hosts.quiet import Quietness
from hosts.remote.host import RemoteHost
from hosts.renamed import known_as

PROGRAMS: dict[str, tuple[list[str], str]] = {
    # program: how it tells its version, and the pattern of the line that does
    "nginx": (["nginx", "-v"], r"nginx/\S+"),
    "lighttpd": (["lighttpd", "-v"], r"lighttpd/\S+"),
    "openssl": (["openssl", "version"], r"OpenSSL \S+"),
    "cc": (["cc", "--version"], r"\d+\.\d+\.\d+"),
    "make": (["make", "--version"], r"GNU Make \S+"),
    "ip": (["ip", "-V"], r"iproute2-\S+"),
    "tc": (["tc", "-V"], r"iproute2-\S+"),
    "strace": (["strace", "--version"], r"strace -- version \S+"),
    "ethtool": (["ethtool", "--version"], r"ethtool version \S+"),
    "modprobe": (["modprobe", "--version"], r"version \d+"),
    "qatengine": (qat.PROGRAM, r"\bv\d+\.\S+"),
}
"""Programs that data paths may need, and how each tells its version."""

LIBCURL = "import sys; sys.path.insert(0, sys.argv[1]); from agent import curl; sys.exit(curl.tell())"
"""A program that says which libcurl an agent would receive with, by the agent's own code."""

USUAL = {
    "os": "/etc/os-release",
    "cpu": "/proc/cpuinfo",
    "memory": "/proc/meminfo",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
}
"""Files that tell of any machine what its speed depends on."""
FALSE = ("false", "true")
"""Programs that stand in modprobe.d for a module which is not to be loaded."""
NETDEVSIM = "netdevsim"
"""The driver of a card that the kernel only plays (drivers/net/netdevsim): it takes what a card would, and enciphers
nothing."""
CLOCK_TRIES = 5
NODES = "/sys/devices/system/node"
VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"

LIGHTTPD_GNUTLS = ["find", "/usr/lib/lighttpd", "/usr/lib64/lighttpd", "-name", "mod_gnutls.so"]


@dataclass(frozen=True)
class Card:
    """The network card behind a data interface."""

    driver: str | None = None
    """Of its kernel; None where it has none, as a veth."""
    statistics: frozenset[str] = frozenset()
    """What it counts, by its driver's own names."""
    ipsec: str | None = None
    """A file in which netdevsim tells what it counted of IPsec."""


@dataclass(frozen=True)
class Facts:
    """One host."""

    role: str
    kernel: str
    """Its release."""
    programs: dict[str, str | None]
    """Version by name, None where it is missing or does not work; ``headers`` are those of the kernel that runs."""
    modules: frozenset[str]
    """Kernel modules that can be loaded or are built in."""
    broken: dict[str, str] = field(default_factory=dict)
    """What programs that are there and do not work said last, by name."""
    openssl_disabled: frozenset[str] = frozenset()
    """What OpenSSL was built without, as it says."""
    built: dict[str, str] = field(default_factory=dict)
    """Paths there of kernel modules that the harness built for this host, by name."""
    not_built: dict[str, str] = field(default_factory=dict)
    """Why others could not be built, by name."""
    drivers: tuple[Driver, ...] = ()
    """The kernel's crypto drivers when it was asked, in its order; more are there once modules are loaded."""
    accelerators: accelerators.Seen = field(default_factory=accelerators.Seen)
    """Its crypto cards and what proves their use."""
    qat: Engine | None = None
    """OpenSSL's QAT engine there, if any."""
    ip_version: int = 4
    """Of its address on the measured link."""
    af_alg: AfAlg = field(default_factory=AfAlg)
    """What its kernel lets user space have of its ciphers."""
    config: dict[str, str] = field(default_factory=dict)
    """Options of its kernel (``kernel_config.ASKED``): ``y``, ``m``, ``n``; empty where it does not keep them."""
    offloads: dict[str, Offload] = field(default_factory=dict)
    """Those of its data interface, by ethtool's names."""
    card: Card = field(default_factory=Card)
    """Its data interface's."""
    disabled: dict[str, str] = field(default_factory=dict)
    """Kernel modules that its administrator does not let be loaded, and by which words."""
    signed_only: str | None = None
    """Why its kernel takes no module without a signature that it knows; None where it does."""
    own_kernel: bool = True
    """Whether it may load modules (CAP_SYS_MODULE). Else others share its kernel, and keep what it loads or sets."""
    modular: bool = True
    """Whether its kernel can load modules at all."""
    executable: bool = True
    """Whether programs of ours can be run from the run's directory there."""
    shared: str | None = None
    """Why its data interface is not to be touched: it carries the SSH connection; None where it may be."""
    quotas: tuple[str, ...] = ()
    """Files there that tell how long a quota held back what the agent starts."""
    quietness: Quietness = field(default_factory=Quietness)
    """What moves its speed about."""
    usable: tuple[int, ...] = ()
    """Its processors that servers may run on, by number."""
    energy: tuple[energy.Zone, ...] = ()
    """What tells the energy that its processors and their memory take."""
    no_disk: str | None = None
    """Why files cannot lie on a disk there, after the host's name; None where they can."""
    shown: dict[str, Any] = field(default_factory=dict)
    """What goes into the record for readers."""

    def missing(self, programs: tuple[str, ...]) -> list[str]:
        """Which of these programs are not there."""
        return [name for name in programs if not self.programs.get(name)]

    def lacking(self, modules: tuple[str, ...]) -> list[str]:
        """Which of these kernel modules are neither loadable nor built in, by no name of theirs."""
        return [name for name in modules if self.modules.isdisjoint(known_as(name))]

    def refused(self, modules: tuple[str, ...]) -> list[str]:
        """Which of these are disabled there, each with how."""
        names = [name for module in modules for name in known_as(module)]
        return [f"{name} is disabled ({how})" for name in names if (how := self.disabled.get(name))]


def gather(host: RemoteHost, role: str) -> Facts:
    """Ask one host. Reads files and asks programs for their versions, nothing else."""
    kernel = host.check(["uname", "-r"]).strip()
    base = f"/lib/modules/{kernel}"
    interface = host.host.data_interface
    net = f"/sys/class/net/{interface}"
    paths = USUAL | {
        "crypto": "/proc/crypto",
        "loaded": "/proc/modules",
        "dep": f"{base}/modules.dep",
        "builtin": f"{base}/modules.builtin",
        "mtu": f"{net}/mtu",
        "speed": f"{net}/speed",
        "command_line": "/proc/cmdline",
        "headers": f"{base}/build/Makefile",
        "cc": "/proc/sys/net/ipv4/tcp_congestion_control",
        "sig_enforce": "/sys/module/module/parameters/sig_enforce",
        "lockdown": "/sys/kernel/security/lockdown",
        "cgroup": "/proc/self/cgroup",
        "restrict": RESTRICT,
        "fips": FIPS,
        "status": afalg.STATUS,
        "uid_map": afalg.NAMESPACE,
    }
    content = host.read(list(paths.values()))
    text = {name: content[path] or "" for name, path in paths.items()}
    programs, broken = _programs(host)
    gnutls = "mod_gnutls.so" in host.run(LIGHTTPD_GNUTLS).stdout
    programs["lighttpd-gnutls"] = programs["lighttpd"] if gnutls else None
    programs["headers"] = kernel if text["headers"] else None
    vulnerabilities = host.run(["grep", "-r", ".", VULNERABILITIES]).stdout
    disabled = host.run(["openssl", "list", "-disabled"])
    features = host.run(["ethtool", "-k", interface])
    drivers = proc_crypto.flagged(proc_crypto.parse(text["crypto"]), host.agent.crypto_flags())
    cards = accelerators.look(host, drivers)
    configured = host.run(["sh", "-c", "modprobe -c | grep -E '^(install|blacklist) '"]).stdout
    config = kernel_config.look(host, kernel)
    there = _modules({"dep": "", "loaded": text["loaded"], "builtin": text["builtin"]}) | kernel_config.builtin(config)
    af_alg = afalg.seen(kernel, text["restrict"], text["fips"], text["status"], text["uid_map"], there, configured)
    seen, zones, disk = quiet.look(host), energy.look(host), disks.look(host)
    signed_only = signatures(text["sig_enforce"], text["lockdown"])
    emulated = re.search(r"^vendor_id\s*: User Mode Linux$", text["cpu"], re.MULTILINE) is not None
    engine = qat.look(host, programs["qatengine"], emulated=emulated)
    shown = _usual(kernel, text) | {
        "python": host.python_version,
        "kernel_command_line": text["command_line"].strip() or None,
        "mitigations": dict(re.findall(r"^[^:]*/([^/:]+):(.*)$", vulnerabilities, re.MULTILINE)),
        "link": {
            "interface": interface,
            "mtu": _number(r"^(\d+)", text["mtu"]),
            "speed_mbit": _number(r"^(\d+)", text["speed"]),
            "offloads_on": sorted(re.findall(r"^([a-z0-9-]+): on", features.stdout, re.MULTILINE))
            if features.ok
            else None,
        },
        "tcp_congestion_control": text["cc"].strip() or None,
        "signed_modules_only": signed_only,
        "af_alg_restrict": af_alg.level if af_alg.told else None,
        "fips": af_alg.fips,
        "clock": clock(host),
        "speed": seen.shown(),
        "numa": numa(host.run(["sh", "-c", f"grep -s . {NODES}/node[0-9]*/cpulist"]).stdout, seen.near),
        "not_quiet": quiet.loud(seen),
        "energy": [zone.name for zone in zones],
        "disk": disk.shown,
        "programs": programs,
        "crypto_drivers": [
            shown_driver(driver) for driver in sorted(drivers, key=lambda d: (d.algorithm, -d.priority))
        ],
        "accelerators": cards.shown(),
        "qatengine": engine.shown() if engine else None,
    }
    return Facts(
        role=role,
        kernel=kernel,
        programs=programs,
        modules=_modules(text) | kernel_config.builtin(config),
        broken=broken,
        openssl_disabled=frozenset(disabled.stdout.split()) if disabled.ok else frozenset(),
        drivers=drivers,
        accelerators=cards,
        qat=engine,
        ip_version=host.host.data_address.version,
        af_alg=af_alg,
        config=config,
        offloads=offloads.parse(features.stdout),
        card=_card(host, interface),
        disabled=disabled_modules(configured, text["command_line"], text["loaded"], text["builtin"]),
        signed_only=signed_only,
        own_kernel=holds(text["status"], text["uid_map"], SYS_MODULE),
        modular=content[paths["loaded"]] is not None,
        executable=host.hello.executable,
        shared=shared(interface, host.hello.management),
        quotas=tuple(map(str, quotas(text["cgroup"]))),
        quietness=seen,
        usable=usable(text["status"]),
        energy=zones,
        no_disk=disk.lacking,
        shown=shown,
    )


def _card(host: RemoteHost, interface: str) -> Card:
    """The card behind an interface, as its driver tells it."""
    device = f"/sys/class/net/{interface}/device"
    driver = host.run(["readlink", f"{device}/driver"]).stdout.strip().rpartition("/")[2] or None
    counted = host.run(["ethtool", "-S", interface]).stdout
    ipsec = None
    if driver == NETDEVSIM:
        name = host.run(["readlink", device]).stdout.strip().rpartition("/")[2]
        ipsec = played_ipsec(name, host.read([f"/sys/class/net/{interface}/phys_port_name"]).popitem()[1] or "")
    return Card(driver, frozenset(re.findall(r"^ +(\S[^:]*?) *: *\d+$", counted, re.MULTILINE)), ipsec)


def played_ipsec(device: str, port: str) -> str:
    """Where netdevsim tells what it counted of IPsec: ports are named from ``p1`` on, and their files from 0 on."""
    number = int(port.strip().removeprefix("p") or 1)
    return f"/sys/kernel/debug/netdevsim/{device}/ports/{number - 1}/ipsec"


def usable(status: str) -> tuple[int, ...]:
    """The processors that a process may run on, by its own /proc/self/status (proc_pid_status(5))."""
    listed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    return tuple(quiet.numbers(listed[1])) if listed else ()


def clock(host: RemoteHost) -> dict[str, float]:
    """How many seconds a host's clock is ahead of this machine's, and how exactly that is known: the quickest try."""
    tries = []
    for _ in range(CLOCK_TRIES):
        asked = time.time()
        told = host.agent.clock()
        heard = time.time()
        tries.append((heard - asked, told - (asked + heard) / 2))
    taken, ahead = min(tries)
    return {"ahead_seconds": round(ahead, 4), "within_seconds": round(taken / 2, 4)}


def numa(told: str, near: Sequence[int]) -> dict[str, Any]:
    """The NUMA nodes with their processors, by number, and the one that the data interface's card is on; None where its
    driver does not tell, or its processors are of several."""
    nodes = dict(re.findall(r"/node(\d+)/cpulist:(\S+)$", told, re.MULTILINE))
    of_card = [number for number, listed in nodes.items() if near and set(near) <= set(quiet.numbers(listed))]
    return {"nodes": nodes, "card": int(of_card[0]) if of_card else None}


def shared(data_interface: str, management: Sequence[str]) -> str | None:
    """Why the data interface is not to be touched, or None. ``management``: those that carry the SSH connection."""
    if not management:
        return f"it cannot be told whether {data_interface} carries the SSH connection"
    return f"{data_interface} carries the SSH connection" if data_interface in management else None


def signatures(enforced: str, lockdown: str) -> str | None:
    """Why a kernel takes signed modules only, by its own words; None where it takes others or does not tell.

    Documentation/admin-guide/module-signing.rst; kernel_lockdown(7), which Secure Boot turns on.
    """
    if enforced.strip() == "Y":
        return "module.sig_enforce is on"
    level = re.search(r"\[(\w+)\]", lockdown)
    return f"kernel lockdown, {level[1]}" if level and level[1] != "none" else None


def disabled_modules(configured: str, command_line: str, loaded: str, builtin: str) -> dict[str, str]:
    """Modules that cannot be loaded though they are there, by ``modprobe -c`` (modprobe.d(5)) and by the kernel's
    command line (module_blacklist); not those that are in the kernel already."""
    found = {}
    for name, program, rest in re.findall(r"^install\s+(\S+)\s+(\S+)(.*)$", configured, re.MULTILINE):
        if program.rpartition("/")[2] in FALSE:
            found[name.replace("-", "_")] = f"modprobe.d there: install {name} {program}{rest}".rstrip()
    for names in re.findall(r"(?:^|\s)module_blacklist=(\S+)", command_line):
        for name in names.split(","):
            found[name.replace("-", "_")] = "the kernel's command line: module_blacklist"
    there = _modules({"dep": "", "loaded": loaded, "builtin": builtin})
    return {name: how for name, how in found.items() if name not in there}


def _programs(host: RemoteHost) -> tuple[dict[str, str | None], dict[str, str]]:
    """Versions by name, and what those that are there and do not work said last."""
    programs: dict[str, str | None] = {}
    broken: dict[str, str] = {}
    libcurl = [host.python, "-I", "-c", LIBCURL, f"{host.directory}/agent.pyz"]
    for name, (argv, pattern) in (PROGRAMS | {"libcurl": (libcurl, r"libcurl/.*")}).items():
        done = host.run(argv)
        match = re.search(pattern, done.stdout + done.stderr)
        programs[name] = match[0] if done.ok and match else None
        # OpenSSL works where it has no engine
        if programs[name] is None and done.status != 127 and name != "qatengine":
            broken[name] = ((done.stderr.strip() or done.stdout.strip()).splitlines() or ["nothing"])[-1]
    return programs, broken


def this_machine() -> dict[str, Any]:
    """What this machine is, as plain data for the record: a lab's hosts are as fast as the machine that emulates them.

    Nothing by which it could be found, as its name or addresses.
    """
    text = {name: _local(Path(path)) for name, path in USUAL.items()}
    mitigations = {path.name: _local(path).strip() for path in sorted(Path(VULNERABILITIES).glob("*"))}
    seen = quiet.look_here()
    alone = {"speed": seen.shown(), "not_quiet": quiet.loud(seen, placed=seen.processors)}  # guests have theirs
    return _usual(os.uname().release, text) | {"mitigations": mitigations} | alone


def _local(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _usual(kernel: str, text: dict[str, str]) -> dict[str, Any]:
    cpu = dict(re.findall(r"^(model name|vendor_id|microcode)\s*:\s*(.*)$", text["cpu"], re.MULTILINE))
    return {
        "os": _first(r'^PRETTY_NAME="?([^"\n]*)', text["os"]),
        "kernel": kernel,
        "processors": len(re.findall(r"^processor\s*:", text["cpu"], re.MULTILINE)),
        "processor": cpu.get("model name") or cpu.get("vendor_id"),
        "microcode": cpu.get("microcode"),
        "memory_kib": _number(r"^MemTotal:\s+(\d+)", text["memory"]),
        "governor": text["governor"].strip() or None,
        "clocksource": text["clocksource"].strip() or None,
    }


def shown_driver(driver: Driver) -> dict[str, Any]:
    """A crypto driver as plain data for the record; ``card`` names the card behind it, None where none is known."""
    card = recognise(driver)
    return asdict(driver) | {"card": card.name if card else None}


def _modules(text: dict[str, str]) -> frozenset[str]:
    names = re.findall(r"([^/\s:]+)\.ko(?:\.\w+)?:", text["dep"])
    names += re.findall(r"([^/\s]+)\.ko", text["builtin"])
    names += re.findall(r"^(\S+)", text["loaded"], re.MULTILINE)
    return frozenset(name.replace("-", "_") for name in names)


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None


def _number(pattern: str, text: str) -> int | None:
    digits = _first(pattern, text)
    return int(digits) if digits else None
