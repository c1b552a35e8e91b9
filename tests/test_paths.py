"""Data paths without hosts: why one cannot run, and that a transfer which took another way is never let through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.bench import Bench
from harness.ciphers import CIPHERS, Cipher
from harness.paths import (
    Deployed,
    Observed,
    _datapath,
    _nginx,
    _so_crypt,
    afalg_copy,
    afalg_splice,
    http,
    https,
    ipsec,
    plain,
)
from hosts.errors import ConfigError, HarnessError
from hosts.facts import PROGRAMS, Facts
from hosts.testbed import Host

PATHS = paths.discover()
MODULES = frozenset({"algif_skcipher", "cbc", "ecb", "des_generic", "aes_generic", "crypto_null", "xfrm_user", "esp4"})
TRIPLE = CIPHERS["3des"]
payloads = st.integers(1, 10**9)
counts = st.integers(0, 2 * 10**9)


def facts(role: str, without: tuple[str, ...] = ()) -> Facts:
    """A Debian host with everything, but for some programs or modules."""
    programs: dict[str, str | None] = {**dict.fromkeys(PROGRAMS, "1.0"), "lighttpd-gnutls": "1.0"}
    return Facts(
        role=role,
        kernel="6.12.1",
        programs={name: None if name in without else version for name, version in programs.items()},
        modules=MODULES - set(without),
        shown={"os": "Debian GNU/Linux 13 (trixie)"},
    )


def unsupported(
    name: str, cipher: Cipher | None = TRIPLE, driver: str = "any", **without: tuple[str, ...]
) -> str | None:
    sender, receiver = (facts(role, without.get(role, ())) for role in ("sender", "receiver"))
    return PATHS[name].unsupported(cipher, driver, sender, receiver)


# every path


@pytest.mark.parametrize("name", PATHS)
def test_a_path_says_its_name_and_title(name: str) -> None:
    assert PATHS[name].name == name
    assert PATHS[name].title


@pytest.mark.parametrize("name", sorted(set(PATHS) & {"http", "https", "ipsec", "afalg-copy", "afalg-splice", "plain"}))
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


@pytest.mark.parametrize("name", [name for name in PATHS if not PATHS[name].clear])
def test_a_path_that_enciphers_does_not_run_without_a_cipher(name: str) -> None:
    assert unsupported(name, cipher=None)


@pytest.mark.parametrize("name", ["https", "ipsec"])
def test_a_path_that_cannot_choose_its_driver_refuses_one(name: str) -> None:
    assert "driver" in str(unsupported(name, driver="qat_aes_cbc"))


@pytest.mark.parametrize("cipher", CIPHERS)
def test_kernel_tls_never_falls_back_to_user_space(cipher: str) -> None:
    said = str(unsupported("ktls", CIPHERS[cipher]))
    assert CIPHERS[cipher].title in said
    with pytest.raises(HarnessError):
        PATHS["ktls"].deploy(cast(Bench, None), CIPHERS[cipher], "any")


def test_tls_has_no_null_cipher() -> None:
    assert "null cipher" in str(unsupported("https", CIPHERS["null"]))


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

    def serve(self, what: str, argv: list[str], _address: str, _port: int, log: str, stdin: str | None = None) -> str:
        self.served.append((argv, stdin))
        return f"{self.directory}/{log}.out"

    def call(self, op: str, _deadline: float = 30.0, /, **_args: Any) -> Any:
        return self.answers[op]

    def check(self, _argv: list[str], **_more: Any) -> str:
        return ""

    def run(self, _argv: list[str]) -> Any:
        return type("Done", (), {"ok": True})

    def read(self, files: list[str]) -> dict[str, str]:
        return dict.fromkeys(files, "text")

    def put(self, data: bytes, path: str) -> str:
        self.written[path] = data.decode()
        return f"{self.directory}/{path}"


def bench(**answers: Any) -> tuple[Bench, Noted]:
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
        built={_so_crypt.MODULE: "/so_crypt.ko"},
    )
    return made, host


def seen(payload: int, log: list[dict[str, Any]], **more: Any) -> Observed:
    return Observed(payload=payload, sender=more.get("sender", {}), receiver=more.get("receiver", {}), log=log,
                    suite=more.get("suite"))  # fmt: skip


# nginx: http and ipsec


def nginx_line(size: int, suite: str = "") -> dict[str, Any]:
    return {"path": "/x", "status": 200, "bytes": size, "connection": 1, "protocol": "", "suite": suite}


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


@given(payloads, st.none() | counts, st.none() | counts, st.lists(counts, max_size=2))
def test_ipsec_is_only_what_both_associations_carried(
    size: int, carried: int | None, arrived: int | None, sent: list[int]
) -> None:
    log = [nginx_line(count) for count in sent]
    observed = seen(size, log, sender={"sa_out_bytes": carried}, receiver={"sa_in_bytes": arrived})
    enough = carried is not None and arrived is not None and min(carried, arrived) >= size
    assert (ipsec.judge(observed).reason is None) == (enough and sent == [size])


@pytest.mark.parametrize(("carried", "arrived"), [(10**6 - 1, 10**6), (10**6, 10**6 - 1)])
def test_ipsec_that_lacks_one_byte_is_told(carried: int, arrived: int) -> None:
    observed = seen(10**6, [nginx_line(10**6)], sender={"sa_out_bytes": carried}, receiver={"sa_in_bytes": arrived})
    assert "SA carried 999999 bytes of a payload of 1000000" in str(ipsec.judge(observed).reason)


@given(payloads, st.integers(0, 10**6), st.integers(0, 10**6))
def test_ipsec_with_its_overhead_is_valid(size: int, more: int, less: int) -> None:
    observed = seen(
        size, [nginx_line(size)], sender={"sa_out_bytes": size + more}, receiver={"sa_in_bytes": size + less}
    )
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
    counter = association.counter(TRIPLE)
    shown = SHOWN.format(mine="0a0b0c0d", other="0a0b0c0e", third="1a0b0c0d", enc=enc)
    assert re.findall(counter["pattern"], shown, re.MULTILINE) == expected
    gone = SHOWN.format(mine="ffffffff", other="0a0b0c0e", third="1a0b0c0d", enc=enc)
    assert re.findall(counter["pattern"], gone, re.MULTILINE) == []


def test_keys_of_ipsec_go_by_standard_input_only_and_policies_come_first() -> None:
    where, host = bench()
    deployed = PATHS["ipsec"].deploy(where, TRIPLE, "any")
    commands = [change for change in host.applied if change["kind"] == "command"]
    secrets = re.findall(r"0x([0-9a-f]{40,})", "".join(str(change["stdin"]) for change in commands))
    assert len(set(secrets)) == 4, "a cipher key and an authentication key each way"
    for change in host.applied:
        assert not any(secret in str({**change, "stdin": None}) for secret in secrets)
    for names in ([c["what"] for c in commands[:4]], [c["what"] for c in commands[4:]]):
        assert [name.split()[0] for name in names] == ["IPsec", "IPsec", "SA", "SA"], "nothing is ever sent in clear"
    assert not any(secret in repr(deployed) for secret in secrets)


# https


def deployed_https() -> tuple[Deployed, Noted]:
    where, host = bench(offered=["ONE"])
    return PATHS["https"].deploy(where, TRIPLE, "any"), host


@given(payloads, st.lists(counts, max_size=2), st.none() | st.sampled_from([row.tls_suite for row in CIPHERS.values()]))
def test_https_is_one_request_over_the_one_suite(size: int, sent: list[int], suite: str | None) -> None:
    deployed, _ = deployed_https()
    log = [{"path": "/x", "status": 200, "bytes": count} for count in sent]
    found = deployed.judge(seen(size, log, suite=suite))
    assert (found.reason is None) == (sent == [size] and suite == TRIPLE.tls_suite)
    log = [{"path": "/x", "status": 200, "bytes": size}]
    assert deployed.judge(seen(size, log, suite=TRIPLE.tls_suite)).reason is None


@pytest.mark.parametrize("offered", [[], ["ONE", "TWO"]])
def test_https_is_not_deployed_when_the_client_offers_another_number_of_suites(offered: list[str]) -> None:
    where, host = bench(offered=offered)
    with pytest.raises(HarnessError, match=f"offer {len(offered)} suites, not one"):
        PATHS["https"].deploy(where, TRIPLE, "any")
    assert host.applied == []
    assert host.served == []


def test_the_servers_log_is_a_json_object_a_request() -> None:
    _, host = deployed_https()
    line = next(text for text in host.written.values() if "accesslog.format" in text)
    found = re.search(r'^accesslog\.format = "(.*)"$', line, re.MULTILINE)
    assert found
    said = json.loads(found[1].replace('\\"', '"').replace("%U", "/x").replace("%s", "200").replace("%B", "5"))
    assert said == {"path": "/x", "status": 200, "bytes": 5}


@pytest.mark.parametrize("tls", [(), ("ssl_protocols TLSv1.3;",)])
def test_nginx_is_told_all_it_needs(tls: tuple[str, ...]) -> None:
    where, host = bench()
    log = _nginx.serve(where, "name", 18080, tls)
    text = host.written["suite/name/nginx.conf"]
    assert text.count("{") == text.count("}")
    assert f"access_log {log} witness;" in text
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
    return _datapath.serve(where, "mode", cipher, driver, rule or (lambda _seen, _line: None))


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
        _datapath.serve(where, "mode", TRIPLE, "any", lambda _seen, _line: None)


def test_the_key_goes_by_standard_input_only() -> None:
    where, host = bench(lines=[json.dumps({"driver": DRIVER})])
    deployed = PATHS["afalg-copy"].deploy(where, TRIPLE, "any")
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
    deployed = PATHS[name].deploy(where, TRIPLE, "any")
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
        PATHS[name].deploy(where, TRIPLE, "any")
    assert len([change for change in host.applied if change["kind"] == "insmod"]) == 1


def test_so_crypt_that_could_not_be_built_says_why() -> None:
    sender, receiver = facts("sender"), facts("receiver")
    sender.not_built[_so_crypt.MODULE] = "no headers"
    for name in ("so-crypt", "so-crypt-send"):
        said = PATHS[name].unsupported(TRIPLE, "any", sender, receiver)
        assert said == "the kernel module so_crypt is not there: no headers"
    sender.built[_so_crypt.MODULE] = "/so_crypt.ko"
    assert PATHS["so-crypt"].unsupported(TRIPLE, "any", sender, receiver) is None


# what all have in common


@pytest.mark.parametrize("address", ["10.98.0.2", "fd00::2"])
def test_urls_are_of_the_measured_link(address: str) -> None:
    where, host = bench()
    host.host = Host.model_validate({"address": "a", "data_address": address, "data_interface": "eth0"})
    deployed = PATHS["http"].deploy(where, None, "any")
    expected = f"[{address}]" if ":" in address else address
    assert deployed.url("x") == f"http://{expected}:18080/x"
    assert where.port() == 18081, "every deployment has a port of its own"


def test_https_names_a_suite_for_every_cipher_that_it_supports() -> None:
    for cipher in CIPHERS.values():
        if unsupported("https", cipher) is None:
            assert cipher.tls_suite
            assert cipher.gnutls_cipher_string
            assert https.LOG_FORMAT
