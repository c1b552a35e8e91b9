"""What a host is and can do, found out without changing anything on it."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hosts import accelerators, crypto, qat
from hosts.cards import recognise
from hosts.crypto import Driver
from hosts.qat import Engine
from hosts.remote import RemoteHost

PROGRAMS: dict[str, tuple[list[str], str]] = {
    # program: how it tells its version, and the pattern of the line that does
    "nginx": (["nginx", "-v"], r"nginx/\S+"),
    "lighttpd": (["lighttpd", "-v"], r"lighttpd/\S+"),
    "openssl": (["openssl", "version"], r"OpenSSL \S+"),
    "cc": (["cc", "--version"], r"\d+\.\d+\.\d+"),
    "ip": (["ip", "-V"], r"iproute2-\S+"),
    "tc": (["tc", "-V"], r"iproute2-\S+"),
    "strace": (["strace", "--version"], r"strace -- version \S+"),
    "modprobe": (["modprobe", "--version"], r"version \d+"),
    "qatengine": (qat.PROGRAM, r"\bv\d+\.\S+"),
    "pycurl": (["python3", "-I", "-c", "import pycurl; print(pycurl.version)"], r"PycURL.*"),
}
"""Programs that data paths may need, and how each tells its version."""

USUAL = {
    "os": "/etc/os-release",
    "cpu": "/proc/cpuinfo",
    "memory": "/proc/meminfo",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "clocksource": "/sys/devices/system/clocksource/clocksource0/current_clocksource",
}
"""Files that tell of any machine what its speed depends on."""
VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities"

LIGHTTPD_GNUTLS = ["find", "/usr/lib/lighttpd", "/usr/lib64/lighttpd", "-name", "mod_gnutls.so"]


@dataclass(frozen=True)
class Facts:
    """One host. ``programs``: version, or None where missing. ``modules``: names of the kernel modules that can
    be loaded or are built in. ``openssl_disabled``: what OpenSSL was built without, as it says. ``built``: paths there
    of kernel modules that the harness built for this host, ``not_built``: why others could not be. ``drivers``: the
    kernel's crypto drivers when it was asked, in its order; more are there once modules are loaded. ``accelerators``:
    its crypto cards and what proves their use, ``qat`` OpenSSL's QAT engine there, if any. ``shown`` is what goes into
    the record for readers."""

    role: str
    kernel: str
    programs: dict[str, str | None]
    modules: frozenset[str]
    openssl_disabled: frozenset[str] = frozenset()
    built: dict[str, str] = field(default_factory=dict)
    not_built: dict[str, str] = field(default_factory=dict)
    drivers: tuple[Driver, ...] = ()
    accelerators: accelerators.Seen = field(default_factory=accelerators.Seen)
    qat: Engine | None = None
    shown: dict[str, Any] = field(default_factory=dict)

    def missing(self, programs: tuple[str, ...]) -> list[str]:
        """Which of these programs are not there."""
        return [name for name in programs if not self.programs.get(name)]

    def lacking(self, modules: tuple[str, ...]) -> list[str]:
        """Which of these kernel modules are neither loadable nor built in."""
        return [name for name in modules if name.replace("-", "_") not in self.modules]


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
        "cc": "/proc/sys/net/ipv4/tcp_congestion_control",
    }
    found = host.read(list(paths.values()))
    text = {name: found[path] or "" for name, path in paths.items()}
    programs: dict[str, str | None] = {}
    for name, (argv, pattern) in PROGRAMS.items():
        done = host.run(argv)
        match = re.search(pattern, done.stdout + done.stderr)
        programs[name] = match[0] if done.ok and match else None
    gnutls = "mod_gnutls.so" in host.run(LIGHTTPD_GNUTLS).stdout
    programs["lighttpd-gnutls"] = programs["lighttpd"] if gnutls else None
    vulnerabilities = host.run(["grep", "-r", ".", VULNERABILITIES]).stdout
    disabled = host.run(["openssl", "list", "-disabled"])
    offloads = host.run(["ethtool", "-k", interface])
    drivers = crypto.flagged(crypto.parse(text["crypto"]), host.call("crypto_flags"))
    cards = accelerators.look(host, drivers)
    emulated = re.search(r"^vendor_id\s*: User Mode Linux$", text["cpu"], re.MULTILINE) is not None
    engine = qat.look(host, programs["qatengine"], emulated=emulated)
    shown = _usual(kernel, text) | {
        "kernel_command_line": text["command_line"].strip() or None,
        "mitigations": dict(re.findall(r"^[^:]*/([^/:]+):(.*)$", vulnerabilities, re.MULTILINE)),
        "link": {
            "interface": interface,
            "mtu": _number(r"^(\d+)", text["mtu"]),
            "speed_mbit": _number(r"^(\d+)", text["speed"]),
            "offloads_on": sorted(re.findall(r"^([a-z0-9-]+): on", offloads.stdout, re.MULTILINE))
            if offloads.ok
            else None,
        },
        "tcp_congestion_control": text["cc"].strip() or None,
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
        modules=_modules(text),
        openssl_disabled=frozenset(disabled.stdout.split()) if disabled.ok else frozenset(),
        drivers=drivers,
        accelerators=cards,
        qat=engine,
        shown=shown,
    )


def this_machine() -> dict[str, Any]:
    """What this machine is, as plain data for the record: a lab's hosts are as fast as the machine that emulates them.

    Nothing by which it could be found, as its name or addresses.
    """
    text = {name: _local(Path(path)) for name, path in USUAL.items()}
    mitigations = {path.name: _local(path).strip() for path in sorted(Path(VULNERABILITIES).glob("*"))}
    return _usual(os.uname().release, text) | {"mitigations": mitigations}


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
    found = _first(pattern, text)
    return int(found) if found else None
