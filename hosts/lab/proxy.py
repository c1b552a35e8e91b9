"""Standard input and output as a TCP connection: ``proxy_command`` runs it in a lab's network namespace.

    proxy.py LAB_PID ADDRESS PORT [PATIENCE_SECONDS]

Ends when either side closes, or with the lab (process LAB_PID), so that it never keeps the lab's namespace
alive. With PATIENCE_SECONDS it goes on trying to connect: a guest that boots refuses for a while. Standard
library only, and little of it: it starts with every connection.
"""

import os
import select
import socket
import sys
import time

CHUNK = 1 << 18
ATTEMPT_SECONDS = 0.2
SINGLE_ATTEMPT_SECONDS = 10.0
PAUSE_SECONDS = 0.02


def connect(address: str, port: int, patience: float, lab: int) -> socket.socket:
    """A TCP connection; tries for ``patience`` (seconds) or until the lab has ended. Raises OSError."""
    attempt = ATTEMPT_SECONDS if patience else SINGLE_ATTEMPT_SECONDS
    deadline = time.monotonic() + patience
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=attempt)
        except OSError:
            over = time.monotonic() >= deadline
            if over or select.select([lab], [], [], PAUSE_SECONDS)[0]:
                raise
        else:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however small the pieces the other side takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy(connection: socket.socket, lab: int) -> None:
    """Copy both ways until one side closes or the lab's pidfd becomes readable. Raises OSError."""
    there = connection.fileno()
    while True:
        ready, _, _ = select.select([0, there, lab], [], [])
        for source, target in ((0, there), (there, 1)):
            if source in ready:
                data = os.read(source, CHUNK)
                if not data:
                    return
                write_all(target, data)
        if lab in ready:
            return


def main(pid: str, address: str, port: str, patience: str = "0") -> None:
    """Connect, then copy; a failure is one sentence on standard error and status 1."""
    try:
        lab = os.pidfd_open(int(pid))
        copy(connect(address, int(port), float(patience), lab), lab)
    except OSError as error:
        sys.exit(f"lab {pid}: no connection to {address} port {port}: {error.strerror or error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
