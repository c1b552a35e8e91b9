"""The receiver of every cell: libcurl in this one process, so that no start-up is in any number.

The payload goes to a file in tmpfs that is written over, never truncated (taking pages anew for every transfer
would be measured too); what is checked afterwards is exactly the bytes this transfer wrote.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from . import evp, gnutls

CHUNK = evp.CHUNK
GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE = -56


class PayloadError(Exception):
    """A payload that cannot be checked, with the reason."""


def fetch(url: str, out: str, timeout: float, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET ``url`` into the file ``out`` over a new connection.

    Returns seconds (start of connect to last payload byte), connect_seconds, handshake_seconds (TLS, else
    None), bytes written, status (HTTP); on failure ``error`` with libcurl's number and words.
    ``tls`` holds ca (path) and priority (a GnuTLS priority string).
    """
    import pycurl

    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    curl = handle(url, timeout, tls)
    try:
        curl.setopt(pycurl.WRITEFUNCTION, functools.partial(os.write, fd))
        error = None
        try:
            curl.perform()
        except pycurl.error as failure:
            error = f"libcurl {failure.args[0]}: {failure.args[1] or curl.errstr()}"
        connected = curl.getinfo(pycurl.CONNECT_TIME)
        secured = curl.getinfo(pycurl.APPCONNECT_TIME)
        return {
            "error": error,
            "seconds": curl.getinfo(pycurl.TOTAL_TIME) - curl.getinfo(pycurl.NAMELOOKUP_TIME),
            "connect_seconds": connected - curl.getinfo(pycurl.NAMELOOKUP_TIME),
            "handshake_seconds": secured - connected if secured else None,
            "bytes": os.lseek(fd, 0, os.SEEK_CUR),
            "expected_bytes": int(curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD)),
            "status": curl.getinfo(pycurl.RESPONSE_CODE),
        }
    finally:
        curl.close()
        os.close(fd)


def handle(url: str, timeout: float, tls: dict[str, Any] | None) -> Any:
    """A libcurl handle for new connections, set up alike for every cell."""
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.FRESH_CONNECT, 1)
    curl.setopt(pycurl.FORBID_REUSE, 1)
    curl.setopt(pycurl.BUFFERSIZE, 512 * 1024)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, 10_000)
    curl.setopt(pycurl.TIMEOUT_MS, int(timeout * 1000))
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.LOW_SPEED_TIME, 10)
    curl.setopt(pycurl.FAILONERROR, 1)
    if tls:
        curl.setopt(pycurl.CAINFO, tls["ca"])
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.SSL_CIPHER_LIST, tls["priority"])
    return curl


def suite(url: str, tls: dict[str, Any]) -> str | None:
    """TLS version and suite of a connection set up like a transfer's, in libcurl's words; None without one.

    Not of the transfer's own connection: libcurl tells it only to a debug callback, which would then be called for
    every piece of data too and slow the transfer down.
    """
    import pycurl

    told: list[str] = []
    curl = handle(url, 10.0, tls)
    try:
        curl.setopt(pycurl.CONNECT_ONLY, 1)
        curl.setopt(pycurl.VERBOSE, 1)
        curl.setopt(pycurl.DEBUGFUNCTION, lambda _kind, text: told.append(bytes(text).decode(errors="replace")))
        curl.perform()
    except pycurl.error:
        return None
    finally:
        curl.close()
    found = re.search(r"SSL connection using (.+)", "".join(told))
    return found[1].strip() if found else None


def offered(priority: str) -> list[str]:
    """The suites that a GnuTLS priority string leaves, as GnuTLS itself counts them.

    gnutls_priority_get_cipher_suite_index and gnutls_cipher_suite_info of the GnuTLS manual. Raises ValueError where
    GnuTLS does not understand the string, OSError where the library is missing.
    """
    library = gnutls.load()
    library.gnutls_cipher_suite_info.restype = ctypes.c_char_p
    cache, place = ctypes.c_void_p(), ctypes.c_char_p()
    if library.gnutls_priority_init(ctypes.byref(cache), priority.encode(), ctypes.byref(place)) != 0:
        raise ValueError(f"GnuTLS does not understand the priority string {priority!r}")
    names, number = [], ctypes.c_uint()
    try:
        for index in range(500):
            status = library.gnutls_priority_get_cipher_suite_index(cache, index, ctypes.byref(number))
            if status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE:
                break
            if status == 0:
                names.append(library.gnutls_cipher_suite_info(number, None, None, None, None, None).decode())
    finally:
        library.gnutls_priority_deinit(cache)
    return names


_verified: dict[tuple[str, ...], str] = {}


def digest(path: str, count: int, cipher: dict[str, str] | None = None) -> dict[str, Any]:
    """SHA-256 of the first ``count`` bytes of a file, after deciphering them where ``cipher`` (evp, key, iv).

    By OpenSSL's EVP, not by the kernel's crypto that may have made the cipher text: an independent check.
    Deciphering is a function of its input: the same cipher text under the same key gives the same plain text,
    so cipher text whose SHA-256 was seen before is not deciphered again.
    """
    with Path(path).open("rb", buffering=0) as file:
        outer = hashlib.sha256()
        for piece in _pieces(file, count):
            outer.update(piece)
        received = outer.hexdigest()
        if not cipher:
            return {"sha256": received}
        known = (cipher["evp"], cipher["key"], cipher["iv"], received)
        if known not in _verified:
            file.seek(0)
            inner = hashlib.sha256()
            key, iv = bytes.fromhex(cipher["key"]), bytes.fromhex(cipher["iv"])
            try:
                with evp.Cipher(cipher["evp"], key, iv, encrypt=False, padding=True) as decipher:
                    for piece in _pieces(file, count):
                        inner.update(decipher.update(piece))
                    inner.update(decipher.final())
            except evp.EvpError as error:
                raise PayloadError(str(error)) from error
            _verified[known] = inner.hexdigest()
    return {"sha256": _verified[known]}


def _pieces(file: Any, count: int) -> Any:
    while count:
        piece = file.read(min(CHUNK, count))
        if not piece:
            raise PayloadError(f"the payload ends {count} bytes early")
        count -= len(piece)
        yield piece
