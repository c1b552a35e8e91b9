"""What a kernel lets user space have of its ciphers by AF_ALG, and why not the rest. Pure, over what a host tells.

Documentation/admin-guide/sysctl/crypto.rst (7.3): ``crypto.af_alg_restrict`` is 0, free; 1, lists of algorithms, a
longer one for who has CAP_SYS_ADMIN or CAP_NET_ADMIN in the first user namespace, ENOENT from bind(2) for others; 2,
off, EAFNOSUPPORT from socket(2). The file is there once AF_ALG is loaded. The lists are those of crypto/algif_*.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hosts.capabilities import NET_ADMIN, SYS_ADMIN, holds
from hosts.onhost.agent.afalg import FIPS

STATUS, NAMESPACE = "/proc/self/status", "/proc/self/uid_map"
FREE, LISTED, OFF = 0, 1, 2
SINCE = (7, 3)
"""From this kernel on AF_ALG is restricted to lists unless somebody says otherwise; others took that over from it."""
MODULES = ("af_alg", "algif_skcipher", "algif_aead", "algif_hash")

ANYBODY: dict[str, frozenset[str]] = {
    "skcipher": frozenset(
        {"adiantum(xchacha12,aes)", "adiantum(xchacha20,aes)", "hctr2(aes)"}
        | {f"xts({cipher})" for cipher in ("aes", "camellia", "serpent", "twofish")}
    ),
    "hash": frozenset({"sha1"}),
}
"""What the lists allow everybody, by the kind of algorithm; of hashes only those that are asked for here."""
PRIVILEGED: dict[str, frozenset[str]] = {
    "skcipher": frozenset({"cbc(aes)", "cbc(des)", "cbc(des3_ede)", "ctr(aes)", "ecb(aes)", "ecb(des)"}),
    "aead": frozenset({"ccm(aes)"}),
    "hash": frozenset({"hmac(sha1)", "hmac(sha256)"}),
}
"""What they allow besides to who has one of the two capabilities."""
NEVER_APPROVED = frozenset({"cbc(des)", "ecb(des)", "chacha20", "rfc7539(chacha20,poly1305)"})
"""What no kernel gives in FIPS mode. 3DES some do and some do not: it was approved once (SP 800-131A)."""
LIFT = 'af_alg = "unrestricted" in the profile lifts that for a run'


@dataclass(frozen=True)
class AfAlg:
    """AF_ALG on one host, as it will be once a run has loaded it."""

    level: int = FREE
    """``crypto.af_alg_restrict``."""
    told: bool = True
    """Whether the kernel says so; else it is what its release has by default, as AF_ALG is not loaded yet."""
    privileged: bool = True
    """Whether the harness there has one of the two capabilities."""
    fips: bool = False
    """Whether the kernel is in FIPS mode."""
    blacklisted: frozenset[str] = field(default_factory=frozenset)
    """Its modules that modprobe.d(5) says are not to be loaded by themselves."""

    def why_not(self, kind: str, name: str) -> str | None:
        """Why user space cannot have an algorithm, or a driver, by this name; None where it can as far as is known.

        ``kind``: ``skcipher``, ``aead`` or ``hash``, as in struct sockaddr_alg.
        """
        if reason := self._not_loaded(kind):
            return reason
        if self.level == OFF:
            return f"AF_ALG is switched off: {self._setting}; {LIFT}"
        if self.level == LISTED and name not in ANYBODY.get(kind, ()):
            if name not in PRIVILEGED.get(kind, ()):
                return f"AF_ALG is restricted: {self._setting}, and {name} is not on its list; {LIFT}"
            if not self.privileged:
                return (
                    f"AF_ALG is restricted: {self._setting}, and {name} is only for who has CAP_NET_ADMIN or "
                    "CAP_SYS_ADMIN, which the harness there has not"
                )
        return self.not_approved(name)

    def not_approved(self, name: str) -> str | None:
        """Why the kernel gives an algorithm to nobody, AF_ALG or not; None where nothing is known against it."""
        if self.fips and name in NEVER_APPROVED:
            return f"the kernel is in FIPS mode ({FIPS} is 1), which has no {name}"
        return None

    def explain(self, name: str) -> str | None:
        """What may be why the kernel had no algorithm of this name after all; None where nothing of it is known."""
        return f"the kernel is in FIPS mode ({FIPS} is 1), which may have no {name}" if self.fips else None

    def lifted(self) -> AfAlg:
        """The same once a profile's ``af_alg = "unrestricted"`` was done there."""
        return AfAlg(FREE, True, self.privileged, self.fips)

    @property
    def _setting(self) -> str:
        return f"crypto.af_alg_restrict is {self.level}" + ("" if self.told else ", as this kernel has it by default")

    def _not_loaded(self, kind: str) -> str | None:
        for module in ("af_alg", f"algif_{kind}"):
            if module in self.blacklisted:
                return f"the kernel module {module} is not to be loaded (modprobe.d there: blacklist {module}); {LIFT}"
        return None


def seen(
    release: str, restrict: str, fips: str, status: str, uid_map: str, there: frozenset[str], configured: str
) -> AfAlg:
    """AF_ALG of a host.

    ``restrict``, ``fips``, ``status``, ``uid_map``: the files above as they are, empty where they are not there.
    ``there``: modules that are loaded or built in. ``configured``: what ``modprobe -c`` prints.
    """
    level, told = FREE, True
    if re.fullmatch(r"[012]", restrict.strip()):
        level = int(restrict)
    elif "af_alg" not in there:
        numbers = re.match(r"(\d+)\.(\d+)", release)
        told = False
        level = LISTED if numbers and tuple(map(int, numbers.groups())) >= SINCE else FREE
    names = {name.replace("-", "_") for name in re.findall(r"^blacklist\s+(\S+)", configured, re.MULTILINE)}
    return AfAlg(
        level=level,
        told=told,
        privileged=holds(status, uid_map, NET_ADMIN, SYS_ADMIN),
        fips=fips.strip() == "1",
        blacklisted=frozenset(names & set(MODULES) - there),
    )
