"""Records with numbers chosen by hand, for tests: rows of the real record, with other names, costs and seeded noise.

Facts, testbed, the shape of cells and samples with their witnesses and counters are those of the real run (see
``real``); the verdicts are the harness's own of the samples that come out.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from harness import record, records
from harness.api.words import Words
from harness.costs.prediction import Prediction
from harness.load import latency
from harness.record import Cell, Crossing, Head, ProfileEntry, SuiteEntry, TestbedEntry, Verdict
from harness.samples import HostSample, Load, Sample
from harness.verdicts import judging, stats
from tests.support import real, shrink

MADE_UP = "made-up record for tests: no number in it was measured"
MB = 10**6
REAL = records.read(real.DATA)

# Seconds per GB on the wire path, sender's and receiver's CPU-seconds per GB: invented.
Costs = Mapping[str, tuple[float, float, float]]
COSTS: Costs = {
    "http": (8.3, 1.1, 2.0),
    "plain": (8.3, 1.1, 2.0),
    "https": (44.0, 40.0, 41.0),
    "ipsec": (46.0, 43.0, 42.0),
    "devcrypto-copy": (43.0, 41.0, 2.3),
    "afalg-copy": (43.0, 41.0, 2.3),
    "afalg-splice": (41.8, 39.5, 2.3),
    "so-crypt-send": (38.0, 36.0, 2.2),
    "so-crypt": (34.5, 32.0, 2.2),
}
LARGE_FILES = ("http", "https", "ipsec")
SCHEMES = ("afalg-copy", "afalg-splice", "so-crypt-send", "so-crypt", "plain")
# Seconds of a call and nanoseconds of a byte by driver, for kernel cryptography: invented.
KERNEL_CRYPTO_COSTS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("null", "any"): (17e-6, 0.7),
    ("des", "any"): (21e-6, 16.0),
    ("3des", "any"): (21e-6, 40.0),
    ("aes128cbc", "any"): (20e-6, 7.5),
    ("aes128cbc", "virtio_crypto_aes_cbc"): (170e-6, 1.1),
    ("aes128gcm", "any"): (24e-6, 9.5),
    ("aes256gcm", "any"): (24e-6, 11.5),
    ("chacha20poly1305", "any"): (22e-6, 5.0),
}
DEVCRYPTO_SAVES = 5e-6
"""Seconds that a request by /dev/crypto costs less than one by AF_ALG: invented."""
OPENSSL_COSTS = {"des": 14.0, "3des": 36.0, "aes128cbc": 0.8, "aes128gcm": 0.25, "aes256gcm": 0.3}
KERNEL_CRYPTO_CIPHERS = ("null", "des", "3des", "aes128cbc", "aes128gcm")
BUFFERS = (16, 64, 256, 1024, 4096, 8192, 16384, 65536)
# Microseconds of a request by path: its own, what a new connection adds, what a resumed session adds: invented.
SMALL_COSTS = {"http": (310.0, 900.0, 900.0), "https": (360.0, 9200.0, 2900.0), "ipsec": (420.0, 1010.0, 1010.0)}
NO_GNUTLS = "the server's TLS library has no 3DES suite (OpenSSL 3.5 was built without it)"


def _like(path: str, cipher: str = "") -> tuple[Cell, Sample]:
    """A measured cell of the real record with this path (else https), if possible with this cipher; a sample of it."""
    measured = [cell for cell in REAL.head.cells if cell.outcome == "measured"]
    alike = [cell for cell in measured if cell.path == path] or [cell for cell in measured if cell.path == "https"]
    cell = next((cell for cell in alike if cell.cipher == cipher), alike[0])
    return cell, next(sample for sample in REAL.samples if sample.cell == cell.id)


def _cells(suite: str, paths: Sequence[str], cipher: str, sizes: Sequence[int], driver: str) -> Iterator[Cell]:
    for path in paths:
        used = "none" if path in ("http", "plain") else cipher
        for size in sizes:
            cell, _ = _like(path, used)
            changes = {
                "id": f"{suite}/{path}/{used}/any/{size / MB:g}MB",
                "suite": suite,
                "path": path,
                "cipher": used,
                "size_bytes": size,
                "buffer_bytes": 65536 if path.startswith(("afalg", "devcrypto")) else None,
                "driver_found": None if used == "none" else driver.format(cipher),
            }
            yield cell.model_copy(update=changes)


def _sample(cell: Cell, block: int, index: int, rng: random.Random, costs: Costs) -> Sample:
    size = cell.size_bytes or MB
    cost, sender, receiver = costs.get(cell.path, (20.0, 10.0, 10.0))
    if cell.cipher == "null":
        cost, sender = 8.3 + cost / 30, 1.1 + sender / 12
    noise = math.exp(rng.gauss(0, 0.02)) * (1.35 if block == 0 else 1)

    def host(real: HostSample, per_gb: float) -> HostSample:
        return msgspec.structs.replace(real, cpu_seconds=round(per_gb * size / 1e9 * noise, 6))

    _, sample = _like(cell.path, cell.cipher)
    return msgspec.structs.replace(
        sample,
        cell=cell.id,
        block=block,
        index=index,
        warmup=block == 0,
        seconds=round(cost * size / 1e9 * noise + 0.001, 9),
        handshake_seconds=round(0.004 * noise, 9) if cell.path == "https" else None,
        bytes=size,
        latencies_us=None,
        sender=host(sample.sender, sender),
        receiver=host(sample.receiver, receiver),
    )


Maker = Callable[[Cell, int, random.Random], Sample]
"""Makes the sample of a cell in a block."""
Part = tuple[SuiteEntry, list[Cell], Maker]


def kernel_crypto_part(
    name: str = "kernel-crypto",
    ciphers: Sequence[str] = KERNEL_CRYPTO_CIPHERS,
    buffers: Sequence[int] = BUFFERS,
    depths: Sequence[int] = (4, 16),
    interfaces: Sequence[str] = ("raw",),
    **more: Any,
) -> Part:
    """Figure 4: every driver of KERNEL_CRYPTO_COSTS, both ways; OpenSSL where it has the cipher; depths on AES-CBC.

    ``interfaces``: what the paths of those that the kernel is asked by begin with; an older record knows AF_ALG alone.
    """
    entry = _entry(name, 4, "", {"question": "kernel-crypto"} | more)
    cells = []
    for cipher, driver in (key for key in KERNEL_CRYPTO_COSTS if key[0] in ciphers):
        found = driver if driver != "any" else f"{cipher}-generic"
        for path in (f"{interface}-{operation}" for interface in interfaces for operation in ("encrypt", "decrypt")):
            cells += [_operation_cell(name, path, cipher, driver, n, 1, found) for n in buffers]
            if cipher == "aes128cbc" and path.endswith("-encrypt"):
                cells += [_operation_cell(name, path, cipher, driver, 65536, depth, found) for depth in depths]
        if cipher in OPENSSL_COSTS and driver == "any":
            cells += [
                _operation_cell(name, "openssl-speed", cipher, "any", n, 1, "OpenSSL 3.5.1") for n in buffers[::2]
            ]
    return entry, cells, _operation_sample


def _entry(name: str, figure: int, baseline: str, more: dict[str, Any]) -> SuiteEntry:
    fixed = {"name": name, "figure": figure, "baseline": baseline, "link_rate_bits_per_second": None}
    return SuiteEntry.model_validate(fixed | more)


def _operation_cell(suite: str, path: str, cipher: str, driver: str, buffer: int, depth: int, found: str) -> Cell:
    queue = f"x{depth}" if depth > 1 else ""
    return Cell(
        id=f"{suite}/{path}/{cipher}/{driver}/{buffer}B{queue}", suite=suite, path=path, cipher=cipher, driver=driver,
        buffer_bytes=buffer, depth=depth, outcome="measured", driver_found=found,
    )  # fmt: skip


def _operation_sample(cell: Cell, block: int, rng: random.Random) -> Sample:
    size = cell.buffer_bytes or 1
    call, byte = KERNEL_CRYPTO_COSTS[cell.cipher, cell.driver]
    if cell.path == "openssl-speed":
        call, byte = 2e-7, OPENSSL_COSTS[cell.cipher]
    elif cell.path.endswith("-decrypt"):
        byte *= 0.93
    if cell.path.startswith("devcrypto"):
        call -= DEVCRYPTO_SAVES
    cost = max((call + byte * 1e-9 * size) / (cell.depth or 1), byte * 1e-9 * size)
    cost *= math.exp(rng.gauss(0, 0.02)) * (1.2 if block == 0 else 1)
    operations = max(1, round(0.05 / cost))
    witness: dict[str, int | float | str | bool | None] = {
        "operations": operations,
        "driver": cell.driver_found,
        "key_bytes": 16,
    }
    if cell.path == "openssl-speed":
        operations = round(1 / cost)
        witness = {"program": cell.driver_found, "operations": operations, "clock_step_seconds": 0.01}
    return Sample(
        cell=cell.id, block=block, index=0, warmup=block == 0, seconds=cost, bytes=size, sha256_ok=True, valid=True,
        witness=witness,
        sender=HostSample(cpu_seconds=cost * 0.97, cpu_resolution_seconds=1e-4 / operations),
    )  # fmt: skip


LOAD_COSTS = {"https": (900.0, 0.5), "ktls": (2600.0, 0.08), "http": (300.0, 0.03)}
"""Microseconds of a request over one connection, and what remains of it over many: invented."""


def load_part(
    paths: Sequence[str] = ("https", "ktls", "http"),
    connections: Sequence[int] = (1, 8, 64),
    rates: Sequence[float] = (0.5, 1.2),
    requests: int = 2000,
    workers: Sequence[int | None] = (None,),
    **more: Any,
) -> Part:
    """Load: closed loops over each number of connections, and open ones at shares of the baseline's capacity; all of
    it for each number of workers."""
    entry = _entry("load", 0, paths[0], {"question": "load", "connection": "kept", "figure": None, "tls": "1.3"} | more)
    cells = []
    for share, served in product((None, *rates), workers):
        for number in connections if share is None else connections[-1:]:
            for path in paths:
                cipher = "none" if path == "http" else "aes128gcm"
                rate = (f"w{served}" if served else "") + ("" if share is None else f"@{share * 100:g}%")
                cells.append(
                    Cell(
                        id=f"load/{path}/{cipher}/any/100kBx{number}{rate}", suite="load", path=path, cipher=cipher,
                        driver="any", size_bytes=100_000, connections=number, rate_share=share, workers=served,
                        outcome="measured",
                    )
                )  # fmt: skip

    def sample(cell: Cell, block: int, rng: random.Random) -> Sample:
        alone, left = LOAD_COSTS[cell.path]
        each = (
            alone
            / (cell.workers or 1)
            * (left + (1 - left) / (cell.connections or 1))
            / 1e6
            * math.exp(rng.gauss(0, 0.01))
        )
        waits = each * (cell.connections or 1) * (2 if cell.rate_share and cell.rate_share > 1 else 1)
        latencies = Counter(str(bucket(int(waits * 1e9 * math.exp(rng.gauss(0, 0.3))))) for _ in range(requests))
        load = Load(
            connections=cell.connections or 1, at_once=cell.connections or 1, requests=requests + 10,
            opened=cell.connections or 1, handshakes=0, resumed=0, canaries=2, window_seconds=each * requests,
            window_responses=requests, window_bytes=requests * 100_000, generator_cpu_seconds=each * requests * 0.4,
            latency=dict(latencies), longest_seconds=waits * 4, rate=1 / each if cell.rate_share else None,
            late={"1000": requests} if cell.rate_share else {},
            handshake=dict(latencies) if entry.connection == "new" and cell.cipher != "none" else {},
            group="x25519" if entry.connection == "new" and cell.cipher != "none" else None,
            key="RSA-2048" if entry.connection == "new" and cell.cipher != "none" else None,
        )  # fmt: skip
        busy = HostSample(cpu_seconds=each * 0.9, cpu_resolution_seconds=1e-4 / requests)
        return Sample(
            cell=cell.id, block=block, index=0, warmup=block == 0, seconds=each, bytes=100_000, sha256_ok=True,
            valid=True, witness={"operations": requests}, sender=busy, receiver=busy, load=load,
        )  # fmt: skip

    return entry, cells, sample


def bucket(ns: int) -> int:
    """The bucket of a latency, as the generator counts it."""
    power = max(0, ns.bit_length() - 1 - latency.BITS)
    return ns if ns < 1 << latency.BITS else (power << latency.BITS) + (ns >> power)


def small_parts(
    cipher: str = "aes128gcm",
    connections: Sequence[str] = ("new", "resumed", "kept"),
    paths: Sequence[str] = ("http", "https", "ipsec"),
    requests: int = 1000,
    name: str = "small-files",
    **more: Any,
) -> list[Part]:
    """Figure 6: a suite for each kind of connection, batches of requests for 15 bytes."""
    found: list[Part] = []
    for connection in connections:
        told = {"question": "small-files", "connection": connection, "requests": requests, "tls": "1.3"}
        entry = _entry(f"{name}-{connection}", 6, "http", told | more)
        cells = [
            Cell(
                id=f"{entry.name}/{path}/{cipher if path != 'http' else 'none'}/any/15B", suite=entry.name, path=path,
                cipher=cipher if path != "http" else "none", driver="any", size_bytes=15, outcome="measured",
            )
            for path in paths
        ]  # fmt: skip

        def sample(cell: Cell, block: int, rng: random.Random, connection: str = connection) -> Sample:
            return _small_sample(cell, block, rng, connection, requests)

        found.append((entry, cells, sample))
    return found


def _small_sample(cell: Cell, block: int, rng: random.Random, connection: str, requests: int) -> Sample:
    own, new, resumed = SMALL_COSTS.get(cell.path, (400.0, 1000.0, 1000.0))
    typical = own + {"new": new, "resumed": resumed}.get(connection, 0.0)
    typical *= math.exp(rng.gauss(0, 0.02)) * (1.3 if block == 0 else 1)
    tail = [rng.expovariate(1) * 4 * typical if rng.random() < 0.01 else 0.0 for _ in range(requests)]
    latencies = [round(typical * (0.9 + rng.expovariate(8)) + late, 1) for late in tail]
    seconds = sum(latencies) / 1e6

    def host(share: float) -> HostSample:
        return HostSample(cpu_seconds=round(seconds * share, 6), cpu_resolution_seconds=1e-4)

    return Sample(
        cell=cell.id, block=block, index=0, warmup=block == 0, seconds=seconds, bytes=15 * requests, sha256_ok=True,
        witness={"requests": requests}, valid=True, sender=host(0.55), receiver=host(0.35), latencies_us=latencies,
    )  # fmt: skip


def crossings(cipher: str = "3des", size: int = 10 * MB, buffer: int = 65536) -> list[Crossing]:
    """What transfers of a file took, in the shape of the paper's two schemes."""
    chunks = -(-size // buffer)
    server = {"cipher": cipher, "size_bytes": size, "source": "server"}
    return [
        Crossing.model_validate(
            server | {"path": "afalg-copy", "buffer_bytes": buffer, "crossing_bytes": 4 * size,
                      "copied_bytes": 3 * size,
                      "calls": {"read": chunks, "sendmsg": chunks, "recv": chunks, "send": chunks}}
        ),
        Crossing.model_validate(
            server | {"path": "afalg-splice", "buffer_bytes": buffer, "crossing_bytes": 0, "copied_bytes": size,
                      "calls": {"sendfile": chunks, "splice": 2 * chunks}}
        ),
        Crossing.model_validate(
            server | {"path": "so-crypt", "crossing_bytes": 0, "copied_bytes": 0, "calls": {"sendfile": 1}}
        ),
        Crossing.model_validate(
            server | {"path": "https", "buffer_bytes": 16384, "crossing_bytes": 2 * size, "source": "strace",
                      "calls": {"pread64": size // 32768, "write": size // 16384 + 9, "epoll_wait": 12, "futex": 3}}
        ),
    ]  # fmt: skip


def _place(cell: Cell) -> tuple[int | None, ...]:
    """What two cells have in common that are compared."""
    return (
        cell.size_bytes,
        cell.buffer_bytes if cell.size_bytes is None else None,
        cell.depth,
        cell.connections,
        cell.workers,
    )


def verdicts(suites: Sequence[SuiteEntry], cells: Sequence[Cell], samples: Sequence[Sample]) -> list[Verdict]:
    """The harness's verdicts of every measured cell against its suite's baseline, corrected for all of them."""
    rows: list[Verdict] = []
    for suite in suites:
        mine = [cell for cell in cells if cell.suite == suite.name and cell.outcome == "measured"]
        mine = [cell for cell in mine if cell.rate_share is None]
        for base in (cell for cell in mine if cell.path == suite.baseline):
            for cell in (cell for cell in mine if cell.path != suite.baseline and _place(cell) == _place(base)):
                prediction = Prediction(1.3) if cell.path.startswith("so-") else None
                limit = "receiver" if cell.cipher == "none" else None
                rows += judging.against(base, cell, 0.03, lambda _metric, value=prediction: value, limit)  # type: ignore[misc]
    return judging.settled(rows, samples)


def make_run(
    results: Path,
    *,
    seed: int = 1,
    run_id: str | None = None,
    profile: str = "gigabit-3des",
    kind: str = "uml",
    status: str = "complete",
    reason: str | None = None,
    sizes: Sequence[int] = (1 * MB, 10 * MB, 100 * MB),
    blocks: int = 6,
    rounds: int = 1,
    per_block: int = 1,
    outcomes: dict[str, tuple[str, str]] | None = None,
    suites: Sequence[tuple[SuiteEntry, Sequence[str], str]] | None = None,
    extra_facts: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    testbed: str | None = None,
    prices: Mapping[str, float] | None = None,
    costs: Costs | None = None,
    driver: str = "cbc-{}-generic",
    notes: Sequence[str] = (MADE_UP,),
    parts: Sequence[Part] = (),
    paths: Mapping[str, Words] | None = None,
) -> Path:
    """Write a record below ``results`` and return its folder.

    ``outcomes`` maps a cell id to an outcome and reason; ``suites`` are entries with their paths and cipher.
    ``prices`` go to the suites of Figure 7, ``costs`` stand in for those of single paths, ``driver`` is what was
    found for a cipher; ``rounds``: over how many boots the blocks of a suite are spread. No two suites share one, as
    those of two stages do not: blocks of one number are of several. The kernel is a fact of the sender: give it in
    ``extra_facts``. ``parts`` are further suites with cells and samples of their own kind: kernel cryptography,
    small files. ``paths``: how they are called; a record without is an older one.
    """
    rng = random.Random(seed)
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=seed, minutes=seed)
    run_id = run_id or f"{started:%Y%m%d-%H%M%S}-{profile}-{seed:04x}"
    chosen = suites if suites is not None else default_suites()
    entries = [suite for suite, _, _ in chosen]
    for entry in entries:
        entry.prices = dict(prices or {}) if entry.figure == 7 else {}
    cells = [cell for suite, paths, cipher in chosen for cell in _cells(suite.name, paths, cipher, sizes, driver)]
    makers: dict[str, Maker] = {}
    for entry, some, maker in parts:
        entries.append(entry)
        cells += some
        makers |= dict.fromkeys((cell.id for cell in some), maker)
    outcomes = outcomes or {}
    samples: list[Sample] = []
    for block in range(blocks + 1):
        for cell in cells:
            if outcomes.get(cell.id, ("measured",))[0] == "unsupported":
                continue
            if cell.id in makers:
                samples.append(makers[cell.id](cell, block, rng))
                continue
            samples += [_sample(cell, block, index, rng, {**COSTS, **(costs or {})}) for index in range(per_block)]
    suites_in_order = list(dict.fromkeys(cell.suite for cell in cells))
    first_rounds = {cell.id: suites_in_order.index(cell.suite) * rounds for cell in cells}
    for one in samples:
        one.round = first_rounds[one.cell] + max(0, one.block - 1) * rounds // blocks
    for cell in cells:
        if cell.id in outcomes:
            cell.outcome, cell.reason = outcomes[cell.id]  # type: ignore[assignment]
            if cell.outcome == "invalid":
                bad = next(s for s in reversed(samples) if s.cell == cell.id)
                bad.valid, bad.sha256_ok, bad.reason = False, False, cell.reason
    content = {"link": "1 Gbit/s", "blocks": blocks, "sizes": list(sizes), "made_up": True}
    head = Head.model_validate(
        REAL.head.model_dump(by_alias=True)
        | {
            "run_id": run_id,
            "profile": ProfileEntry(name=profile, content=content, sha256="0" * 64),
            "testbed": TestbedEntry(
                name=testbed or ("lab" if kind in ("uml", "qemu") else "pair"), kind=kind, machine=machine or {}
            ),
            "started": started,
            "finished": None if status == "running" else started + timedelta(minutes=9),
            "status": status,
            "reason": reason,
            "question": None,
            "estimator": stats.ESTIMATOR,
            "suites": entries,
            "paths": paths or {},
            "cells": cells,
            "hosts": {
                "sender": REAL.head.hosts["sender"] | (extra_facts or {}),
                "receiver": REAL.head.hosts["receiver"],
            },
            "verdicts": verdicts(entries, cells, samples),
            "notes": list(notes),
        }
    )
    return shrink.write(record.Run(path=results, head=head, samples=samples), results / run_id)


def suite(name: str, figure: int | None, rate: int | None, baseline: str) -> SuiteEntry:
    """A suite entry whose link measured a little under its rate."""
    link: dict[str, float | None] = {"seconds_1mb": 0.0104, "goodput_bits_per_second": rate * 0.955} if rate else {}
    return SuiteEntry(name=name, figure=figure, link_rate_bits_per_second=rate, baseline=baseline, link=link)


def default_suites(baseline: str = SCHEMES[0]) -> list[tuple[SuiteEntry, Sequence[str], str]]:
    """Figure 5, and Figure 7 at two link rates and ciphers. ``baseline``: that of older records, or another."""
    schemes = (baseline, *SCHEMES[1:])
    return [
        (suite("large-files", 5, 10**9, "http"), LARGE_FILES, "3des"),
        (suite("schemes", 7, 10**9, baseline), schemes, "3des"),
        (suite("schemes-null", 7, None, baseline), schemes, "null"),
    ]


def unsupported_https(sizes: Sequence[float] = (1, 10, 100)) -> dict[str, tuple[str, str]]:
    """Outcomes in which HTTPS could not be tried."""
    return {f"large-files/https/3des/any/{size:g}MB": ("unsupported", NO_GNUTLS) for size in sizes}


def question_run(results: Path, **more: Any) -> Path:
    """A record of a profile that names its question: SO_CRYPT against the traditional scheme, with prices."""
    prices = next(entry.prices for entry in REAL.head.suites if entry.name == "schemes")
    folder = make_run(results, run_id="question", prices=prices, **more)
    run = records.read(folder)
    for entry in run.head.suites:
        entry.crossings = crossings() if entry.name == "schemes" else []
    sizes = sorted({cell.size_bytes for cell in run.head.cells if cell.suite == "schemes" and cell.size_bytes})
    run.head.question = record.QuestionEntry(
        candidate="so-crypt", baseline="afalg-copy", suites=["schemes"], sizes_bytes=sizes
    )
    for verdict in run.head.verdicts:
        verdict.of_question = verdict.candidate.startswith("schemes/so-crypt/")
        if verdict.ceiling:
            verdict.ceiling_low, verdict.ceiling_high = verdict.ceiling * 0.97, verdict.ceiling * 1.03
    (folder / "run.json").write_text(run.head.model_dump_json(by_alias=True), encoding="utf-8")
    return folder
