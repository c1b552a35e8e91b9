"""What both kernel TLS paths share: which setups can take them, and what they stand on."""

from __future__ import annotations

from harness.bench import Bench, load
from harness.paths import Deployed, _card, _need, _nginx
from harness.paths.https import no_suite
from harness.setup import Setup
from hosts.errors import HarnessError
from hosts.facts import Facts


def impossible(setup: Setup) -> str | None:
    """Why no kernel can make these records."""
    if setup.cipher is None or setup.cipher.ktls is None:
        return (
            f"the kernel's TLS has no {setup.title}: linux/tls.h lists AEAD ciphers only, and OpenSSL would fall back "
            "to user space without a word"
        )
    return no_suite(setup)


def unsupported(setup: Setup, sender: Facts, receiver: Facts) -> str | None:
    """Why kernel TLS cannot run here: OpenSSL or the kernel, or a program that is missing."""
    steering = () if setup.driver == "any" else ("crypto_user",)
    missing = _need.missing(sender, receiver, sender_programs=("nginx", "openssl", "modprobe"), sender_modules=steering)
    unproven = _card.unproven(setup.driver, sender) if steering else None
    return _need.together(_nginx.without_ktls(sender), missing, _need.one_suite(receiver), unproven)


def deploy(bench: Bench, name: str, setup: Setup, *, sendfile: bool) -> Deployed:
    """Load what the kernel's TLS stands on, and serve. Raises HarnessError, for a setup that is impossible too."""
    if reason := impossible(setup):
        raise HarnessError(reason)
    load(bench.sender, bench.on_sender, "tls", *(setup.cipher.modules if setup.cipher else ()))
    if setup.driver == "any" or setup.cipher is None:
        return _nginx.serve_tls(bench, name, setup, ktls=True, sendfile=sendfile)
    # the kernel's TLS takes the driver of the highest priority when a connection is handed to it
    _card.steer(bench, setup.driver, (setup.cipher.kernel,))
    deployed = _nginx.serve_tls(bench, name, setup, ktls=True, sendfile=sendfile)
    records = _nginx.RECORD_BYTES
    return _card.watched(deployed, setup.driver, bench.facts, lambda seen, _said: seen.payload // records)
