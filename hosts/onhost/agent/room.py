"""Memory that a C library fills through one of libc's streams.

libcurl's own write function is ``fwrite`` (CURLOPT_WRITEFUNCTION(3)). A stream whose buffer is the memory that the
payload is to lie in takes it with one copy for each piece: no object and no call of Python, none of the kernel, and
nothing that had to be compiled for this host.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

FULLY_BUFFERED = 0  # _IOFBF of stdio.h
POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of madvise(2): maps pages for writing, all at once. One fault for each takes a guest of User Mode
Linux 3 s for 100 MB, this a tenth of a second; a host without it has the faults."""
REFUSES = b"/dev/full"
"""What a stream would write to once its memory is full: an error, so that the writer stops (full(4))."""


@lru_cache(maxsize=1)
def _libc() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    stream, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("fopen", stream, (ctypes.c_char_p, ctypes.c_char_p)),
        ("setvbuf", ctypes.c_int, (stream, stream, ctypes.c_int, size)),
        ("fputc", ctypes.c_int, (ctypes.c_int, stream)),
        ("ferror", ctypes.c_int, (stream,)),
        ("clearerr", None, (stream,)),
        ("fclose", ctypes.c_int, (stream,)),
        ("__fpending", size, (stream,)),  # this and the next: stdio_ext(3)
        ("__fpurge", None, (stream,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Room:
    """Memory and the ``stream`` that fills it from its start; a context manager. Raises OSError."""

    def __init__(self, memory: bytearray | mmap.mmap) -> None:
        self.memory = memory
        self._libc = _libc()
        self.stream = ctypes.c_void_p(self._libc.fopen(REFUSES, b"we"))
        if not self.stream:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), REFUSES.decode())
        self._place = (ctypes.c_char * len(memory)).from_buffer(memory)
        self._libc.setvbuf(self.stream, self._place, FULLY_BUFFERED, len(memory))
        self._libc.fputc(0, self.stream)  # what comes first may pass by the buffer of a stream that was never written
        self.empty()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return len(self.memory)

    @property
    def filled(self) -> int:
        """How many it has taken since it was emptied."""
        return self.size if self.overrun else int(getattr(self._libc, "__fpending")(self.stream))

    @property
    def overrun(self) -> bool:
        """Whether more was to come than it holds."""
        return bool(self._libc.ferror(self.stream))

    def empty(self) -> None:
        """Begin at its start again; what lies there stays until it is written over."""
        getattr(self._libc, "__fpurge")(self.stream)
        self._libc.clearerr(self.stream)

    def spoil(self) -> None:
        """Write over a byte of each page: what lies there is no payload until somebody writes one."""
        self.memory[:: mmap.PAGESIZE] = bytes(-(-self.size // mmap.PAGESIZE))

    def close(self) -> None:
        """Close the stream and let go of the memory."""
        self.empty()
        self._libc.fclose(self.stream)
        del self._place
        if isinstance(self.memory, mmap.mmap):
            self.memory.close()


def in_file(path: Path, size: int) -> Room:
    """Room for ``size`` bytes at the start of a file on tmpfs, all of whose pages are there and mapped.

    The file is written over and never cut: taking new pages for every transfer would be measured, too. Raises OSError
    where there is no memory for it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)  # a page that cannot be had later is a signal instead of an error
        memory = mmap.mmap(fd, size)
    finally:
        os.close(fd)
    with contextlib.suppress(AttributeError, OSError):  # of Python 3.8 and Linux 5.14
        memory.madvise(POPULATE_WRITE)
    for page in range(0, size, mmap.PAGESIZE):
        memory[page] = 0
    return Room(memory)
