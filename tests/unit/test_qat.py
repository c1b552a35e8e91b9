"""``https-qat`` without hosts: what the engine says of itself is read rightly, and only its own work is let through."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import paths
from harness.api.parameters import Connection, Parameters
from harness.api.path import Deployed
from harness.ciphers.table import CIPHERS
from harness.servers import qat_engine
from hosts.crypto import qat
from hosts.crypto.accelerators import Proof, Seen
from hosts.crypto.qat import Engine
from hosts.errors import HarnessError
from hosts.facts import Facts
from hosts.onhost.agent import counters
from hosts.onhost.agent.values import Counter, FileCounter, NumberCounter, Result
from tests.unit.test_paths import bench, facts, seen

PATH = paths.discover()["https-qat"]
GCM = CIPHERS["aes256gcm"]
SETUP = Parameters(GCM, tls="1.3")
DEBIAN = Engine(
    version="v2.0.0",
    listed=frozenset({"RSA", "id-aes128-GCM", "id-aes256-GCM"}),
    library="/engines/qatengine.so",
    gcm={"AES-128-GCM": None, "AES-256-GCM": "software"},
    takes_processor=True,
    instructions=True,
    countable=True,
)
LISTS = "qatengine v2.0.0 lists id-aes256-GCM, but hands out OpenSSL's own function under that name: "
OPENSSLS: dict[str, qat.Doer | None] = {"AES-128-GCM": None, "AES-256-GCM": None}
ON_CARD: dict[str, qat.Doer | None] = {"AES-128-GCM": None, "AES-256-GCM": "card"}
sizes = st.integers(1, 10**9)
counts = st.integers(0, 2 * 10**9)


# what a host's engine says

SAID = """(qatengine) Reference implementation of QAT crypto engine(qat_hw & qat_sw) v2.0.0
 [RSA, EC, AES-256-CBC-HMAC-SHA256, id-aes128-GCM, id-aes256-GCM, X25519]
"""
INTEL = "OPENSSL_ia32cap=0xfffa3203478bffff:0x00405fc6f1bf07ab:0x0000002000000010:0x0:0x0"


class Asked:
    """A host whose engine answers as told; ``answered`` when it is answered for its processor."""

    python = "python3"

    def __init__(self, told: dict[str, Any], answered: dict[str, Any] | None = None) -> None:
        self.told, self.answered = told, answered

    def run(self, argv: Sequence[str], timeout: float = 30.0, stdin: str | None = None) -> Result:
        if argv[0] == "openssl":
            return Result(0, SAID, "Cannot open /dev/vfio\n")
        told = self.answered if argv[-1] == "answer" else self.told
        assert told is not None, "nobody may answer for this host"
        assert "ENGINE_by_id" in (stdin or "")
        return Result(0, f"{json.dumps(told)}\n", "Cannot open /dev/vfio\n")


def told(**more: Any) -> dict[str, Any]:
    usual = {
        "library": "/engines/qatengine.so",
        "processor": INTEL,
        "takes_processor": True,
        "device": False,
        "countable": True,
        "gcm": {"AES-128-GCM": "openssl", "AES-256-GCM": "software"},
    }
    return usual | more


REFUSED = told(takes_processor=False, gcm=dict.fromkeys(OPENSSLS, "openssl"))


def test_an_engine_is_read() -> None:
    found = qat.look(Asked(told()), "v2.0.0", emulated=True)
    assert found is not None
    assert "X25519" in found.listed
    assert found == replace(DEBIAN, listed=found.listed)
    assert json.loads(json.dumps(found.shown()))["gcm"] == {"AES-128-GCM": None, "AES-256-GCM": "software"}
    assert qat.look(Asked(told()), None, emulated=True) is None


def test_only_an_emulated_host_s_engine_is_answered_for_its_processor() -> None:
    assert qat.look(Asked(REFUSED), "v2.0.0", emulated=False) == qat.look(
        Asked(REFUSED, told()), "v2.0.0", emulated=False
    )
    found = qat.look(Asked(REFUSED, REFUSED | {"gcm": told()["gcm"]}), "v2.0.0", emulated=True)
    assert found is not None
    assert found.answered
    assert found.gcm["AES-256-GCM"] == "software"


@pytest.mark.parametrize("bit", [16, 41, 42])
def test_a_processor_without_one_of_the_instructions_is_never_answered_for(bit: int) -> None:
    words = f"OPENSSL_ia32cap=0x1:{0x00405FC6F1BF07AB & ~(1 << bit):#018x}:0x0"
    found = qat.look(Asked(REFUSED | {"processor": words}), "v2.0.0", emulated=True)
    assert found is not None
    assert not found.instructions
    assert not found.answered


@pytest.mark.parametrize("output", ["", "no JSON\n", "3\n"])
def test_an_engine_that_cannot_be_asked_is_quoted(output: str) -> None:
    class Broken(Asked):
        def run(self, argv: Sequence[str], timeout: float = 30.0, stdin: str | None = None) -> Result:
            return Result(1, output, "Traceback\nOSError: libcrypto.so.3: cannot open\n")

    found = qat.look(Broken({}), "v9", emulated=True)
    assert found is not None
    said = "qatengine v9 cannot be used: asked what it does, it said: OSError: libcrypto.so.3: cannot open"
    assert qat.why_not(found, "AES-256-GCM") == said


# why it does not do a cipher


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (DEBIAN, None),
        (replace(DEBIAN, gcm=ON_CARD, takes_processor=False, instructions=False, countable=False), None),
        (replace(DEBIAN, listed=frozenset({"RSA"})), "qatengine v2.0.0 lists no id-aes256-GCM"),
        (replace(DEBIAN, gcm=OPENSSLS), f"{LISTS}it was built without it"),
        (replace(DEBIAN, gcm=OPENSSLS, takes_processor=False, answered=True), f"{LISTS}it was built without it"),
        (
            replace(DEBIAN, gcm=OPENSSLS, takes_processor=False),
            f"{LISTS}its software mode takes Intel's processors only, and it found no card",
        ),
        (
            replace(DEBIAN, gcm=OPENSSLS, takes_processor=False, device=True),
            f"{LISTS}its software mode takes Intel's processors only, and the card that it found gets no GCM from it",
        ),
        (
            replace(DEBIAN, gcm=OPENSSLS, takes_processor=False, instructions=False),
            f"{LISTS}the processor has no AVX-512 with VAES and VPCLMULQDQ for its software mode, and it found no card",
        ),
        (
            replace(DEBIAN, hidden=True, instructions=False),
            "instructions are hidden from user space here, and qatengine v2.0.0 would use them all the same",
        ),
        (replace(DEBIAN, countable=False), "qatengine v2.0.0 has no name by which its encryption could be counted"),
    ],
)
def test_an_engine_that_does_not_do_what_it_lists_says_why(engine: Engine, reason: str | None) -> None:
    assert qat.why_not(engine, "AES-256-GCM") == reason
    assert PATH.unsupported(SETUP, sender(engine), facts("receiver")) == (
        reason or ("nothing counts the card's work" if engine.gcm == ON_CARD else None)
    )


def sender(engine: Engine | None, proof: Proof | None = None, without: tuple[str, ...] = ()) -> Facts:
    cards = Seen(proofs={"qat": proof} if proof else {})
    return replace(facts("sender", without), qat=engine, accelerators=cards)


def test_what_is_missing_is_named_with_what_to_type() -> None:
    said = PATH.unsupported(SETUP, sender(None, without=("qatengine", "cc")), facts("receiver"))
    assert said == "the sender has no qatengine, cc (apt-get install gcc libc6-dev qatengine)"


CARD = Proof({"qat requests fw_counters": FileCounter("/x", r"(\d+)")}, "requests")


def test_a_card_needs_counters_of_its_own_and_no_compiler() -> None:
    engine = replace(DEBIAN, gcm=ON_CARD)
    receiver = facts("receiver")
    assert PATH.unsupported(SETUP, sender(engine, CARD, without=("cc",)), receiver) is None
    said = PATH.unsupported(SETUP, sender(engine, Proof({}, None, "no debugfs")), receiver)
    assert said == "nothing counts the card's work: no debugfs"


@pytest.mark.parametrize("connection", ["new", "resumed", "kept"])
def test_handshakes_need_a_server_that_waits_for_none(connection: Connection) -> None:
    parameters = replace(SETUP, connection=connection, requests=100)
    said = PATH.impossible(parameters)
    if connection == "kept":
        assert said is None
    else:
        assert "that needs an asynchronous server, which nginx is not" in str(said)
    assert PATH.impossible(SETUP) is None


# what is deployed and what is let through


def deployed(engine: Engine = DEBIAN, proof: Proof | None = None) -> tuple[Deployed, Any]:
    where, host = bench(offered=["ONE"])
    where.facts = sender(engine, proof)
    return PATH.deploy(where, SETUP), host


def line(size: int) -> dict[str, Any]:
    return {"bytes": size, "protocol": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "resumed": "."}


def test_nginx_is_the_same_but_for_the_engine_and_what_counts_it() -> None:
    done, host = deployed()
    [(argv, _)] = host.served
    assert argv[0] == "env"
    assert set(argv[1 : argv.index("nginx")]) == {
        "OPENSSL_CONF=/run-directory/suite/https-qat-openssl.cnf",
        "LD_PRELOAD=/run-directory/count_gcm.so",
        "PATHPROOF_ENGINE=/engines/qatengine.so",
        "PATHPROOF_COUNT=/run-directory/suite/https-qat-engine.count",
    }
    assert "qat" not in host.written["suite/https-qat/nginx.conf"].replace("https-qat", "")
    assert "engine_id = qatengine" in host.written["suite/https-qat-openssl.cnf"]
    assert done.driver_found == "qatengine v2.0.0, ipsec-mb"
    assert host.written["suite/https-qat-engine.count"] == "\0" * 16


def test_a_processor_that_is_answered_for_is_told() -> None:
    done, host = deployed(replace(DEBIAN, takes_processor=False, answered=True))
    assert "LD_PRELOAD=/run-directory/count_gcm.so:/run-directory/answer_processor.so" in host.served[0][0]
    assert done.driver_found == "qatengine v2.0.0, ipsec-mb, not an Intel processor"


@given(sizes, st.none() | counts, st.none() | st.integers(0, 1))
def test_only_what_the_engine_encrypted_itself_is_let_through(size: int, counted: int | None, ktls: int | None) -> None:
    done, _ = deployed()
    risen = {"tls_tx_software": ktls, "tls_tx_device": ktls, qat_engine.CALLS: 1, qat_engine.BYTES: counted}
    found = done.verify(seen(size, [line(size)], sender=risen))
    assert (found.reason is None) == (counted is not None and counted >= size and not ktls)
    assert found.facts[qat_engine.BYTES] == counted


def test_a_byte_that_openssl_encrypted_is_told() -> None:
    done, _ = deployed()
    found = done.verify(
        seen(
            10**6,
            [line(10**6)],
            sender={"tls_tx_software": 0, "tls_tx_device": 0, qat_engine.CALLS: 62, qat_engine.BYTES: 10**6 - 1},
        )
    )
    assert found.reason == "qatengine encrypted 999999 bytes of the payload of 1000000: OpenSSL itself did the rest"
    many = seen(
        15,
        [line(15)] * 3,
        sender={"tls_tx_software": 0, "tls_tx_device": 0, qat_engine.BYTES: 44},
        requests=3,
        connection="kept",
        connections=1,
    )
    assert "44 bytes of the payload of 45" in str(done.verify(many).reason)


@given(sizes, st.none() | st.integers(0, 10**5))
def test_a_card_must_have_counted_the_records(size: int, requests: int | None) -> None:
    done, host = deployed(replace(DEBIAN, gcm=ON_CARD), CARD)
    assert not any("LD_PRELOAD" in word for word in host.served[0][0])
    assert done.driver_found == "qatengine v2.0.0, a card"
    found = done.verify(
        seen(
            size, [line(size)], sender={"tls_tx_software": 0, "tls_tx_device": 0, "qat requests fw_counters": requests}
        )
    )
    assert (found.reason is None) == (requests is not None and requests >= max(1, size // 16384))
    assert found.facts["card_requests"] == requests


@given(st.integers(1, 40_000), st.integers(1, 300), st.integers(0, 10**3))
def test_a_card_must_have_counted_a_record_of_each_answer_at_least(size: int, answers: int, counted: int) -> None:
    """A kept connection's small answers: 200 of 15 bytes are 200 records."""
    done, _ = deployed(replace(DEBIAN, gcm=ON_CARD), CARD)
    sender = {"tls_tx_software": 0, "tls_tx_device": 0, "qat requests fw_counters": counted}
    many = seen(size, [line(size)] * answers, sender=sender, requests=answers, connection="kept", connections=1)
    assert (done.verify(many).reason is None) == (counted >= answers * max(1, size // 16384))


@pytest.mark.parametrize("engine", [None, replace(DEBIAN, gcm=OPENSSLS), replace(DEBIAN, gcm=ON_CARD)])
def test_what_could_not_be_proven_is_not_deployed(engine: Engine | None) -> None:
    where, host = bench(offered=["ONE"])
    where.facts = sender(engine)
    with pytest.raises(HarnessError):
        PATH.deploy(where, SETUP)
    assert not host.served


# counters that are numbers in a file


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_of_a_mapped_file_are_counters(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "numbers"
    file.write_bytes(struct.pack("=QQ", first, second))
    asked: dict[str, Counter] = {str(at): NumberCounter(str(file), at) for at in (0, 8, 9, 16)}
    found = counters.observe(asked).values
    assert found == {"0": first, "8": second, "9": None, "16": None}


def test_a_file_of_numbers_that_is_not_there_is_no_zero(tmp_path: Path) -> None:
    asked: dict[str, Counter] = {"x": NumberCounter(str(tmp_path / "none"), 0)}
    assert counters.observe(asked).values == {"x": None}
