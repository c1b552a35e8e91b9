"""The codec of the crypto_user netlink: what is sent and what is made of the answers."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.errors import ConfigError
from hosts.onhost.agent import crypto_user, netlink
from hosts.onhost.agent.crypto_user import ALGORITHM
from hosts.onhost.agent.errors import ChangeError
from hosts.onhost.agent.netlink import ATTRIBUTE
from hosts.remote import changes

words = st.integers(0, 2**32 - 1)
driver_names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=63)


def test_sizes_and_numbers_are_those_of_the_kernels_header(tmp_path: Path) -> None:
    source = tmp_path / "check.c"
    equal = {
        "sizeof(struct crypto_user_alg)": ALGORITHM.size,
        "CRYPTO_MAX_NAME": crypto_user.NAME_BYTES,
        "NETLINK_CRYPTO": crypto_user.NETLINK_CRYPTO,
        "CRYPTO_MSG_GETALG": crypto_user.GETALG,
        "CRYPTO_MSG_UPDATEALG": crypto_user.UPDATEALG,
        "CRYPTOCFGA_PRIORITY_VAL": crypto_user.PRIORITY_VAL,
        "__builtin_offsetof(struct crypto_user_alg, cru_driver_name)": 64,
        "__builtin_offsetof(struct crypto_user_alg, cru_refcnt)": 200,
        "__builtin_offsetof(struct crypto_user_alg, cru_flags)": 204,
    }
    source.write_text(
        "#include <linux/netlink.h>\n#include <linux/cryptouser.h>\n"
        + "".join(f'_Static_assert({name} == {value}, "{name}");\n' for name, value in equal.items())
    )
    done = subprocess.run(
        ["cc", "-std=gnu11", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@given(st.binary(max_size=300))
def test_any_bytes_are_a_driver_or_an_error(data: bytes) -> None:
    try:
        crypto_user.decode_algorithm(memoryview(data))
    except ChangeError as error:
        assert "crypto_user" in str(error)


@given(driver_names, st.integers(-(2**31), 2**31 - 1), words, words, st.binary(max_size=40))
def test_a_driver_is_read_as_the_kernel_writes_it(
    name: str, priority: int, refcnt: int, flags: int, report: bytes
) -> None:
    """With another attribute before and one behind the priority."""
    other = ATTRIBUTE.pack(ATTRIBUTE.size + len(report), 4) + report
    other += b"\0" * (-len(other) % 4)
    body = ALGORITHM.pack(b"cbc(aes)", name.encode(), b"kernel", 0, 0, refcnt, flags)
    body += other + ATTRIBUTE.pack(8, crypto_user.PRIORITY_VAL) + struct.pack("=i", priority) + other
    found = crypto_user.decode_algorithm(memoryview(body))
    assert found == crypto_user.Algorithm("cbc(aes)", name, "kernel", refcnt, flags, priority)


@given(driver_names, st.one_of(st.none(), st.integers(0, 2**31 - 1)))
def test_a_request_names_one_driver_and_at_most_a_priority(name: str, priority: int | None) -> None:
    body = crypto_user.encode_algorithm(name, priority)
    algorithm, driver, module, *numbers = ALGORITHM.unpack_from(body)
    assert driver.rstrip(b"\0").decode() == name
    assert algorithm.strip(b"\0") == module.strip(b"\0") == b""
    assert numbers == [0, 0, 0, 0]
    if priority is None:
        assert len(body) == ALGORITHM.size
    else:
        assert crypto_user.decode_algorithm(memoryview(body)).priority == priority


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b"])
def test_a_name_that_no_driver_can_have_is_refused(name: str) -> None:
    with pytest.raises(ChangeError, match="cannot be a crypto driver's name"):
        crypto_user.encode_algorithm(name)


def test_half_an_answer_is_an_error() -> None:
    whole = memoryview(ALGORITHM.pack(b"cbc(aes)", b"card", b"kernel", 0, 0, 1, 0))
    with pytest.raises(ChangeError, match="in 12 bytes"):
        crypto_user.decode_algorithm(whole[:12])
    with pytest.raises(ChangeError, match="no priority of card"):
        crypto_user.decode_algorithm(whole)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EPERM, "only root may change"),
        (errno.EPROTONOSUPPORT, "CONFIG_CRYPTO_USER"),
        (errno.EINVAL, "refused: Invalid argument"),
    ],
)
def test_a_refusal_is_a_sentence(monkeypatch: pytest.MonkeyPatch, number: int, sentence: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(netlink, "ask", refuse)
    with pytest.raises(ChangeError, match=sentence):
        crypto_user.update("card", 5)


def test_a_missing_driver_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOENT, "no such driver")

    monkeypatch.setattr(netlink, "ask", unknown)
    assert crypto_user.get("card") is None
    assert crypto_user.update("card", 5) is False


@pytest.mark.parametrize("value", [-1, 2**31])
def test_a_priority_out_of_range_is_refused_before_anything_is_asked(value: int) -> None:
    with pytest.raises(ConfigError, match="from 0 to 2147483647"):
        changes.priority("cbc-aes-aesni", value)
