"""TLS cipher suites: which one the receiver offers, and which one a server agrees to."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from . import curl, gnutls
from .curl import Handle
from .room import Room
from .values import Tls

GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE = -56
SET_MIN_PROTO_VERSION, SET_MAX_PROTO_VERSION = 123, 124  # SSL_CTRL_… of openssl/ssl.h
VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}
WORDS = 1 << 16


def agreed(url: str, tls: Tls) -> str | None:
    """TLS version and cipher suite of a connection set up like a transfer's, in libcurl's words; None without one.

    Not of the transfer's own connection: libcurl tells it only among much else, for every piece of data too, which
    would slow the transfer down.
    """
    with Room(bytearray(WORDS)) as words, Handle(url, 10.0, tls, words) as handle:
        handle.set(curl.STDERR, words.stream)
        handle.set(curl.CONNECT_ONLY, 1)
        handle.set(curl.VERBOSE, 1)
        error = handle.perform()
        said = bytes(words.memory[: words.filled]).decode(errors="replace")
    match = re.search(r"SSL connection using (.+)", said)
    return match[1].strip() if match and not error else None


def offered(tls: Tls) -> list[str]:
    """The cipher suites that this host's receiver is left to offer, as its TLS library itself counts them.

    Raises ValueError where that does not understand how they are chosen, OSError where it is missing.
    """
    return _by_gnutls(tls.priority) if curl.library().gnutls else _by_openssl(tls)


def _by_gnutls(priority: str) -> list[str]:
    """gnutls_priority_get_cipher_suite_index and gnutls_cipher_suite_info of the GnuTLS manual."""
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


def _by_openssl(tls: Tls) -> list[str]:
    """SSL_get1_supported_ciphers(3) of the libssl that libcurl brought into this process."""
    found = re.search(r"\S*/libssl\.so\S*", Path("/proc/self/maps").read_text())
    if not found:
        raise ValueError(f"{curl.library().version} has OpenSSL, and no libssl came with it")
    ssl = ctypes.CDLL(found[0])
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in (
        ("TLS_client_method", pointer, ()),
        ("SSL_CTX_new", pointer, (pointer,)),
        ("SSL_CTX_free", None, (pointer,)),
        ("SSL_CTX_ctrl", ctypes.c_long, (pointer, number, ctypes.c_long, pointer)),
        ("SSL_CTX_set_cipher_list", number, (pointer, text)),
        ("SSL_CTX_set_ciphersuites", number, (pointer, text)),
        ("SSL_new", pointer, (pointer,)),
        ("SSL_free", None, (pointer,)),
        ("SSL_get1_supported_ciphers", pointer, (pointer,)),
        ("SSL_CIPHER_get_name", text, (pointer,)),
        ("OPENSSL_sk_num", number, (pointer,)),
        ("OPENSSL_sk_value", pointer, (pointer, number)),
        ("OPENSSL_sk_free", None, (pointer,)),
    ):
        function = getattr(ssl, name)
        function.restype, function.argtypes = result, arguments
    context = ssl.SSL_CTX_new(ssl.TLS_client_method())
    try:
        for limit in (SET_MIN_PROTO_VERSION, SET_MAX_PROTO_VERSION):
            ssl.SSL_CTX_ctrl(context, limit, VERSIONS[tls.version], None)
        choose = ssl.SSL_CTX_set_ciphersuites if tls.version == "1.3" else ssl.SSL_CTX_set_cipher_list
        if not tls.openssl or choose(context, tls.openssl.encode()) != 1:
            raise ValueError(f"OpenSSL here has no cipher suite {tls.openssl or tls.priority}")
        session = ssl.SSL_new(context)
        listed = ssl.SSL_get1_supported_ciphers(session)
        count = max(0, ssl.OPENSSL_sk_num(listed))
        names = [ssl.SSL_CIPHER_get_name(ssl.OPENSSL_sk_value(listed, place)).decode() for place in range(count)]
        ssl.OPENSSL_sk_free(listed)
        ssl.SSL_free(session)
    finally:
        ssl.SSL_CTX_free(context)
    return names
