"""Pure: what a suite asks of a path or of the kernel's crypto on these hosts, and why it cannot be had."""

from __future__ import annotations

from dataclasses import replace

from harness.api.parameters import Parameters
from harness.api.path import DataPath
from harness.ciphers import drivers
from harness.ciphers.table import CIPHERS
from harness.load import generator
from harness.measuring import conditions, disk, steering
from harness.profile import TransferSuite
from harness.servers import requirements
from hosts.facts import Facts


def parameters(path: DataPath, suite: TransferSuite, sender: Facts, workers: int | None = None) -> Parameters:
    """What the suite asks of this path, its driver by name where the sender has one, with so many workers."""
    if path.clear:
        asked = suite.parameters
        return Parameters(
            None, connection=asked.connection, at_once=asked.at_once, workers=workers, receive_on=asked.receive_on
        )
    driver = drivers.chosen(suite.driver, CIPHERS[suite.cipher], sender)
    return replace(suite.parameters, driver=driver or drivers.CARD, workers=workers)


def why_not(path: DataPath, asked: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why a path cannot do what is asked, nowhere or not here; None where it can."""
    if reason := path.impossible(asked):
        return reason
    if asked.cipher and asked.driver == drivers.CARD:
        return drivers.no_card(asked.cipher, sender)
    no_disk = disk.missing(sender, receiver) if asked.files == "disk" else None
    if reason := path.unsupported(asked, sender, receiver) or no_disk:
        return reason
    if asked.group and path.speaks_tls and (reason := requirements.no_group(asked.group, sender, receiver)):
        return reason
    return _loaded(asked, sender, receiver) if asked.at_once else None


def link_kept(suite: TransferSuite, may_shape: bool) -> str | None:
    """Why a suite cannot be had where a testbed wants its link left as it is, or None: its rate alone may be missing.

    ``may_shape``: whether the testbed lets its link be changed.
    """
    if may_shape:
        return None
    far = conditions.asked(suite)
    wanted = [*([str(far)] if far else []), *([steering.WORDS[suite.receive_on]] if suite.receive_on else [])]
    if not wanted:
        return None
    return f"the suite asks for more than a rate ({', '.join(wanted)}), and the testbed does not say shape = true"


def _loaded(asked: Parameters, sender: Facts, receiver: Facts) -> str | None:
    """Why these hosts cannot have many connections as they are asked for, or None."""
    several = no_processors(asked.workers, sender) if asked.workers else None
    steered = steering.unsupported(sender, receiver) if asked.receive_on else None
    return several or steered or generator.unsupported(sender, receiver)


def no_processors(workers: int, sender: Facts) -> str | None:
    """Why so many workers cannot have a processor each, or None."""
    usable = len(sender.usable)
    if workers <= usable:
        return None
    has = "1 processor" if usable == 1 else f"{usable} processors"
    kept = " (quiet = true keeps them to one)" if sender.shown.get("quiet") else ""
    return f"{workers} workers want a processor each, and the sender's servers have {has}{kept}"
