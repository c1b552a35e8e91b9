"""Hosts put back after a crash, from any machine: what earlier agents left there is undone by the next one."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from hosts import disks, provision
from hosts.errors import HostLost
from hosts.onhost.agent.protocol import IN_USE
from hosts.remote.agent import AgentError
from hosts.remote.host import LEASE_SECONDS, RemoteHost
from hosts.testbed import Host

PATIENCE_SECONDS = LEASE_SECONDS + 30.0
"""An agent whose controller is gone has put its host back by then, whatever ended that controller."""
PAUSE_SECONDS = 3.0
LOOK = """
grep -s -o -E '^(so_crypt|devcrypto) ' /proc/modules | sed 's/^/the module /'
tc qdisc show 2>/dev/null | grep -o ' ca11: dev [^ ]*' | sed 's/.* dev/a rate on/'
ls -d /dev/shm/pathproof-* /tmp/pathproof-* /run/pathproof-* /run/user/*/pathproof-* /var/tmp/pathproof-* 2>/dev/null |
grep -v -x -F "$1" | sed 's/^/the directory /'
[ -e "$2" ] && echo "the directory $2"
grep -s -l '^# Made by pathproof' "$3" | sed 's/^/the file /'
grep -s -q '"unsettled": \\[$' "$4" && echo "packages whose installation was cut, which deprovision removes"
true
"""
"""Prints what of ours is there, a line each: not the directory ``$1``, but that of files on a disk ``$2``, if any,
``$3``, which forbids the start of services, and an installation in ``$4`` after which something is still due. Reads
only."""


@dataclass(frozen=True)
class Restored:
    """A host, looked at once it was put back."""

    undone: list[str]
    """What earlier runs had left and is undone, a line each."""
    remaining: list[str]
    """What they had left and is not undone, with the reason."""
    left: list[str]
    """What of ours is there still."""
    up_minutes: int
    """How long ago it booted."""
    boot: str
    """The kernel's name for this boot."""


def restore(name: str, host: Host, patience: float = PATIENCE_SECONDS) -> Restored:
    """Put a host back as far as its journals tell, waiting ``patience`` seconds for an agent that is still there.

    Raises HostLost, AgentError where it is in use or a journal cannot be read.
    """
    end = time.monotonic() + patience
    while True:
        try:
            remote = RemoteHost(name, host, run="restore")
            break
        except AgentError as error:
            if not error.what.startswith(IN_USE) or time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)
    with remote:
        on_disk = f"{host.disk}/{disks.FOLDER}" if host.disk else ""
        look = ["sh", "-c", LOOK, "sh", remote.directory, on_disk, provision.POLICY, provision.PLACE]
        left = [" ".join(line.split()) for line in remote.run(look).stdout.splitlines()]
        uptime = re.match(r"\d+", remote.read(["/proc/uptime"])["/proc/uptime"] or "0")
        minutes = int(uptime[0]) // 60 if uptime else 0
        return Restored(remote.recovered, remote.remaining, left, minutes, remote.hello.boot)


def after_loss(name: str, host: Host, boot: str, patience: float = 20.0) -> str:
    """What became of a host that was lost in mid-run, in a sentence. ``boot``: the one that it had."""
    command = "python -m harness restore --testbed FILE"
    try:
        found = restore(name, host, patience)
    except HostLost:
        return f"the {name} does not answer: when it is there again, {command} puts it back and tells what is left"
    except AgentError as error:
        return f"the {name} is not put back yet ({error.what}): {command} does so, or tells what is in the way"
    return told(name, found, boot)


def told(name: str, found: Restored, boot: str | None = None) -> str:
    """What became of a host, in a sentence. ``boot``: that of a run that was lost, if one was."""
    left = f"; still there: {', '.join(found.left)}" if found.left else ""
    if boot is not None and boot != found.boot:
        return (
            f"the {name} was booted anew in mid-run, {found.up_minutes} min ago: files on tmpfs, modules, settings, "
            f"IPsec and queueing of the run went with the old kernel; packages that were installed stay, and so do "
            f"{disks.FOLDER} on a disk and {provision.POLICY}, if they were there{left}"
        )
    if found.remaining:
        undone = f"; undone: {'; '.join(found.undone)}" if found.undone else ""
        return f"the {name} was not wholly put back: {'; '.join(found.remaining)}{undone}{left}"
    return f"the {name} was put back: {'; '.join(found.undone) or 'nothing was left to undo'}{left}"
