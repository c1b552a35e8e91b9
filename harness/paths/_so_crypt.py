"""What both SO_CRYPT paths share: the module, and what the socket itself says of a transfer."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.paths import Deployed, Observed, _datapath, _need
from harness.setup import Setup
from hosts import changes
from hosts.errors import HarnessError
from hosts.facts import Facts

MODULE = "so_crypt"


def unsupported(setup: Setup, sender: Facts, receiver: Facts) -> str | None:
    """Why SO_CRYPT with this cipher cannot run on the sender."""
    if MODULE not in sender.built:
        return f"the kernel module {MODULE} is not there: {sender.not_built.get(MODULE, 'it was not built')}"
    modules = setup.cipher.kernel_modules if setup.cipher else ()
    return _need.missing(sender, receiver, sender_programs=("cc", "modprobe"), sender_modules=modules)


def deploy(bench: Bench, name: str, setup: Setup, crossings: int) -> Deployed:
    """Load the module, unless this suite did already, and serve in mode ``name``."""
    if setup.cipher is None:
        raise HarnessError(f"{name} needs a cipher")
    _datapath.load_alg(bench, setup.cipher)
    if MODULE not in bench.loaded:
        bench.on_sender.apply(changes.insmod(MODULE, bench.facts.built[MODULE]))
        bench.loaded.add(MODULE)
    cipher = setup.cipher

    def rule(seen: Observed, line: dict[str, Any]) -> str | None:
        """The socket encrypted every byte by the driver it names, and nothing was cut on the link."""
        told = line["so_crypt"]
        due = _datapath.padded(cipher, seen.payload)
        if (told["bytes_in"], told["bytes_out"], told["pending"]) != (due, due, 0):
            return f"the socket took {told['bytes_in']} and gave {told['bytes_out']} bytes of {due}"
        if not told["requests"]:
            return "the socket made no crypto request"
        if told["driver"] != line["driver"]:
            return f"the socket's driver was {told['driver']}, not {line['driver']}"
        if seen.receiver["ip_truncated_packets"] != 0:
            return f"{seen.receiver['ip_truncated_packets']} truncated packets on the link"
        crossed = line["crossing_bytes"]
        if not crossings * seen.payload <= crossed < crossings * seen.payload + 1024:
            return f"{crossed} bytes crossed, not {crossings} for each of {seen.payload}"
        return None

    return _datapath.serve(bench, name, setup, rule)
