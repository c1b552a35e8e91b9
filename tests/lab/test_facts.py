"""A host is asked what it is, and is left as it was."""

from __future__ import annotations

import json

from hosts import facts
from hosts.crypto import proc_crypto
from hosts.lab.uml import UmlLab
from hosts.remote.host import RemoteHost
from reports import facts as rows
from tests.support.lab import shell, unchanged


def test_a_host_is_asked_and_left_as_it_was(lab: UmlLab) -> None:
    place = lab.testbed.sender
    listed = shell(place, "cat /proc/crypto")
    with unchanged(lab.testbed), RemoteHost("sender", place) as host:
        found = facts.gather(host, "sender")
    assert found.kernel == shell(place, "uname -r").strip()
    assert {"nginx", "openssl", "ip", "libcurl"} <= {name for name, version in found.programs.items() if version}
    assert {"xfrm_user", "des_generic", "crypto_user", "aes_generic"} <= found.modules
    assert found.drivers == proc_crypto.parse(listed)
    assert {d.kernel_driver_only for d in found.drivers} == {None}, "asking would have loaded a module"
    shown = json.loads(json.dumps(found.shown))
    assert len(shown["crypto_drivers"]) == len(found.drivers) == listed.count("driver ")
    assert shown["accelerators"] == {"devices": [], "witnesses": {}}
    table = rows.side_by_side(shown, shown)
    assert {row.name for row in table["crypto_drivers"]} == {d.driver for d in found.drivers}
