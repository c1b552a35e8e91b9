"""How a kernel was configured, as far as that is why it lacks a module. Pure but for ``look``, which only reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosts.remote.host import RemoteHost

OPTIONS = {
    "af_alg": "CRYPTO_USER_API",
    "algif_skcipher": "CRYPTO_USER_API_SKCIPHER",
    "algif_aead": "CRYPTO_USER_API_AEAD",
    "algif_hash": "CRYPTO_USER_API_HASH",
    "crypto_user": "CRYPTO_USER",
    "des_generic": "CRYPTO_DES",
    "crypto_null": "CRYPTO_NULL",
    "authenc": "CRYPTO_AUTHENC",
    "cbc": "CRYPTO_CBC",
    "gcm": "CRYPTO_GCM",
    "chacha20poly1305": "CRYPTO_CHACHA20POLY1305",
    "tls": "TLS",
    "xfrm_user": "XFRM_USER",
    "esp4": "INET_ESP",
    "esp6": "INET6_ESP",
    "esp4_offload": "INET_ESP_OFFLOAD",
    "esp6_offload": "INET6_ESP_OFFLOAD",
    "sch_netem": "NET_SCH_NETEM",
    "sch_ingress": "NET_SCH_INGRESS",
    "ifb": "IFB",
    "act_mirred": "NET_ACT_MIRRED",
    "cls_matchall": "NET_CLS_MATCHALL",
}
"""What a kernel is configured with to have a module, by the module's name."""
TLS_DEVICE = "TLS_DEVICE"
"""Kernel TLS that hands records to a card; no module of its own."""
ASKED = (*OPTIONS.values(), TLS_DEVICE)
SCRIPT = (
    'for file in /proc/config.gz "/boot/config-$1" "/usr/lib/modules/$1/config" "/lib/modules/$1/config" '
    '"/lib/modules/$1/build/.config"; do test -r "$file" || continue; '
    'zcat -f "$file" | grep -E "^(# )?CONFIG_($2)[ =]"; exit; done'
)
"""Prints the lines of the first configuration that is there."""


def look(host: RemoteHost, release: str) -> dict[str, str]:
    """Ask a host: ``y``, ``m`` or ``n`` by option; nothing where it does not keep its configuration."""
    return parse(host.run(["sh", "-c", SCRIPT, "sh", release, "|".join(ASKED)]).stdout)


def parse(told: str) -> dict[str, str]:
    """Options of a .config by their names without CONFIG_. One that is not mentioned is not known there: ``n``."""
    found = dict(re.findall(r"^CONFIG_(\w+)=([ym])$", told, re.MULTILINE))
    found |= dict.fromkeys(re.findall(r"^# CONFIG_(\w+) is not set$", told, re.MULTILINE), "n")
    return {name: found.get(name, "n") for name in ASKED} if found else {}


def builtin(config: Mapping[str, str]) -> set[str]:
    """Modules that are part of the kernel itself."""
    return {module for module, option in OPTIONS.items() if config.get(option) == "y"}


def why_lacking(module: str, config: Mapping[str, str]) -> str:
    """In brackets why a kernel has no such module; empty where its configuration is not known."""
    option = OPTIONS.get(module.replace("-", "_"), "")
    value = config.get(option)
    if value == "n":
        return f" (it is built without CONFIG_{option})"
    if value == "m":
        return f" (it has CONFIG_{option}=m, but the module is not installed)"
    return ""
