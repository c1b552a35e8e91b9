"""Pure: why an interface to the kernel's ciphers cannot be had on a sender."""

from __future__ import annotations

from harness.ciphers.interfaces import AF_ALG, Interface
from harness.ciphers.table import Cipher
from harness.servers import ours, requirements
from hosts.crypto import afalg
from hosts.facts import Facts


def why_not(interface: Interface, cipher: Cipher, sender: Facts) -> str | None:
    """Why operations of this cipher cannot be timed by it on the sender, whatever the driver; None where they can."""
    if unbuilt := next((reason for module in interface.builds if (reason := ours.lacking(module, sender))), None):
        return unbuilt
    own = (f"algif_{cipher.kind}",) if interface is AF_ALG else ()
    missing = requirements.missing(
        sender, None, sender_programs=("cc", "modprobe"), sender_modules=(*own, *cipher.kernel_modules)
    )
    return requirements.together(missing, _refused(cipher, sender) if interface is AF_ALG else None)


def _refused(cipher: Cipher, sender: Facts) -> str | None:
    """Why AF_ALG does not bind the drivers of a cipher there by their names; None where it does."""
    refused = requirements.no_algorithm(sender, cipher.kind, cipher.kernel)
    if refused is None and sender.af_alg.level != afalg.FREE:
        return (
            f"on the sender AF_ALG is restricted to a list ({cipher.kernel} is on it), and no list has the names of "
            f"drivers, by which each is timed; {afalg.LIFT}"
        )
    return refused
