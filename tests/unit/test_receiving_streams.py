"""Ways of receiving a stream of cipher text: reasons, deployments and witnesses, without a kernel that deciphers."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness import paths, profile, receiving, records
from harness.api.parameters import Parameters
from harness.api.path import Deployed, Observed
from harness.api.steps import Price, Taking
from harness.ciphers.table import CIPHERS
from harness.cli import closing
from harness.costs.prediction import Clear, Rehearsed, Take
from harness.measuring import crossings
from harness.record import Cell, Crossing, SuiteEntry
from harness.run import answers, session
from harness.samples import HostSample, Sample
from harness.servers import deciphering, receiver
from hosts.crypto.proc_crypto import Driver
from hosts.errors import Refusal
from reports.drawing import crossings as drawn
from reports.site import pages
from tests.support.record_maker import make_run
from tests.support.runs import PATHS
from tests.unit.test_paths import bench, facts, listening, request, seen, socket_counts

WAYS = {name: way for name, way in receiving.discover().items() if way.takes == "stream"}
BY = {"so-crypt-rx": "recv", "so-crypt-rx-splice": "splice", "devcrypto-rx": "devcrypto"}
DES3 = Parameters(CIPHERS["3des"])
SIZE = 10**6
BODY = SIZE + 8
"""Of 8-byte blocks and PKCS#7."""


def test_they_are_all_there() -> None:
    assert set(WAYS) == set(BY)
    for name, way in WAYS.items():
        assert way.builds == PATHS[name].receiver_builds == (deciphering.MODULES[BY[name]],)  # type: ignore[index]
        assert paths.discover()[str(way.counterpart)].streams
    assert {path.name for path in paths.discover().values() if path.streams} == {
        *("so-crypt", "so-crypt-send", "devcrypto-copy", "devcrypto-mapped", "afalg-copy", "afalg-splice")
    }


@pytest.mark.parametrize("name", WAYS)
def test_a_stream_is_received_of_paths_that_send_one(name: str) -> None:
    assert PATHS[name].impossible(DES3) is None, "by its counterpart"
    for sender in ("so-crypt", "devcrypto-copy", "afalg-splice"):
        assert PATHS[name].impossible(replace(DES3, sent_by=sender)) is None
    for sender in ("http", "https", "ipsec"):
        said = PATHS[name].impossible(replace(DES3, sent_by=sender))
        assert said == f"{sender} sends no stream of cipher text, which {name} receives"
    assert "AEAD" in str(PATHS[name].impossible(Parameters(CIPHERS["aes128gcm"])))


def test_each_tls_way_has_a_counterpart_too() -> None:
    tls = Parameters(CIPHERS["aes128gcm"], tls="1.3")
    for name, way in receiving.discover().items():
        if way.takes == "tls":
            assert paths.discover()[str(way.counterpart)].speaks_tls
            assert PATHS[name].impossible(tls) is None


@pytest.mark.parametrize("name", WAYS)
def test_it_is_the_receiver_that_needs_the_module(name: str) -> None:
    module = WAYS[name].builds[0]
    sender = replace(facts("sender"), built={"so_crypt": "/x", "devcrypto": "/y"})
    there, without = replace(facts("receiver"), built={module: "/x"}), facts("receiver")
    assert PATHS[name].unsupported(DES3, sender, there) is None
    assert f"the kernel module {module} is not there" in str(PATHS[name].unsupported(DES3, sender, without))
    signed = replace(there, signed_only="lockdown")
    assert "the receiver's kernel takes signed modules only" in str(PATHS[name].unsupported(DES3, sender, signed))
    no_cc = replace(facts("receiver", ("cc",)), built={module: "/x"})
    assert "the receiver has no cc" in str(PATHS[name].unsupported(DES3, sender, no_cc))


def suites(**more: Any) -> profile.Profile:
    asked = {
        "name": "dd", "question": "disk-to-disk", "cipher": "3des", "link_rate": "unshaped", "baseline": "devcrypto-rx",
        "paths": ["devcrypto-rx", "so-crypt-rx-splice"], "sizes": {"1MB": {"blocks": 2}}, **more,
    }  # fmt: skip
    return profile.Profile.model_validate({"name": "p", "description": "d", "rounds": 1, "suites": [asked]})


def test_modules_are_built_for_the_host_that_needs_them() -> None:
    both = frozenset({"so_crypt", "devcrypto"})
    assert (answers.built(suites(), PATHS), answers.built_there(suites(), PATHS)) == (both, both)
    one = suites(question="receive", sent_by="so-crypt", paths=["devcrypto-rx"])
    assert "so_crypt" in answers.built(one, PATHS), "of the path that the suite names"
    assert answers.built_there(one, PATHS) == {"devcrypto"}
    gone = facts("sender"), facts("receiver")
    for told in answers.answers(suites(), PATHS, *gone, built=False, shapes=True):
        assert str(told).startswith("can run once"), told
    told = answers.answers(suites(), PATHS, *gone, built=True, shapes=True)[0]
    assert "is not there" in str(told)


def test_the_profile_is_of_both_ends() -> None:
    loaded = profile.load("disk-to-disk-3des")
    assert {suite.question for suite in loaded.suites} == {"receive", "disk-to-disk"}
    assert session._never(loaded, PATHS) == []


# deployments and witnesses


def deployed(name: str, there: tuple[Driver, ...] = ()) -> tuple[Deployed, Any]:
    """``there``: drivers of the receiver's kernel."""
    where, host = bench(lines=[listening()])
    where = replace(where, receiver_facts=replace(where.receiver_facts, drivers=there))
    where.shared[receiver.NAME] = "/receive"
    where.receiver_facts.built.update({"so_crypt": "/so_crypt.ko", "devcrypto": "/devcrypto.ko"})
    return PATHS[name].deploy(where, DES3), host


@pytest.mark.parametrize("name", WAYS)
def test_the_client_has_the_key_in_a_file_and_the_file_is_plain_text(name: str) -> None:
    made, host = deployed(name)
    assert made.client[:3] == ("/receive", "--way", BY[name])
    assert made.client[-4:-1] == ("--cipher", "cbc(des3_ede)", "--key")
    key, iv = host.written["3des.key"].split()
    assert (len(bytes.fromhex(key)), len(bytes.fromhex(iv))) == (24, 8)
    assert key not in " ".join(made.client), "anybody could read it there"
    assert made.decipher is None
    assert made.wire_bytes(SIZE) == SIZE
    module = f"/{WAYS[name].builds[0]}.ko"
    assert module in [change.path for change in host.applied if change.kind == "insmod"]


def test_what_is_no_stream_is_not_received() -> None:
    where, _host = bench()
    tls = Deployed(url=str, log="", server=1, verify=lambda _seen: pytest.fail())
    with pytest.raises(Refusal, match="no stream"):
        deciphering.received(where, "recv", Parameters(CIPHERS["aes128gcm"]), tls)


def told(name: str, **more: Any) -> dict[str, Any]:
    """What the client says of a transfer that went this way."""
    by = BY[name]
    done = {"driver": "cbc-des3", "async": False, "block": 8, "requests": 16, "bytes_in": BODY, "failed": 0}
    done |= {"bytes_out": BODY if by == "devcrypto" else SIZE, "pending": 0}
    crossed = {"recv": 2 * SIZE + 600, "splice": 600, "devcrypto": 3 * BODY + SIZE + 600}[by]
    line = {"way": by, "bytes": SIZE, "crossing_bytes": crossed, "calls": {"recvmsg": 20}}
    return line | {name: value for name, value in more.items() if name in line} | {
        "deciphered": done | {name: value for name, value in more.items() if name in done}
    }  # fmt: skip


SENT = {"recv": 2 * SIZE, "splice": 0, "devcrypto": 4 * SIZE}


def observed(name: str, client: dict[str, Any] | None) -> Observed:
    account = socket_counts(SIZE)
    if name == "devcrypto-rx":
        account = {"driver": account["driver"], "failed": 0, "bytes": BODY, "requests": SIZE // 65536 + 1}
        account |= {"copied_in": BODY, "copied_out": BODY, "mapped": 0}
    more = {"devcrypto" if name == "devcrypto-rx" else "so_crypt": account}
    line = request(SIZE, crossing_bytes=SENT[BY[name]]) | more
    return seen(SIZE, [line], receiver={"ip_truncated_packets": 0}, client=client)


@pytest.mark.parametrize("name", WAYS)
def test_a_transfer_that_went_so_is_proven(name: str) -> None:
    found = deployed(name)[0].verify(observed(name, told(name)))
    assert found.reason is None
    assert found.facts["sent_by"] == WAYS[name].counterpart
    assert (found.facts["deciphered_driver"], found.facts["deciphered_bytes_in"]) == ("cbc-des3", BODY)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("more", "due"),
    [
        ({"bytes_in": BODY - 8}, f"took {BODY - 8} and gave"),
        ({"bytes_out": 5}, "gave 5 bytes"),
        ({"pending": 3}, "kept 3"),
        ({"failed": 1}, "and 1 requests failed"),
        ({"requests": 0}, "no crypto request was made on the receiver"),
        ({"driver": ""}, "nothing shows who deciphered"),
        ({"bytes": SIZE - 1}, f"received {SIZE - 1} bytes"),
        ({"way": "library"}, "by library, not"),
        ({"crossing_bytes": SIZE}, "crossed on the receiver, not"),
        ({"crossing_bytes": 5 * SIZE}, "crossed on the receiver, not"),
    ],
)
def test_the_receivers_account_must_be_what_is_claimed(name: str, more: dict[str, Any], due: str) -> None:
    assert due in str(deployed(name)[0].verify(observed(name, told(name, **more))).reason)


@pytest.mark.parametrize("name", WAYS)
def test_a_card_of_the_receiver_is_not_believed(name: str) -> None:
    """It may hand requests to software, and nothing there looks at what it counts itself."""
    card = Driver("cbc(des3_ede)", "qat_des3", "qat", "skcipher", 400, True, True, False, 8, 24, 24, 8, 1)
    for drivers, due in (((card,), "qat_des3 deciphered, a card of the receiver"), ((), "None")):
        made = deployed(name, drivers)[0]
        assert due in str(made.verify(observed(name, told(name, driver="qat_des3"))).reason)


@pytest.mark.parametrize("name", WAYS)
def test_without_a_word_of_the_client_nothing_is_proven(name: str) -> None:
    assert deployed(name)[0].verify(observed(name, None)).reason == "the client told nothing of the transfer"
    silent = told(name) | {"deciphered": {}}
    assert "nothing shows who deciphered" in str(deployed(name)[0].verify(observed(name, silent)).reason)


# prices


def test_what_a_receiver_does_beyond_taking_it_in_clear() -> None:
    def names(name: str, parameters: Parameters) -> list[str]:
        steps = PATHS[name].steps(parameters)
        assert steps is not None
        return [step.price for step in steps.receiver]

    assert names("devcrypto-rx", DES3) == ["receiver_devcrypto_copy", "receiver_cipher"]
    assert names("so-crypt-rx", DES3) == names("so-crypt-rx-splice", DES3) == ["receiver_copy", "receiver_cipher"]
    assert names("so-crypt-rx", Parameters(CIPHERS["null"])) == ["receiver_copy"], "in place it does nothing"
    taken = Taking(chunks=True)
    for name, by in (
        ("so-crypt-rx", taken),
        ("so-crypt-rx-splice", replace(taken, by="splice")),
        ("devcrypto-rx", taken),
    ):
        path = PATHS[name]
        assert path.rehearses == by
        steps, sent = path.steps(DES3), PATHS[str(WAYS[name].counterpart)].steps(DES3)
        assert steps and sent and (steps.sender, steps.way) == (sent.sender, sent.way)
        priced = {price for source in path.prices for price in source.names}
        assert steps.names() <= priced, "each step has a source"


def test_the_receivers_prices_are_those_of_its_own_host() -> None:
    told = {"devcrypto_copy": Price(4000.0, 0.5), "kernel_cipher": Price(300.0, 40.0), "syscall": Price(100.0, 0.0)}
    assert deciphering.there(told) == {
        "receiver_cipher": Price(300.0, 40.0),
        "receiver_devcrypto_copy": Price(4000.0, 0.5),
        "receiver_copy": Price(0.0, 0.25),
    }


def test_a_prediction_of_the_receivers_cpu_is_the_rehearsals_and_its_own_steps() -> None:
    prices = {
        **{name: Price(0.0, 0.0) for name in ("read", "tcp_copy", "devcrypto_copy", "kernel_cipher", "receiver_copy")},
        "receiver_devcrypto_copy": Price(0.0, 10.0),
        "receiver_cipher": Price(0.0, 20.0),
    }
    clear = Rehearsed({10**6: Clear(1.0, 0.1, 0.01), 2 * 10**6: Clear(2.0, 0.2, 0.02)})
    take = Take(prices, {"devcrypto-rx": clear, "so-crypt-rx-splice": clear})
    first, second = (cast(Any, (name, PATHS[name].steps(DES3))) for name in ("devcrypto-rx", "so-crypt-rx-splice"))
    ratio = take.ratio("receiver_cpu_seconds_per_gb", first, second, 10**6)
    assert ratio == pytest.approx((0.01 + 0.03) / (0.01 + 0.02))
    assert take.ratio("cpu_seconds_per_gb", first, second, 10**6) == pytest.approx(1.0)


def test_what_crosses_on_the_receiver_is_the_clients_count() -> None:
    made, _ = deployed("devcrypto-rx")
    witness = made.verify(observed("devcrypto-rx", told("devcrypto-rx"))).facts
    cell = Cell(
        id="dd/devcrypto-rx/3des/any/1MB", suite="dd", path="devcrypto-rx", cipher="3des", driver="any",
        size_bytes=SIZE, outcome="measured",
    )  # fmt: skip
    sample = Sample(
        cell=cell.id, block=0, index=0, warmup=False, seconds=1.0, bytes=SIZE, valid=True, witness=witness,
        sender=HostSample(cpu_seconds=0.5, cpu_resolution_seconds=1e-6),
        receiver=HostSample(cpu_seconds=0.5, cpu_resolution_seconds=1e-6),
    )  # fmt: skip
    found = crossings.of_sample(sample, cell, made)
    assert (found.source, found.calls, found.buffer_bytes) == ("client", {"recvmsg": 20}, 65536)
    assert found.crossing_bytes == witness["receiver_crossing_bytes"]
    assert deployed("so-crypt-rx")[0].buffer_bytes is None


def test_the_report_has_it_beside_the_model(tmp_path: Path) -> None:
    entry = SuiteEntry(
        name="dd", figure=None, link_rate_bits_per_second=None, baseline="devcrypto-rx", question="disk-to-disk",
        tls=None, connection=None,
    )  # fmt: skip
    counted = {"source": "client", "cipher": "3des", "size_bytes": SIZE}
    entry.crossings = [
        Crossing(path="devcrypto-rx", buffer_bytes=65536, calls={"recvmsg": 16, "ioctl": 16, "write": 16},
                 crossing_bytes=4 * SIZE, **cast(Any, counted)),
        Crossing(path="so-crypt-rx-splice", calls={"splice": 2}, crossing_bytes=0, **cast(Any, counted)),
    ]  # fmt: skip
    words = {name: way.words for name, way in WAYS.items()}
    suites = [(entry, ("devcrypto-rx", "so-crypt-rx-splice"), "3des")]
    run = records.read(make_run(tmp_path, suites=suites, paths=words))
    (table,) = drawn.tables(run.head)
    traditional, scheme = ([value.raw for value in row] for row in table.rows)
    switches = drawn.COLUMNS.index("Model: switches")
    assert traditional[switches - 1 : switches + 2] == [pytest.approx(96), pytest.approx(8e6 / 65536), 4]
    assert scheme[switches - 1 : switches + 2] == [pytest.approx(4), 2, 0]
    text = html.unescape(pages.render(run).html)
    assert "exact, by the receiving client" in text
    assert "both ends together have twice as much" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_closing_lines_tell_the_receivers_share_of_the_cipher(tmp_path: Path) -> None:
    entry = SuiteEntry(
        name="dd", figure=None, link_rate_bits_per_second=None, baseline="devcrypto-rx", question="disk-to-disk",
        tls=None, connection=None,
    )  # fmt: skip
    words = {name: way.words for name, way in WAYS.items()}
    suites = [(entry, ("devcrypto-rx", "so-crypt-rx-splice"), "3des")]
    run = records.read(make_run(tmp_path, suites=suites, paths=words))
    run.head.suites[0].prices = {
        "syscall_call_ns": 9000.0,
        "receiver_cipher_byte_ns": 1.0,
        "kernel_cipher_byte_ns": 1.0,
    }
    run.head.suites[0].ciphering = ["receiver_cipher", "kernel_cipher"]
    run.head.suites[0].taken = {name: steps for name in WAYS if (steps := PATHS[name].steps(DES3))}
    text = " ".join(closing.lines(run.head, run.samples, ["record: x", "report: y"]))
    assert "the sender's CPU" not in text
    assert "9.0 µs" not in text, "that is the sender's"
    assert "of the receiver's CPU" in text or "% of the CPU" in text, text
    page = html.unescape(pages.render(run).html).replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"the cipher .* % of the receiver's CPU", page), "the page says why, too"
    assert "this question is about receiving" in page, "and why it has no map"
