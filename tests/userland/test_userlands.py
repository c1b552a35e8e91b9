"""An agent under an older distribution's Python, with its libcurl, OpenSSL and nginx: it does what the newest does.

The userlands are unpacked from Debian's archive, once, and no kernel is booted: this machine's runs them. Run by
``tox -e userlands``, and no part of the other tests.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from harness.api.bench import Bench, new_key
from harness.api.parameters import Parameters
from harness.api.path import Deployed
from harness.ciphers.table import CIPHERS, TlsVersion
from harness.paths import discover
from harness.servers import datapath
from hosts import facts
from hosts.debian import cached, chroot, image, mmdebstrap
from hosts.debian.image import Image
from hosts.errors import HarnessError
from hosts.onhost.agent.values import Decipher, Received, Tls
from hosts.remote.changes import Scope
from hosts.remote.host import RemoteHost
from hosts.testbed import Host
from tests.support.agent_process import LocalAgent

PACKAGES = (
    "python3",
    "libcurl4",
    "libcurl3-gnutls",
    "nginx-light",
    "openssl",
    "iproute2",
    "kmod",
    "gcc",
    "libc6-dev",
    "strace",
)
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11"}
"""What each release calls python3."""
ENTER = Path(__file__).with_name("enter")
SIZE = 3_000_000
SMALL = 15


@pytest.fixture(scope="module", params=PYTHONS)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def userland(release: str) -> Iterator[Image]:
    if os.geteuid() != 0:
        pytest.skip("only root can enter a userland here")
    group = f"userland-{release}"
    digest = hashlib.sha256(repr((PACKAGES, mmdebstrap.OPTIONS)).encode()).hexdigest()[:12]

    def build(tree: Path) -> None:
        mmdebstrap.unpack(release, PACKAGES, image.recipe().leave_out, tree, lambda *_: None)

    try:
        found = cached.obtain(image.cache() / f"{group}-{digest}", group, "userland", build, lambda *_: None)
    except HarnessError as error:
        pytest.skip(f"no {release} can be had: {error}")
    with found:
        yield found


class Remote:
    """The agent in the userland, with what the harness needs of a host: it is sender and receiver."""

    name, uid = "userland", 0

    def __init__(self, started: LocalAgent) -> None:
        assert started.first is not None, started.errors()
        told = started.first["ready"]
        self.agent, self.directory = started.client, told["directory"]
        self.python, self.python_version = told["python"], told["python_version"]
        self.shared: dict[str, str] = {}
        named = {"address": "::1", "data_address": "127.0.0.1", "data_interface": "lo"}
        self.host = Host.model_validate(named)

    def __getattr__(self, name: str) -> Any:
        """All else is as a host connected by SSH has it."""
        return getattr(RemoteHost, name).__get__(self)


@pytest.fixture(scope="module")
def host(userland: Image) -> Iterator[Remote]:
    """In a network, and so a sysfs, of its own: agents on this machine and the one there do not see each other."""
    with LocalAgent(
        python=None, under=["env", f"IN_IMAGE={chroot.IN_IMAGE}", "sh", str(ENTER), str(userland.path)]
    ) as it:
        yield Remote(it)


@pytest.fixture(scope="module")
def about(host: Remote) -> facts.Facts:
    return facts.gather(cast(Any, host), "receiver")


@pytest.fixture
def bench(host: Remote, about: facts.Facts, request: pytest.FixtureRequest) -> Iterator[Bench]:
    anything, folder = cast(Any, host), re.sub(r"\W+", "-", request.node.name)
    with Scope(anything) as scope:
        host.check(["mkdir", "-p", f"{host.directory}/{folder}", f"{host.directory}/payloads"])
        yield Bench(
            sender=anything,
            receiver=anything,
            on_sender=scope,
            on_receiver=scope,
            folder=folder,
            payload_directory=f"{host.directory}/payloads",
            ports=[],
            shared=host.shared,
            facts=about,
            receiver_facts=about,
        )


def test_the_newest_python_there_runs_the_agent(release: str, host: Remote, about: facts.Facts) -> None:
    assert host.python_version.startswith(PYTHONS[release] + ".")
    assert about.shown["python"] == host.python_version
    assert not about.broken


def test_the_build_of_libcurl_that_can_be_told_what_to_offer_receives(about: facts.Facts) -> None:
    assert " OpenSSL/" in str(about.programs["libcurl"]), "GnuTLS's is too old for it"


def deployed(bench: Bench, name: str, version: TlsVersion) -> Deployed:
    path = discover()[name]
    parameters = Parameters(None if path.clear else CIPHERS["aes128gcm"], tls=version)
    assert path.unsupported(parameters, bench.facts, bench.receiver_facts) is None
    return path.deploy(bench, parameters)


@pytest.mark.parametrize(("name", "version"), [("http", "1.3"), ("plain", "1.3"), ("https", "1.2"), ("https", "1.3")])
def test_a_file_comes_whole(bench: Bench, name: str, version: TlsVersion) -> None:
    agent = bench.receiver.agent
    sha256 = agent.make_payload("payloads/large", SIZE, 1)
    made = deployed(bench, name, version)
    got = agent.fetch(made.url("large"), "out", SIZE, 30.0, made.tls)
    assert (got.error, got.received_bytes) == (None, SIZE)
    assert (got.handshake_seconds is not None) == (name == "https")
    assert agent.digest([Received("out", SIZE)])[0].sha256 == sha256


def test_our_server_serves_files_of_its_root_where_the_kernel_has_no_openat2(bench: Bench) -> None:
    """The kernels of Ubuntu 20.04 and RHEL 8: strace answers for this machine's as they would."""
    agent, root = bench.receiver.agent, bench.payload_directory
    agent.make_payload("payloads/large", SIZE, 1)
    bench.sender.check(["mkdir", "-p", f"{root}/sub"])
    bench.sender.check(["ln", "-sf", "large", f"{root}/link"])
    bench.sender.check(["ln", "-f", f"{root}/large", f"{root}/sub/large"])
    port, address = bench.port(), str(bench.address)
    older = ["strace", "-f", "-o", "/dev/null", "-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"]
    program = [datapath.compiled(bench), "serve", "--mode", "plain", "--address", address, "--port", str(port)]
    bench.on_sender.serve("an older kernel", [*older, *program, "--root", root], address, port, bench.folder + "/older")
    base = bench.base_url("http", port)
    assert agent.fetch(f"{base}/large", "out", SIZE, 30.0, None).error is None
    for other in ("link", "sub/large", ""):
        assert "404" in str(agent.fetch(f"{base}/{other}", "out", SIZE, 30.0, None).error), other


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_receiver_offers_one_cipher_suite_and_no_server_gets_another(bench: Bench, version: TlsVersion) -> None:
    made = deployed(bench, "https", version)
    said = bench.receiver.agent.agreed_cipher_suite(made.url(""), made.tls) if made.tls else None
    suite = CIPHERS["aes128gcm"].tls[version, "sha1"]
    assert str(said).startswith(f"TLSv{version} / {suite.openssl}")
    assert made.tls is not None
    other: TlsVersion = "1.3" if version == "1.2" else "1.2"
    wrong = CIPHERS["aes256gcm"].tls[other, "sha1"]
    offer = Tls(made.tls.ca, other, wrong.gnutls_priority, wrong.openssl)
    got = bench.receiver.agent.fetch(made.url("x"), "out", SIZE, 30.0, offer)
    assert str(got.error).startswith("libcurl 35"), "no handshake"


@pytest.mark.parametrize("connection", ["new", "resumed", "kept"])
def test_small_files_are_timed_and_checked_one_by_one(bench: Bench, connection: Any) -> None:
    agent = bench.receiver.agent
    sha256 = agent.make_payload("payloads/small", SMALL, 2)
    made = deployed(bench, "https", "1.2")
    got = agent.fetch_many(made.url("small"), 20, 30.0, SMALL, sha256, made.tls, connection)
    assert (got.error, got.sha256_ok, got.connections) == (None, True, 1 if connection == "kept" else 20)
    assert got.latencies_us is not None
    assert len(got.latencies_us) == 20
    assert min(got.latencies_us) > 0


@pytest.mark.parametrize("name", ["des", "3des", "aes128cbc"])
def test_what_was_enciphered_is_deciphered(bench: Bench, name: str) -> None:
    row = CIPHERS[name]
    key = new_key(row)
    plain = bytes(range(256)) * 40
    argv = ["openssl", "enc", f"-{row.evp}".lower(), "-K", key.key, "-iv", key.iv]
    newer = str(bench.facts.programs["openssl"]).startswith("OpenSSL 3")
    legacy = ["-provider", "legacy", "-provider", "default"] if row.legacy and newer else []
    source = bench.sender.put(plain, f"{bench.folder}/plain")
    sent = f"{bench.folder}/sent"
    bench.sender.check([*argv, *legacy, "-in", source, "-out", f"{bench.sender.directory}/{sent}"])
    size = (len(plain) // row.block_bytes + 1) * row.block_bytes
    how = Decipher(str(row.evp), key.key, key.iv)
    assert bench.receiver.agent.digest([Received(sent, size)], how)[0].sha256 == hashlib.sha256(plain).hexdigest()


def test_kernel_tls_is_refused_with_the_version_that_is_needed(bench: Bench, release: str) -> None:
    said = discover()["ktls"].unsupported(
        Parameters(CIPHERS["aes128gcm"], tls="1.3"), bench.facts, bench.receiver_facts
    )
    if release == "bullseye":
        assert "the sender's nginx/1.18.0 cannot tell OpenSSL to use kernel TLS: 1.19.4 is needed" in str(said)
    else:
        assert "is needed" not in str(said)
