"""The generator of load on the receiver (``hosts/onhost/load``): compiled, started, and what it tells."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hosts
from harness.api.bench import Bench, Payload
from harness.api.parameters import Connection
from harness.api.path import Deployed
from harness.load import latency
from harness.samples import Load
from harness.servers import requirements
from hosts.errors import Refusal
from hosts.facts import Facts
from hosts.onhost.agent.values import Tls
from hosts.programs import Program

ONHOST = Path(hosts.__file__).parent / "onhost"
NAME = "load"
COMPILE = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wl,--no-as-needed", "-ldl")
WARM_SECONDS = 0.3
PATIENCE_SECONDS = 20.0
"""How long the first answers, and the last ones, are waited for."""

GROUPS = {"x25519": "X25519", "secp256r1": "P-256", "x25519mlkem768": "X25519MLKEM768"}
"""Groups of a key exchange as OpenSSL is asked for them."""


@dataclass(frozen=True)
class Asked:
    """What load a sample is of."""

    connections: int
    reuse: Connection
    seconds: float
    rate: float | None = None
    """Requests a second, of an open loop."""
    workers: int | None = None
    """That serve, where the suite says how many."""

    def over(self, deployed: Deployed) -> Asked:
        """The same for a path: where there is no TLS there is no session to resume, only new connections."""
        if self.reuse == "resumed" and not deployed.tls:
            return replace(self, reuse="new")
        return self

    @property
    def longest_seconds(self) -> float:
        """After which the generator has told something."""
        return self.seconds + WARM_SECONDS + 2 * PATIENCE_SECONDS + 5


def program() -> Program:
    """What it is made of: its sources, and what programs of ours share."""
    files = [*sorted((ONHOST / "load").glob("*.[ch]")), *sorted((ONHOST / "datapath").glob("util.[ch]"))]
    return Program(NAME, COMPILE, {file.name: file.read_bytes() for file in files})


def compiled(bench: Bench) -> str:
    """The program on the receiver, compiled once a run, for a lab once for its image; its path.

    Raises Refusal where it cannot be compiled.
    """
    return bench.program(bench.receiver, NAME, program)


def unsupported(sender: Facts, receiver: Facts) -> str | None:
    """Why the receiver cannot have it, or None."""
    return requirements.missing(sender, receiver, receiver_programs=("cc",))


def argv(bench: Bench, deployed: Deployed, payload: Payload, asked: Asked) -> list[str]:
    """Its command line. TLS is spoken by OpenSSL, and by GnuTLS where OpenSSL lacks the path's cipher suite."""
    scheme, _, rest = deployed.url(payload.name).partition("://")
    place, _, path = rest.partition("/")
    ports = ",".join([place.rpartition(":")[2], *map(str, deployed.more_ports)])
    words = [compiled(bench), "--address", str(bench.address), "--port", ports, "--path", f"/{path}"]
    words += ["--size", str(deployed.wire_bytes(payload.size)), "--connections", str(asked.connections)]
    words += ["--reuse", asked.reuse, "--seconds", str(asked.seconds), "--warm", str(WARM_SECONDS)]
    words += ["--patience", str(PATIENCE_SECONDS)]
    if asked.rate is not None:
        words += ["--rate", f"{asked.rate:.3f}"]
    return words + (_tls(deployed.tls) if scheme == "https" and deployed.tls else [])


def _tls(tls: Tls) -> list[str]:
    library, suite = ("openssl", tls.openssl) if tls.openssl else ("gnutls", tls.priority)
    words = ["--tls", library, "--ca", tls.ca, "--tls-version", tls.version, "--suite", suite]
    return [*words, "--group", GROUPS.get(tls.group, tls.group)] if tls.group else words


@dataclass(frozen=True)
class Told:
    """The generator's one line (``hosts/onhost/load/README.md``)."""

    line: dict[str, Any]

    @property
    def why(self) -> str:
        """The first thing that went wrong."""
        return str(self.line.get("first_error") or "no request was answered within the window")

    @property
    def cipher_suite(self) -> str | None:
        """Version and cipher suite that all connections spoke, as libcurl would tell them; None where OpenSSL spoke."""
        if self.line["tls"] != "gnutls" or self.line["other_suites"]:
            return None
        return f"{self.line['version']} / {self.line['suite']}"

    def load(self, canaries: int) -> Load:
        """What it says, for the record. Raises Refusal where it measured nothing."""
        told, window = self.line, self.line["window"]
        if not window["seconds"] or not window["bytes"]:
            raise Refusal(f"the generator of load measured nothing: {self.why}")
        return Load(
            connections=told["connections"],
            at_once=told["at_once"],
            requests=told["requests"],
            opened=told["opened"],
            handshakes=told["handshakes"],
            resumed=told["resumed"],
            canaries=canaries,
            window_seconds=window["seconds"],
            window_responses=window["responses"],
            window_bytes=window["bytes"],
            generator_cpu_seconds=window["cpu_seconds"],
            errors=told["errors"],
            latency=told["latency"]["buckets"],
            longest_seconds=told["latency"]["most_ns"] / 1e9,
            rate=told.get("rate"),
            late=told["late"]["buckets"] if "late" in told else {},
            handshake=told["handshake"]["buckets"] if "handshake" in told else {},
            group=told.get("group"),
            key=told.get("key"),
        )


def begins(line: str) -> bool:
    """Whether a line says that the window begins, and nothing of what came."""
    return bool(json.loads(line)["event"] == "window")


def parse(line: str) -> Told:
    """What the generator told at its end."""
    return Told(json.loads(line))


def wrong(told: Told, load: Load, asked: Asked, tls: Tls | None) -> str | None:
    """Why what the generator did is no measurement, or None. Pure.

    One that lost requests, ran out of ports or fell behind its schedule would make a path look slower than it is. A
    full one (``Load.generator_full``) did what it was asked for, and is named as what limits.
    """
    line = told.line
    if load.errors:
        listed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in load.errors.items())
        return f"requests went wrong ({listed}): {told.why}"
    if line["responses"] != load.requests:
        return f"{load.requests} requests were made and {line['responses']} answered"
    if asked.reuse == "kept" and load.at_once != asked.connections:
        return f"{load.at_once} connections were there at once, not {asked.connections}"
    if tls and (line["other_suites"] or line["suite"] != (tls.openssl or line["suite"])):
        # what GnuTLS spoke, the path's witness looks at
        spoken = f"{line['suite']} and others" if line["other_suites"] else line["suite"]
        return f"the generator spoke {spoken}, not {tls.openssl or tls.priority}"
    agreed = str(load.group).lower(), load.key
    if tls and tls.group and agreed != (tls.group, tls.key):
        return f"the key exchange was {agreed[0]} with a key {agreed[1]}, not {tls.group} with {tls.key}"
    late = latency.doubt(latency.together([load.late]), 0.0, 0.0)  # of single percentiles, all samples together tell
    return f"the generator did not keep its schedule: {late}" if late else None
