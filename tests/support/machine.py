"""The machine that a lab runs on, looked at from outside, and a client of its own for the lab's guests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko

from hosts.testbed import Host

ROOT = Path(__file__).parents[2]
LAB = [sys.executable, "-m", "hosts.lab"]


@contextmanager
def client(host: Host, known_hosts: Path | None = None) -> Iterator[paramiko.SSHClient]:
    """An SSH client with strict host keys, over the host's proxy command."""
    assert host.proxy_command and host.identity_file
    proxy = paramiko.ProxyCommand(host.proxy_command.replace("%h", host.address).replace("%p", str(host.port)))
    connected = paramiko.SSHClient()
    connected.load_host_keys(str(known_hosts or host.known_hosts))
    connected.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        connected.connect(
            host.address,
            username=host.user,
            key_filename=str(host.identity_file),
            sock=proxy,
            allow_agent=False,
            look_for_keys=False,
            timeout=20,
        )
        yield connected
    finally:
        end(connected.get_transport(), proxy)


def end(transport: paramiko.Transport | None, proxy: paramiko.ProxyCommand) -> None:
    """Close a connection and see its proxy end: only after paramiko's thread, which would kill it."""
    if transport:
        transport.close()
        transport.join(timeout=10)
    proxy.process.communicate(timeout=10)


def traces() -> dict[str, object]:
    """All that a lab could leave on the machine, apart from processes; agents of others come and go in /dev/shm."""
    runtime = [Path(place) for place in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "/dev/shm"))]
    return {
        "mounts": Path("/proc/mounts").read_text().splitlines(),
        "interfaces": sorted(str(path) for path in Path("/sys/class/net").iterdir()),
        "named namespaces": subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout,
        "runtime files": sorted(
            str(path) for place in runtime for path in place.iterdir() if not path.name.startswith("pathproof-")
        ),
        "named uml directories": sorted(str(path) for path in Path("/tmp").glob("*/pid")),
    }


def inhabitants(namespace: str) -> list[str]:
    """The processes in a network namespace, by what they run."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if str((process / "ns/net").readlink()) == namespace:
                    found.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
            except OSError:
                continue
    return found


def soon(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def namespace_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())
