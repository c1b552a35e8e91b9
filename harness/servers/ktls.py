"""What both kernel TLS paths share: which parameters can take them, and what they stand on."""

from __future__ import annotations

from harness.api.bench import Bench, load
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed, Witness
from harness.servers import cards, nginx, requirements
from harness.servers.requirements import no_cipher_suite
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
    return requirements.together(
        nginx.without_ktls(sender), missing, requirements.one_cipher_suite(parameters, receiver), unproven
    )


def deploy(bench: Bench, name: str, parameters: Parameters, *, sendfile: bool) -> Deployed:
    """Load what the kernel's TLS stands on, and serve. Raises Refusal, for parameters that are impossible too."""
    if reason := impossible(parameters):
        raise Refusal(reason)
    load(bench.sender, bench.on_sender, "tls", *(parameters.cipher.modules if parameters.cipher else ()))
    if parameters.driver == "any" or parameters.cipher is None:
        return nginx.serve_tls(bench, name, parameters, ktls=True, sendfile=sendfile)
    # the kernel's TLS takes the driver of the highest priority when a connection is handed to it
    cards.steer(bench, parameters.driver, (parameters.cipher.kernel,))
    deployed = nginx.serve_tls(bench, name, parameters, ktls=True, sendfile=sendfile)

    def records(seen: Observed, _said: Witness) -> int:
        return seen.requests * max(1, seen.payload // nginx.RECORD_BYTES)

    return cards.watched(deployed, parameters.driver, bench.facts, records)
