"""Becoming root by sudo. A password is asked for on the terminal, once for each host, and goes there by standard input.

It is kept in this process's memory only, for the connections that a run makes one after the other.
"""

from __future__ import annotations

import functools
import getpass
import os
import re
import threading

from hosts.errors import Refusal
from hosts.remote.ssh import Connection

SECONDS = 30.0
ASKS = ("a password is required", "authentication is required")
"""What sudo, and sudo-rs, say where they would have asked."""
NO_TERMINAL = "you must have a tty"
"""What it says where sudoers has ``requiretty``."""
PROMPT = re.compile(r"^\[sudo[^]]*\] [^:]*: ")
_terminal = threading.Lock()  # both hosts are reached at once, and a person answers one question after the other


def prefix(connection: Connection) -> tuple[list[str], bytes]:
    """What to put before a command that is to run as root, and what it is told first on its standard input.

    ``sudo -k`` forgets what it remembers of this user for that command, so that a password is read whenever it is
    needed, and never by the command itself. Raises Refusal where sudo does not let the user.
    """
    status, said = _tried(connection, ["-k", "-n", "true"], b"")
    if status == 0:
        return ["sudo", "-n"], b""
    if not any(words in said for words in ASKS):
        raise _refused(connection, said)
    password = _password(str(connection.route)).encode() + b"\n"
    status, said = _tried(connection, ["-k", "-S", "true"], password)
    if status != 0:
        raise _refused(connection, said)
    return ["sudo", "-k", "-S"], password


def _tried(connection: Connection, words: list[str], given: bytes) -> tuple[int | None, str]:
    """The exit status, None where it did not end, and what was said last."""
    channel = connection.start(" ".join(["env", "LC_ALL=C", "sudo", *words]))
    if given:
        channel.write(given)
    channel.end_input()
    status = channel.wait(SECONDS)
    lines = [PROMPT.sub("", line) for line in channel.errors()]
    channel.close()
    return status, "; ".join([line.strip() for line in lines if line.strip()][-2:])


def _refused(connection: Connection, said: str) -> Refusal:
    user = connection.route.user
    allow = f"say Defaults:{user} !requiretty" if NO_TERMINAL in said else "allow it"
    return Refusal(
        f"sudo does not make {user} root: {said or 'it said nothing'}",
        host=connection.name,
        next_step=f"{allow} in sudoers there, or name root as the user in the testbed file and leave out become",
    )


@functools.cache
def _password(whose: str) -> str:
    with _terminal:
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            raise Refusal(
                f"sudo wants a password of {whose}, and there is no terminal to ask for it",
                next_step="run this in a terminal, or let sudo do without (NOPASSWD in sudoers)",
            ) from None
        try:
            return getpass.getpass(f"sudo's password of {whose}: ")
        except EOFError:
            raise Refusal(f"no password was given for {whose}") from None
