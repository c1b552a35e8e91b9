"""Pure: what a suite asks of a path or of the kernel's crypto on these hosts, and why it cannot be had."""

from __future__ import annotations

from dataclasses import replace

from harness import drivers
from harness.ciphers import CIPHERS, Cipher
from harness.paths import DataPath, _need
from harness.profile import TransferSuite
from harness.setup import Setup
from hosts.facts import Facts


def setup(path: DataPath, suite: TransferSuite, sender: Facts) -> Setup:
    """What the suite asks of this path, its driver by name where the sender has one."""
    if path.clear:
        return Setup(None, connection=suite.connection)
    driver = drivers.chosen(suite.driver, CIPHERS[suite.cipher], sender)
    return replace(suite.setup, driver=driver or drivers.CARD)


def why_not(path: DataPath, asked: Setup, sender: Facts, receiver: Facts) -> str | None:
    """Why a path cannot do what is asked, nowhere or not here; None where it can."""
    if reason := path.impossible(asked):
        return reason
    if asked.cipher and asked.driver == drivers.CARD:
        return drivers.no_card(asked.cipher, sender)
    return path.unsupported(asked, sender, receiver)


def why_not_raw(cipher: Cipher, sender: Facts) -> str | None:
    """Why operations of the kernel's cipher cannot be timed on the sender, whatever the driver; None where they can."""
    return _need.missing(
        sender,
        None,
        sender_programs=("cc", "modprobe"),
        sender_modules=(f"algif_{cipher.kind}", *cipher.kernel_modules),
    )
