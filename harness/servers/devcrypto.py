"""What both /dev/crypto paths share: the module, and what it says of a transfer's session."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.api.bench import Bench
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.api.steps import Step, Steps, Way
from harness.ciphers.interfaces import DEVCRYPTO
from harness.servers import datapath, ours
from hosts.errors import Refusal
from hosts.facts import Facts

(MODULE,) = DEVCRYPTO.builds
IN_PLACE = "null"
"""The cipher that does nothing to a request in place."""


def unsupported(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why /dev/crypto with this cipher cannot be had on the sender."""
    return ours.unsupported(MODULE, parameters, sender, receiver)


def steps(request: str, parameters: Parameters) -> Steps:
    """What a path does whose requests, the cipher's work apart, have the price ``request``."""
    idle = parameters.cipher is not None and parameters.cipher.name == IN_PLACE
    cipher = () if idle else (Step("kernel_cipher"),)
    return Steps(sender=(Step("read"), Step(request), *cipher, Step("tcp_copy")), way=Way("send"))


def deploy(bench: Bench, name: str, parameters: Parameters, *, mapped: bool) -> Deployed:
    """Load the module, unless this suite did already, and serve in mode ``name``."""
    if parameters.cipher is None:
        raise Refusal(f"{name} needs a cipher")
    datapath.make_ready(bench, DEVCRYPTO, parameters.cipher)
    cipher = parameters.cipher

    def rule(seen: Observed, line: dict[str, Any]) -> str | None:
        """The session enciphered every byte, by the driver it names, in memory as the path says."""
        told, due = line.get("devcrypto", {}), datapath.padded(cipher, seen.payload)
        if told.get("driver") != line["driver"]:
            return f"the session's driver was {told.get('driver')}, not {line['driver']}"
        if told["failed"] or told["bytes"] != due:
            return f"the session enciphered {told['bytes']} bytes of {due}, and {told['failed']} requests failed"
        if not told["requests"] or told["requests"] != line["requests"]:
            return f"the session took {told['requests']} requests, not the {line['requests']} that were made"
        found = tuple(told[way] for way in ("copied_in", "copied_out", "mapped"))
        if found != ((0, 0, due) if mapped else (due, due, 0)):
            return "the session copied {} bytes in and {} out, and mapped {}".format(*found)
        crossed, crossings = line["crossing_bytes"], 2 if mapped else 4
        if not crossings * seen.payload <= crossed < crossings * seen.payload + 1024:
            return f"{crossed} bytes crossed, not {crossings} for each of {seen.payload}"
        return None

    deployed = datapath.serve(bench, name, parameters, rule)

    def verify(seen: Observed) -> Witness:
        """With the session's account among its facts."""
        said = deployed.verify(seen)
        told: dict[str, Any] = next((line["devcrypto"] for line in seen.log if "devcrypto" in line), {})
        return Witness(said.facts | {f"session_{name}": value for name, value in told.items()}, said.reason)

    return replace(deployed, verify=verify)
