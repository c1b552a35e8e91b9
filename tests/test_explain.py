"""Predictions are only made where prices are processor time."""

from __future__ import annotations

from typing import cast

from harness import ceiling
from harness.bed import Bed
from harness.events import Events
from harness.explain import Explanation
from harness.profile import TransferSuite
from tests.campaigns import PATHS, profile_of, suite

CLEAR = ceiling.Clear(seconds=0.1, sender_cpu=0.1, receiver_cpu=0.05)
PRICES = dict.fromkeys(
    ("syscall", "read", "alg_send", "alg_sendfile", "cipher", "kernel_cipher", "tcp_copy"), ceiling.Price(1000.0, 10.0)
)


def explained(driver: str) -> Explanation:
    """A suite of two schemes by a driver, every step of it priced alike."""
    profile = profile_of(suite("afalg-copy", "so-crypt", "plain", cipher="aes128cbc", driver=driver))
    only = profile.suites[0]
    assert isinstance(only, TransferSuite)
    found = Explanation(cast(Bed, None), profile, only, PATHS, Events())
    found.prices = dict(PRICES)
    return found


def test_software_is_predicted_and_a_card_is_not() -> None:
    for metric in ("seconds", "cpu_seconds_per_gb"):
        predicted = explained("any").predictions(10**6, CLEAR)(metric, "so-crypt")
        assert predicted is not None and predicted > 1
        assert explained("card").predictions(10**6, CLEAR)(metric, "so-crypt") is None


def test_nothing_is_predicted_without_prices_or_a_clear_path() -> None:
    known = explained("any")
    assert known.predictions(10**6, None)("seconds", "so-crypt") is None
    known.prices = {}
    assert known.predictions(10**6, CLEAR)("seconds", "so-crypt") is None
