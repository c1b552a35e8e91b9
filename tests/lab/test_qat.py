"""``https-qat`` on the lab: the engine's own encryption is measured, and what falls back to OpenSSL never is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.measuring.opened import MASK, OpenTestbed
from harness.servers import qat_engine
from hosts.crypto import qat
from hosts.lab import uml
from hosts.onhost.agent.values import Result
from hosts.remote.host import RemoteHost
from tests.support.lab import place_generator
from tests.support.runs import (
    MB,
    by_path,
    profile_of,
    run,
    samples_of,
    suite,
)

NEEDED = {"avx512f", "vaes", "vpclmulqdq"}
QAT = "https-qat"


def processor() -> tuple[str, bool]:
    """The maker of this machine's processors, and whether they have the instructions, as the kernel says."""
    text = Path("/proc/cpuinfo").read_text()
    maker = re.search(r"^vendor_id\s*:\s*(\S+)", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return maker[1] if maker else "", bool(flags) and set((flags or ["", ""])[1].split()) >= NEEDED


MAKER, FIT = processor()
needs_instructions = pytest.mark.skipif(not FIT, reason=f"these processors lack one of {', '.join(sorted(NEEDED))}")


def test_the_engine_is_found_and_asked_what_it_really_does(opened: OpenTestbed) -> None:
    engine = opened.sender_facts.qat
    assert engine is not None
    assert engine.why_not is None
    assert engine.version.startswith("v")
    assert {"id-aes128-GCM", "id-aes256-GCM", "RSA", "X25519"} <= engine.listed
    assert engine.instructions == FIT
    assert engine.takes_processor == (FIT and MAKER == "GenuineIntel")
    assert engine.answered == (FIT and MAKER != "GenuineIntel")
    assert not engine.device
    # Debian's is built without AES-128-GCM, which it lists all the same
    assert engine.gcm == {"AES-128-GCM": None, "AES-256-GCM": "software" if FIT else None}


@needs_instructions
@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_aes_256_gcm_is_measured_by_the_engine_s_own_count(opened: OpenTestbed, tmp_path: Path, version: str) -> None:
    explain = version == "1.3"  # prices and crossings are the same for both
    done = run(opened, profile_of(suite("https", QAT, cipher="aes256gcm", tls=version)), tmp_path, explain=explain)
    for path, cell in by_path(done).items():
        assert cell.outcome == "measured", (path, cell.reason)
    for sample in samples_of(done, QAT):
        assert sample.valid
        assert sample.sha256_ok
        assert sample.witness["tls"] == version
        assert sample.witness["kernel_tls"] in (0, None)
        counted, calls = sample.witness["qat_bytes"], sample.witness["qat_calls"]
        assert isinstance(counted, int)
        assert isinstance(calls, int)
        assert MB <= counted < 1.01 * MB, "the payload, the answer's head and the handshake"
        assert MB / 16384 < calls < 100
    found = by_path(done)[QAT].driver_found or ""
    assert found.startswith("qatengine v")
    assert ("not an Intel processor" in found) == (MAKER != "GenuineIntel")
    assert by_path(done)["https"].driver_found == "OpenSSL"
    if not explain:
        return
    prices = done.head.suites[0].prices
    assert 0 < prices["openssl_qat_byte_ns"] < 100
    assert 0 < prices["openssl_byte_ns"] < 100


def test_a_cipher_that_the_engine_lists_and_does_not_do_is_unsupported(opened: OpenTestbed, tmp_path: Path) -> None:
    cell = by_path(run(opened, profile_of(suite("https", QAT, cipher="aes128gcm")), tmp_path))[QAT]
    assert cell.outcome == "unsupported"
    assert "lists id-aes128-GCM, but hands out OpenSSL's own function under that name" in (cell.reason or "")
    if not FIT:
        assert "the processor has no AVX-512" in (cell.reason or "")


@needs_instructions
@pytest.mark.parametrize("missing", [r"\[engines\].*", r"default_algorithms = CIPHERS\n"])
def test_without_the_engine_s_section_it_is_never_a_number(
    opened: OpenTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Everything works as before, and faster: OpenSSL does it by itself, so only the count tells."""
    whole = qat_engine.CONFIGURATION
    less = re.sub(missing, "", whole, flags=re.DOTALL)
    if "[engines]" not in less:
        less = less.replace("engines = engines\n", "")
    assert less != whole
    monkeypatch.setattr(qat_engine, "CONFIGURATION", less)
    done = run(opened, profile_of(suite("https", QAT, cipher="aes256gcm")), tmp_path)
    cells = by_path(done)
    assert cells["https"].outcome == "measured", cells["https"].reason
    assert cells[QAT].outcome == "invalid"
    assert "qatengine encrypted 0 bytes of the payload of 1000000" in (cells[QAT].reason or "")
    [sample] = samples_of(done, QAT)
    assert sample.sha256_ok, "the file arrived all the same"
    assert not sample.valid
    assert not done.head.verdicts


@needs_instructions
def test_requests_over_one_kept_connection_are_measured_and_handshakes_are_not(
    opened: OpenTestbed, tmp_path: Path
) -> None:
    small: dict[str, Any] = {
        "cipher": "aes256gcm",
        "question": "small-files",
        "requests": 20,
        "sizes": {"15B": {"blocks": 2}},
    }
    kept = run(opened, profile_of(suite("https", QAT, connection="kept", **small)), tmp_path / "kept")
    assert by_path(kept)[QAT].outcome == "measured", by_path(kept)[QAT].reason
    assert all(int(sample.witness["qat_bytes"] or 0) >= 20 * 15 for sample in samples_of(kept, QAT))
    for connection in ("new", "resumed"):
        cell = by_path(
            run(opened, profile_of(suite("https", QAT, connection=connection, **small)), tmp_path / connection)
        )[QAT]
        assert cell.outcome == "unsupported"
        assert "needs an asynchronous server, which nginx is not" in (cell.reason or "")


def test_many_connections_at_once_are_counted_by_the_engine(
    opened: OpenTestbed, lab_parts: uml.UmlParts, tmp_path: Path
) -> None:
    """All of what they got, beside OpenSSL's own; or why this processor cannot, and OpenSSL's is measured alone."""
    place_generator(opened, lab_parts)
    many: dict[str, Any] = {"question": "load", "connections": [1, 64], "seconds": 0.4, "tls": "1.3"}
    many |= {"cipher": "aes256gcm", "connection": "kept", "sizes": {"100kB": {"blocks": 2}}}
    done = run(opened, profile_of(suite("https", QAT, **many)), tmp_path)
    for cell in done.head.cells:
        assert cell.outcome == ("measured" if FIT or cell.path == "https" else "unsupported"), (cell.id, cell.reason)
        assert FIT or cell.path == "https" or "the processor has no AVX-512" in (cell.reason or "")
    for sample in samples_of(done, QAT):
        assert sample.load is not None and sample.load.canaries > 0
        payload = 100_000 * (sample.load.requests + sample.load.canaries)
        assert payload <= int(sample.witness["qat_bytes"] or 0) < 1.02 * payload
    assert len(done.head.verdicts) == (2 * 2 if FIT else 0), "time and CPU, at two numbers of connections"


class Masked:
    """A host whose commands believe that the processor has no AES and no vector instructions."""

    def __init__(self, host: RemoteHost) -> None:
        self.host, self.python = host, host.python

    def run(self, argv: Sequence[str], timeout: float = 30.0, stdin: str | None = None) -> Result:
        return self.host.run(["env", *(f"{name}={value}" for name, value in MASK.items()), *argv], timeout, stdin)


def test_hidden_instructions_are_not_hidden_from_the_engine(opened: OpenTestbed) -> None:
    """A masked profile compares paths at equal cost of a byte, and this one would not be masked."""
    usual = opened.sender_facts.qat
    assert usual is not None
    masked = qat.look(Masked(opened.sender), usual.version, emulated=True)
    assert masked is not None
    assert masked.takes_processor == usual.takes_processor
    assert masked.hidden
    assert not usual.hidden
    said = qat.why_not(masked, "AES-256-GCM")
    assert (
        said
        == f"instructions are hidden from user space here, and qatengine {usual.version} would use them all the same"
    )


def test_a_real_host_s_engine_is_never_answered(opened: OpenTestbed) -> None:
    """Only the lab's guests, whose figures are called emulated, do what their engine refuses."""
    engine = qat.look(opened.sender, "v0", emulated=False)
    assert engine is not None
    assert not engine.answered
    assert (engine.gcm["AES-256-GCM"] == "software") == engine.takes_processor
    if not engine.takes_processor:
        assert "but hands out OpenSSL's own function under that name" in str(qat.why_not(engine, "AES-256-GCM"))


def test_what_is_preloaded_ends_a_program_that_it_could_not_count(opened: OpenTestbed) -> None:
    """And what answers for the engine says what the processor's flags say."""
    made = {}
    for name in ("count_gcm", "answer_processor"):
        source = opened.sender.put((qat_engine.PRELOAD / f"{name}.c").read_bytes(), f"test-{name}.c")
        made[name] = f"{opened.sender.directory}/test-{name}.so"
        opened.sender.check([*qat_engine.COMPILE, made[name], source, "-ldl"], timeout=60)
    file = opened.sender.put(qat_engine.COUNTS, "test.count")
    library = str(opened.sender_facts.qat and opened.sender_facts.qat.library)

    def tried(**environment: str) -> tuple[bool, str]:
        named = [f"PATHPROOF_{name}={value}" for name, value in environment.items()]
        done = opened.sender.run(["env", f"LD_PRELOAD={made['count_gcm']}", *named, "true"])
        return done.ok, done.stderr

    assert tried(ENGINE=library, COUNT=file) == (True, "")
    assert "must name the engine's library and the counting file" in tried(COUNT=file)[1]
    assert "must name the engine's library and the counting file" in tried(ENGINE=library)[1]
    ok, said = tried(ENGINE=library, COUNT="/nowhere")
    assert not ok
    assert said == "count_gcm: the counting file cannot be opened\n"
    answer = f"import ctypes; print(ctypes.CDLL('{made['answer_processor']}').qat_sw_cpu_support())"
    assert opened.sender.check(["python3", "-I", "-c", answer]).strip() == str(int(FIT))
