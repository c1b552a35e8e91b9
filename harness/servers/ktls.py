"""What kernel TLS paths share: which parameters can take them, and what they stand on."""

from __future__ import annotations

from dataclasses import replace

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.servers import cards, nginx, nic, requirements
from harness.servers.requirements import no_cipher_suite
from hosts import kernel_config
from hosts.errors import Refusal
from hosts.facts import Facts


def impossible(parameters: Parameters) -> str | None:
    """Why no kernel can make these records."""
    if parameters.cipher is None or parameters.cipher.ktls is None:
        return (
            f"the kernel's TLS has no {parameters.title}: linux/tls.h lists AEAD ciphers only, and OpenSSL would fall "
            "back to user space without a word"
        )
    return no_cipher_suite(parameters)


def unsupported(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why kernel TLS cannot run here: OpenSSL or the kernel, or a program that is missing."""
    steering = () if parameters.driver == "any" else ("crypto_user",)
    missing = requirements.missing(
        sender, receiver, sender_programs=("nginx", "openssl", "modprobe"), sender_modules=steering
    )
    unproven = cards.unproven(parameters.driver, sender) if steering else None
    refused = requirements.not_approved(parameters, sender)
    suites = requirements.one_cipher_suite(parameters, receiver)
    unasked = requirements.unasked(parameters.cipher.kernel_modules if parameters.cipher else (), sender)
    return requirements.together(nginx.without_ktls(sender), missing, suites, refused, unasked, unproven)


def in_software(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why the kernel cannot make the records itself here: also a card that would always take them."""
    return requirements.together(unsupported(parameters, sender, receiver), nic.with_it(nic.TLS, sender))


def by_card(parameters: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why no network card can make the records here."""
    built = sender.config.get(kernel_config.TLS_DEVICE) != "n"
    reason = f"the sender's kernel {sender.kernel} is built without CONFIG_{kernel_config.TLS_DEVICE}"
    no_card = nic.without(nic.TLS, sender) if built else reason
    return requirements.together(unsupported(parameters, sender, receiver), no_card)


def deploy(bench: Bench, name: str, parameters: Parameters, *, sendfile: bool, card: bool = False) -> Deployed:
    """Load what the kernel's TLS stands on, and serve. The kernel makes the records, or ``card``: it hands each new
    connection to a network card that has the offload on, so each transfer has it switched as it must be.

    Raises Refusal, for parameters that are impossible too.
    """
    if reason := impossible(parameters):
        raise Refusal(reason)
    load(bench.sender, bench.on_sender, "tls", *(parameters.cipher.modules if parameters.cipher else ()))
    during = nic.switched(nic.TLS, card, bench.facts)
    if card:
        by_it = nginx.serve_tls(bench, name, parameters, by="card", sendfile=sendfile)
        return replace(nic.by_tls(by_it, bench.facts), during=during)
    if parameters.driver != "any" and parameters.cipher:
        # the kernel's TLS takes the driver of the highest priority when a connection is handed to it
        cards.steer(bench, parameters.driver, (parameters.cipher.kernel,))
    deployed = replace(nginx.serve_tls(bench, name, parameters, by="kernel", sendfile=sendfile), during=during)
    if parameters.driver == "any":
        return deployed

    return cards.watched(deployed, parameters.driver, bench.facts, lambda seen, _said: nginx.records(seen))
