"""Netlink messages, and what the kernel says of an SA: names and lengths, as linux/xfrm.h lays them out; no key."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.onhost.agent import counters, netlink, xfrm
from hosts.onhost.agent.netlink import ATTRIBUTE, HEADER
from hosts.onhost.agent.values import AssociationCounter, Counter
from hosts.onhost.agent.xfrm import Algorithm

words = st.integers(0, 2**32 - 1)
KEY = b"\xa5\x5a\xc3\x3c" * 9


def test_sizes_and_places_are_those_of_the_kernels_headers(tmp_path: Path) -> None:
    source = tmp_path / "check.c"
    equal = {
        "sizeof(struct nlmsghdr)": HEADER.size,
        "sizeof(struct nlattr)": ATTRIBUTE.size,
        "NLM_F_REQUEST": netlink.NLM_F_REQUEST,
        "NLM_F_ACK": netlink.NLM_F_ACK,
        "NLM_F_DUMP": netlink.NLM_F_DUMP,
        "NLMSG_ERROR": netlink.NLMSG_ERROR,
        "NLMSG_DONE": netlink.NLMSG_DONE,
        "NETLINK_XFRM": xfrm.NETLINK_XFRM,
        "XFRM_MSG_NEWSA": xfrm.NEWSA,
        "XFRM_MSG_GETSA": xfrm.GETSA,
        "XFRMA_ALG_CRYPT": xfrm.ALG_CRYPT,
        "XFRMA_ALG_AEAD": xfrm.ALG_AEAD,
        "XFRMA_ALG_AUTH_TRUNC": xfrm.ALG_AUTH_TRUNC,
        "XFRMA_OFFLOAD_DEV": xfrm.OFFLOAD_DEV,
        "XFRM_OFFLOAD_INBOUND": xfrm.INBOUND,
        "XFRM_OFFLOAD_PACKET": xfrm.PACKET,
        "sizeof(struct xfrm_user_offload) - 3": xfrm.OFFLOAD.size,
        "__builtin_offsetof(struct xfrm_user_offload, flags)": 4,
        "XFRM_MODE_TRANSPORT": xfrm.MODES.index("transport"),
        "XFRM_MODE_TUNNEL": xfrm.MODES.index("tunnel"),
        "sizeof(struct xfrm_usersa_info)": xfrm.SA.size,
        "sizeof(struct xfrm_usersa_id)": xfrm.SA_ID.size,
        "sizeof(struct xfrm_algo)": xfrm.CRYPT.size,
        "sizeof(struct xfrm_algo_auth)": xfrm.AUTH.size,
        "sizeof(struct xfrm_algo_aead)": xfrm.AUTH.size,
        "__builtin_offsetof(struct xfrm_usersa_info, curlft.bytes)": 160,
        "__builtin_offsetof(struct xfrm_usersa_info, curlft.packets)": 168,
        "__builtin_offsetof(struct xfrm_usersa_info, curlft.add_time)": 176,
        "__builtin_offsetof(struct xfrm_usersa_info, mode)": 214,
        "__builtin_offsetof(struct xfrm_usersa_id, spi)": 16,
        "__builtin_offsetof(struct xfrm_usersa_id, family)": 20,
        "__builtin_offsetof(struct xfrm_usersa_id, proto)": 22,
        "__builtin_offsetof(struct xfrm_algo_auth, alg_trunc_len)": 68,
        "__builtin_offsetof(struct xfrm_algo_aead, alg_icv_len)": 68,
    }
    source.write_text(
        "#include <linux/netlink.h>\n#include <linux/xfrm.h>\n"
        + "".join(f'_Static_assert({name} == {value}, "{name}");\n' for name, value in equal.items())
    )
    done = subprocess.run(
        ["cc", "-std=gnu11", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535), words, st.binary(max_size=99)), max_size=5))
def test_messages_that_follow_one_another_are_read_again(parts: list[tuple[int, int, int, bytes]]) -> None:
    data = b""
    for type_, flags, sequence, payload in parts:
        one = netlink.encode(type_, flags, sequence, payload)
        data += one + b"\0" * (-len(one) % 4)
    assert [(m.type, m.flags, m.sequence, bytes(m.payload)) for m in netlink.decode(memoryview(data))] == parts


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    try:
        for message in netlink.decode(memoryview(data)):
            netlink.attributes(message.payload)
    except OSError as error:
        assert error.errno == errno.EPROTO


def test_half_a_message_is_an_error() -> None:
    for data, says in ((b"\0" * 7, "half a message"), (HEADER.pack(4, 0, 0, 0, 0), "message of 4 bytes")):
        with pytest.raises(OSError, match=says):
            list(netlink.decode(memoryview(data)))


def test_a_refusal_is_the_kernels_number() -> None:
    netlink.acknowledged(memoryview(struct.pack("=i", 0)))
    with pytest.raises(ProcessLookupError):
        netlink.acknowledged(memoryview(struct.pack("=i", -errno.ESRCH)))


class Kernel:
    """Stands for the kernel's end of a netlink socket; keeps what it was given, and the memory it wrote into."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.asked = answer, b""
        self.memory: memoryview | None = None

    def __call__(self, *_: object) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, _seconds: float) -> None:
        pass

    def bind(self, _address: object) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.asked = data

    def recv_into(self, room: memoryview) -> int:
        self.memory = room
        room[: len(self.answer)] = self.answer
        return len(self.answer)


def attribute(type_: int, body: bytes) -> bytes:
    whole = ATTRIBUTE.pack(ATTRIBUTE.size + len(body), type_) + body
    return whole + b"\0" * (-len(whole) % 4)


def named(name: str, *bits: int, key: bytes = KEY) -> bytes:
    """struct xfrm_algo and its likes: a name, lengths in bits, the key itself."""
    return struct.pack(f"=64s{len(bits)}I", name.encode(), *bits) + key[: bits[0] // 8]


def described(*algorithms: bytes, carried: int = 222333, packets: int = 44, added: int = 1764447123) -> bytes:
    """What the kernel answers: struct xfrm_usersa_info with 0xff where nothing of interest is, then attributes."""
    info = bytearray(b"\xff" * xfrm.SA.size)
    info[160:184] = struct.pack("=3Q", carried, packets, added)
    info[214] = 0
    return bytes(info) + b"".join(algorithms)


GCM = attribute(18, named("rfc4106(gcm(aes))", 288, 128))
CBC = attribute(2, named("cbc(aes)", 256))
OLD_SHA1 = attribute(1, named("hmac(sha1)", 160))
SHA1 = attribute(20, named("hmac(sha1)", 160, 96))


@pytest.mark.parametrize(
    ("algorithms", "protection"),
    [
        ([GCM], [Algorithm("rfc4106(gcm(aes))", 288, 128)]),
        # what older programs are told of the MAC comes too, without the truncation
        ([OLD_SHA1, SHA1, CBC], [Algorithm("cbc(aes)", 256), Algorithm("hmac(sha1)", 160, 96)]),
        (
            [attribute(2, named("ecb(cipher_null)", 0)), attribute(99, b"later kernels"), SHA1],
            [Algorithm("ecb(cipher_null)", 0), Algorithm("hmac(sha1)", 160, 96)],
        ),
        ([], []),
    ],
)
def test_an_sa_is_told_by_names_and_lengths(algorithms: list[bytes], protection: list[Algorithm]) -> None:
    found = xfrm.decode(memoryview(described(*algorithms)))
    assert found == xfrm.Association(xfrm.protection(protection), xfrm.NO_OFFLOAD, 1764447123, 222333, 44)


@pytest.mark.parametrize(
    ("flags", "told"),
    [(0, "crypto offload to lo, out"), (3, "crypto offload to lo, in"), (4, "packet offload to lo, out")],
)
def test_what_a_card_does_for_an_sa_is_told_and_by_which_interface(flags: int, told: str) -> None:
    asked = attribute(28, struct.pack("=iB3x", socket.if_nametoindex("lo"), flags))
    assert xfrm.decode(memoryview(described(GCM, asked))).offload == told
    gone = attribute(28, struct.pack("=iB3x", 2**31 - 1, flags))
    assert xfrm.decode(memoryview(described(GCM, gone))).offload == told.replace(" lo,", f" interface {2**31 - 1},")


def test_each_length_and_the_mode_are_in_the_words() -> None:
    right = Algorithm("rfc4106(gcm(aes))", 288, 128)
    others = [Algorithm("rfc4106(gcm(aes))", 160, 128), Algorithm("rfc4106(gcm(aes))", 288, 64)]
    others.append(Algorithm("rfc4543(gcm(aes))", 288, 128))
    told = {xfrm.protection([one]) for one in (right, *others)} | {xfrm.protection([right], "tunnel")}
    assert len(told) == 5
    assert xfrm.protection([right]) == "transport mode, rfc4106(gcm(aes)) with a key of 288 bits, a tag of 128"


@given(st.binary(max_size=500))
def test_any_bytes_are_an_sa_or_an_error(data: bytes) -> None:
    try:
        xfrm.decode(memoryview(data))
    except OSError as error:
        assert error.errno == errno.EPROTO


@pytest.mark.parametrize(
    ("destination", "family", "packed"),
    [
        ("10.98.0.3", socket.AF_INET, bytes([10, 98, 0, 3]) + bytes(12)),
        ("fd00::3", socket.AF_INET6, b"\xfd" + bytes(14) + b"\3"),
    ],
)
def test_an_sa_is_asked_for_by_where_it_leads_and_its_spi(destination: str, family: int, packed: bytes) -> None:
    due = packed + b"\x0a\x0b\x0c\x0d" + struct.pack("=H", family) + bytes([50, 0])
    assert xfrm.encode_id(destination, 0x0A0B0C0D) == due


def test_keys_are_read_over_and_stay_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything that is told; and the memory into which the kernel wrote the key is overwritten."""
    kernel = Kernel(netlink.encode(xfrm.NEWSA, 0, 1, described(CBC, SHA1)))
    assert KEY[:32] in kernel.answer
    monkeypatch.setattr(netlink, "answers", lambda _protocol: True)
    monkeypatch.setattr(socket, "socket", kernel)
    fields = get_args(get_type_hints(AssociationCounter)["field"])
    told = counters.observe({name: AssociationCounter("10.98.0.3", 5, name) for name in fields})
    protection = xfrm.protection([Algorithm("cbc(aes)", 256), Algorithm("hmac(sha1)", 160, 96)])
    assert told.states == {"protection": protection, "offload": xfrm.NO_OFFLOAD}
    assert told.values == {"added": 1764447123, "bytes": 222333, "packets": 44}
    assert kernel.memory is not None
    assert not any(kernel.memory)
    assert KEY[:8] not in str(told).encode()


@pytest.mark.parametrize("served", [True, False])
def test_an_sa_that_is_not_there_has_no_numbers(monkeypatch: pytest.MonkeyPatch, served: bool) -> None:
    kernel = Kernel(netlink.encode(netlink.NLMSG_ERROR, 0, 1, struct.pack("=i", -errno.ESRCH)))
    monkeypatch.setattr(netlink, "answers", lambda _protocol: served)
    monkeypatch.setattr(socket, "socket", kernel)
    asked: dict[str, Counter] = {
        "sa": AssociationCounter("::1", 5, "bytes"),
        "by": AssociationCounter("::1", 5, "protection"),
    }
    told = counters.observe(asked)
    assert (told.values, told.states) == ({"sa": None}, {"by": None})
    assert bool(kernel.asked) == served, "where the kernel does not serve it, asking would load a module"
