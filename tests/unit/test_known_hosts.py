"""Host keys that are believed: known_hosts files as people have them, revoked keys, certificates of hosts."""

from __future__ import annotations

import base64
import hmac
import itertools
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from hosts.remote import known_hosts
from hosts.remote.known_hosts import Known, Shown
from hosts.remote.ssh import _preferred

NOW = datetime(2026, 11, 30, tzinfo=UTC)
HOST, OTHER, CA, OTHER_CA = (Ed25519PrivateKey.generate() for _ in range(4))
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
CHANGED = "the host's key is not the one in known_hosts"


def text(key: Any) -> str:
    """A key as it stands in known_hosts."""
    return str(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def blob(key: Any) -> bytes:
    return base64.b64decode(text(key).split()[1])


def hashed(name: str, salt: bytes = bytes(20)) -> str:
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def certificate(
    key: Any = HOST,
    signer: Any = CA,
    names: tuple[str, ...] = ("web.example.com",),
    kind: SSHCertificateType = SSHCertificateType.HOST,
    days: tuple[int, int] = (-1, 1),
    more: Callable[[SSHCertificateBuilder], SSHCertificateBuilder] = lambda builder: builder,
) -> bytes:
    builder = SSHCertificateBuilder().public_key(key.public_key()).serial(1).type(kind).key_id(b"test")
    builder = builder.valid_principals([name.encode() for name in names]) if names else builder
    builder = builder if names else builder.valid_for_all_principals()  # type: ignore[no-untyped-call]
    after, before = (int((NOW + timedelta(days=day)).timestamp()) for day in days)
    made = more(builder.valid_after(after).valid_before(before)).sign(signer)
    return base64.b64decode(made.public_bytes().split()[1])


def known(lines: str | bytes, tmp_path: Path, host: str = "web.example.com", port: int = 22) -> Known:
    file = tmp_path / "known_hosts"
    file.write_bytes(lines.encode() if isinstance(lines, str) else lines)
    return known_hosts.known([tmp_path / "none", file], known_hosts.names(host, port))


@pytest.mark.parametrize(
    "line",
    [
        f"web.example.com {text(HOST)}",
        f"other,WEB.example.com\t{text(HOST)} a comment",
        f"  *.example.com {text(HOST)}",
        f"web.?xample.com {text(HOST)}",
        f"{hashed('web.example.com')} {text(HOST)}",
    ],
    ids=itertools.count(),
)
def test_a_host_is_known_by_name_pattern_or_hash(line: str, tmp_path: Path) -> None:
    assert known(line, tmp_path).trouble(Shown(blob(HOST)), NOW) is None
    assert CHANGED in str(known(line, tmp_path).trouble(Shown(blob(OTHER)), NOW))


@pytest.mark.parametrize(
    "line",
    [
        f"web {text(HOST)}",
        f"*.example.com,!web.example.com {text(HOST)}",
        f"{hashed('db.example.com')} {text(HOST)}",
        f"#web.example.com {text(HOST)}",
        f"[web.example.com]:2222 {text(HOST)}",
        f"web.example.co[m] {text(HOST)}",
        "",
    ],
    ids=itertools.count(),
)
def test_a_host_that_nobody_knows_is_refused_with_its_fingerprint(line: str, tmp_path: Path) -> None:
    said = str(known(line, tmp_path).trouble(Shown(blob(HOST)), NOW))
    assert "known_hosts does not know the host's key ssh-ed25519 SHA256:" in said


def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    """A revoked-key list's marker, one of a later OpenSSH, half a line, a strange key, Latin-1, a carriage return."""
    kind, key = text(HOST).split()
    strange = [
        f"@cert-authority *.example.com {text(CA)}",
        f"@revoked * {text(OTHER)}",
        f"@later * {text(HOST)}",
        "@revoked",
        "web.example.com ssh-ed25519",
        f"web.example.com {kind} {key[:-8]}",
        f"web.example.com ssh-rsa {key}",
        f"web.example.com {kind} not-base-64!",
        f"web.example.com {kind} {base64.b64encode(b'x').decode()}",
        "|1|damaged web",
        f"|1|!|! {text(OTHER)}",
        "web.example.com 1024 35 1234567890",  # SSH 1
    ]
    lines = "\n".join(strange).encode() + "\ncafé bücher ".encode("latin-1") + b"\xff\xfe\x00\n"
    assert known(lines, tmp_path).trouble(Shown(blob(HOST)), NOW) is not None
    lines += f"web.example.com {text(HOST)}\r\n".encode()
    assert known(lines, tmp_path).trouble(Shown(blob(HOST)), NOW) is None
    assert known(lines, tmp_path).trouble(Shown(blob(OTHER)), NOW) is not None


def test_a_port_other_than_22_has_keys_of_its_own(tmp_path: Path) -> None:
    at_port = f"[web.example.com]:2222 {text(HOST)}\n"
    plain = f"web.example.com {text(OTHER)}\n"
    assert known(at_port, tmp_path, port=2222).trouble(Shown(blob(HOST)), NOW) is None
    assert known(plain, tmp_path, port=2222).trouble(Shown(blob(OTHER)), NOW) is None, "as OpenSSH"
    both = known(plain + at_port, tmp_path, port=2222)
    assert both.trouble(Shown(blob(HOST)), NOW) is None
    assert CHANGED in str(both.trouble(Shown(blob(OTHER)), NOW))


def test_ipv6_and_aliases(tmp_path: Path) -> None:
    assert known(f"fd00::1 {text(HOST)}", tmp_path, "FD00::1").trouble(Shown(blob(HOST)), NOW) is None
    assert known(f"[fd00::1]:22022 {text(HOST)}", tmp_path, "fd00::1", 22022).trouble(Shown(blob(HOST)), NOW) is None
    assert known_hosts.names("10.0.0.1", 2222, "Web") == ("web",)


def test_a_host_with_another_kind_of_key_is_refused_and_told_apart(tmp_path: Path) -> None:
    said = str(known(f"web.example.com {text(RSA)}", tmp_path).trouble(Shown(blob(HOST)), NOW))
    assert said.startswith("of this host known_hosts has only ssh-rsa, and it shows ssh-ed25519 SHA256:")


def test_a_revoked_key_is_refused_wherever_else_it_stands(tmp_path: Path) -> None:
    lines = f"web.example.com {text(HOST)}\n@revoked *.example.com {text(HOST)}\n"
    assert "says is revoked" in str(known(lines, tmp_path).trouble(Shown(blob(HOST)), NOW))
    elsewhere = f"web.example.com {text(HOST)}\n@revoked other.example.com {text(HOST)}\n"
    assert known(elsewhere, tmp_path).trouble(Shown(blob(HOST)), NOW) is None
    shown = Shown(blob(HOST), certificate())
    authority = f"@cert-authority *.example.com {text(CA)}\n"
    assert known(authority, tmp_path).trouble(shown, NOW) is None
    signer = known(f"{authority}@revoked * {text(CA)}\n", tmp_path).trouble(shown, NOW)
    assert signer == "the host's certificate is signed by a key that known_hosts says is revoked"
    assert "is revoked" in str(known(f"{authority}@revoked * {text(HOST)}\n", tmp_path).trouble(shown, NOW))


@pytest.mark.parametrize("signer", [CA, RSA, EC], ids=["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("key", [HOST, RSA, EC], ids=["ed25519", "rsa", "ecdsa"])
def test_a_certificate_of_a_known_authority_is_believed(key: Any, signer: Any, tmp_path: Path) -> None:
    shown = Shown(blob(key), certificate(key, signer))
    authority = f"@cert-authority *.example.com {text(signer)}\n"
    assert known(authority, tmp_path).trouble(shown, NOW) is None
    assert known(authority, tmp_path, port=2222).trouble(shown, NOW) is None
    assert "is not to be believed: it is not for" in str(
        known(authority, tmp_path, "db.example.com").trouble(shown, NOW)
    )
    assert known(authority, tmp_path, "web.example.org").trouble(shown, NOW) is not None


def tampered() -> bytes:
    good = certificate()
    return good.replace(b"web.example.com", b"web.example.con")


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (certificate(signer=OTHER_CA), "signed by nobody whom known_hosts calls a @cert-authority"),
        (certificate(kind=SSHCertificateType.USER), "it is a user's and not a host's"),
        (certificate(days=(-2, -1)), "it is valid from 2026-11-28 00:00 UTC to 2026-11-29 00:00 UTC, and now it is"),
        (certificate(days=(1, 2)), "it is valid from 2026-12-01"),
        (certificate(names=()), "it is not for web.example.com but for nobody by name"),
        (certificate(names=("db", "mail")), "it is not for web.example.com but for db, mail"),
        (certificate(key=OTHER), "it is another key's"),
        (certificate(more=lambda made: made.add_critical_option(b"x", b"")), "it has options that are not known"),
        (certificate()[:-3] + b"abc", "its signature is wrong"),
        (tampered(), "its signature is wrong"),
        (certificate()[:-70], "it is of a kind that cannot be checked here"),
        (b"", "shows no certificate"),
    ],
    ids=itertools.count(),
)
def test_a_certificate_that_proves_nothing_is_refused_with_the_reason(shown: bytes, said: str, tmp_path: Path) -> None:
    authority = f"@cert-authority *.example.com {text(CA)}\n"
    given = Shown(blob(HOST), shown or None)
    trouble = str(known(authority, tmp_path).trouble(given, NOW))
    assert said in trouble, trouble
    assert known(authority + f"web.example.com {text(HOST)}", tmp_path).trouble(given, NOW) is None, "the key is known"


def test_a_certificate_signed_with_sha_1_is_refused(tmp_path: Path) -> None:
    """By its signature's type, which nobody makes any more: the two others are of the same length but for it."""
    made = certificate(signer=RSA)
    assert made.count(b"rsa-sha2-512") == 1
    old = made.replace((12).to_bytes(4, "big") + b"rsa-sha2-512", (7).to_bytes(4, "big") + b"ssh-rsa")
    start = old.rindex(b"ssh-rsa") - 8
    length = int.from_bytes(old[start : start + 4], "big") - 5
    old = old[:start] + length.to_bytes(4, "big") + old[start + 4 :]
    trouble = known(f"@cert-authority * {text(RSA)}", tmp_path).trouble(Shown(blob(HOST), old), NOW)
    assert trouble == "the host's certificate is not to be believed: it is signed with SHA-1"


def test_what_could_be_believed_is_asked_for_first(tmp_path: Path) -> None:
    usual = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    assert _preferred(known(f"web.example.com {text(RSA)}", tmp_path), usual) == (*usual[2:], *usual[:2])
    assert _preferred(known("", tmp_path), usual) == usual
    first = _preferred(known(f"@cert-authority * {text(RSA)}", tmp_path), usual)
    assert first == (*(f"{kind}-cert-v01@openssh.com" for kind in usual), *usual)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="this machine has no ssh-keygen")
def test_openssh_finds_the_same_lines(tmp_path: Path) -> None:
    key = text(HOST)
    patterns = ["web", "WEB", "w*", "*", "?eb", "w?", "web,!w*", "!web,*", "[web]:22", "[web]:2222", "*web*", "we[b]"]
    patterns += [hashed("web"), hashed("[web]:2222"), "web ,x", ",web", "!web", "*,!db", "w.b", "webb,web"]
    names = ["web", "[web]:2222", "db", "webb"]
    file = tmp_path / "one"
    for pattern in patterns:
        file.write_text(f"{pattern} {key}\n")
        for name in names:
            asked = ["ssh-keygen", "-F", name, "-f", str(file)]
            theirs = subprocess.run(asked, capture_output=True, check=False).returncode == 0
            ours = any(line.about(name) for line in known_hosts.read(file.read_bytes()))
            assert ours == theirs, (pattern, name)
