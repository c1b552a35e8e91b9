"""What hosts can do: their crypto drivers and cards, and which questions of a profile they can and cannot answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.ciphers.table import CIPHERS
from harness.profile import CryptoSuite, Profile
from harness.run.answers import Answer
from hosts.crypto import proc_crypto
from hosts.crypto.accelerators import Device, Seen
from hosts.crypto.cards import CARDS, recognise
from hosts.crypto.proc_crypto import Driver
from hosts.facts import Facts

INDENT = "  "


def of_profile(profile: Profile, found: Sequence[Answer]) -> list[str]:
    """Lines for a terminal: every suite of a profile, path by path."""
    possible = [answer for answer in found if answer.reason is None]
    later = sum(bool(answer.unbuilt) for answer in possible)
    more = f", {later} more once built" if later else ""
    lines = [f"profile {profile.name}: {len(possible) - later} of {len(found)} paths can run{more}"]
    for suite in profile.suites:
        mine = [answer for answer in found if answer.suite == suite.name]
        if isinstance(suite, CryptoSuite):
            lines.append(f"{INDENT}suite {suite.name}: drivers {', '.join(suite.drivers)}")
        else:
            lines.append(f"{INDENT}suite {suite.name}: {CIPHERS[suite.cipher].title}, driver {suite.driver}")
        lines += table([[answer.path, answer.cipher, str(answer)] for answer in mine])
    return lines


def of_host(facts: Facts, user: int) -> list[str]:
    """Lines for a terminal: a host, its programs, its crypto drivers and cards. ``user``: its number there."""
    rights = "root" if user == 0 else f"user {user}: no IPsec, kernel modules, changed priorities or shaping"
    cards = _cards(facts.accelerators)
    return [
        f"{facts.role}: {facts.shown.get('os') or 'unknown system'}, kernel {facts.kernel}, {rights}",
        f"{INDENT}programs:",
        *table([name, version or "missing"] for name, version in sorted(facts.programs.items())),
        f"{INDENT}crypto drivers now (* is what the kernel takes for the algorithm's name; modules bring more):",
        *table(_driver(driver, facts.drivers) for driver in sorted(facts.drivers, key=_by_algorithm)),
        f"{INDENT}crypto cards:" if cards else f"{INDENT}crypto cards: none found",
        *[f"{INDENT * 2}{line}" for line in cards],
    ]


def _by_algorithm(driver: Driver) -> tuple[str, int, str]:
    return (driver.algorithm, -driver.priority, driver.driver)


def _driver(driver: Driver, others: Sequence[Driver]) -> list[str]:
    card = recognise(driver)
    notes = [
        {True: "asynchronous", False: "synchronous", None: ""}[driver.asynchronous],
        "" if driver.passed else "self-test not passed",
        "internal" if driver.internal else "",
        f"card: {card.title}" if card else "hardware of a kind not in the table" if driver.kernel_driver_only else "",
    ]
    return [
        "*" if proc_crypto.taken(others, driver.algorithm) == driver else " ",
        driver.algorithm,
        driver.driver,
        f"priority {driver.priority}",
        f"module {driver.module}",
        ", ".join(note for note in notes if note),
    ]


def _cards(seen: Seen) -> list[str]:
    titles = {card.name: card.title for card in CARDS}
    lines = [_device(device, titles[device.card]) for device in seen.devices]
    for name, proof in seen.proofs.items():
        counted = ", ".join(sorted(proof.counters))
        how = f"its use is proved by {counted}" if counted else f"nothing proves its use: {proof.why_not}"
        lines.append(f"{titles[name]}: {how}")
    return lines


def _device(device: Device, title: str) -> str:
    parts = [f"{device.address} {title} ({device.identity})"]
    parts.append(f"driver {device.driver}" if device.driver else "no driver bound to it")
    if device.virtual_function:
        parts.append("virtual function")
    parts += [f"{name} {value}" for name, value in device.attributes.items()]
    parts += [f"heartbeat {name} {value}" for name, value in device.heartbeat.items()]
    return ", ".join(parts)


def table(rows: Iterable[list[str]]) -> list[str]:
    """Rows in columns of equal width, but for the last."""
    table = list(rows)
    widths = [max(len(row[n]) for row in table) for n in range(len(table[0]))] if table else []
    return [
        INDENT * 2 + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
