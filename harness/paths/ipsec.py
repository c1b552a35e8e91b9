"""``ipsec``: nginx and sendfile over ESP transport mode (xfrm). With 3DES the closest mainline relative of SO_CRYPT.

Clear text is impossible: on both hosts a policy *requires* ESP for exactly this server's port, in and out. Without
a matching SA nothing is sent, and what arrives in clear is dropped. The witness is the SAs' own byte counters.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from harness.bench import Bench, load
from harness.ceiling import Step, Steps
from harness.ciphers import AUTH_ICV_BITS, AUTH_KEY_BYTES
from harness.drivers import esp_algorithm
from harness.paths import Counter, Deployed, Observed, Witness, _card, _log, _need, _nginx
from harness.setup import Setup
from hosts import changes
from hosts.changes import Scope
from hosts.errors import HarnessError
from hosts.facts import Facts

# ESP draws its IVs from the kernel's default random generator, which is never let go once it was woken
RANDOM = ("hmac", "sha512_generic", "sha3_generic", "jitterentropy_rng", "drbg")
MODULES = (
    "xfrm_user",
    "esp4",
    "authenc",
    "cbc",
    "ecb",
    "sha1_generic",
    "sha256_generic",
    "crypto_null",
    "echainiv",
    "seqiv",
)
PACKET_BYTES = 1400
"""About what a packet holds of the file at an MTU of 1500: TCP, ESP header, IV, padding and ICV take the rest."""

PACKETS = r"\d+\(bytes\), (\d+)\(packets\)"


@dataclass(frozen=True)
class Association:
    """One direction: an SA. ``spi`` and ``reqid`` are random, so that nobody else's is met."""

    source: str
    target: str
    spi: str
    reqid: int

    def add(self, setup: Setup) -> str:
        """The line for ``ip -batch`` that adds it, with new keys; so it goes by standard input only."""
        cipher = setup.cipher
        if cipher is None or cipher.esp is None:
            raise HarnessError(f"ESP has no {setup.title}")
        key = secrets.token_hex(cipher.key_bytes + cipher.salt_bytes)
        if cipher.aead:
            protection = f"aead {cipher.esp} 0x{key} 128"
        else:
            auth = secrets.token_hex(AUTH_KEY_BYTES[setup.integrity])
            enc = f"0x{key}" if key else "''"
            icv = AUTH_ICV_BITS[setup.integrity]
            protection = f"auth-trunc hmac({setup.integrity}) 0x{auth} {icv} enc {cipher.esp} {enc}"
        return (
            f"xfrm state add src {self.source} dst {self.target} proto esp spi {self.spi} reqid {self.reqid} "
            f"mode transport replay-window 64 {protection}\n"
        )

    def look(self) -> list[str]:
        """A command that shows it without its keys, or fails to find it."""
        return ["ip", "-s", "xfrm", "state", "list", "nokeys"]

    def present(self) -> str:
        """What that command's output holds while the SA is there."""
        return rf"proto esp spi {self.spi}\b"

    def counter(self, setup: Setup, count: str = r"(\d+)\(bytes\)") -> Counter:
        """Bytes through this SA, or what ``count`` picks, as long as it is the one with this protection."""
        cipher = setup.cipher
        name = re.escape(cipher.esp or "") if cipher else ""
        if cipher and cipher.aead:
            protection = [rf"aead {name}"]
        else:
            protection = [rf"auth-trunc hmac\({setup.integrity}\)", rf"enc {name}"]
        # within one SA's paragraph: the next one begins at the start of a line with "src"
        inside = r"(?:(?!^src )[\s\S])*?"
        shown = inside.join(rf"^\s+{one}\s" for one in protection)
        return {
            "command": self.look(),
            "pattern": rf"{self.present()}{inside}{shown}{inside}lifetime current:\s+{count}",
        }

    def remove(self) -> list[str]:
        """The command that takes it away."""
        return [
            *("ip", "xfrm", "state", "delete", "src", self.source, "dst", self.target),
            "proto",
            "esp",
            "spi",
            self.spi,
        ]


def _associate(scope: Scope, association: Association, add: str) -> None:
    scope.apply(
        changes.command(
            f"SA {association.spi}",
            look=association.look(),
            present=association.present(),
            apply=["ip", "-batch", "-"],
            stdin=add,
            undo=association.remove(),
        )
    )


def _policy(scope: Scope, association: Association, ports: str, direction: str) -> None:
    selector = f"src {association.source} dst {association.target} proto tcp {ports}".split()
    template = f"tmpl src {association.source} dst {association.target} proto esp reqid {association.reqid}"
    rule = [*selector, "dir", direction]
    scope.apply(
        changes.command(
            f"IPsec policy {' '.join(rule)}",
            look=["ip", "xfrm", "policy", "list"],
            present=rf"dir {direction} [\s\S]*?reqid {association.reqid} ",
            apply=["ip", "xfrm", "policy", "add", *rule, *template.split(), "mode", "transport", "level", "required"],
            undo=["ip", "xfrm", "policy", "delete", *rule],
        )
    )


class Ipsec:
    name = "ipsec"
    title = "HTTP over IPsec (ESP transport mode)"
    clear = False
    builds: tuple[str, ...] = ()
    buffers: tuple[int, ...] = ()

    def impossible(self, setup: Setup) -> str | None:
        if setup.cipher is None or setup.cipher.esp is None:
            return f"ESP has no {setup.title}"
        return None

    def unsupported(self, setup: Setup, sender: Facts, receiver: Facts) -> str | None:
        steering = () if setup.driver == "any" else ("crypto_user",)
        missing = _need.missing(
            sender,
            receiver,
            sender_programs=("nginx", "ip", "modprobe"),
            sender_modules=("xfrm_user", "esp4", *steering),
            receiver_modules=("xfrm_user", "esp4"),
        )
        return missing or (_card.unproven(setup.driver, sender) if steering else None)

    def deploy(self, bench: Bench, setup: Setup) -> Deployed:
        cipher = setup.cipher
        if cipher is None:
            raise HarnessError("ipsec needs a cipher")
        port = bench.port()
        reqid = secrets.randbelow(2**30) + 2**16
        here, there = str(bench.address), str(bench.peer)
        out = Association(here, there, f"0x{secrets.token_hex(4)}", reqid)
        back = Association(there, here, f"0x{secrets.token_hex(4)}", reqid + 1)
        secret = {way: way.add(setup) for way in (out, back)}
        for scope, host, directions in (
            (bench.on_sender, bench.sender, ("out", "in")),
            (bench.on_receiver, bench.receiver, ("in", "out")),
        ):
            load(host, scope, *RANDOM, *MODULES, *cipher.modules, sticky=RANDOM)
            if scope is bench.on_sender and setup.driver != "any":
                # ESP takes the driver of the highest priority when an SA is made
                _card.steer(bench, setup.driver, (esp_algorithm(cipher, setup.integrity), cipher.kernel))
            # policies first: from here on this port speaks ESP or not at all
            _policy(scope, out, f"sport {port}", directions[0])
            _policy(scope, back, f"dport {port}", directions[1])
            for way in (out, back):
                _associate(scope, way, secret[way])
        served = _nginx.serve(bench, self.name, port)
        base = bench.base_url("http", port)
        deployed = Deployed(
            url=lambda name: f"{base}/{name}",
            log=_nginx.access_log(bench, self.name),
            server=served.number,
            judge=judge,
            sender_counters={
                "sa_out_bytes": out.counter(setup),
                "sa_out_packets": out.counter(setup, PACKETS),
                "sa_in_bytes": back.counter(setup),
            },
            receiver_counters={"sa_in_bytes": out.counter(setup), "sa_out_bytes": back.counter(setup)},
            calls=frozenset({"sendfile"}),
            driver_found=None if setup.driver == "any" else setup.driver,
        )
        if setup.driver == "any":
            return deployed
        # each packet is a request
        return _card.watched(
            deployed, setup.driver, bench.facts, lambda seen, _said: seen.sender["sa_out_packets"] or 0
        )

    def steps(self, setup: Setup) -> Steps | None:
        return Steps(
            sender=(Step("esp", chunk=PACKET_BYTES),),
            receiver=(Step("receiver_esp", chunk=PACKET_BYTES),),
        )


def judge(seen: Observed) -> Witness:
    """Both hosts' SAs of the named protection carried at least the payload, and the server sent it."""
    said = _log.check(seen)
    due = seen.payload * seen.requests
    carried, arrived = seen.sender["sa_out_bytes"], seen.receiver["sa_in_bytes"]
    facts = said.facts | {"sender_sa_bytes": carried, "receiver_sa_bytes": arrived}
    facts["sender_sa_packets"] = seen.sender["sa_out_packets"]
    for host, count in (("sender", carried), ("receiver", arrived)):
        if count is None:
            return Witness(facts, f"the SA of this cipher is not there on the {host}")
        if count < due:
            return Witness(facts, f"the {host}'s SA carried {count} bytes of a payload of {due}")
    return Witness(facts, said.reason)


PATH = Ipsec()
