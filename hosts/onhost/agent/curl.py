"""libcurl by ctypes: whichever build this host has, without a compiler and under any Python.

Numbers are those of curl/curl.h, which libcurl never changes (libcurl-errors(3) and the manual of each option).
"""

from __future__ import annotations

import ctypes
import re
import sys
from functools import lru_cache
from typing import Any

from .room import Room
from .values import Tls

BUILDS = ("libcurl-gnutls.so.4", "libcurl.so.4")
"""Debian's and its kin's build with GnuTLS, which alone has 3DES in TLS; what everybody has, mostly with OpenSSL."""
CHOOSES_CIPHER_SUITES = (8, 13)
"""The first that hands a list of cipher suites on to GnuTLS; older ones offer what they like without a word."""
HTTP_AND_HTTPS, HTTP_1_1 = 3, 2
BUFFER_BYTES = 512 * 1024
"""What it asks the kernel for at once: the most that it can."""
TLS_VERSIONS = {"1.2": 6, "1.3": 7}  # CURL_SSLVERSION_TLSv1_2 and its next

# CURLOPT_…: numbers from 10000 on take a pointer, those below a long
URL, WRITEDATA, PROXY, ERRORBUFFER, STDERR = 10002, 10001, 10004, 10010, 10037
CAINFO, SSL_CIPHER_LIST, TLS13_CIPHERS = 10065, 10083, 10276
LOW_SPEED_LIMIT, LOW_SPEED_TIME, SSLVERSION, VERBOSE, FAILONERROR = 19, 20, 32, 41, 45
SSL_VERIFYPEER, FRESH_CONNECT, FORBID_REUSE, SSL_VERIFYHOST, HTTP_VERSION = 64, 74, 75, 81, 84
BUFFERSIZE, NOSIGNAL, CONNECT_ONLY, SSL_SESSIONID_CACHE = 98, 99, 141, 150
TIMEOUT_MS, CONNECTTIMEOUT_MS, PROTOCOLS = 155, 156, 181

# CURLINFO_…: a long, and counts of bytes or microseconds
NUM_CONNECTS = 0x200000 + 26
SIZE_DOWNLOAD, TOTAL_TIME, NAMELOOKUP_TIME, CONNECT_TIME = (0x600000 + number for number in (8, 50, 51, 52))
APPCONNECT_TIME = 0x600000 + 56


class CurlError(OSError):
    """There is no libcurl that works; one sentence says why."""


def by_gnutls(version: str) -> bool:
    """Whether a libcurl's TLS is GnuTLS's, by what curl_version(3) says."""
    return " GnuTLS/" in version


def chooses_cipher_suites(version: str) -> bool:
    """Whether such a libcurl can be made to offer exactly one cipher suite."""
    number = re.search(r"libcurl/(\d+)\.(\d+)", version)
    if not by_gnutls(version):
        return " OpenSSL/" in version
    return number is not None and (int(number[1]), int(number[2])) >= CHOOSES_CIPHER_SUITES


class Library:
    """A build of libcurl in this process. Raises OSError where it cannot be loaded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = calls = ctypes.CDLL(name)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        for function, result, arguments in (
            ("curl_version", ctypes.c_char_p, ()),
            ("curl_global_init", number, (ctypes.c_long,)),
            ("curl_easy_init", pointer, ()),
            ("curl_easy_perform", number, (pointer,)),
            ("curl_easy_cleanup", None, (pointer,)),
            ("curl_easy_strerror", ctypes.c_char_p, (number,)),
            # these two take what their second argument says
            ("curl_easy_setopt", number, (pointer, number)),
            ("curl_easy_getinfo", number, (pointer, number)),
        ):
            getattr(calls, function).restype, getattr(calls, function).argtypes = result, arguments
        calls.curl_global_init(3)
        self.version: str = calls.curl_version().decode()

    @property
    def gnutls(self) -> bool:
        """Whether TLS is GnuTLS's."""
        return by_gnutls(self.version)


@lru_cache(maxsize=1)
def library() -> Library:
    """The build that receives here: the first that can be made to offer one cipher suite, else the first that works.

    Raises CurlError where there is none.
    """
    works, wrong = [], []
    for name in BUILDS:
        try:
            found = Library(name)
        except OSError as error:
            wrong.append(str(error))
            continue
        if chooses_cipher_suites(found.version):
            return found
        works.append(found)
    if not works:
        raise CurlError("; ".join(wrong))
    return works[0]


def tell() -> int:
    """Print what curl_version(3) says here; the exit status of a program that does: 127 where there is no libcurl.

    For a process of its own: what a TLS library may use of the processor is decided when it is loaded.
    """
    try:
        print(library().version)
    except CurlError as error:
        print(error, file=sys.stderr)
        return 127 if all(f"{name}: cannot open shared object" in str(error) for name in BUILDS) else 1
    return 0


class Handle:
    """An easy handle, set up alike for every cell: new connections, HTTP/1.1, into ``room``. A context manager.

    Raises OSError where there is no libcurl, ValueError where it does not take an option.
    """

    def __init__(self, url: str, timeout: float, tls: Tls | None, room: Room) -> None:
        self.library = library()
        self._calls = self.library.calls
        self._handle = self._calls.curl_easy_init()
        self._words = ctypes.create_string_buffer(256)  # CURL_ERROR_SIZE
        usual: dict[int, Any] = {
            ERRORBUFFER: self._words,
            URL: url,
            WRITEDATA: room.stream,
            PROTOCOLS: HTTP_AND_HTTPS,
            HTTP_VERSION: HTTP_1_1,
            PROXY: "",
            NOSIGNAL: 1,
            FRESH_CONNECT: 1,
            FORBID_REUSE: 1,
            BUFFERSIZE: BUFFER_BYTES,
            CONNECTTIMEOUT_MS: 10_000,
            TIMEOUT_MS: int(timeout * 1000),
            LOW_SPEED_LIMIT: 1,
            LOW_SPEED_TIME: 10,
            FAILONERROR: 1,
        }
        try:
            for option, value in (usual | (self._protected(tls) if tls else {})).items():
                self.set(option, value)
        except ValueError:
            self.close()
            raise

    def _protected(self, tls: Tls) -> dict[int, Any]:
        """Whom to trust, and the one cipher suite to offer."""
        trusted = {CAINFO: tls.ca, SSL_VERIFYPEER: 1, SSL_VERIFYHOST: 2}
        if self.library.gnutls:
            return trusted | {SSL_CIPHER_LIST: tls.priority}
        if tls.openssl is None:
            raise ValueError(f"{self.library.version} has no cipher suite for {tls.priority}")
        version = TLS_VERSIONS[tls.version]
        # the lowest version, and above it the highest (CURLOPT_SSLVERSION(3))
        chosen = TLS13_CIPHERS if tls.version == "1.3" else SSL_CIPHER_LIST
        return trusted | {SSLVERSION: version | version << 16, chosen: tls.openssl}

    def set(self, option: int, value: Any) -> None:
        """One option: a number, a text (libcurl copies it), or a pointer. Raises ValueError."""
        if isinstance(value, int):
            value = ctypes.c_long(value)
        elif isinstance(value, str):
            value = ctypes.c_char_p(value.encode())
        status = self._calls.curl_easy_setopt(self._handle, option, value)
        if status:
            raise ValueError(f"{self.library.version} does not take its option {option}: {self._said(status)}")

    def perform(self) -> str | None:
        """The transfer; libcurl's number and words where it failed."""
        self._words.value = b""
        status = self._calls.curl_easy_perform(self._handle)
        return f"libcurl {status}: {self._said(status)}" if status else None

    def _said(self, status: int) -> str:
        words: bytes = self._words.value or self._calls.curl_easy_strerror(status)
        return words.decode(errors="replace").strip()

    def told(self, info: int) -> int:
        """A number about the last transfer: bytes, microseconds, connections."""
        value = ctypes.c_long() if info == NUM_CONNECTS else ctypes.c_int64()
        self._calls.curl_easy_getinfo(self._handle, info, ctypes.byref(value))
        return value.value

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and with it a kept connection."""
        self._calls.curl_easy_cleanup(self._handle)
