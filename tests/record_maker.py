"""Records for the tests. Every number in them is made up: seeded noise around plausible costs, no measurement."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.record import Cell, Crossing, Head, HostSample, ProfileEntry, Sample, SuiteEntry, TestbedEntry, Verdict

MADE_UP = "made-up record for tests: no number in it was measured"
MB = 10**6
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26, 12: 2.20, 20: 2.09}

# Seconds per GB on the wire path, sender's and receiver's CPU-seconds per GB: invented.
Costs = Mapping[str, tuple[float, float, float]]
COSTS: Costs = {
    "http": (8.3, 1.1, 2.0),
    "plain": (8.3, 1.1, 2.0),
    "https": (44.0, 40.0, 41.0),
    "ipsec": (46.0, 43.0, 42.0),
    "afalg-copy": (43.0, 41.0, 2.3),
    "afalg-splice": (41.8, 39.5, 2.3),
    "so-crypt-send": (38.0, 36.0, 2.2),
    "so-crypt": (34.5, 32.0, 2.2),
}
LARGE_FILES = ("http", "https", "ipsec")
SCHEMES = ("afalg-copy", "afalg-splice", "so-crypt-send", "so-crypt", "plain")
# Seconds of a call and nanoseconds of a byte by driver, for kernel cryptography: invented.
RAW_COSTS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("null", "any"): (17e-6, 0.7),
    ("des", "any"): (21e-6, 16.0),
    ("3des", "any"): (21e-6, 40.0),
    ("aes128cbc", "any"): (20e-6, 7.5),
    ("aes128cbc", "virtio_crypto_aes_cbc"): (170e-6, 1.1),
    ("aes128gcm", "any"): (24e-6, 9.5),
    ("aes256gcm", "any"): (24e-6, 11.5),
    ("chacha20poly1305", "any"): (22e-6, 5.0),
}
OPENSSL_COSTS = {"des": 14.0, "3des": 36.0, "aes128cbc": 0.8, "aes128gcm": 0.25, "aes256gcm": 0.3}
RAW_CIPHERS = ("null", "des", "3des", "aes128cbc", "aes128gcm")
BUFFERS = (16, 64, 256, 1024, 4096, 8192, 16384, 65536)
# Microseconds of a request by path: its own, what a new connection adds, what a resumed session adds: invented.
SMALL_COSTS = {"http": (310.0, 900.0, 900.0), "https": (360.0, 9200.0, 2900.0), "ipsec": (420.0, 1010.0, 1010.0)}
NO_GNUTLS = "the server's TLS library has no 3DES suite (OpenSSL 3.5 was built without it)"


def facts(host: str, rng: random.Random, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Host facts of a plausible shape."""
    found: dict[str, Any] = {
        "hostname": host,
        "cpu": {"model": "Example CPU at 2.1 GHz", "count": 1, "flags": ["aes", "avx2", "sha_ni"]},
        "kernel": "6.12.0-example" if host == "sender" else "6.12.1-example",
        "mitigations": {"spectre_v2": "Mitigation: made up", "meltdown": "Not affected"},
        "memory_bytes": 768 * MB + rng.randrange(9),
        "crypto": [
            {"name": "cbc(des3_ede)", "driver": "cbc-des3_ede-generic", "priority": 100},
            {"name": "cbc(aes)", "driver": "cbc-aes-generic", "priority": 100},
        ],
        "nic": {"eth0": {"mtu": 1500, "offloads": {"tso": host == "sender", "gso": True}}},
        "versions": {"nginx": "1.26.3", "openssl": "3.5.1"},
    }
    return found | (extra or {})


def _cells(suite: str, paths: Sequence[str], cipher: str, sizes: Sequence[int], driver: str) -> Iterator[Cell]:
    for path in paths:
        used = "none" if path in ("http", "plain") else cipher
        for size in sizes:
            yield Cell(
                id=f"{suite}/{path}/{used}/any/{size / MB:g}",
                suite=suite,
                path=path,
                cipher=used,
                driver="any",
                size_bytes=size,
                buffer_bytes=65536 if path.startswith("afalg") else None,
                outcome="measured",
                driver_found=None if used == "none" else driver.format(cipher),
            )


def _sample(cell: Cell, block: int, index: int, rng: random.Random, costs: Costs) -> Sample:
    size = cell.size_bytes or MB
    cost, sender, receiver = costs.get(cell.path, (20.0, 10.0, 10.0))
    if cell.cipher == "null":
        cost, sender = 8.3 + cost / 30, 1.1 + sender / 12
    noise = math.exp(rng.gauss(0, 0.02)) * (1.35 if block == 0 else 1)

    def host(per_gb: float) -> HostSample:
        return HostSample(
            cpu_seconds=round(per_gb * size / 1e9 * noise, 6),
            cpu_resolution_seconds=0.0001,
            counters={"ctxt": rng.randrange(100, 900)},
        )

    return Sample(
        cell=cell.id,
        block=block,
        index=index,
        warmup=block == 0,
        seconds=round(cost * size / 1e9 * noise + 0.001, 9),
        handshake_seconds=round(0.004 * noise, 9) if cell.path == "https" else None,
        bytes=size,
        sha256_ok=True,
        witness={"bytes_out": size, "requests": 1},
        valid=True,
        sender=host(sender),
        receiver=host(receiver),
    )


Maker = Callable[[Cell, int, random.Random], Sample]
"""Makes the sample of a cell in a block."""
Part = tuple[SuiteEntry, list[Cell], Maker]


def raw_part(
    name: str = "kernel-crypto",
    ciphers: Sequence[str] = RAW_CIPHERS,
    buffers: Sequence[int] = BUFFERS,
    depths: Sequence[int] = (4, 16),
    **more: Any,
) -> Part:
    """Figure 4: every driver of RAW_COSTS, both ways, OpenSSL where it has the cipher; depths on 64 KiB of AES-CBC."""
    entry = _entry(name, 4, "", {"question": "kernel-crypto"} | more)
    cells = []
    for cipher, driver in (key for key in RAW_COSTS if key[0] in ciphers):
        found = driver if driver != "any" else f"{cipher}-generic"
        for path in ("raw-encrypt", "raw-decrypt"):
            cells += [_raw_cell(name, path, cipher, driver, n, 1, found) for n in buffers]
            if cipher == "aes128cbc" and path == "raw-encrypt":
                cells += [_raw_cell(name, path, cipher, driver, 65536, depth, found) for depth in depths]
        if cipher in OPENSSL_COSTS and driver == "any":
            cells += [_raw_cell(name, "openssl-speed", cipher, "any", n, 1, "OpenSSL 3.5.1") for n in buffers[::2]]
    return entry, cells, _raw_sample


def _entry(name: str, figure: int, baseline: str, more: dict[str, Any]) -> SuiteEntry:
    fixed = {"name": name, "figure": figure, "baseline": baseline, "link_rate_bits_per_second": None}
    return SuiteEntry.model_validate(fixed | more)


def _raw_cell(suite: str, path: str, cipher: str, driver: str, buffer: int, depth: int, found: str) -> Cell:
    queue = f"x{depth}" if depth > 1 else ""
    return Cell(
        id=f"{suite}/{path}/{cipher}/{driver}/{buffer}B{queue}", suite=suite, path=path, cipher=cipher, driver=driver,
        buffer_bytes=buffer, depth=depth, outcome="measured", driver_found=found,
    )  # fmt: skip


def _raw_sample(cell: Cell, block: int, rng: random.Random) -> Sample:
    size = cell.buffer_bytes or 1
    call, byte = RAW_COSTS[cell.cipher, cell.driver]
    if cell.path == "openssl-speed":
        call, byte = 2e-7, OPENSSL_COSTS[cell.cipher]
    elif cell.path == "raw-decrypt":
        byte *= 0.93
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
    return cell.size_bytes, cell.buffer_bytes if cell.size_bytes is None else None, cell.depth


def _verdict(baseline: Cell, candidate: Cell, metric: str, pairs: list[tuple[float, float]]) -> Verdict:
    logs = [math.log(a / b) for a, b in pairs]
    blocks = len(logs)
    if blocks < 2:
        return Verdict.model_validate(
            {
                "comparison": f"{candidate.path} against {baseline.path}",
                "baseline": baseline.id,
                "blocks": blocks,
                "candidate": candidate.id,
                "metric": metric,
                "ratio": None,
                "ci_low": None,
                "ci_high": None,
                "verdict": "cannot_tell",
                "margin": 0.03,
                "detectable": None,
            }
        )
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(blocks)
    half = T_95.get(blocks, 2.0) * error
    low, high = math.exp(mean - half), math.exp(mean + half)
    word = "same" if low >= 0.97 and high <= 1.03 else "faster" if low > 1 else "slower" if high < 1 else "cannot_tell"
    return Verdict.model_validate(
        {
            "comparison": f"{candidate.path} against {baseline.path}",
            "baseline": baseline.id,
            "candidate": candidate.id,
            "metric": metric,
            "ratio": math.exp(mean),
            "ci_low": low,
            "ci_high": high,
            "blocks": blocks,
            "verdict": word,
            "margin": 0.03,
            "detectable": 2.9 * error,
            "ceiling": 1.3 if candidate.path.startswith("so-") else None,
            "bottleneck": "receiver" if candidate.cipher == "none" else None,
        }
    )


def verdicts(suites: Sequence[SuiteEntry], cells: Sequence[Cell], samples: Sequence[Sample]) -> list[Verdict]:
    """Verdicts of every measured cell against its suite's baseline, both metrics."""
    found: list[Verdict] = []
    by_block = {(s.cell, s.block): s for s in samples if s.valid and not s.warmup}
    blocks = sorted({block for _, block in by_block})
    for suite in suites:
        mine = [c for c in cells if c.suite == suite.name and c.outcome == "measured"]
        for base in (c for c in mine if c.path == suite.baseline):
            for cell in (c for c in mine if c.path != suite.baseline and _place(c) == _place(base)):
                both = [(by_block.get((base.id, b)), by_block.get((cell.id, b))) for b in blocks]
                times = [(a.seconds, b.seconds) for a, b in both if a and b and a.seconds and b.seconds]
                cpus = [
                    (a.sender.cpu_seconds, b.sender.cpu_seconds)
                    for a, b in both
                    if a and b and a.sender.cpu_seconds and b.sender.cpu_seconds
                ]
                found.append(_verdict(base, cell, "seconds", times))
                found.append(_verdict(base, cell, "cpu_seconds_per_gb", cpus))
    return found


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
) -> Path:
    """Write a record below ``results`` and return its folder.

    ``outcomes`` maps a cell id to an outcome and reason; ``suites`` are entries with their paths and cipher.
    ``prices`` go to the suites of Figure 7, ``costs`` stand in for those of single paths, ``driver`` is what was
    found for a cipher. The kernel is a fact of the sender: give it in ``extra_facts``. ``parts`` are further suites
    with cells and samples of their own kind: raw cryptography, small files.
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
    for cell in cells:
        if cell.id in outcomes:
            cell.outcome, cell.reason = outcomes[cell.id]  # type: ignore[assignment]
            if cell.outcome == "invalid":
                bad = next(s for s in reversed(samples) if s.cell == cell.id)
                bad.valid, bad.sha256_ok, bad.reason = False, False, cell.reason
    content = {"link": "1 Gbit/s", "blocks": blocks, "sizes": list(sizes), "made_up": True}
    head = Head.model_validate(
        {
            "schema": 1,
            "run_id": run_id,
            "profile": ProfileEntry(name=profile, content=content, sha256="0" * 64),
            "testbed": TestbedEntry(
                name=testbed or ("lab" if kind in ("uml", "qemu") else "pair"), kind=kind, machine=machine or {}
            ),
            "started": started,
            "finished": None if status == "running" else started + timedelta(minutes=9),
            "status": status,
            "reason": reason,
            "harness": "0.1.0",
            "suites": entries,
            "cells": cells,
            "hosts": {"sender": facts("sender", rng, extra_facts), "receiver": facts("receiver", rng)},
            "verdicts": verdicts(entries, cells, samples),
            "notes": list(notes),
        }
    )
    folder = results / run_id
    folder.mkdir(parents=True)
    text = json.dumps(head.model_dump(mode="json", by_alias=True), indent=1)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")
    lines = "".join(sample.model_dump_json() + "\n" for sample in samples)
    (folder / "samples.jsonl").write_text(lines, encoding="utf-8")
    return folder


def suite(name: str, figure: int | None, rate: int | None, baseline: str) -> SuiteEntry:
    """A suite entry whose link measured a little under its rate."""
    link: dict[str, float | None] = {"seconds_1mb": 0.0104, "goodput_bits_per_second": rate * 0.955} if rate else {}
    return SuiteEntry(name=name, figure=figure, link_rate_bits_per_second=rate, baseline=baseline, link=link)


def default_suites() -> list[tuple[SuiteEntry, Sequence[str], str]]:
    """Figure 5, and Figure 7 at two link rates and ciphers."""
    return [
        (suite("large-files", 5, 10**9, "http"), LARGE_FILES, "3des"),
        (suite("schemes", 7, 10**9, "afalg-copy"), SCHEMES, "3des"),
        (suite("schemes-null", 7, None, "afalg-copy"), SCHEMES, "null"),
    ]


def unsupported_https(sizes: Sequence[float] = (1, 10, 100)) -> dict[str, tuple[str, str]]:
    """Outcomes in which HTTPS could not be tried."""
    return {f"large-files/https/3des/any/{size:g}": ("unsupported", NO_GNUTLS) for size in sizes}
