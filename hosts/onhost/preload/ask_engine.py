"""Asks OpenSSL's qatengine what it does itself, and prints that as one JSON object; see README.md.

Runs alone (``python3 -I - [answer]``, standard library only) in a process of its own that ends at once: an engine that
was loaded is never quite gone again. It is bound, not started: no card is opened for work.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

ENGINE = b"qatengine"
GCM = {"AES-128-GCM": ("EVP_aes_128_gcm", 16), "AES-256-GCM": ("EVP_aes_256_gcm", 32)}
OPENSSL_INIT_ENGINE_DYNAMIC = 0x400
OPENSSL_INFO_CPU_SETTINGS = 1008


def ask(answer: bool) -> dict[str, Any]:
    """What the engine says. ``answer``: as if it had been told that the processor can do its software mode.

    Raises OSError or AttributeError where OpenSSL or the engine are not such as this program knows.
    """
    crypto = _openssl()
    crypto.OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, None)
    engine = crypto.ENGINE_by_id(ENGINE)
    if not engine:
        raise OSError("OpenSSL does not find it")
    # the path is the last of six fields, and may hold blanks
    maps = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    path = next(fields[5] for fields in maps if len(fields) == 6 and "qatengine" in fields[5])
    library = ctypes.CDLL(path)
    library.qat_create_gcm_cipher_meth.restype = ctypes.c_void_p
    settings = crypto.OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS) or b""
    found: dict[str, Any] = {
        "library": path,
        "processor": settings.decode(),
        "takes_processor": bool(_number(library, "qat_sw_offload")),
        "device": bool(_number(library, "qat_hw_offload")),
        "countable": hasattr(library, "qat_imb_aes_gcm_enc_update"),
    }
    if answer:
        ctypes.c_int.in_dll(library, "qat_sw_offload").value = 1
    found["gcm"] = {}
    for name, (function, key_bytes) in GCM.items():
        openssls = getattr(crypto, function)()
        nid = crypto.EVP_CIPHER_get_nid(openssls)
        method = library.qat_create_gcm_cipher_meth(nid, key_bytes) if answer else crypto.ENGINE_get_cipher(engine, nid)
        found["gcm"][name] = None if not method else "openssl" if method == openssls else _who(library)
    return found


def _openssl() -> ctypes.CDLL:
    crypto = ctypes.CDLL("libcrypto.so.3")
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("OPENSSL_init_crypto", ctypes.c_int, (ctypes.c_uint64, pointer)),
        ("OPENSSL_info", ctypes.c_char_p, (ctypes.c_int,)),
        ("ENGINE_by_id", pointer, (ctypes.c_char_p,)),
        ("ENGINE_get_cipher", pointer, (pointer, ctypes.c_int)),
        ("EVP_CIPHER_get_nid", ctypes.c_int, (pointer,)),
        *((function, pointer, ()) for function, _ in GCM.values()),
    ):
        declared = getattr(crypto, name)
        declared.restype, declared.argtypes = result, arguments
    return crypto


def _who(library: ctypes.CDLL) -> str:
    """Which of its two ways it takes for the cipher it was last asked for."""
    if _number(library, "qat_sw_gcm_offload"):
        return "software"
    return "card" if _number(library, "qat_hw_gcm_offload") else "unknown"


def _number(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.c_int.in_dll(library, name).value
    except ValueError:  # this build has no such way
        return 0


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1:] == ["answer"])))
