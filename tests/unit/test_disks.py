"""Which file system a directory is on, and what of a transfer from disk to disk is none."""

from __future__ import annotations

import pytest

from harness.measuring import disk
from hosts import disks
from hosts.onhost.agent.values import Residency

MOUNTS = r"""23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 23 0:5 / /dev rw shared:2 - devtmpfs udev rw
25 24 0:20 / /dev/shm rw - tmpfs tmpfs rw
26 23 8:2 / /srv rw - xfs /dev/sdb1 rw
27 23 8:3 / /srv\040two rw master:1 propagate_from:2 - btrfs /dev/sdc1 rw
28 23 0:30 / /srv rw - tmpfs later rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/dev/shm/x", "tmpfs"),
        ("/dev", "devtmpfs"),
        ("/device", "ext4"),
        ("/srv two/x", "btrfs"),
        ("/srv/x", "tmpfs"),
    ],
)
def test_a_path_is_on_the_last_file_system_that_is_mounted_nearest(place: str, kind: str) -> None:
    assert disks.file_system(place, MOUNTS) == kind


def test_where_nothing_is_known_there_is_none() -> None:
    assert disks.file_system("/x", "") is None


SYNCED = {"calls": {"fsync": 1}}


@pytest.mark.parametrize(
    ("source", "client", "due"),
    [
        (Residency(0, 100), SYNCED, None),
        (Residency(4096, 100), SYNCED, "the source was not cold: 4096 of its bytes stayed"),
        (Residency(0, 99), SYNCED, "the source had 99 bytes, not 100"),
        (Residency(0, 100), {"calls": {}}, "0 times within the transfer, not once"),
        (Residency(0, 100), {"calls": {"fsync": 2}}, "2 times within the transfer, not once"),
        (Residency(0, 100), None, None),  # a transfer that failed has its own reason
    ],
)
def test_what_makes_a_transfer_none_from_disk_to_disk(source: Residency, client: dict[str, object], due: str) -> None:
    facts, reason = disk.told(source, 100, client)
    assert facts == {"source_resident_bytes": source.resident_bytes}
    assert (due is None and reason is None) or (due is not None and due in str(reason))
