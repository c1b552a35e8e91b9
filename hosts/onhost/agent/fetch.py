"""The receiver of every cell: libcurl in this one process, so that no start-up is in any number.

The payload goes into memory that is a file on tmpfs, written over and never truncated (taking new pages for every
transfer would be measured, too); what is checked afterwards is exactly the bytes this transfer wrote.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from . import curl, evp, room
from .counters import cpu
from .curl import Handle
from .room import Room
from .values import Decipher, Fetched, Tls

NAME = "stream-1"
"""How payloads are received, by name. Another name whenever the same transfer would take another time or busy time."""
PIECE = 1 << 17
"""Bytes that are hashed at once: they stay in a processor's cache."""
SPARE = 4096
"""Room for what a cipher adds to a payload; where more comes, it ends the transfer."""


class PayloadError(Exception):
    """A payload that cannot be checked, with the reason."""


class Receiver:
    """Takes transfers into files below ``directory``, and keeps the rooms for them from one to the next."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rooms: dict[str, Room] = {}

    def make_room(self, files: list[str], size: int) -> None:
        """Have room for payloads of ``size`` bytes in these files, and no longer in any others. Raises OSError."""
        for name in self._rooms.keys() - set(files):
            self._rooms.pop(name).close()
        for name in files:
            self.room(name, size)

    def room(self, name: str, size: int) -> Room:
        """Room for ``size`` bytes in a file: what is there, or more of it."""
        found = self._rooms.get(name)
        if found and found.size >= size + SPARE:
            return found
        if found:
            self._rooms.pop(name).close()
        self._rooms[name] = made = room.in_file(self.directory / name, size + SPARE)
        return made

    def fetch(self, url: str, out: str, size: int, timeout: float, tls: Tls | None = None) -> Fetched:
        """GET ``url`` into the file ``out`` over a new connection, with this host's own busy time around it.

        ``size`` is the payload's; room for it is made now where there is none. Raises OSError without libcurl.
        """
        into = self.room(out, size)
        into.empty()
        cpu_before = cpu()
        with Handle(url, timeout, tls, into) as handle:
            error = handle.perform()
            looked_up, connected = handle.told(curl.NAMELOOKUP_TIME), handle.told(curl.CONNECT_TIME)
            secured, ended = handle.told(curl.APPCONNECT_TIME), handle.told(curl.TOTAL_TIME)
        if into.overrun:
            error = f"payload: more than {into.size} bytes came"
        return Fetched(
            error=error,
            seconds=(ended - looked_up) / 1e6,
            received_bytes=into.filled,
            cpu_before=cpu_before,
            cpu_after=cpu(),
            handshake_seconds=(secured - connected) / 1e6 if secured else None,
            latencies_us=None,
            connections=None,
            sha256_ok=None,
        )


def digest(path: Path, count: int, how: Decipher | None = None) -> str:
    """SHA-256 in hex of the first ``count`` bytes of a file, after deciphering them as ``how`` says.

    By OpenSSL's EVP, not by the kernel's crypto that may have made the cipher text: an independent check.
    Raises PayloadError where that is impossible, OSError.
    """
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if not how:
            for piece in _pieces(file, count):
                hashed.update(piece)
            return hashed.hexdigest()
        key, iv = bytes.fromhex(how.key_hex), bytes.fromhex(how.iv_hex)
        try:
            with evp.Cipher(how.evp, key, iv, encrypt=False, padding=True) as decipher:
                for piece in _pieces(file, count):
                    hashed.update(decipher.update(bytes(piece)))
                hashed.update(decipher.final())
        except evp.EvpError as error:
            raise PayloadError(str(error)) from error
    return hashed.hexdigest()


def _pieces(file: Any, count: int) -> Any:
    """The first ``count`` bytes in pieces, each only until the next: new memory for each costs more than its hash."""
    room = memoryview(bytearray(PIECE))
    while count:
        size = file.readinto(room[:count])
        if not size:
            raise PayloadError(f"the payload ends {count} bytes early")
        count -= size
        yield room[:size]
