"""What this machine's own apt says: where Debian's packages come from and how to get there."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PASSED_ON = ("acquire::check-valid-until",)
_PASSED_ON_PREFIXES = ("acquire::http::proxy", "acquire::https::proxy")


def sources(release: str, targets: str) -> str:
    """A sources.list for ``release`` on the mirror that this machine uses, or "" when it uses none of Debian's.

    ``targets`` is what :func:`index_targets` printed: a line ``ORIGIN|LABEL|REPO_URI`` for each index.
    """
    for line in targets.splitlines():
        origin, _, rest = line.partition("|")
        label, _, uri = rest.partition("|")
        # The label tells the archive itself from its security updates, which are no release to start from.
        if (origin, label) == ("Debian", "Debian") and uri and not uri.startswith("cdrom:"):
            return f"deb [signed-by={KEYRING}] {uri} {release} main\n"
    return ""


def options(dump: str) -> list[str]:
    """The settings an image builder must share to reach the same mirror: proxies, and whether it is frozen.

    ``dump`` is what ``apt-config dump`` printed; the answer is in its own form, ``Name "value"``.
    """
    kept = []
    for line in dump.splitlines():
        name, _, value = line.partition(" ")
        known = name.lower() in _PASSED_ON or name.lower().startswith(_PASSED_ON_PREFIXES)
        if known and value.strip('";'):
            kept.append(f"{name} {value.rstrip(';')}")
    return kept


def index_targets() -> str:
    """Every package index that apt knows, as ``ORIGIN|LABEL|REPO_URI`` lines; "" where there is no apt."""
    wanted = ("--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    return _output("apt-get", "indextargets", *wanted)


def config_dump() -> str:
    """apt's settings here; "" where there is no apt."""
    return _output("apt-config", "dump")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
