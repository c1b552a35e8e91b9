"""Data paths without hosts: why one cannot run, and that a transfer which took another way is never let through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.bench import Bench
from harness.ciphers import CIPHERS, Cipher, Integrity, TlsVersion
from harness.paths import (
    Deployed,
    Observed,
    _datapath,
    _log,
    _nginx,
    _so_crypt,
    afalg_copy,
    afalg_splice,
    http,
    ipsec,
    plain,
)
from harness.setup import Connection, Setup
from hosts.changes import Served
from hosts.errors import ConfigError, HarnessError
from hosts.facts import PROGRAMS, Facts
from hosts.qat import LISTED, Engine
from hosts.testbed import Host
from reports.findings.costs import STEPS

PATHS = paths.discover()
MODULES = frozenset(
    {
        "algif_skcipher",
        "crypto_user",
        "xfrm_user",
        "esp4",
        "tls",
        *(m for row in CIPHERS.values() for m in row.kernel_modules),
    }
)
TRIPLE = CIPHERS["3des"]
GCM = CIPHERS["aes128gcm"]
CLEAR = ("http", "plain")
KERNEL_TLS = ("ktls", "ktls-write")
QAT = "https-qat"
GCMS = {"aes128gcm", "aes256gcm"}
STREAMS = ("afalg-copy", "afalg-splice", "so-crypt", "so-crypt-send")
AEADS = {"aes128gcm", "aes256gcm", "chacha20poly1305"}
payloads = st.integers(1, 10**9)
counts = st.integers(0, 2 * 10**9)


def facts(role: str, without: tuple[str, ...] = (), disabled: tuple[str, ...] = ()) -> Facts:
    """A Debian host with everything, but for some programs or modules."""
    programs: dict[str, str | None] = {**dict.fromkeys(PROGRAMS, "1.0"), "lighttpd-gnutls": "1.0"}
    return Facts(
        role=role,
        kernel="6.12.1",
        programs={name: None if name in without else version for name, version in programs.items()},
        modules=MODULES - set(without),
        openssl_disabled=frozenset(disabled),
        qat=Engine(
            "v1.0",
            frozenset(LISTED.values()),
            "/qatengine.so",
            dict.fromkeys(LISTED, "software"),
            takes_processor=True,
            instructions=True,
            countable=True,
        ),
        shown={"os": "Debian GNU/Linux 13 (trixie)"},
    )


def unsupported(name: str, setup: Setup | None = None, **without: tuple[str, ...]) -> str | None:
    """Why it cannot run here, with a cipher that it can run with somewhere."""
    sender, receiver = (facts(role, without.get(role, ())) for role in ("sender", "receiver"))
    usual = Setup(GCM, tls="1.3") if name in (*KERNEL_TLS, QAT) else Setup(TRIPLE)
    return PATHS[name].unsupported(setup or usual, sender, receiver)


# every path


def test_these_are_the_paths() -> None:
    assert set(PATHS) == {*CLEAR, "https", QAT, *KERNEL_TLS, "ipsec", *STREAMS}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_says_its_name_and_title(name: str) -> None:
    assert PATHS[name].name == name
    assert PATHS[name].title
    assert PATHS[name].clear == (name in CLEAR)


@pytest.mark.parametrize("name", sorted(set(PATHS) - {"so-crypt", "so-crypt-send"}))
def test_a_path_runs_where_all_is_there_and_names_what_is_not(name: str) -> None:
    assert unsupported(name) is None
    needed = [program for program in PROGRAMS if unsupported(name, sender=(program,))]
    assert needed, "it needs a program at least"
    for program in needed:
        said = unsupported(name, sender=(program,))
        assert re.search(rf"the sender has no {program} \(apt-get install \S+", str(said))
    for module in MODULES:
        said = unsupported(name, sender=(module,))
        assert said is None or said == f"the sender's kernel 6.12.1 has no module {module}"
    assert "the receiver has no pycurl (apt-get install python3-pycurl)" in str(unsupported(name, receiver=("pycurl",)))


def test_all_that_is_missing_is_told_at_once() -> None:
    said = str(unsupported("ipsec", sender=("nginx", "esp4"), receiver=("pycurl", "esp4")))
    assert said.count(";") == 3
    said = str(unsupported("ktls", sender=("nginx", "tls"), receiver=("pycurl",)))
    assert said.count(";") == 2


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("PycURL/7.45.6 libcurl/8.14.1 GnuTLS/3.8.9 zlib/1.3.1", None),
        ("PycURL/7.45.6 libcurl/10.0.0 GnuTLS/3.8.9", None),
        ("PycURL/7.45.2 libcurl/7.88.1 GnuTLS/3.7.9", "libcurl/7.88 ignores the TLS suites"),
        ("PycURL/7.45.6 libcurl/8.14.1 OpenSSL/3.5.1", "not linked with GnuTLS"),
    ],
)
@pytest.mark.parametrize("name", ["https", "https-qat", *KERNEL_TLS])
def test_a_client_that_would_offer_other_suites_is_named(name: str, version: str, said: str | None) -> None:
    receiver = facts("receiver")
    receiver.programs["pycurl"] = version
    found = PATHS[name].unsupported(Setup(GCM, tls="1.3"), facts("sender"), receiver)
    assert found is None if said is None else said in str(found)


@pytest.mark.parametrize("name", KERNEL_TLS)
def test_openssl_built_without_kernel_tls_is_named(name: str) -> None:
    sender, setup = facts("sender", disabled=("KTLS",)), Setup(GCM, tls="1.3")
    said = PATHS[name].unsupported(setup, sender, facts("receiver"))
    assert said == "the sender's 1.0 is built without kernel TLS"
    assert PATHS["https"].unsupported(setup, sender, facts("receiver")) is None, "user space needs it not"


# what can run nowhere: every path with every cipher, TLS version and integrity

TLS_SUITES: dict[str, set[tuple[str, str]]] = {
    "3des": {("1.2", "sha1")},
    "aes128cbc": {("1.2", "sha1"), ("1.2", "sha256")},
    "aes256cbc": {("1.2", "sha1")},
    **{name: {(tls, mac) for tls in ("1.2", "1.3") for mac in ("sha1", "sha256")} for name in AEADS},
}
"""By RFC 5246 with RFC 8422, RFC 5289 and RFC 7905, and RFC 8446; of these what a server offers today."""


def reason_due(path: str, cipher: str, tls: str, integrity: str) -> str | None:
    """What the reason must say; None where there must be none."""
    title = CIPHERS[cipher].title
    if path in STREAMS:
        return f"{title} is an AEAD" if cipher in AEADS else None
    if path in KERNEL_TLS and cipher not in AEADS:
        return f"the kernel's TLS has no {title}"
    if path == QAT and cipher not in GCMS:
        return f"qatengine is tried with AES-GCM only, not with {title}"
    if path in ("https", *KERNEL_TLS) and (tls, integrity) not in TLS_SUITES.get(cipher, set()):
        return f"TLS {tls} has no suite with {title} and HMAC-{integrity.upper()}"
    return None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("integrity", ["sha1", "sha256"])
def test_what_can_run_nowhere_has_a_true_reason(path: str, cipher: str, tls: TlsVersion, integrity: Integrity) -> None:
    setup = Setup(None if path in CLEAR else CIPHERS[cipher], tls=tls, integrity=integrity)
    said, due = PATHS[path].impossible(setup), reason_due(path, cipher, tls, integrity)
    if due is None:
        assert said is None
    else:
        assert str(said).startswith(due)


@pytest.mark.parametrize("name", [name for name in PATHS if not PATHS[name].clear])
def test_a_path_that_enciphers_does_not_run_without_a_cipher(name: str) -> None:
    assert PATHS[name].impossible(Setup(None))


@pytest.mark.parametrize("name", [name for name in PATHS if not PATHS[name].clear])
def test_a_path_that_cannot_choose_its_driver_refuses_one(name: str) -> None:
    cipher = GCM if name in (*KERNEL_TLS, QAT) else CIPHERS["aes128cbc"]
    assert PATHS[name].impossible(Setup(cipher)) is None
    said = PATHS[name].impossible(Setup(cipher, driver="qat_aes_cbc"))
    assert "driver" in str(said) if name in ("https", QAT) else said is None


@pytest.mark.parametrize("name", ["ipsec", *KERNEL_TLS])
def test_a_driver_that_is_only_steered_to_must_be_proven_by_a_card(name: str) -> None:
    """ESP and kernel TLS take the highest priority: only a card's own counters show that it was really this one."""
    cipher = GCM if name in KERNEL_TLS else CIPHERS["aes128cbc"]
    said = unsupported(name, Setup(cipher, "cbc-aes-aesni", tls="1.3"))
    assert "nothing would prove that cbc-aes-aesni was taken" in str(said)
    without = unsupported(name, Setup(cipher, "cbc-aes-aesni", tls="1.3"), sender=("crypto_user",))
    assert "no module crypto_user" in str(without)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", KERNEL_TLS)
def test_kernel_tls_is_never_deployed_with_what_would_fall_back(name: str, cipher: str) -> None:
    if cipher in AEADS:
        return
    where, host = bench(offered=["ONE"])
    with pytest.raises(HarnessError):
        PATHS[name].deploy(where, Setup(CIPHERS[cipher]))
    assert not host.served


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("cipher", sorted(TLS_SUITES))
def test_resumed_sessions_need_a_log_that_tells_them(name: str, cipher: str) -> None:
    said = PATHS[name].impossible(Setup(CIPHERS[cipher], connection="resumed"))
    if name == "https" and cipher == "3des":
        assert "whether a session was resumed" in str(said)
    elif name == "https" or cipher in AEADS:
        assert said is None


class Entry:
    """An entry point of another package."""

    group = paths.ENTRY_POINTS
    value = "elsewhere:PATH"

    def __init__(self, path: paths.DataPath) -> None:
        self.path = path

    def load(self) -> paths.DataPath:
        return self.path


def test_another_package_adds_a_path_but_takes_no_name_away(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = cast(paths.DataPath, http.Http())
    mine.name = "mine"
    entries = [Entry(mine)]
    monkeypatch.setattr(paths, "entry_points", lambda group: entries if group == paths.ENTRY_POINTS else [])
    assert paths.discover() == PATHS | {"mine": mine}
    entries.append(Entry(cast(paths.DataPath, http.Http())))
    with pytest.raises(ConfigError, match=r"two data paths are called 'http'; one comes from elsewhere:PATH"):
        paths.discover()


# hosts that only note what they are told


class Noted:
    """Stands for a host and for its scope of changes."""

    name, directory, uid = "sender", "/run-directory", 0

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.host = Host.model_validate({"address": "a", "data_address": "10.98.0.2", "data_interface": "eth0"})
        self.applied: list[dict[str, Any]] = []
        self.served: list[tuple[list[str], str | None]] = []
        self.written: dict[str, str] = {}

    def apply(self, change: dict[str, Any]) -> int:
        self.applied.append(change)
        return len(self.applied) - 1

    def serve(
        self, what: str, argv: list[str], _address: str, _port: int, log: str, stdin: str | None = None
    ) -> Served:
        self.served.append((argv, stdin))
        return Served(len(self.served), f"{self.directory}/{log}.out")

    def call(self, op: str, _deadline: float = 30.0, /, **_args: Any) -> Any:
        return self.answers[op]

    def check(self, _argv: list[str], **_more: Any) -> str:
        return ""

    def run(self, argv: list[str]) -> Any:
        """Every module that is asked for is there."""
        return type("Done", (), {"ok": True, "stdout": "\n".join(argv[4:])})

    def read(self, files: list[str]) -> dict[str, str]:
        return dict.fromkeys(files, "text")

    def put(self, data: bytes, path: str) -> str:
        self.written[path] = data.decode()
        return f"{self.directory}/{path}"


def bench(environment: dict[str, str] | None = None, **answers: Any) -> tuple[Bench, Noted]:
    host = Noted(answers)
    anything = cast(Any, host)
    shared = {_datapath.SHARED: "/datapath"}
    made = Bench(
        sender=anything,
        receiver=anything,
        on_sender=anything,
        on_receiver=anything,
        folder="suite",
        payload_directory="/payloads",
        ports=[],
        shared=shared,
        facts=replace(facts("sender"), built={_so_crypt.MODULE: "/so_crypt.ko"}),
        environment=environment or {},
    )
    return made, host


def seen(payload: int, log: list[dict[str, Any]], **more: Any) -> Observed:
    return Observed(**{"payload": payload, "sender": {}, "receiver": {}, "log": log, **more})


# nginx: http and ipsec


def nginx_line(size: int, suite: str = "") -> dict[str, Any]:
    return {"path": "/x", "status": 200, "bytes": size, "connection": 1, "protocol": "", "suite": suite, "resumed": ""}


@given(payloads)
def test_http_is_one_request_in_clear_of_the_whole_payload(size: int) -> None:
    found = http.judge(seen(size, [nginx_line(size)]))
    assert found.reason is None
    assert found.facts == {"server_requests": 1, "server_bytes": size}


@given(payloads, st.lists(counts, max_size=3))
def test_http_is_nothing_else(size: int, sent: list[int]) -> None:
    found = http.judge(seen(size, [nginx_line(count) for count in sent]))
    assert (found.reason is None) == (sent == [size])
    assert http.judge(seen(size, [nginx_line(size, "TLS_AES_128_GCM_SHA256")])).reason


def associations(carried: int | None, arrived: int | None) -> dict[str, Any]:
    """What both SAs tell."""
    packets = None if carried is None else carried // 1400 + 1
    return {"sender": {"sa_out_bytes": carried, "sa_out_packets": packets}, "receiver": {"sa_in_bytes": arrived}}


@given(payloads, st.none() | counts, st.none() | counts, st.lists(counts, max_size=2))
def test_ipsec_is_only_what_both_associations_carried(
    size: int, carried: int | None, arrived: int | None, sent: list[int]
) -> None:
    log = [nginx_line(count) for count in sent]
    observed = seen(size, log, **associations(carried, arrived))
    enough = carried is not None and arrived is not None and min(carried, arrived) >= size
    assert (ipsec.judge(observed).reason is None) == (enough and sent == [size])


@pytest.mark.parametrize(("carried", "arrived"), [(10**6 - 1, 10**6), (10**6, 10**6 - 1)])
def test_ipsec_that_lacks_one_byte_is_told(carried: int, arrived: int) -> None:
    observed = seen(10**6, [nginx_line(10**6)], **associations(carried, arrived))
    assert "SA carried 999999 bytes of a payload of 1000000" in str(ipsec.judge(observed).reason)


@given(payloads, st.integers(0, 10**6), st.integers(0, 10**6))
def test_ipsec_with_its_overhead_is_valid(size: int, more: int, less: int) -> None:
    observed = seen(size, [nginx_line(size)], **associations(size + more, size + less))
    found = ipsec.judge(observed)
    assert found.reason is None
    assert found.facts["receiver_sa_bytes"] == size + less


SHOWN = """src 10.98.0.3 dst 10.98.0.2
\tproto esp spi 0x{other}(1) reqid 7(0x00000007) mode transport
\treplay-window 64 seq 0x00000000 flag  (0x00000000)
\tauth-trunc hmac(sha1) <<Keys hidden>> 96
\tenc cbc(des3_ede) <<Keys hidden>>
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\tlifetime current:
\t  111(bytes), 2(packets)
src 10.98.0.2 dst 10.98.0.3
\tproto esp spi 0x{mine}(2) reqid 6(0x00000006) mode transport
\treplay-window 64 seq 0x00000000 flag  (0x00000000)
\tauth-trunc hmac(sha1) <<Keys hidden>> 96
\tenc {enc} <<Keys hidden>>
\tanti-replay context: seq 0x0, oseq 0x5, bitmap 0x00000000
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\tlifetime current:
\t  222333(bytes), 44(packets)
\t  add 2026-01-01 00:00:00 use 2026-01-01 00:00:01
src 10.98.0.2 dst 10.98.0.9
\tproto esp spi 0x{third}(3) reqid 8(0x00000008) mode transport
\tenc cbc(des3_ede) <<Keys hidden>>
\tlifetime current:
\t  555(bytes), 6(packets)
"""


@pytest.mark.parametrize(("enc", "expected"), [("cbc(des3_ede)", ["222333"]), ("ecb(cipher_null)", [])])
def test_only_the_bytes_of_this_association_with_this_cipher_are_counted(enc: str, expected: list[str]) -> None:
    association = ipsec.Association("10.98.0.2", "10.98.0.3", "0x0a0b0c0d", 6)
    counter = association.counter(Setup(TRIPLE))
    shown = SHOWN.format(mine="0a0b0c0d", other="0a0b0c0e", third="1a0b0c0d", enc=enc)
    assert re.findall(counter["pattern"], shown, re.MULTILINE) == expected
    packets = association.counter(Setup(TRIPLE), ipsec.PACKETS)
    assert re.findall(packets["pattern"], shown, re.MULTILINE) == (["44"] if expected else [])
    gone = SHOWN.format(mine="ffffffff", other="0a0b0c0e", third="1a0b0c0d", enc=enc)
    assert re.findall(counter["pattern"], gone, re.MULTILINE) == []
    weaker = association.counter(Setup(TRIPLE, integrity="sha256"))
    assert re.findall(weaker["pattern"], shown, re.MULTILINE) == [], "another integrity is another protection"


AEAD_SHOWN = """src 10.98.0.2 dst 10.98.0.3
\tproto esp spi 0x0a0b0c0d(1) reqid 6(0x00000006) mode transport
\treplay-window 64 seq 0x00000000 flag  (0x00000000)
\taead {name} <<Keys hidden>> 128
\tanti-replay context: seq 0x0, oseq 0x5, bitmap 0x00000000
\tlifetime current:
\t  222333(bytes), 44(packets)
"""


@pytest.mark.parametrize("name", sorted(AEADS))
def test_bytes_of_an_aead_are_counted_under_its_own_name(name: str) -> None:
    association = ipsec.Association("10.98.0.2", "10.98.0.3", "0x0a0b0c0d", 6)
    pattern = association.counter(Setup(CIPHERS[name]))["pattern"]
    shown = AEAD_SHOWN.format(name=CIPHERS[name].esp)
    assert re.findall(pattern, shown, re.MULTILINE) == ["222333"]
    other = AEAD_SHOWN.format(name="rfc4543(gcm(aes))")
    assert re.findall(pattern, other, re.MULTILINE) == [], "authenticated but not enciphered"


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("integrity", ["sha1", "sha256"])
def test_an_association_gets_keys_of_the_right_length(cipher: str, integrity: Integrity) -> None:
    row = CIPHERS[cipher]
    association = ipsec.Association("10.98.0.2", "10.98.0.3", "0x0a0b0c0d", 6)
    line = association.add(Setup(row, integrity=integrity))
    assert line != association.add(Setup(row, integrity=integrity)), "new keys each time"
    if row.aead:
        found = re.search(r"mode transport replay-window 64 aead (\S+) 0x([0-9a-f]+) 128\n", line)
        assert found
        assert (found[1], len(found[2])) == (row.esp, 2 * (row.key_bytes + 4))
        return
    found = re.search(r"auth-trunc (\S+) 0x([0-9a-f]+) (\d+) enc (\S+) (?:0x([0-9a-f]+)|'')\n", line)
    assert found
    key, icv = {"sha1": (20, 96), "sha256": (32, 128)}[integrity]
    assert (found[1], len(found[2]) // 2, int(found[3])) == (f"hmac({integrity})", key, icv)
    assert (found[4], len(found[5] or "") // 2) == (row.esp, row.key_bytes)


def test_keys_of_ipsec_go_by_standard_input_only_and_policies_come_first() -> None:
    where, host = bench()
    deployed = PATHS["ipsec"].deploy(where, Setup(TRIPLE))
    commands = [change for change in host.applied if change["kind"] == "command"]
    secrets = re.findall(r"0x([0-9a-f]{40,})", "".join(str(change["stdin"]) for change in commands))
    assert len(set(secrets)) == 4, "a cipher key and an authentication key each way"
    for change in host.applied:
        assert not any(secret in str({**change, "stdin": None}) for secret in secrets)
    for names in ([c["what"] for c in commands[:4]], [c["what"] for c in commands[4:]]):
        assert [name.split()[0] for name in names] == ["IPsec", "IPsec", "SA", "SA"], "nothing is ever sent in clear"
    assert not any(secret in repr(deployed) for secret in secrets)


# what every server's log must show


@given(
    size=payloads,
    requests=st.integers(1, 50),
    sent=st.none() | st.lists(counts, max_size=3),
    made=st.none() | st.integers(0, 50),
    connection=st.sampled_from(["new", "resumed", "kept"]),
)
def test_a_log_is_each_request_once_over_the_connections_that_are_due(
    size: int, requests: int, sent: list[int] | None, made: int | None, connection: Connection
) -> None:
    log = [{"bytes": count} for count in ([size] * requests if sent is None else sent)]
    observed = seen(size, log, requests=requests, connections=made, connection=connection)
    right = [line["bytes"] for line in log] == [size] * requests
    due = 1 if connection == "kept" else requests
    found = _log.check(observed)
    assert (found.reason is None) == (right and (requests == 1 or made == due))
    assert found.facts["server_requests"] == len(log)
    assert ("connections" in found.facts) == (requests > 1)


# TLS by nginx: in user space and in the kernel


def tls_line(size: int, setup: Setup, **more: Any) -> dict[str, Any]:
    assert setup.suite
    right = {"protocol": f"TLSv{setup.tls}", "suite": setup.suite.openssl, "resumed": "."}
    return nginx_line(size) | right | more


def served_tls(name: str, setup: Setup, **more: Any) -> tuple[Deployed, Noted]:
    where, host = bench(offered=["ONE"], **more)
    return PATHS[name].deploy(where, setup), host


MODERN = [Setup(CIPHERS[name], tls=tls) for name in sorted(AEADS) for tls in ("1.2", "1.3")]
BOTH = Setup(CIPHERS["aes128cbc"], integrity="sha256")


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("setup", MODERN, ids=lambda setup: f"{setup.cipher.name}-{setup.tls}")
@given(size=payloads, taken=st.none() | st.integers(0, 3))
def test_kernel_tls_takes_over_every_connection_or_none(name: str, setup: Setup, size: int, taken: int | None) -> None:
    deployed, _ = served_tls(name, setup)
    found = deployed.judge(seen(size, [tls_line(size, setup)], sender={"tls_tx": taken}))
    due = (1,) if name in KERNEL_TLS else (0, None)
    assert (found.reason is None) == (taken in due)
    assert found.facts["kernel_tls"] == taken


@pytest.mark.parametrize("name", ["https", "ktls"])
@pytest.mark.parametrize("setup", MODERN, ids=lambda setup: f"{setup.cipher.name}-{setup.tls}")
def test_another_suite_or_version_is_told(name: str, setup: Setup) -> None:
    deployed, _ = served_tls(name, setup)
    taken = 1 if name == "ktls" else 0
    for other in MODERN:
        found = deployed.judge(seen(5, [tls_line(5, other)], sender={"tls_tx": taken}))
        if other == setup:
            assert found.reason is None
        else:
            assert str(found.reason).startswith(
                f"TLSv{other.tls} {other.suite and other.suite.openssl} was spoken, not "
            )
            assert found.facts["tls"] == other.tls
    clear = deployed.judge(seen(5, [nginx_line(5)], sender={"tls_tx": taken}))
    assert clear.reason


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@given(
    connection=st.sampled_from(["new", "resumed", "kept"]),
    resumed=st.integers(0, 5),
    taken=st.integers(0, 6),
    other=st.booleans(),
)
def test_a_batch_is_resumed_or_not_as_it_is_said(
    name: str, connection: Connection, resumed: int, taken: int, other: bool
) -> None:
    setup = Setup(GCM, tls="1.3", connection=connection)
    deployed, _ = served_tls(name, setup)
    log = [tls_line(15, setup, resumed="r" if number < resumed else ".") for number in range(5)]
    if other:
        log[2]["suite"] = "TLS_AES_256_GCM_SHA384"
    made = 1 if connection == "kept" else 5
    observed = seen(15, log, requests=5, connection=connection, connections=made, sender={"tls_tx": taken})
    found = deployed.judge(observed)
    sessions = 5 if connection == "resumed" else 0
    over = made if name in KERNEL_TLS else 0
    assert (found.reason is None) == (resumed == sessions and taken == over and not other)
    if not other:
        assert found.facts["resumed"] == resumed


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("offered", [[], ["ONE", "TWO"]])
def test_tls_is_not_deployed_when_the_client_offers_another_number_of_suites(name: str, offered: list[str]) -> None:
    setup = Setup(GCM, tls="1.3") if name in KERNEL_TLS else Setup(TRIPLE)
    where, host = bench(offered=offered)
    with pytest.raises(HarnessError, match=f"offer {len(offered)} suites, not one"):
        PATHS[name].deploy(where, setup)
    assert [change for change in host.applied if change["kind"] != "module"] == []
    assert host.served == []


@pytest.mark.parametrize("setup", [*MODERN, BOTH], ids=lambda setup: f"{setup.cipher.name}-{setup.tls}")
def test_nginx_offers_one_suite_of_one_version(setup: Setup) -> None:
    assert setup.suite
    _, host = served_tls("https", setup)
    text = next(text for path, text in host.written.items() if path.endswith("nginx.conf"))
    assert f"ssl_protocols TLSv{setup.tls};" in text
    chosen = "ssl_conf_command Ciphersuites" if setup.tls == "1.3" else "ssl_ciphers"
    assert f"{chosen} {setup.suite.openssl};" in text
    assert "KTLS" not in text
    assert "listen 10.98.0.2:18080 ssl;" in text


@pytest.mark.parametrize(("name", "sendfile"), [("ktls", "on"), ("ktls-write", "off")])
def test_kernel_tls_is_asked_for_with_and_without_sendfile(name: str, sendfile: str) -> None:
    deployed, host = served_tls(name, Setup(GCM, tls="1.3"))
    text = host.written[f"suite/{name}/nginx.conf"]
    assert "ssl_conf_command Options KTLS;" in text
    assert f"sendfile {sendfile};" in text
    assert deployed.calls == (frozenset({"sendfile"}) if name == "ktls" else frozenset())
    loaded = [change["name"] for change in host.applied if change["kind"] == "module"]
    assert loaded == ["tls", *GCM.modules]


@pytest.mark.parametrize("name", ["https", "ktls-write"])
def test_another_record_size_is_another_server(name: str) -> None:
    where, host = bench(offered=["ONE"])
    setup = Setup(GCM, tls="1.3")
    usual = PATHS[name].deploy(where, setup)
    small = PATHS[name].deploy(where, Setup(GCM, tls="1.3", buffer_bytes=4096))
    assert (usual.buffer_bytes, small.buffer_bytes) == (16384, 4096)
    assert usual.log != small.log
    assert "ssl_buffer_size 16384;" in host.written[f"suite/{name}/nginx.conf"]
    assert "ssl_buffer_size 4096;" in host.written[f"suite/{name}-4096/nginx.conf"]


def test_servers_in_user_space_are_started_in_the_benchs_environment() -> None:
    mask = {"OPENSSL_ia32cap": "0", "GNUTLS_CPUID_OVERRIDE": "0x1"}
    for setup, program in ((Setup(GCM, tls="1.3"), "nginx"), (Setup(TRIPLE), "lighttpd")):
        _, host = served_tls("https", setup, environment=mask)
        argv, _stdin = host.served[0]
        assert argv[:4] == ["env", "OPENSSL_ia32cap=0", "GNUTLS_CPUID_OVERRIDE=0x1", program]
        _, host = served_tls("https", setup)
        assert host.served[0][0][0] == program


# TLS by lighttpd: 3DES


@given(
    payloads,
    st.lists(counts, max_size=2),
    st.none() | st.sampled_from([suite.libcurl for row in CIPHERS.values() for suite in row.tls.values()]),
)
def test_https_is_one_request_over_the_one_suite(size: int, sent: list[int], suite: str | None) -> None:
    deployed, _ = served_tls("https", Setup(TRIPLE))
    right = TRIPLE.tls["1.2", "sha1"].libcurl
    log = [{"path": "/x", "status": 200, "bytes": count} for count in sent]
    found = deployed.judge(seen(size, log, suite=suite))
    assert (found.reason is None) == (sent == [size] and suite == right)
    log = [{"path": "/x", "status": 200, "bytes": size}]
    assert deployed.judge(seen(size, log, suite=right)).reason is None
    assert deployed.asks_suite
    assert deployed.buffer_bytes is None, "lighttpd has none to choose"


def test_the_servers_log_is_a_json_object_a_request() -> None:
    _, host = served_tls("https", Setup(TRIPLE))
    line = next(text for text in host.written.values() if "accesslog.format" in text)
    found = re.search(r'^accesslog\.format = "(.*)"$', line, re.MULTILINE)
    assert found
    said = json.loads(found[1].replace('\\"', '"').replace("%U", "/x").replace("%s", "200").replace("%B", "5"))
    assert said == {"path": "/x", "status": 200, "bytes": 5}


@pytest.mark.parametrize("tls", [(), ("ssl_protocols TLSv1.3;",)])
def test_nginx_is_told_all_it_needs(tls: tuple[str, ...]) -> None:
    where, host = bench()
    _nginx.serve(where, "name", 18080, tls)
    text = host.written["suite/name/nginx.conf"]
    assert text.count("{") == text.count("}")
    assert f"access_log {_nginx.access_log(where, 'name')} witness;" in text
    assert f"listen 10.98.0.2:18080{' ssl' if tls else ''};" in text
    assert "root /payloads;" in text
    assert all(line in text for line in tls)


# datapath: plain and the two over AF_ALG

Rule = Callable[[Observed, dict[str, Any]], str | None]
DRIVER = "cbc-des3_ede-asm"


def serve(
    cipher: Cipher | None = TRIPLE, driver: str = "any", bound: str = DRIVER, rule: Rule | None = None
) -> Deployed:
    said = json.dumps({"event": "listening", "driver": bound if cipher else None})
    where, _ = bench(lines=[said])
    return _datapath.serve(where, "mode", Setup(cipher, driver), rule or (lambda _seen, _line: None))


def request(size: int, cipher: Cipher | None = TRIPLE, **more: Any) -> dict[str, Any]:
    right: dict[str, Any] = {
        "event": "request",
        "bytes": _datapath.padded(cipher, size),
        "requests": size // 65536 + 1 if cipher else 0,
        "driver": DRIVER if cipher else None,
        "crossing_bytes": 0,
        "copied_bytes": 0,
        "calls": {"send": 5, "recv": 0},
        "error": None,
    }
    return right | more


@given(payloads)
def test_a_request_as_it_should_be_is_valid_and_its_counts_are_kept(size: int) -> None:
    for cipher in (TRIPLE, None):
        found = serve(cipher).judge(seen(size, [{"event": "other"}, request(size, cipher)]))
        assert found.reason is None
        assert found.facts["calls_send"] == 5
        assert "calls_recv" not in found.facts
        assert found.facts["server_bytes"] == _datapath.padded(cipher, size)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"driver": "cbc-des3_ede-generic"}, "the driver was cbc-des3_ede-generic, not cbc-des3_ede-asm"),
        ({"driver": None}, "the driver was None"),
        ({"requests": 0}, "no crypto request was made"),
        ({"bytes": 1000}, "the server sent 1000 bytes, not 1008"),
        ({"bytes": 1016}, "the server sent 1016 bytes, not 1008"),
        ({"error": "the peer went away"}, "the server says: the peer went away"),
    ],
)
def test_a_request_that_took_another_way_is_told(wrong: dict[str, Any], says: str) -> None:
    found = serve().judge(seen(1000, [request(1000, **wrong)]))
    assert says in str(found.reason)


@pytest.mark.parametrize("number", [0, 2])
def test_another_number_of_requests_is_told(number: int) -> None:
    found = serve().judge(seen(1000, [request(1000)] * number))
    assert found.reason == f"the server logged {number} requests, not one"


def test_another_driver_than_the_one_asked_for_is_not_deployed() -> None:
    assert serve(driver=DRIVER).driver_found == DRIVER
    with pytest.raises(HarnessError, match="driver qat_3des was asked for and cbc-des3_ede-asm was bound"):
        serve(driver="qat_3des")


def test_a_server_that_does_not_say_what_it_bound_is_not_deployed() -> None:
    where, _ = bench(lines=[])
    with pytest.raises(HarnessError, match="did not say what it bound"):
        _datapath.serve(where, "mode", Setup(TRIPLE), lambda _seen, _line: None)


def test_the_key_goes_by_standard_input_only() -> None:
    where, host = bench(lines=[json.dumps({"driver": DRIVER})])
    deployed = PATHS["afalg-copy"].deploy(where, Setup(TRIPLE))
    assert deployed.decipher
    key, iv = deployed.decipher["key"], deployed.decipher["iv"]
    argv, stdin = host.served[0]
    assert stdin == f"{key}\n{iv}\n"
    assert key not in " ".join(argv)
    assert key not in repr(deployed)
    assert key not in str(host.applied)


@given(payloads, counts)
def test_the_traditional_scheme_crosses_four_times(size: int, crossing: int) -> None:
    assert (afalg_copy.rule(seen(size, []), {"crossing_bytes": crossing}) is None) == (crossing >= 4 * size)


@given(payloads, counts)
def test_splice_brings_nothing_of_the_file_into_user_space(size: int, crossing: int) -> None:
    said = afalg_splice.rule(seen(size, []), {"crossing_bytes": crossing})
    if crossing >= min(size, 1024):
        assert said == f"{crossing} bytes crossed into user space"
    else:
        assert said is None


@given(counts)
def test_plain_brings_nothing_at_all_into_user_space(crossing: int) -> None:
    assert (plain.rule(seen(1, []), {"crossing_bytes": crossing}) is None) == (crossing == 0)


# so_crypt: the socket's own counts


def socket_counts(size: int, **more: Any) -> dict[str, Any]:
    due = _datapath.padded(TRIPLE, size)
    return {"bytes_in": due, "bytes_out": due, "pending": 0, "requests": 3, "driver": DRIVER} | more


@pytest.mark.parametrize(("name", "crossings"), [("so-crypt", 0), ("so-crypt-send", 2)])
@given(size=payloads, crossed=counts, truncated=st.sampled_from([0, 0, 1, None]))
def test_so_crypt_is_what_the_socket_says_of_every_byte(
    name: str, crossings: int, size: int, crossed: int, truncated: int | None
) -> None:
    where, host = bench(lines=[json.dumps({"driver": DRIVER})])
    deployed = PATHS[name].deploy(where, Setup(TRIPLE))
    assert [change["path"] for change in host.applied if change["kind"] == "insmod"] == ["/so_crypt.ko"]

    def reason(crossing_bytes: int, packets: int | None, **wrong: Any) -> str | None:
        line = request(size, crossing_bytes=crossing_bytes, so_crypt=socket_counts(size, **wrong))
        return deployed.judge(seen(size, [line], receiver={"ip_truncated_packets": packets})).reason

    assert reason(crossings * size, 0) is None
    right = crossings * size <= crossed < crossings * size + 1024 and truncated == 0
    assert (reason(crossed, truncated) is None) == right
    for wrong in ({"bytes_in": size - 1}, {"bytes_out": size}, {"pending": 1}, {"requests": 0}, {"driver": "other"}):
        assert reason(crossings * size, 0, **wrong)


def test_both_so_crypt_paths_of_a_suite_load_the_module_once() -> None:
    where, host = bench(lines=[json.dumps({"driver": DRIVER})])
    for name in ("so-crypt", "so-crypt-send"):
        PATHS[name].deploy(where, Setup(TRIPLE))
    assert len([change for change in host.applied if change["kind"] == "insmod"]) == 1


def test_so_crypt_that_could_not_be_built_says_why() -> None:
    sender, receiver = facts("sender"), facts("receiver")
    sender.not_built[_so_crypt.MODULE] = "no headers"
    for name in ("so-crypt", "so-crypt-send"):
        said = PATHS[name].unsupported(Setup(TRIPLE), sender, receiver)
        assert said == "the kernel module so_crypt is not there: no headers"
    sender.built[_so_crypt.MODULE] = "/so_crypt.ko"
    assert PATHS["so-crypt"].unsupported(Setup(TRIPLE), sender, receiver) is None


# what all have in common


@pytest.mark.parametrize("address", ["10.98.0.2", "fd00::2"])
def test_urls_are_of_the_measured_link(address: str) -> None:
    where, host = bench()
    host.host = Host.model_validate({"address": "a", "data_address": address, "data_interface": "eth0"})
    deployed = PATHS["http"].deploy(where, Setup(None))
    expected = f"[{address}]" if ":" in address else address
    assert deployed.url("x") == f"http://{expected}:18080/x"
    assert where.port() == 18081, "every deployment has a port of its own"


@pytest.mark.parametrize("buffer", [None, 4096])
def test_a_buffer_is_the_servers_chunk(buffer: int | None) -> None:
    where, host = bench(lines=[json.dumps({"driver": DRIVER})])
    deployed = PATHS["afalg-copy"].deploy(where, Setup(TRIPLE, buffer_bytes=buffer))
    argv, _ = host.served[0]
    assert argv[argv.index("--chunk") + 1] == str(buffer or 65536)
    assert deployed.buffer_bytes == (buffer or 65536)


# steps: what a path does beyond plain sendfile


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_path_that_is_possible_says_its_steps(path: str, cipher: str) -> None:
    row = CIPHERS[cipher]
    setup = Setup(None if path in CLEAR else row, tls=(row.tls_versions() or ["1.2"])[0])
    if PATHS[path].impossible(setup):
        return
    steps = PATHS[path].steps(setup)
    assert steps is not None
    assert bool(steps.sender) == (path not in CLEAR)
    assert bool(steps.receiver) == (path in ("https", QAT, "ipsec", *KERNEL_TLS)), (
        "others are deciphered after the clock"
    )
    assert all(step.chunk > 0 and step.times > 0 for step in (*steps.sender, *steps.receiver))
    assert steps.names() <= STEPS.keys(), "a report has words for it"
    library = {"3des": "gnutls"}.get(cipher, "openssl")
    assert (library in steps.names()) == (path == "https")
    assert ("openssl_qat" in steps.names()) == (path == QAT)
