"""What is found out about a host, and that finding it out changes nothing there."""

from __future__ import annotations

import os
import platform

from hosts import facts
from hosts.crypto.proc_crypto import Driver


def test_a_driver_in_the_record_names_its_card() -> None:
    card = Driver("cbc(aes)", "qat_aes_cbc", "intel_qat", "skcipher", 100, True, True, False, 16, 16, 32, 16, 1)
    shown = facts.shown_driver(card)
    assert shown == {
        "algorithm": "cbc(aes)",
        "driver": "qat_aes_cbc",
        "module": "intel_qat",
        "type": "skcipher",
        "priority": 100,
        "asynchronous": True,
        "passed": True,
        "internal": False,
        "block_bytes": 16,
        "min_key": 16,
        "max_key": 32,
        "iv_bytes": 16,
        "refcnt": 1,
        "kernel_driver_only": None,
        "card": "qat",
    }


def test_this_machine_is_told_and_not_by_its_name() -> None:
    told = facts.this_machine()
    assert told["kernel"] == platform.release()
    assert told["processors"] == os.cpu_count()
    assert told["processor"] and told["memory_kib"] > 0 and told["mitigations"]
    assert platform.node() not in told.values()
