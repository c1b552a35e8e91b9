"""What is found out about a host, and that finding it out changes nothing there."""

from __future__ import annotations

import json
import os
import platform

import pytest

from hosts import crypto, facts
from hosts.crypto import Driver
from hosts.lab.uml import UmlLab
from hosts.remote import RemoteHost
from reports import facts as rows
from tests.conftest import shell, unchanged


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


@pytest.mark.lab
def test_a_host_is_asked_and_left_as_it_was(lab: UmlLab) -> None:
    place = lab.testbed.sender
    listed = shell(place, "cat /proc/crypto")
    with unchanged(lab.testbed), RemoteHost("sender", place) as host:
        found = facts.gather(host, "sender")
    assert found.kernel == shell(place, "uname -r").strip()
    assert {"nginx", "openssl", "ip", "pycurl"} <= {name for name, version in found.programs.items() if version}
    assert {"xfrm_user", "des_generic", "crypto_user", "virtio_net"} <= found.modules
    assert found.drivers == crypto.parse(listed)
    assert {d.kernel_driver_only for d in found.drivers} == {None}, "asking would have loaded a module"
    shown = json.loads(json.dumps(found.shown))
    assert len(shown["crypto_drivers"]) == len(found.drivers) == listed.count("driver ")
    assert shown["accelerators"] == {"devices": [], "witnesses": {}}
    table = rows.side_by_side(shown, shown)
    assert {row.name for row in table["crypto_drivers"]} == {d.driver for d in found.drivers}
