"""Files of this host: read whole or not at all, written so that nobody ever sees half of one."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from . import evp
from .errors import LIMIT_BYTES, ChangeError
from .values import LogTail

PIECE = 1 << 16


def read(path: str) -> str | None:
    """A file's text; None where it is not there or not readable. Raises ChangeError where it is too large."""
    try:
        return _whole(path).decode(errors="replace")
    except OSError:
        return None


def lines(logs: list[LogTail], timeout: float) -> list[list[str]]:
    """The whole lines of each log from its offset on, waiting up to ``timeout`` seconds in all for those due."""
    end = time.monotonic() + timeout
    return [_lines(log, end) for log in logs]


def _lines(log: LogTail, end: float) -> list[str]:
    while True:
        found = _tail(log).split(b"\n")[:-1]
        if len(found) >= log.count or time.monotonic() > end:
            return [line.decode(errors="replace") for line in found]
        time.sleep(0.005)


def _tail(log: LogTail) -> bytes:
    try:
        return _whole(log.path, log.offset_bytes)
    except FileNotFoundError:
        return b""


def _whole(path: str, offset: int = 0) -> bytes:
    """A file from ``offset`` on, in pieces: room for the largest one would cost more than reading a small one."""
    data = bytearray()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - nor is a Path for free
        if offset:  # some of the kernel's own files know no other place than their begin
            file.seek(offset)
        while piece := file.read(PIECE):
            data += piece
            if len(data) > LIMIT_BYTES:
                raise ChangeError(f"{path} has more than {LIMIT_BYTES} bytes: that is not read")
    return bytes(data)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Temporary name, final mode, then rename: nobody ever sees half a file or a wider mode."""
    new = path.with_name(f".{path.name}.pathproof")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_payload(path: Path, size: int, seed: int) -> str:
    """Make a file of ``size`` random bytes from ``seed``; its SHA-256 in hex.

    Its bytes are a stream of AES, which is ten times as fast as Python's own generator.
    """
    key, zeros, hashed = hashlib.sha256(b"%d" % seed).digest()[:16], bytes(PIECE), hashlib.sha256()
    with evp.Cipher("AES-128-CTR", key, bytes(16), encrypt=True, padding=False) as stream, path.open("wb") as file:
        while size:
            piece = stream.update(zeros[:size])
            hashed.update(piece)
            file.write(piece)
            size -= len(piece)
    return hashed.hexdigest()
