"""Kernel modules of ours: why one is not there, and loading it."""

from __future__ import annotations

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.servers import requirements
from hosts.facts import Facts
from hosts.remote import changes
from hosts.roles import Role


def lacking(module: str, host: Facts) -> str | None:
    """Why the module cannot be loaded on a host, or None."""
    if module not in host.built:
        return f"the kernel module {module} is not there: {host.not_built.get(module, 'it was not built')}"
    if host.signed_only:
        return (
            f"the {host.role}'s kernel takes signed modules only ({host.signed_only}): sign {module} with a key that "
            "it knows (mokutil --import), or turn Secure Boot off"
        )
    return None


def unsupported(module: str, parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why what the module does cannot be had with this cipher on the sender."""
    if reason := lacking(module, sender):
        return reason
    modules = parameters.cipher.kernel_modules if parameters.cipher else ()
    missing = requirements.missing(sender, receiver, sender_programs=("cc", "modprobe"), sender_modules=modules)
    return requirements.together(missing, requirements.not_approved(parameters, sender))


def insert(bench: Bench, module: str, role: Role = "sender") -> None:
    """Load it on a host with what it needs, unless this suite did already. Raises Refusal, HostLost.

    Parts of the kernel's crypto are modules in some kernels; insmod(8) loads nothing besides.
    """
    if (role, module) in bench.loaded:
        return
    sends = role == "sender"
    host, scope = (bench.sender, bench.on_sender) if sends else (bench.receiver, bench.on_receiver)
    built = (bench.facts if sends else bench.receiver_facts).built[module]
    needs = host.look(["modinfo", "-F", "depends", built]).stdout.strip()
    load(host, scope, *filter(None, needs.split(",")))
    scope.apply(changes.insmod(module, built))
    bench.loaded.add((role, module))
