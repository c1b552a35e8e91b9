"""What both SO_CRYPT paths share: the module, and what the socket itself says of a transfer."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.ciphers import Cipher
from harness.paths import Deployed, Observed, _datapath, _need
from hosts import changes
from hosts.errors import HarnessError
from hosts.facts import Facts

MODULE = "so_crypt"


def unsupported(cipher: Cipher | None, sender: Facts, receiver: Facts) -> str | None:
    """Why SO_CRYPT with this cipher cannot run on the sender."""
    if cipher is None or cipher.skcipher is None:
        return f"the kernel crypto API has no skcipher for {cipher.title if cipher else 'a path without a cipher'}"
    if MODULE not in sender.built:
        return f"the kernel module {MODULE} is not there: {sender.not_built.get(MODULE, 'it was not built')}"
    return _need.missing(sender, receiver, sender_programs=("cc", "modprobe"), sender_modules=cipher.kernel_modules)


def deploy(bench: Bench, name: str, cipher: Cipher | None, driver: str, crossings: int) -> Deployed:
    """Load the module, unless this suite did already, and serve in mode ``name``."""
    if cipher is None:
        raise HarnessError(f"{name} needs a cipher")
    for module in cipher.kernel_modules:
        bench.on_sender.apply(changes.module(module))
    if MODULE not in bench.loaded:
        bench.on_sender.apply(changes.insmod(MODULE, bench.built[MODULE]))
        bench.loaded.add(MODULE)
    size = cipher

    def rule(seen: Observed, line: dict[str, Any]) -> str | None:
        """The socket encrypted every byte by the driver it names, and nothing was cut on the link."""
        told = line["so_crypt"]
        due = _datapath.padded(size, seen.payload)
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

    return _datapath.serve(bench, name, cipher, driver, rule)
