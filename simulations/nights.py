"""Made-up records of many nights, written fast: the same shape as real ones, and no number in them was measured.

``python -m simulations.nights DIR [--nights 365] [--cells 200] [--samples 20]``
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.record import Cell, Head, ProfileEntry, SuiteEntry, TestbedEntry, Verdict

MADE_UP = "made-up record: no number in it was measured"
PATHS = {"afalg-copy": 43.0, "afalg-splice": 41.8, "so-crypt-send": 38.0, "so-crypt": 34.5, "plain": 8.3}
"""Seconds per GB: invented."""
SIZES = (1, 3, 10, 30, 100)
BASELINE = "afalg-copy"
FIRST = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


def cells(count: int) -> list[Cell]:
    """``count`` cells: suites of every path and size, the last suite perhaps with fewer sizes."""
    made: list[Cell] = []
    while len(made) < count:
        suite = f"schemes-{len(made) // (len(PATHS) * len(SIZES)):02d}"
        for size in SIZES:
            for path in PATHS:
                cipher = "none" if path == "plain" else "3des"
                name = f"{suite}/{path}/{cipher}/any/{size}MB"
                found = None if cipher == "none" else "cbc-des3_ede-generic"
                made.append(
                    Cell(
                        id=name,
                        suite=suite,
                        path=path,
                        cipher=cipher,
                        driver="any",
                        size_bytes=size * 10**6,
                        outcome="measured",
                        driver_found=found,
                    )
                )
    return made[:count]


def facts(name: str) -> dict[str, Any]:
    """Host facts as long as real ones."""
    return {
        "os": "Debian GNU/Linux 13 (made up)",
        "kernel": "6.12.0-example",
        "processors": 1,
        "processor": "Example CPU at 2.1 GHz",
        "memory_kib": 786432,
        "mitigations": {f"vulnerability_{n}": " Not affected" for n in range(18)},
        "link": {"interface": "eth0", "mtu": 1500, "speed_mbit": None, "offloads_on": [f"of-{n}" for n in range(30)]},
        "programs": {"nginx": "nginx/1.26.3", "openssl": "OpenSSL 3.5.1"},
        "crypto_drivers_at_start": [f"driver-{n}-generic" for n in range(60)],
        "hostname": name,
    }


def write_night(
    results: Path,
    night: int,
    rng: np.random.Generator,
    *,
    wanted: Sequence[Cell],
    samples: int = 20,
    noise: float = 0.02,
    between: float = 0.005,
    boots: int = 1,
    apart: float = 0.0,
    factors: Mapping[str, float] | None = None,
    profile: str = "made-up",
) -> Path:
    """One night's record; returns its folder.

    ``noise``: standard deviation of the log of each sample; ``between``: of what a whole night adds to a cell;
    ``apart``: of what each of its ``boots`` adds.
    The whole night is slower or faster by up to 2.6 times: absolute values drift like that from boot to boot.
    ``factors`` slow single paths down (1.05: 5 % slower).
    """
    started = FIRST + timedelta(days=night)
    folder = results / f"{started:%Y%m%d-%H%M%S}-{profile}-{night:04x}"
    folder.mkdir(parents=True)
    boot = math.exp(rng.uniform(0, math.log(2.6)))
    slower = factors or {}
    base = np.array(
        [boot * PATHS[c.path] * (c.size_bytes or 0) / 1e9 * slower.get(c.path, 1.0) for c in wanted]
    ) * np.exp(rng.normal(0, between, len(wanted)))
    rounds = [max(0, block - 1) * boots // samples for block in range(samples + 1)]
    base = base * np.exp(rng.normal(0, apart, (boots, len(wanted))))[rounds]
    seconds = base * np.exp(rng.normal(0, noise, (samples + 1, len(wanted))))
    busy = base * 0.9 * np.exp(rng.normal(0, noise, (samples + 1, len(wanted))))
    _write_samples(folder / "samples.jsonl", wanted, seconds, busy, rounds)
    head = _head(folder.name, profile, started, wanted, seconds[1:], busy[1:], boot)
    text = json.dumps(head.model_dump(mode="json", by_alias=True), indent=1)
    (folder / "run.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _write_samples(path: Path, wanted: Sequence[Cell], seconds: Any, busy: Any, rounds: Sequence[int]) -> None:
    lines = []
    for block, (times, cpus) in enumerate(zip(seconds.tolist(), busy.tolist(), strict=True)):
        warmup = "true" if block == 0 else "false"
        for index, (cell, time, cpu) in enumerate(zip(wanted, times, cpus, strict=True)):
            size = cell.size_bytes
            lines.append(
                f'{{"cell":"{cell.id}","block":{block},"index":{index},"round":{rounds[block]},"warmup":{warmup},'
                f'"seconds":{time:.9f},'
                f'"handshake_seconds":null,"bytes":{size},"sha256_ok":true,"witness":{{"bytes_out":{size},'
                f'"requests":1,"driver_ok":true}},"valid":true,"reason":null,"sender":{{"cpu_seconds":{cpu:.6f},'
                f'"cpu_resolution_seconds":1e-06,"counters":{{"tcp_retransmits":0,"truncated":0}}}},"receiver":'
                f'{{"cpu_seconds":{cpu / 9:.6f},"cpu_resolution_seconds":1e-06,"counters":{{"truncated":0}}}},'
                '"latencies_us":null}\n'
            )
    path.write_text("".join(lines), encoding="utf-8")


def _head(
    name: str, profile: str, started: datetime, wanted: Sequence[Cell], seconds: Any, busy: Any, boot: float
) -> Head:
    """``boot``: how slow the night is, as what is measured beside the samples shows, too."""
    places = {cell.id: n for n, cell in enumerate(wanted)}
    verdicts = []
    for cell in wanted:
        reference = cell.id.replace(f"/{cell.path}/{cell.cipher}/", f"/{BASELINE}/3des/")
        if cell.path == BASELINE or reference not in places:
            continue
        for metric, values in (("seconds", seconds), ("cpu_seconds_per_gb", busy)):
            logs = np.log(values[:, places[reference]] / values[:, places[cell.id]])
            mean, half = float(logs.mean()), 2.1 * float(logs.std(ddof=1)) / math.sqrt(len(logs))
            verdicts.append(
                Verdict.model_validate(
                    {
                        "comparison": f"{BASELINE} / {cell.path}, {cell.suite} {cell.id.rsplit('/', 1)[1]}",
                        "baseline": reference,
                        "candidate": cell.id,
                        "metric": metric,
                        "ratio": math.exp(mean),
                        "ci_low": math.exp(mean - half),
                        "ci_high": math.exp(mean + half),
                        "blocks": len(logs),
                        "verdict": "cannot_tell",
                        "margin": 0.03,
                        "detectable": 0.02,
                    }
                )
            )
    suites = dict.fromkeys(cell.suite for cell in wanted)
    return Head(
        run_id=name,
        profile=ProfileEntry(name=profile, content={"made_up": True}, sha256="0" * 64),
        testbed=TestbedEntry(name="lab", kind="uml"),
        started=started,
        finished=started + timedelta(minutes=40),
        status="complete",
        harness="0.1.0",
        suites=[_suite(suite, boot) for suite in suites],
        cells=list(wanted),
        hosts={"sender": facts("sender"), "receiver": facts("receiver")},
        verdicts=verdicts,
        notes=[MADE_UP],
    )


def _suite(name: str, boot: float) -> SuiteEntry:
    prices = {"read_call_ns": 900 * boot, "read_byte_ns": 0.1 * boot}
    return SuiteEntry(
        name=name,
        figure=7,
        link_rate_bits_per_second=10**9,
        baseline=BASELINE,
        link={"goodput_bits_per_second": 9.6e8 - 1e7 * boot},
        prices=prices,
        prices_by_round=[prices],
        transfer_share={f"{size}MB": 1 / (1 + boot / size) for size in SIZES},
    )


def write(results: Path, nights: int, count: int, samples: int, seed: int = 1, missing: Collection[int] = ()) -> None:
    """Records of ``nights`` nights without a change, less those that are ``missing``."""
    rng = np.random.default_rng(seed)
    wanted = cells(count)
    for night in range(nights):
        if night not in missing:
            write_night(results, night, rng, wanted=wanted, samples=samples)


def main() -> None:
    """Write records below a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write(options.results, options.nights, options.cells, options.samples, options.seed)


if __name__ == "__main__":
    main()
