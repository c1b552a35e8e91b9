"""A file of ours on a file system that keeps its pages in memory: put out of there, and looked at.

Only our own file is asked about: dropping the whole host's caches would be everybody's matter.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time

from .values import Residency

TRIES = 10
PAUSE_SECONDS = 0.02
"""Pages that the network still holds, until what was sent is acknowledged, are not given up."""
MAP_FAILED = ctypes.c_void_p(-1).value


def cool(path: str) -> Residency:
    """Write a file's pages back, have the kernel give them up, and tell how many bytes stayed. Raises OSError.

    fsync(2), posix_fadvise(2) with POSIX_FADV_DONTNEED, which passes over what is not written back, mincore(2).
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        os.fsync(fd)
        for number in range(TRIES):
            if number:
                time.sleep(PAUSE_SECONDS)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            resident = resident_bytes(fd, size)
            if not resident:
                break
        return Residency(resident, size)
    finally:
        os.close(fd)


def resident_bytes(fd: int, size: int) -> int:
    """How many of a file's first ``size`` bytes lie in memory, in whole pages. Raises OSError.

    The file must be this user's, or mincore(2) calls every page resident.
    """
    if not size:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    # mapped, not touched: that brings nothing in
    place = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if place == MAP_FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    try:
        if libc.mincore(place, size, pages):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        libc.munmap(place, size)
    return sum(byte & 1 for byte in pages.raw) * mmap.PAGESIZE
