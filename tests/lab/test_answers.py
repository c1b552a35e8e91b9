"""Known answers on the lab's guests, whose kernels have what this machine's may lack; and what GnuTLS costs there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from harness.ciphers.vectors import VECTORS, Vector
from hosts import modules
from hosts.lab.uml import UmlLab, UmlParts
from hosts.onhost.agent.values import CryptoInterface
from hosts.remote import changes
from hosts.remote.agent import AgentError
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from tests.support.known_ciphers import NAMES
from tests.support.lab import shell


@pytest.fixture(scope="module")
def ciphers(lab: UmlLab, lab_parts: UmlParts) -> Iterator[RemoteHost]:
    """A host that has loaded all these ciphers and both interfaces, and unloads them again."""
    wanted = dict.fromkeys(
        ["af_alg", "algif_skcipher", "algif_aead", *(module for names in NAMES.values() for module in names.modules)]
    )
    with RemoteHost("receiver", lab.testbed.receiver) as host, Scope(host) as scope:
        for module in wanted:
            scope.apply(changes.modules(module))
        built = modules.in_image(lab_parts.target, modules.DEVCRYPTO)
        scope.apply(changes.insmod("devcrypto", host.put(built.content, "devcrypto.ko")))
        yield host


EITHER: tuple[CryptoInterface, ...] = ("/dev/crypto", "AF_ALG")


def ask(
    host: RemoteHost,
    vector: Vector,
    text: str,
    encrypt: bool,
    name: str | None = None,
    interface: CryptoInterface = "AF_ALG",
) -> str:
    name = name or NAMES[vector.cipher].kernel
    return host.agent.alg_answer(vector.kind, name, vector.key, vector.iv, text, vector.aad, encrypt, interface)


def compare(host: RemoteHost, vector: Vector, size: int, **other: Any) -> str | None:
    lengths = {
        f"{name}_bytes": len(text) // 2
        for name, text in {"key": vector.key, "iv": vector.iv, "aad": vector.aad}.items()
    }
    asked = {"kind": vector.kind, "name": NAMES[vector.cipher].kernel, "evp": NAMES[vector.cipher].evp, **lengths}
    return host.agent.alg_verify(size_bytes=size, **asked | other)


@pytest.mark.parametrize("interface", EITHER)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.cipher)
def test_the_kernel_gives_the_published_answer(ciphers: RemoteHost, vector: Vector, interface: CryptoInterface) -> None:
    before = ciphers.read(["/proc/modules"])
    assert ask(ciphers, vector, vector.text, True, interface=interface) == vector.answer
    assert ask(ciphers, vector, vector.answer, False, interface=interface) == vector.text
    for size in (16, 1024, 65_536, 131_072):
        assert compare(ciphers, vector, size, interface=interface) is None
    assert ciphers.read(["/proc/modules"]) == before, "the kernel loaded nothing by itself"


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.kind == "aead"], ids=lambda vector: vector.cipher)
def test_the_kernel_does_not_take_a_wrong_tag(ciphers: RemoteHost, vector: Vector) -> None:
    for damaged in (vector.answer[:-2] + "00", "00" + vector.answer[2:]):
        with pytest.raises(AgentError, match="the tag is wrong"):
            ask(ciphers, vector, damaged, False)
    for size in (1, 15, 17, 65_535):
        assert compare(ciphers, vector, size) is None
    assert compare(ciphers, vector, 64, aad_bytes=0) is None
    tag = ask(ciphers, vector, "", True)
    assert len(tag) == 32
    assert ask(ciphers, vector, tag, False) == ""
    with pytest.raises(AgentError, match="the tag is wrong"):
        ask(ciphers, vector, "00" * 16, False)


@pytest.mark.parametrize("interface", EITHER)
def test_a_driver_can_be_asked_by_name(ciphers: RemoteHost, interface: CryptoInterface) -> None:
    vector = next(vector for vector in VECTORS if vector.cipher == "aes128cbc")
    assert ask(ciphers, vector, vector.text, True, "cbc(aes-generic)", interface) == vector.answer
    with pytest.raises(AgentError, match=r"gives no skcipher cbc\(aes-imaginary\)"):
        ask(ciphers, vector, vector.text, True, "cbc(aes-imaginary)", interface)
    aead = next(vector for vector in VECTORS if vector.kind == "aead")
    with pytest.raises(AgentError, match="the tag is wrong"):
        ask(ciphers, aead, aead.answer[:-2] + "00", False, interface=interface)


def test_what_differs_is_told(ciphers: RemoteHost) -> None:
    vector = next(vector for vector in VECTORS if vector.cipher == "aes128cbc")
    told = compare(ciphers, vector, 64, evp="CAMELLIA-128-CBC")
    assert told
    assert re.fullmatch(
        r"cbc\(aes\) enciphers 64 bytes differently from OpenSSL's CAMELLIA-128-CBC: "
        r"byte \d of 64 is 0x[0-9a-f]{2}, not 0x[0-9a-f]{2}",
        told,
    )
    told = compare(ciphers, vector, 64, evp=None)
    assert told
    assert told.startswith("cbc(aes) enciphers 64 bytes differently from the text: byte ")
    with pytest.raises(AgentError, match="text 65 bytes: the kernel says: Invalid argument"):
        compare(ciphers, vector, 65)
    with pytest.raises(AgentError, match="key 15, IV 16, text 64 bytes: the kernel says: Invalid argument"):
        compare(ciphers, vector, 64, key_bytes=15)


def test_gnutls_is_priced_with_and_without_the_processors_help(lab: UmlLab) -> None:
    price: dict[str, float] = {}
    for mask in ({}, {"GNUTLS_CPUID_OVERRIDE": "0x1", "NETTLE_FAT_OVERRIDE": "vendor:other"}):
        with RemoteHost("sender", lab.testbed.sender) as host:
            host.agent.set_environment(mask)
            cost = host.agent.gnutls_cost("AES-128-CBC", "SHA1", 16384, 0.3).large.usual_ns
            price["masked" if mask else "all"] = cost
            assert host.agent.gnutls_cost("3DES-CBC", "SHA1", 16384, 0.3).large.usual_ns > cost
    if "aes" in shell(lab.testbed.sender, "cat /proc/cpuinfo").split():
        assert price["masked"] > price["all"]
