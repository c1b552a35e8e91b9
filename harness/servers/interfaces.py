"""Pure: why an interface to the kernel's ciphers cannot be had on a sender."""

from __future__ import annotations

from harness.ciphers.interfaces import AF_ALG, Interface
from harness.ciphers.table import Cipher
from harness.servers import ours, requirements
from hosts.facts import Facts


def why_not(interface: Interface, cipher: Cipher, sender: Facts) -> str | None:
    """Why operations of this cipher cannot be timed by it on the sender, whatever the driver; None where they can."""
    own = (f"algif_{cipher.kind}",) if interface is AF_ALG else ()
    missing = requirements.missing(
        sender, None, sender_programs=("cc", "modprobe"), sender_modules=(*own, *cipher.kernel_modules)
    )
    return next((reason for module in interface.builds if (reason := ours.lacking(module, sender))), None) or missing
