"""A host without a kernel of its own: the lab's image in namespaces, with an sshd that is spoken to without a network.

What is written there is in memory. It is for tests of what only needs a distribution's programs: apt, users, Pythons.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from hosts.lab import keys
from hosts.processes import children, end_namespaces
from hosts.testbed import Host

NAME = "userland"
START = """
set -eu
mount -t tmpfs -o mode=0755 userland /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay userland -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t tmpfs -o mode=0755 dev dev
mkdir dev/shm
for device in null zero full random urandom; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=0755 run run
ln -s /proc/self/fd dev/fd
mkdir -p sys/kernel run/sshd root/.ssh
umask 077
cp "$2" root/.ssh/authorized_keys
cp "$3" run/sshd/host_key
chown -R 0:0 root run/sshd
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; echo ready; cat >/dev/null'
"""


@contextmanager
def userland(image: Path) -> Iterator[Host]:
    """The host, as a testbed file would name it, until this is left. Needs root."""
    files = {file.name: file for file in keys.make({NAME: NAME})}
    process = subprocess.Popen(
        [
            *("unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child"),
            *("sh", "-c", START, "sh", str(image), str(files["authorized_keys"].path), str(files[f"{NAME}.key"].path)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        first = children(process.pid)[0]
        inside = ["nsenter", "-t", str(first), "-m", "-p", "-n", "-u"]
        server = [*inside, "/usr/sbin/sshd", "-i", "-f", "/dev/null", "-h", "/run/sshd/host_key", "-o", "UsePAM=no"]
        yield Host(
            address=NAME,
            data_address=ip_address("127.0.0.1"),
            data_interface="lo",
            identity_file=files["id"].path,
            known_hosts=files["known_hosts"].path,
            proxy_command=shlex.join(server),
        )
    finally:
        end_namespaces(process)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        for file in files.values():
            file.close()


def possible() -> bool:
    """Whether this user may make one."""
    return os.geteuid() == 0
