"""What both SO_CRYPT paths share: the module, and what the socket itself says of a transfer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed
from harness.servers import datapath, ours
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Counter, FileCounter

MODULE = "so_crypt"
TRUNCATED = FileCounter("/proc/net/snmp6", r"^Ip6InTruncatedPkts\s+(\d+)")
"""Of IPv6; that of IP is read anyway."""


def impossible(parameters: Parameters) -> str | None:
    """Why no SO_CRYPT socket can do this."""
    if parameters.connection == "kept" and (parameters.at_once or parameters.requests > 1):
        return "an answer ends its connection: a socket that encrypts cannot go back to clear text for the next head"
    return datapath.no_skcipher(parameters)


def unsupported(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why SO_CRYPT with this cipher cannot run on the sender."""
    return ours.unsupported(MODULE, parameters, sender, receiver)


def deploy(bench: Bench, name: str, parameters: Parameters, crossings: int) -> Deployed:
    """Load the module, unless this suite did already, and serve in mode ``name``."""
    if parameters.cipher is None:
        raise Refusal(f"{name} needs a cipher")
    load(bench.sender, bench.on_sender, *parameters.cipher.modules)
    ours.insert(bench, MODULE)
    cipher = parameters.cipher

    def rule(seen: Observed, line: dict[str, Any]) -> str | None:
        """The socket encrypted every byte by the driver it names, and nothing was cut on the link."""
        told = line["so_crypt"]
        due = datapath.padded(cipher, seen.payload)
        if (told["bytes_in"], told["bytes_out"], told["pending"]) != (due, due, 0):
            return f"the socket took {told['bytes_in']} and gave {told['bytes_out']} bytes of {due}"
        if not told["requests"]:
            return "the socket made no crypto request"
        if told["driver"] != line["driver"]:
            return f"the socket's driver was {told['driver']}, not {line['driver']}"
        for counter in ("ip_truncated_packets", *counters):
            if seen.receiver[counter] != 0:
                return f"{seen.receiver[counter]} truncated packets on the link"
        crossed = line["crossing_bytes"]
        if not crossings * seen.payload <= crossed < crossings * seen.payload + 1024:
            return f"{crossed} bytes crossed, not {crossings} for each of {seen.payload}"
        return None

    counters: dict[str, Counter] = {"ip6_truncated_packets": TRUNCATED} if bench.address.version == 6 else {}
    deployed = datapath.serve(bench, name, parameters, rule)
    return replace(deployed, receiver_counters=deployed.receiver_counters | counters)
