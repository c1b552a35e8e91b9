"""Data paths without hosts: why one cannot run, and that a transfer which took another way is never let through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.api import path
from harness.api.bench import Bench
from harness.api.parameters import Connection, Parameters
from harness.api.path import Deployed, Loaded, Observed, Witness
from harness.api.steps import Price
from harness.ciphers.table import CIPHERS, Cipher, Integrity, TlsVersion
from harness.paths import afalg_copy, afalg_splice, http, plain
from harness.servers import cards, certificates, datapath, devcrypto, esp, ipsec, nginx, ours, request_log, so_crypt
from hosts.crypto.qat import LISTED, Engine
from hosts.errors import ConfigError, HarnessError, Refusal
from hosts.facts import PROGRAMS, Facts
from hosts.onhost.agent import xfrm
from hosts.onhost.agent.values import AssociationCounter, Change
from hosts.remote.changes import Served
from hosts.roles import ROLES
from hosts.testbed import Host
from simulations.twins import Twin
from tests.support.made import programs_of_today

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
OURS = {
    **dict.fromkeys(("devcrypto-copy", "devcrypto-mapped"), devcrypto.MODULE),
    **dict.fromkeys(("so-crypt", "so-crypt-send"), so_crypt.MODULE),
}
"""Kernel modules of ours, by the paths that stand on them."""
STREAMS = ("afalg-copy", "afalg-splice", *OURS)
VERIFIED = (*CLEAR, "https", QAT, *KERNEL_TLS, "ipsec", *STREAMS)
"""The paths that this file knows the answers of; a further one is tested in a file of its own."""
AEADS = {"aes128gcm", "aes256gcm", "chacha20poly1305"}
payloads = st.integers(1, 10**9)
counts = st.integers(0, 2 * 10**9)


def facts(role: str, without: tuple[str, ...] = (), disabled: tuple[str, ...] = ()) -> Facts:
    """A Debian host with everything, but for some programs or modules."""
    programs = programs_of_today()
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


def unsupported(name: str, parameters: Parameters | None = None, **without: tuple[str, ...]) -> str | None:
    """Why it cannot run here, with a cipher that it can run with somewhere."""
    sender, receiver = (facts(role, without.get(role, ())) for role in ROLES)
    usual = Parameters(GCM, tls="1.3") if name in (*KERNEL_TLS, QAT) else Parameters(TRIPLE)
    return PATHS[name].unsupported(parameters or usual, sender, receiver)


# every path


def test_paths_are_found() -> None:
    assert set(PATHS) >= set(VERIFIED)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_says_its_name_and_words(name: str) -> None:
    assert PATHS[name].name == name
    said = PATHS[name].words
    assert said.label
    assert f"({name})" in said.subject or said.baseline


@pytest.mark.parametrize("name", sorted(set(VERIFIED) - OURS.keys()))
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
    said = str(unsupported(name, receiver=("libcurl",)))
    assert "the receiver has no libcurl (apt-get install libcurl3-gnutls)" in said


def of_namespaces(role: str, *without: str, **more: Any) -> Facts:
    """A host on a kernel that it shares: only what is loaded or built in is there."""
    about = facts(role)
    there = about.modules | {"authenc", "hmac", "sha1_generic", "echainiv", "seqiv", *ipsec.RANDOM}
    return replace(about, modules=there - set(without), own_kernel=False, **more)


@pytest.mark.parametrize(
    ("name", "parameters", "loaded_alone"),
    [
        ("ktls", Parameters(GCM, tls="1.3"), ("gcm", "ghash_generic")),
        ("ktls-write", Parameters(GCM, tls="1.3"), ("ctr",)),
        ("ipsec", Parameters(TRIPLE), ("cbc", "des_generic", "authenc", "sha1_generic", "echainiv", "drbg")),
        ("ipsec", Parameters(GCM), ("gcm", "seqiv", "jitterentropy_rng")),
    ],
)
def test_a_kernel_that_a_host_shares_loads_nothing_by_itself(
    name: str, parameters: Parameters, loaded_alone: tuple[str, ...]
) -> None:
    """It would where a path asks for a cipher, and nobody there could unload it. On hosts that load modules themselves
    the same is a change, which is undone."""
    path, receiver = PATHS[name], of_namespaces("receiver")
    assert path.unsupported(parameters, of_namespaces("sender"), receiver) is None
    for module in loaded_alone:
        lacking = of_namespaces("sender", module)
        said = str(path.unsupported(parameters, lacking, receiver))
        assert said.startswith("the sender may load no kernel module, and the kernel that it shares would load")
        assert f"would load {module} by itself" in said
        assert path.unsupported(parameters, replace(lacking, own_kernel=True), receiver) is None
        assert path.unsupported(parameters, replace(lacking, modular=False), receiver) is None
        both = str(path.unsupported(parameters, of_namespaces("sender"), of_namespaces("receiver", module)))
        assert ("the receiver may load no kernel module" in both) == (name == "ipsec")


def test_an_aead_asks_for_no_module_of_a_mac() -> None:
    hosts = [of_namespaces(role, "authenc", "echainiv", "sha1_generic") for role in ROLES]
    assert PATHS["ipsec"].unsupported(Parameters(GCM), hosts[0], hosts[1]) is None


def test_what_is_only_priced_or_rehearsed_makes_no_shared_kernel_load_it_either() -> None:
    where, host = bench()
    where.facts = where.receiver_facts = of_namespaces("sender", "algif_skcipher")
    for asks in (
        lambda: datapath.load_alg(where, TRIPLE),
        lambda: ipsec.make_ready(where, Parameters(replace(CIPHERS["null"], kernel_modules=("not_there",)))),
        lambda: esp.kernel_hash(where, "sender", Parameters(TRIPLE), Price(0.0, 0.0)),
    ):
        with pytest.raises(Refusal, match="the sender may load no kernel module"):
            asks()
    assert host.applied == []


def test_all_that_is_missing_is_told_at_once() -> None:
    said = str(unsupported("ipsec", sender=("nginx", "esp4"), receiver=("libcurl", "esp4")))
    assert said.count(";") == 3
    said = str(unsupported("ktls", sender=("nginx", "tls"), receiver=("libcurl",)))
    assert said.count(";") == 2


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("libcurl/8.14.1 GnuTLS/3.8.9 zlib/1.3.1", None),
        ("libcurl/10.0.0 GnuTLS/3.8.9", None),
        ("libcurl/8.14.1 OpenSSL/3.5.1", None),
        ("libcurl/7.61.1 OpenSSL/1.1.1k", None),
        ("libcurl/7.88.1 GnuTLS/3.7.9", "libcurl/7.88.1 cannot be told which TLS cipher suite to offer"),
        ("libcurl/8.14.1 NSS/3.0", "libcurl/8.14.1 cannot be told which TLS cipher suite to offer"),
    ],
)
@pytest.mark.parametrize("name", ["https", "https-qat", *KERNEL_TLS])
def test_a_client_that_would_offer_other_cipher_suites_is_named(name: str, version: str, said: str | None) -> None:
    receiver = facts("receiver")
    receiver.programs["libcurl"] = version
    found = PATHS[name].unsupported(Parameters(GCM, tls="1.3"), facts("sender"), receiver)
    assert found is None if said is None else said in str(found)


def test_what_openssl_has_no_name_for_needs_a_client_with_gnutls() -> None:
    receiver = facts("receiver")
    receiver.programs["libcurl"] = "libcurl/8.14.1 OpenSSL/3.5.1"
    said = PATHS["https"].unsupported(Parameters(TRIPLE), facts("sender"), receiver)
    assert said == "the receiver's libcurl/8.14.1 is linked with OpenSSL, which has no 3DES: GnuTLS's is needed"


def test_a_program_that_does_not_work_is_quoted() -> None:
    receiver = replace(facts("receiver", ("libcurl",)), broken={"libcurl": "libgnutls.so.30: no such file"})
    said = PATHS["http"].unsupported(Parameters(None), facts("sender"), receiver)
    assert said == "the receiver's libcurl does not work: libgnutls.so.30: no such file"


@pytest.mark.parametrize(
    ("nginx", "openssl", "said"),
    [
        ("nginx/1.18.0", "OpenSSL 3.0.2", "nginx/1.18.0 cannot tell OpenSSL to use kernel TLS: 1.19.4 is needed"),
        ("nginx/1.20.1", "OpenSSL 1.1.1k", "OpenSSL 1.1.1k has no kernel TLS: 3.0 is needed"),
        ("nginx/1.20.1", "OpenSSL 3.0.7", None),
    ],
)
@pytest.mark.parametrize("name", KERNEL_TLS)
def test_what_is_too_old_for_kernel_tls_is_named_with_what_is_needed(
    name: str, nginx: str, openssl: str, said: str | None
) -> None:
    sender = facts("sender")
    sender.programs.update(nginx=nginx, openssl=openssl)
    found = PATHS[name].unsupported(Parameters(GCM, tls="1.3"), sender, facts("receiver"))
    assert found is None if said is None else found == f"the sender's {said}"
    for older in ("http", "https"):
        assert PATHS[older].unsupported(Parameters(GCM, tls="1.3"), sender, facts("receiver")) is None


@pytest.mark.parametrize(
    ("role", "name", "version", "said"),
    [
        ("sender", "nginx", "nginx/1.14.2", "the sender's nginx/1.14.2 is too old: 1.18 is needed"),
        ("sender", "openssl", "OpenSSL 1.0.2k", "the sender's OpenSSL 1.0.2k is too old: 1.1.1 is needed"),
        (
            "receiver",
            "libcurl",
            "libcurl/7.29.0 OpenSSL/1.0.2 zlib/1.2.7",
            "the receiver's libcurl/7.29.0 OpenSSL/1.0.2 is too old: 7.61 is needed",
        ),
    ],
)
def test_what_is_too_old_is_named_with_what_is_needed(role: str, name: str, version: str, said: str) -> None:
    hosts = {"sender": facts("sender"), "receiver": facts("receiver")}
    hosts[role].programs[name] = version
    found = PATHS["https"].unsupported(Parameters(GCM, tls="1.3"), hosts["sender"], hosts["receiver"])
    assert found == said
    hosts[role] = replace(facts(role), kernel="4.9.0-19-amd64")
    found = PATHS["https"].unsupported(Parameters(GCM, tls="1.3"), hosts["sender"], hosts["receiver"])
    assert found == f"the {role}'s kernel 4.9.0-19-amd64 is too old: 4.18 is needed"


@pytest.mark.parametrize(("version", "options"), [("1.18.0", []), ("1.19.4", []), ("1.19.5", ["-e", "stderr"])])
def test_nginx_gets_no_option_that_it_does_not_know(version: str, options: list[str]) -> None:
    made, host = bench(offered=["one"])
    made.facts.programs["nginx"] = f"nginx/{version}"
    PATHS["https"].deploy(made, Parameters(GCM, tls="1.3"))
    argv = next(argv for argv, _ in host.served if "nginx" in argv)
    assert argv[argv.index("nginx") + 1 : argv.index("-p")] == options
    text = host.written["suite/https/nginx.conf"]
    assert ("ssl_conf_command" in text) == (version != "1.18.0"), "the client offers no other"


@pytest.mark.parametrize("name", KERNEL_TLS)
def test_openssl_built_without_kernel_tls_is_named(name: str) -> None:
    sender, parameters = facts("sender", disabled=("KTLS",)), Parameters(GCM, tls="1.3")
    said = PATHS[name].unsupported(parameters, sender, facts("receiver"))
    assert said == "the sender's OpenSSL 3.5.1 is built without kernel TLS"
    assert PATHS["https"].unsupported(parameters, sender, facts("receiver")) is None, "user space needs it not"


# what can run nowhere: every path with every cipher, TLS version and integrity

CIPHER_SUITES: dict[str, set[tuple[str, str]]] = {
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
    if path in ("https", *KERNEL_TLS) and (tls, integrity) not in CIPHER_SUITES.get(cipher, set()):
        return f"TLS {tls} has no cipher suite with {title} and HMAC-{integrity.upper()}"
    return None


@pytest.mark.parametrize("path", VERIFIED)
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("integrity", ["sha1", "sha256"])
def test_what_can_run_nowhere_has_a_true_reason(path: str, cipher: str, tls: TlsVersion, integrity: Integrity) -> None:
    parameters = Parameters(None if path in CLEAR else CIPHERS[cipher], tls=tls, integrity=integrity)
    said, due = PATHS[path].impossible(parameters), reason_due(path, cipher, tls, integrity)
    if due is None:
        assert said is None
    else:
        assert str(said).startswith(due)


@pytest.mark.parametrize("name", [name for name in VERIFIED if name not in CLEAR])
def test_a_path_that_enciphers_does_not_run_without_a_cipher(name: str) -> None:
    assert PATHS[name].impossible(Parameters(None))


@pytest.mark.parametrize("name", [name for name in VERIFIED if name not in CLEAR])
def test_a_path_that_cannot_choose_its_driver_refuses_one(name: str) -> None:
    cipher = GCM if name in (*KERNEL_TLS, QAT) else CIPHERS["aes128cbc"]
    assert PATHS[name].impossible(Parameters(cipher)) is None
    said = PATHS[name].impossible(Parameters(cipher, driver="qat_aes_cbc"))
    assert "driver" in str(said) if name in ("https", QAT) else said is None


@pytest.mark.parametrize("name", ["ipsec", *KERNEL_TLS])
def test_a_driver_that_is_only_steered_to_must_be_proven_by_a_card(name: str) -> None:
    """ESP and kernel TLS take the highest priority: only a card's own counters show that it was really this one."""
    cipher = GCM if name in KERNEL_TLS else CIPHERS["aes128cbc"]
    said = unsupported(name, Parameters(cipher, "cbc-aes-aesni", tls="1.3"))
    assert "nothing would prove that cbc-aes-aesni was taken" in str(said)
    without = unsupported(name, Parameters(cipher, "cbc-aes-aesni", tls="1.3"), sender=("crypto_user",))
    assert "no module crypto_user" in str(without)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", KERNEL_TLS)
def test_kernel_tls_is_never_deployed_with_what_would_fall_back(name: str, cipher: str) -> None:
    if cipher in AEADS:
        return
    where, host = bench(offered=["ONE"])
    with pytest.raises(HarnessError):
        PATHS[name].deploy(where, Parameters(CIPHERS[cipher]))
    assert not host.served


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("cipher", sorted(CIPHER_SUITES))
def test_resumed_sessions_need_a_log_that_tells_them(name: str, cipher: str) -> None:
    said = PATHS[name].impossible(Parameters(CIPHERS[cipher], connection="resumed"))
    if name == "https" and cipher == "3des":
        assert "whether a session was resumed" in str(said)
    elif name == "https" or cipher in AEADS:
        assert said is None


class Entry:
    """An entry point of another package."""

    group = paths.ENTRY_POINTS
    value = "elsewhere:PATH"

    def __init__(self, path: path.DataPath) -> None:
        self.path = path

    def load(self) -> path.DataPath:
        return self.path


def test_another_package_adds_a_path_but_takes_no_name_away(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = cast(path.DataPath, http.Http())
    mine.name = "mine"
    entries = [Entry(mine)]
    monkeypatch.setattr(paths, "entry_points", lambda group: entries if group == paths.ENTRY_POINTS else [])
    assert paths.discover() == PATHS | {"mine": mine}
    entries.append(Entry(cast(path.DataPath, http.Http())))
    with pytest.raises(ConfigError, match=r"two data paths are called 'http'; one comes from elsewhere:PATH"):
        paths.discover()


# hosts that only note what they are told


class Noted:
    """Stands for a host and for its scope of changes."""

    name, directory, uid = "sender", "/run-directory", 0

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.host = Host.model_validate({"address": "a", "data_address": "10.98.0.2", "data_interface": "eth0"})
        self.applied: list[Change] = []
        self.served: list[tuple[list[str], str | None]] = []
        self.written: dict[str, str] = {}

    def apply(self, change: Change) -> int:
        self.applied.append(change)
        return len(self.applied) - 1

    def serve(
        self, what: str, argv: list[str], _address: str, _port: int, log: str, stdin: str | None = None
    ) -> Served:
        self.served.append((argv, stdin))
        return Served(len(self.served), f"{self.directory}/{log}.out")

    @property
    def agent(self) -> Noted:
        """It stands for the host's agent too."""
        return self

    def offered_cipher_suites(self, _priority: str) -> Any:
        return self.answers["offered"]

    def lines(self, _tails: Any, timeout: float) -> Any:
        return [self.answers["lines"]]

    def check(self, _argv: list[str], **_more: Any) -> str:
        return ""

    def look(self, argv: list[str]) -> Any:
        """Every module that is asked for is there."""
        listed = [f"insmod /lib/modules/{module}.ko" for module in argv[4:]]
        return type("Done", (), {"ok": True, "stdout": "\n".join(listed)})

    def read(self, files: list[str]) -> dict[str, str]:
        return dict.fromkeys(files, "text")

    def put(self, data: bytes, path: str, _mode: int = 0o600) -> str:
        self.written[path] = data.decode()
        return f"{self.directory}/{path}"


def bench(environment: dict[str, str] | None = None, **answers: Any) -> tuple[Bench, Noted]:
    host = Noted(answers)
    anything = cast(Any, host)
    shared = {datapath.SHARED: "/datapath", certificates.SHARED: "/authority.pem"}
    made = Bench(
        sender=anything,
        receiver=anything,
        on_sender=anything,
        on_receiver=anything,
        folder="suite",
        payload_directory="/payloads",
        ports=[],
        shared=shared,
        facts=replace(facts("sender"), built={name: f"/{name}.ko" for name in OURS.values()}),
        receiver_facts=facts("receiver"),
        environment=environment or {},
    )
    return made, host


def seen(payload: int, log: list[dict[str, Any]], **more: Any) -> Observed:
    return Observed(**{"payload": payload, "sender": {}, "receiver": {}, "log": log, **more})


# nginx: http and ipsec


def nginx_line(size: int, cipher_suite: str = "") -> dict[str, Any]:
    heads = {"path": "/x", "status": 200, "bytes": size, "connection": 1}
    return heads | {"protocol": "", "suite": cipher_suite, "resumed": ""}


@given(payloads)
def test_http_is_one_request_in_clear_of_the_whole_payload(size: int) -> None:
    found = http.verify(seen(size, [nginx_line(size)]))
    assert found.reason is None
    assert found.facts == {"server_requests": 1, "server_bytes": size}


@given(payloads, st.lists(counts, max_size=3))
def test_http_is_nothing_else(size: int, sent: list[int]) -> None:
    found = http.verify(seen(size, [nginx_line(count) for count in sent]))
    assert (found.reason is None) == (sent == [size])
    assert http.verify(seen(size, [nginx_line(size, "TLS_AES_128_GCM_SHA256")])).reason


PROTECTED = xfrm.protection(ipsec.protection(Parameters(TRIPLE)))
UNAIDED = {"sa_out_offload": xfrm.NO_OFFLOAD, "sa_in_offload": xfrm.NO_OFFLOAD}
STATES = {"sa_out_protection": PROTECTED, "sa_in_protection": PROTECTED} | UNAIDED


def associations(carried: int | None, arrived: int | None) -> dict[str, Any]:
    """What both hosts' SAs tell, of the payload's direction; the other one has few bytes."""
    packets = None if carried is None else carried // 1400 + 1
    same = {"sa_out_added": 0, "sa_in_added": 0, "sa_out_bytes": 5000, "sa_in_bytes": 5000}
    return {
        "sender": same | {"sa_out_bytes": carried, "sa_out_packets": packets},
        "receiver": same | {"sa_in_bytes": arrived},
        "sender_states": STATES,
        "receiver_states": STATES,
    }


def protected(observed: Observed, parameters: Parameters | None = None) -> Witness:
    return ipsec.verify(parameters or Parameters(TRIPLE), None, observed)


@given(payloads, st.none() | counts, st.none() | counts, st.lists(counts, max_size=2))
def test_ipsec_is_only_what_both_associations_carried(
    size: int, carried: int | None, arrived: int | None, sent: list[int]
) -> None:
    log = [nginx_line(count) for count in sent]
    observed = seen(size, log, **associations(carried, arrived))
    enough = carried is not None and arrived is not None and min(carried, arrived) >= size
    assert (protected(observed).reason is None) == (enough and sent == [size])


@pytest.mark.parametrize(("carried", "arrived"), [(10**6 - 1, 10**6), (10**6, 10**6 - 1)])
def test_ipsec_that_lacks_one_byte_is_told(carried: int, arrived: int) -> None:
    observed = seen(10**6, [nginx_line(10**6)], **associations(carried, arrived))
    assert "SA carried 999999 bytes of a payload of 1000000" in str(protected(observed).reason)


@pytest.mark.parametrize(
    ("sending", "taking", "way"), [("receiver", "sender", ("out", "in")), ("sender", "receiver", ("out", "in"))]
)
def test_esp_that_does_not_arrive_is_told_by_what_both_ends_counted(
    sending: str, taking: str, way: tuple[str, str]
) -> None:
    told = associations(5000, 5000)
    told[sending] = told[sending] | {f"sa_{way[0]}_bytes": 240}
    told[taking] = told[taking] | {f"sa_{way[1]}_bytes": 0}
    reason = str(protected(seen(10**6, [], **told)).reason)
    assert reason.startswith(
        f"the {sending}'s SA sent 240 bytes, the {taking}'s took none: ESP (IP protocol 50) does not"
    )


@given(payloads, st.integers(0, 10**6), st.integers(0, 10**6))
def test_ipsec_with_its_overhead_is_valid(size: int, more: int, less: int) -> None:
    observed = seen(size, [nginx_line(size)], **associations(size + more, size + less))
    found = protected(observed)
    assert found.reason is None
    assert found.facts["receiver_sa_bytes"] == size + less
    assert (found.facts["key_bits"], found.facts["tag_bits"]) == (192, 96)
    assert found.facts["sender_sa"] == found.facts["receiver_sa"] == PROTECTED


ASKED = [Parameters(row, integrity=mac) for row in CIPHERS.values() for mac in ("sha1", "sha256")]


@pytest.mark.parametrize("parameters", ASKED, ids=lambda one: f"{one.cipher.name}-{one.integrity}")
@pytest.mark.parametrize("host", ROLES)
@pytest.mark.parametrize("way", ["sa_out", "sa_in"])
def test_another_protection_of_any_association_is_told(parameters: Parameters, host: str, way: str) -> None:
    """Another cipher, key, MAC or tag length; none; and one that came only during the sample."""
    told = xfrm.protection(ipsec.protection(parameters))
    right = {"sa_out_protection": told, "sa_in_protection": told} | UNAIDED
    others = {xfrm.protection(ipsec.protection(other)) for other in ASKED} - {told}
    assert len(others) >= len(CIPHERS)
    *first, mac = ipsec.protection(parameters)
    for bits in (64, 160):
        assert bits != mac.icv_bits
        others.add(xfrm.protection([*first, replace(mac, icv_bits=bits)]))
    for found in (*others, xfrm.protection(ipsec.protection(parameters), "tunnel"), f"{told}, then none"):
        states = associations(10**6, 10**6) | {"sender_states": right, "receiver_states": right}
        assert protected(seen(10**6, [nginx_line(10**6)], **states), parameters).reason is None
        states[f"{host}_states"] = right | {f"{way}_protection": found}
        word = "outgoing" if way == "sa_out" else "incoming"
        wrong = protected(seen(10**6, [nginx_line(10**6)], **states), parameters)
        assert wrong.reason == f"the {host}'s {word} SA has {found}; due is {told}"
        states[f"{host}_states"] = right | {f"{way}_protection": None}
        gone = protected(seen(10**6, [nginx_line(10**6)], **states), parameters)
        assert gone.reason == f"the {host}'s {word} SA is not there"


@pytest.mark.parametrize("host", ROLES)
@pytest.mark.parametrize("wrong", [{"sa_in_added": 3}, {"sa_out_added": None}, {"sa_out_bytes": None}])
def test_an_association_that_was_exchanged_is_told(host: str, wrong: dict[str, int | None]) -> None:
    """The same protection and enough bytes: but added later, or counting from the beginning again."""
    states = associations(10**6, 10**6)
    states[host] = states[host] | wrong
    found = protected(seen(10**6, [nginx_line(10**6)], **states))
    assert re.fullmatch(rf"the {host}'s \w+ SA was exchanged for another during the sample", str(found.reason))


def test_an_association_is_read_by_where_it_leads_and_its_spi() -> None:
    found = ipsec.Association("10.98.0.2", "10.98.0.3", "0x0a0b0c0d", 6).counters("sa_out")
    assert set(found) == {f"sa_out_{name}" for name in ("protection", "offload", "added", "bytes", "packets")}
    names = {one.name for one in fields(xfrm.Association)}
    assert set(found.values()) == {AssociationCounter("10.98.0.3", 0x0A0B0C0D, name) for name in names}  # type: ignore[arg-type]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("integrity", ["sha1", "sha256"])
def test_an_association_gets_keys_of_the_right_length(cipher: str, integrity: Integrity) -> None:
    row = CIPHERS[cipher]
    association = ipsec.Association("10.98.0.2", "10.98.0.3", "0x0a0b0c0d", 6)
    line = association.add(Parameters(row, integrity=integrity))
    assert line != association.add(Parameters(row, integrity=integrity)), "new keys each time"
    if row.aead:
        found = re.search(r"mode transport aead (\S+) 0x([0-9a-f]+) 128$", line)
        assert found
        assert (found[1], len(found[2])) == (row.esp, 2 * (row.key_bytes + 4))
        return
    found = re.search(r"enc (\S+) (?:0x([0-9a-f]+)|'') auth-trunc (\S+) 0x([0-9a-f]+) (\d+)$", line)
    assert found
    key, icv = {"sha1": (20, 96), "sha256": (32, 128)}[integrity]
    assert (found[3], len(found[4]) // 2, int(found[5])) == (f"hmac({integrity})", key, icv)
    assert (found[1], len(found[2] or "") // 2) == (row.esp, row.key_bytes)


def test_keys_of_ipsec_go_by_standard_input_only_and_policies_come_first() -> None:
    where, host = bench()
    deployed = PATHS["ipsec"].deploy(where, Parameters(TRIPLE))
    commands = [change for change in host.applied if change.kind == "command"]
    secrets = re.findall(r"0x([0-9a-f]{40,})", "".join(str(change.stdin) for change in commands))
    assert len(set(secrets)) == 4, "a cipher key and an authentication key each way"
    for change in host.applied:
        assert not any(secret in str(change) for secret in secrets)
    for names in ([c.what for c in commands[:4]], [c.what for c in commands[4:]]):
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
    found = request_log.check(observed)
    assert (found.reason is None) == (right and (requests == 1 or made == due))
    assert found.facts["server_requests"] == len(log)
    assert ("connections" in found.facts) == (requests > 1)


# TLS by nginx: in user space and in the kernel


def tls_line(size: int, parameters: Parameters, **more: Any) -> dict[str, Any]:
    assert parameters.cipher_suite
    right = {"protocol": f"TLSv{parameters.tls}", "suite": parameters.cipher_suite.openssl, "resumed": "."}
    return nginx_line(size) | right | more


def tls_tx(software: int | None, card: int | None = 0) -> dict[str, int | None]:
    """Connections that the kernel's TLS took over, and that it handed to a card; neither where it is not there."""
    return {"tls_tx_software": software, "tls_tx_device": None if software is None else card}


def served_tls(name: str, parameters: Parameters, **more: Any) -> tuple[Deployed, Noted]:
    where, host = bench(offered=["ONE"], **more)
    return PATHS[name].deploy(where, parameters), host


MODERN = [Parameters(CIPHERS[name], tls=tls) for name in sorted(AEADS) for tls in ("1.2", "1.3")]
BOTH = Parameters(CIPHERS["aes128cbc"], integrity="sha256")


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("parameters", MODERN, ids=lambda parameters: f"{parameters.cipher.name}-{parameters.tls}")
@given(size=payloads, taken=st.none() | st.integers(0, 3))
def test_kernel_tls_takes_over_every_connection_or_none(
    name: str, parameters: Parameters, size: int, taken: int | None
) -> None:
    deployed, _ = served_tls(name, parameters)
    found = deployed.verify(seen(size, [tls_line(size, parameters)], sender=tls_tx(taken)))
    due = (1,) if name in KERNEL_TLS else (0, None)
    assert (found.reason is None) == (taken in due)
    assert found.facts["kernel_tls"] == taken
    assert "None" not in str(found.reason or ""), "what was not read is no number"


@pytest.mark.parametrize("name", ["https", "ktls"])
@pytest.mark.parametrize("parameters", MODERN, ids=lambda parameters: f"{parameters.cipher.name}-{parameters.tls}")
def test_another_cipher_suite_or_version_is_told(name: str, parameters: Parameters) -> None:
    deployed, _ = served_tls(name, parameters)
    taken = 1 if name == "ktls" else 0
    for other in MODERN:
        found = deployed.verify(seen(5, [tls_line(5, other)], sender=tls_tx(taken)))
        assert other.cipher
        assert (found.facts["key_bits"], found.facts["tag_bits"]) == (8 * other.cipher.key_bytes, 128)
        if other == parameters:
            assert found.reason is None
        else:
            assert str(found.reason).startswith(
                f"TLSv{other.tls} {other.cipher_suite and other.cipher_suite.openssl} was spoken, not "
            )
            assert found.facts["tls"] == other.tls
    clear = deployed.verify(seen(5, [nginx_line(5)], sender=tls_tx(taken)))
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
    parameters = Parameters(GCM, tls="1.3", connection=connection)
    deployed, _ = served_tls(name, parameters)
    log = [tls_line(15, parameters, resumed="r" if number < resumed else ".") for number in range(5)]
    if other:
        log[2]["suite"] = "TLS_AES_256_GCM_SHA384"
    made = 1 if connection == "kept" else 5
    observed = seen(15, log, requests=5, connection=connection, connections=made, sender=tls_tx(taken))
    found = deployed.verify(observed)
    sessions = 5 if connection == "resumed" else 0
    over = made if name in KERNEL_TLS else 0
    assert (found.reason is None) == (resumed == sessions and taken == over and not other)
    if not other:
        assert found.facts["resumed"] == resumed


@pytest.mark.parametrize(
    ("agreed", "wrong"),
    [(("0x11ec",) * 3, False), (("0x11ec", "0x11ec", "X25519"), False), (("0x11ec", "X25519", "X25519"), True)],
)
def test_all_requests_but_canaries_must_be_of_the_group_that_is_asked_for(agreed: Sequence[str], wrong: bool) -> None:
    asked = Parameters(GCM, tls="1.3", at_once=2, key="ecdsa-p256", group="x25519mlkem768")
    deployed, host = served_tls("https", asked)
    text = host.written["suite/https/nginx.conf"]
    assert "ssl_ecdh_curve X25519MLKEM768:X25519;" in text
    assert '"curve":"$ssl_curve"' in text
    assert deployed.tls is not None
    assert (deployed.tls.group, deployed.tls.key) == ("x25519mlkem768", "EC-256")
    assert "certificate-ecdsa-p256.pem" in text
    log = [tls_line(5, asked, curve=curve) for curve in agreed]
    load = Loaded(at_once=2, resumed=0, canaries=1)
    found = deployed.verify(seen(5, log, requests=3, connections=3, load=load, sender=tls_tx(0)))
    assert (found.reason is not None) == wrong
    assert not wrong or found.reason == "the key exchanges of 1 requests were x25519mlkem768, not 2"


@pytest.mark.parametrize(("told", "wrong"), [(3, False), (2, True), (4, True)])
def test_generator_and_log_must_agree_on_resumed_sessions(told: int, wrong: bool) -> None:
    asked = Parameters(GCM, tls="1.3", connection="resumed", at_once=2)
    deployed, _ = served_tls("https", asked)
    log = [tls_line(5, asked, resumed="r" if number < 3 else ".") for number in range(6)]
    load = Loaded(at_once=2, resumed=told, canaries=1)
    found = deployed.verify(seen(5, log, requests=6, connection="resumed", connections=6, load=load, sender=tls_tx(0)))
    assert (found.reason is not None) == wrong
    assert not wrong or found.reason == f"the server's log has 3 resumed sessions, the generator of load resumed {told}"


@pytest.mark.parametrize(("now", "wrong"), [(8, False), (9, False), (7, True), (None, True)])
def test_the_kernel_must_have_all_kept_connections_at_once(now: int | None, wrong: bool) -> None:
    """It may have taken over as many in all, and let go of one before the next."""
    asked = Parameters(GCM, tls="1.3", connection="kept", at_once=8)
    load = Loaded(at_once=8, resumed=0, canaries=1, kernel_tls_now=now)
    log = [tls_line(5, asked) for _ in range(20)]
    more: dict[str, Any] = {"requests": 20, "connection": "kept", "connections": 9, "load": load}
    deployed, _ = served_tls("ktls", asked)
    found = deployed.verify(seen(5, log, sender=tls_tx(9), **more))
    assert (found.reason is not None) == wrong
    said = "an unknown number of" if now is None else now
    assert not wrong or str(found.reason).endswith(f"had {said} connections at one moment, not 8")
    others, _ = served_tls("https", asked)
    assert others.verify(seen(5, log, sender=tls_tx(0), **more)).reason is None, "OpenSSL's are not the kernel's"


@pytest.mark.parametrize("name", ["https", *KERNEL_TLS])
@pytest.mark.parametrize("offered", [[], ["ONE", "TWO"]])
def test_tls_is_not_deployed_where_the_client_does_not_offer_one_cipher_suite(name: str, offered: list[str]) -> None:
    parameters = Parameters(GCM, tls="1.3") if name in KERNEL_TLS else Parameters(TRIPLE)
    where, host = bench(offered=offered)
    with pytest.raises(HarnessError, match=f"offer {len(offered)} cipher suites, not one"):
        PATHS[name].deploy(where, parameters)
    assert [change for change in host.applied if change.kind != "module"] == []
    assert host.served == []


@pytest.mark.parametrize(
    "parameters", [*MODERN, BOTH], ids=lambda parameters: f"{parameters.cipher.name}-{parameters.tls}"
)
def test_nginx_offers_one_cipher_suite_of_one_version(parameters: Parameters) -> None:
    assert parameters.cipher_suite
    _, host = served_tls("https", parameters)
    text = next(text for path, text in host.written.items() if path.endswith("nginx.conf"))
    assert f"ssl_protocols TLSv{parameters.tls};" in text
    chosen = "ssl_conf_command Ciphersuites" if parameters.tls == "1.3" else "ssl_ciphers"
    assert f"{chosen} {parameters.cipher_suite.openssl};" in text
    assert "KTLS" not in text
    assert "listen 10.98.0.2:18080 ssl;" in text


@pytest.mark.parametrize(("name", "sendfile"), [("ktls", "on"), ("ktls-write", "off")])
def test_kernel_tls_is_asked_for_with_and_without_sendfile(name: str, sendfile: str) -> None:
    deployed, host = served_tls(name, Parameters(GCM, tls="1.3"))
    text = host.written[f"suite/{name}/nginx.conf"]
    assert "ssl_conf_command Options KTLS;" in text
    assert f"sendfile {sendfile};" in text
    assert deployed.calls == (frozenset({"sendfile"}) if name == "ktls" else frozenset())
    loaded = [name for change in host.applied if change.kind == "module" for name in change.names]
    assert loaded == ["tls", *GCM.modules]


@pytest.mark.parametrize(("size", "requests", "records"), [(15, 100, 100), (6 * 16384, 1, 6), (40_000, 10, 20)])
def test_a_card_is_to_have_made_every_record_of_all_requests(
    monkeypatch: pytest.MonkeyPatch, size: int, requests: int, records: int
) -> None:
    def watched(deployed: Deployed, _name: str, _facts: Facts, due: Callable[[Observed, Witness], int]) -> Deployed:
        return replace(deployed, verify=lambda seen: Witness({"due": due(seen, Witness({}))}))

    monkeypatch.setattr(cards, "steer", lambda *_: None)
    monkeypatch.setattr(cards, "watched", watched)
    deployed, _ = served_tls("ktls", Parameters(GCM, driver="a-card", tls="1.3"))
    assert deployed.verify(seen(size, [], requests=requests)).facts == {"due": records}


@pytest.mark.parametrize("name", ["https", "ktls-write"])
def test_another_record_size_is_another_server(name: str) -> None:
    where, host = bench(offered=["ONE"])
    parameters = Parameters(GCM, tls="1.3")
    usual = PATHS[name].deploy(where, parameters)
    small = PATHS[name].deploy(where, Parameters(GCM, tls="1.3", buffer_bytes=4096))
    assert (usual.buffer_bytes, small.buffer_bytes) == (16384, 4096)
    assert usual.log != small.log
    assert "ssl_buffer_size 16384;" in host.written[f"suite/{name}/nginx.conf"]
    assert "ssl_buffer_size 4096;" in host.written[f"suite/{name}-4096/nginx.conf"]


def test_servers_in_user_space_are_started_in_the_benchs_environment() -> None:
    mask = {"OPENSSL_ia32cap": "0", "GNUTLS_CPUID_OVERRIDE": "0x1"}
    for parameters, program in ((Parameters(GCM, tls="1.3"), "nginx"), (Parameters(TRIPLE), "lighttpd")):
        _, host = served_tls("https", parameters, environment=mask)
        argv, _stdin = host.served[0]
        assert argv[:4] == ["env", "OPENSSL_ia32cap=0", "GNUTLS_CPUID_OVERRIDE=0x1", program]
        _, host = served_tls("https", parameters)
        assert host.served[0][0][0] == program


# TLS by lighttpd: 3DES


@given(
    payloads,
    st.lists(counts, max_size=2),
    st.none() | st.sampled_from([listed.libcurl for row in CIPHERS.values() for listed in row.tls.values()]),
)
def test_https_is_one_request_over_the_one_cipher_suite(size: int, sent: list[int], cipher_suite: str | None) -> None:
    deployed, _ = served_tls("https", Parameters(TRIPLE))
    right = TRIPLE.tls["1.2", "sha1"].libcurl
    log = [{"path": "/x", "status": 200, "bytes": count} for count in sent]
    found = deployed.verify(seen(size, log, cipher_suite=cipher_suite))
    assert (found.reason is None) == (sent == [size] and cipher_suite == right)
    log = [{"path": "/x", "status": 200, "bytes": size}]
    assert deployed.verify(seen(size, log, cipher_suite=right)).reason is None
    assert deployed.asks_cipher_suite
    assert deployed.buffer_bytes is None, "lighttpd has none to choose"


def test_the_servers_log_is_a_json_object_a_request() -> None:
    _, host = served_tls("https", Parameters(TRIPLE))
    line = next(text for text in host.written.values() if "accesslog.format" in text)
    found = re.search(r'^accesslog\.format = "(.*)"$', line, re.MULTILINE)
    assert found
    said = json.loads(
        found[1]
        .replace('\\"', '"')
        .replace("%U", "/x")
        .replace("%s", "200")
        .replace("%B", "5")
        .replace("%{remote}p", "4711")
    )
    assert said == {"path": "/x", "status": 200, "bytes": 5, "connection": 4711}


@pytest.mark.parametrize("tls", [(), ("ssl_protocols TLSv1.3;",)])
def test_nginx_is_told_all_it_needs(tls: tuple[str, ...]) -> None:
    where, host = bench()
    nginx.serve(where, "name", 18080, tls)
    text = host.written["suite/name/nginx.conf"]
    assert text.count("{") == text.count("}")
    assert f"access_log {nginx.access_log(where, 'name')} witness;" in text
    assert f"listen 10.98.0.2:18080{' ssl' if tls else ''};" in text
    assert "worker_connections 64;" in text
    nginx.serve(where, "loaded", 18081, tls, load=Parameters(None, at_once=512))
    loaded = host.written["suite/loaded/nginx.conf"]
    assert "worker_connections 1088;" in loaded
    assert f"listen 10.98.0.2:18081{' ssl' if tls else ''} backlog=4096;" in loaded
    assert "worker_processes 1;" in loaded
    assert "affinity" not in loaded
    where.facts = replace(where.facts, usable=(0, 2, 3))
    nginx.serve(where, "several", 18082, tls, load=Parameters(None, at_once=512, workers=2))
    several = host.written["suite/several/nginx.conf"]
    assert "worker_processes 2;\nworker_cpu_affinity 1 100;\n" in several
    assert f"listen 10.98.0.2:18082{' ssl' if tls else ''} backlog=4096 reuseport;" in several
    assert "root /payloads;" in text
    assert all(line in text for line in tls)


# datapath: plain and the two over AF_ALG


def listening(driver: str = "cbc-des3_ede-asm", cipher: Cipher = TRIPLE) -> str:
    return json.dumps({"event": "listening", "driver": driver, "algorithm": cipher.kernel})


Rule = Callable[[Observed, dict[str, Any]], str | None]
DRIVER = "cbc-des3_ede-asm"


def serve(
    cipher: Cipher | None = TRIPLE, driver: str = "any", bound: str = DRIVER, rule: Rule | None = None
) -> Deployed:
    where, _ = bench(lines=[listening(bound, cipher)] if cipher else [json.dumps({"event": "listening"})])
    return datapath.serve(where, "mode", Parameters(cipher, driver), rule or (lambda _seen, _line: None))


def request(size: int, cipher: Cipher | None = TRIPLE, **more: Any) -> dict[str, Any]:
    right: dict[str, Any] = {
        "event": "request",
        "bytes": datapath.padded(cipher, size),
        "requests": size // 65536 + 1 if cipher else 0,
        "driver": DRIVER if cipher else None,
        "key_bytes": cipher.key_bytes if cipher else None,
        "crossing_bytes": 0,
        "copied_bytes": 0,
        "calls": {"send": 5, "recv": 0},
        "error": None,
    }
    return right | more


@given(payloads)
def test_a_request_as_it_should_be_is_valid_and_its_counts_are_kept(size: int) -> None:
    for cipher in (TRIPLE, None):
        found = serve(cipher).verify(seen(size, [{"event": "other"}, request(size, cipher)]))
        assert found.reason is None
        assert found.facts["calls_send"] == 5
        assert found.facts.get("key_bits") == (192 if cipher else None)
        assert found.facts.get("algorithm") == (TRIPLE.kernel if cipher else None)
        assert "calls_recv" not in found.facts
        assert found.facts["server_bytes"] == datapath.padded(cipher, size)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"driver": "cbc-des3_ede-generic"}, "the driver was cbc-des3_ede-generic, not cbc-des3_ede-asm"),
        ({"driver": None}, "the driver was None"),
        ({"requests": 0}, "no crypto request was made"),
        ({"key_bytes": 16}, "the key had 128 bits, not 192"),
        ({"bytes": 1000}, "the server sent 1000 bytes, not 1008"),
        ({"bytes": 1016}, "the server sent 1016 bytes, not 1008"),
        ({"error": "the peer went away"}, "the server says: the peer went away"),
        ({"dearer_ns": 0}, "the server spent 0 ns on purpose"),
    ],
)
def test_a_request_that_took_another_way_is_told(wrong: dict[str, Any], says: str) -> None:
    found = serve().verify(seen(1000, [request(1000, **wrong)]))
    assert says in str(found.reason)


def test_a_dearer_twin_is_the_path_by_a_program_that_adds_the_option_and_says_what_was_spent() -> None:
    twin = Twin(PATHS["afalg-copy"], 10)
    where, host = bench(lines=[listening()])
    made = twin.deploy(where, Parameters(TRIPLE))
    (script,) = host.written
    assert host.written[script] == '#!/bin/sh\nexec /datapath "$@" --dearer 10\n'
    argv, _ = host.served[0]
    assert argv[:4] == [f"{host.directory}/{script}", "serve", "--mode", "afalg-copy"]
    assert where.shared[datapath.SHARED] == "/datapath", "paths deployed later have nothing of it"
    right = request(1000, crossing_bytes=4000)
    assert made.verify(seen(1000, [right])).reason == "the server spent nothing on purpose"
    found = made.verify(seen(1000, [right | {"dearer_ns": 7}]))
    assert found.reason is None and found.facts["dearer_ns"] == 7
    wrong = made.verify(seen(1000, [right | {"dearer_ns": 7, "crossing_bytes": 0}]))
    assert "bytes crossed" in str(wrong.reason), "the path's own rule holds for its twin"


def test_a_twin_that_is_not_dearer_is_the_path_itself() -> None:
    where, host = bench(lines=[listening()])
    made = Twin(PATHS["afalg-copy"], 0).deploy(where, Parameters(TRIPLE))
    assert host.served[0][0][:2] == ["/datapath", "serve"]
    spent = request(1000, crossing_bytes=4000, dearer_ns=7)
    assert made.verify(seen(1000, [spent])).reason == "the server spent 7 ns on purpose"


@pytest.mark.parametrize("number", [0, 2])
def test_another_number_of_requests_is_told(number: int) -> None:
    found = serve().verify(seen(1000, [request(1000)] * number))
    assert found.reason == f"the server logged {number} requests, not one"


def test_another_driver_than_the_one_asked_for_is_not_deployed() -> None:
    assert serve(driver=DRIVER).driver_found == DRIVER
    with pytest.raises(HarnessError, match="driver qat_3des was asked for and cbc-des3_ede-asm was bound"):
        serve(driver="qat_3des")


def test_a_driver_of_another_algorithm_is_not_deployed() -> None:
    where, _ = bench(lines=[listening("ecb-des3_ede-asm", replace(TRIPLE, kernel="ecb(des3_ede)"))])
    with pytest.raises(HarnessError, match=r"ecb-des3_ede-asm is a driver of ecb\(des3_ede\), not of cbc\(des3_ede\)"):
        datapath.serve(where, "mode", Parameters(TRIPLE, "ecb-des3_ede-asm"), lambda _seen, _line: None)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_key_or_a_tag_of_another_length_is_told(cipher: str) -> None:
    row = CIPHERS[cipher]
    right = {"key_bytes": row.key_bytes, "tag_bytes": row.tag_bytes}
    assert datapath.other_length(row, right) is None
    for name, said in (("key_bytes", "the key had"), ("tag_bytes", "the tag had")):
        found = datapath.other_length(row, right | {name: right[name] + 4})
        assert found == f"{said} {8 * right[name] + 32} bits, not {8 * right[name]}"


def test_a_server_that_does_not_say_what_it_bound_is_not_deployed() -> None:
    where, _ = bench(lines=[])
    with pytest.raises(HarnessError, match="did not say what it bound"):
        datapath.serve(where, "mode", Parameters(TRIPLE), lambda _seen, _line: None)


def test_the_key_goes_by_standard_input_only() -> None:
    where, host = bench(lines=[listening()])
    deployed = PATHS["afalg-copy"].deploy(where, Parameters(TRIPLE))
    assert deployed.decipher
    key, iv = deployed.decipher.key_hex, deployed.decipher.iv_hex
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
    due = datapath.padded(TRIPLE, size)
    return {"bytes_in": due, "bytes_out": due, "pending": 0, "requests": 3, "driver": DRIVER} | more


@pytest.mark.parametrize(("name", "crossings"), [("so-crypt", 0), ("so-crypt-send", 2)])
@given(size=payloads, crossed=counts, truncated=st.sampled_from([0, 0, 1, None]))
def test_so_crypt_is_what_the_socket_says_of_every_byte(
    name: str, crossings: int, size: int, crossed: int, truncated: int | None
) -> None:
    where, host = bench(lines=[listening()])
    deployed = PATHS[name].deploy(where, Parameters(TRIPLE))
    assert [change.path for change in host.applied if change.kind == "insmod"] == ["/so_crypt.ko"]

    def reason(crossing_bytes: int, packets: int | None, **wrong: Any) -> str | None:
        line = request(size, crossing_bytes=crossing_bytes, so_crypt=socket_counts(size, **wrong))
        return deployed.verify(seen(size, [line], receiver={"ip_truncated_packets": packets})).reason

    assert reason(crossings * size, 0) is None
    right = crossings * size <= crossed < crossings * size + 1024 and truncated == 0
    assert (reason(crossed, truncated) is None) == right
    for wrong in ({"bytes_in": size - 1}, {"bytes_out": size}, {"pending": 1}, {"requests": 0}, {"driver": "other"}):
        assert reason(crossings * size, 0, **wrong)


# devcrypto: the session's own counts


@pytest.mark.parametrize(("name", "crossings"), [("devcrypto-copy", 4), ("devcrypto-mapped", 2)])
@given(size=payloads, crossed=counts, copied=counts, mapped=counts)
def test_devcrypto_is_what_the_module_says_of_every_byte(
    name: str, crossings: int, size: int, crossed: int, copied: int, mapped: int
) -> None:
    where, host = bench(lines=[listening()])
    deployed = PATHS[name].deploy(where, Parameters(TRIPLE))
    assert [change.path for change in host.applied if change.kind == "insmod"] == ["/devcrypto.ko"]
    due, count = datapath.padded(TRIPLE, size), size // 65536 + 1
    memory = {"copied_in": due, "copied_out": due, "mapped": 0}
    if name == "devcrypto-mapped":
        memory = {"copied_in": 0, "copied_out": 0, "mapped": due}
    right = {"driver": DRIVER, "requests": count, "later": 0, "failed": 0, "bytes": due, **memory}

    def reason(crossing_bytes: int, **wrong: Any) -> str | None:
        line = request(size, crossing_bytes=crossing_bytes, devcrypto=right | wrong)
        found = deployed.verify(seen(size, [line]))
        assert found.facts["session_bytes"] == line["devcrypto"]["bytes"]
        return found.reason

    assert reason(crossings * size) is None
    untold = deployed.verify(seen(size, [request(size, crossing_bytes=crossings * size)]))
    assert untold.reason == f"the session's driver was None, not {DRIVER}"
    inside = crossings * size <= crossed < crossings * size + 1024
    assert (reason(crossed) is None) == inside
    lies: list[dict[str, Any]] = [{"driver": "other"}, {"requests": count + 1}, {"requests": 0}, {"failed": 1}]
    lies += [{"bytes": size - 1}, {"bytes": due + 8}, {"copied_in": copied, "copied_out": copied, "mapped": mapped}]
    lies += [{"copied_in": memory["copied_in"] + 1}, {"copied_out": memory["copied_out"] + 1}, {"mapped": due - 1}]
    for lie in lies:
        assert (reason(crossings * size, **lie) is None) == (right | lie == right)


@pytest.mark.parametrize("module", sorted(set(OURS.values())))
def test_paths_of_a_suite_load_a_module_of_ours_once_and_say_why_it_could_not_be_built(module: str) -> None:
    where, host = bench(lines=[listening()])
    sender, receiver = facts("sender"), facts("receiver")
    sender.not_built[module] = "no headers"
    for name in [name for name, needed in OURS.items() if needed == module]:
        assert PATHS[name].builds == (module,)
        PATHS[name].deploy(where, Parameters(TRIPLE))
        said = PATHS[name].unsupported(Parameters(TRIPLE), sender, receiver)
        assert said == f"the kernel module {module} is not there: no headers"
        there = replace(sender, built={module: f"/{module}.ko"})
        assert PATHS[name].unsupported(Parameters(TRIPLE), there, receiver) is None
        signed = PATHS[name].unsupported(Parameters(TRIPLE), replace(there, signed_only="Secure Boot"), receiver)
        assert str(signed).startswith(
            f"the sender's kernel takes signed modules only (Secure Boot): sign {module} with"
        )
    assert [change.path for change in host.applied if change.kind == "insmod"] == [f"/{module}.ko"]


def test_what_a_module_of_ours_needs_is_loaded_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """crypto_hash is a module in some kernels, and insmod loads nothing besides."""
    where, host = bench()
    listed = host.look
    told = type("Done", (), {"stdout": "crypto_hash\n"})
    monkeypatch.setattr(host, "look", lambda argv: told if argv[0] == "modinfo" else listed(argv))
    ours.insert(where, "devcrypto")
    assert [change.kind for change in host.applied] == ["module", "insmod"]
    assert "crypto_hash" in host.applied[0].what


# what all have in common


@pytest.mark.parametrize("address", ["10.98.0.2", "fd00::2"])
def test_urls_are_of_the_measured_link(address: str) -> None:
    where, host = bench()
    host.host = Host.model_validate({"address": "a", "data_address": address, "data_interface": "eth0"})
    deployed = PATHS["http"].deploy(where, Parameters(None))
    expected = f"[{address}]" if ":" in address else address
    assert deployed.url("x") == f"http://{expected}:18080/x"
    assert where.port() == 18081, "every deployment has a port of its own"


@pytest.mark.parametrize("buffer", [None, 4096])
def test_a_buffer_is_the_servers_chunk(buffer: int | None) -> None:
    where, host = bench(lines=[listening()])
    deployed = PATHS["afalg-copy"].deploy(where, Parameters(TRIPLE, buffer_bytes=buffer))
    argv, _ = host.served[0]
    assert argv[argv.index("--chunk") + 1] == str(buffer or 65536)
    assert deployed.buffer_bytes == (buffer or 65536)


# steps: what a path does beyond plain sendfile


@pytest.mark.parametrize("path", VERIFIED)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_path_that_is_possible_says_its_steps(path: str, cipher: str) -> None:
    row = CIPHERS[cipher]
    parameters = Parameters(None if path in CLEAR else row, tls=(row.tls_versions() or ["1.2"])[0])
    if PATHS[path].impossible(parameters):
        return
    steps = PATHS[path].steps(parameters)
    assert steps is not None
    assert bool(steps.sender) == (path not in CLEAR)
    assert bool(steps.receiver) == (path in ("https", QAT, "ipsec", *KERNEL_TLS)), (
        "others are deciphered after the clock"
    )
    assert all(step.chunk > 0 and step.times > 0 for step in (*steps.sender, *steps.receiver))
    library = {"3des": "gnutls"}.get(cipher, "openssl")
    assert (library in steps.names()) == (path == "https")
    assert ("openssl_qat" in steps.names()) == (path == QAT)
