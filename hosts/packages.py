"""Which package holds a program, so that what is missing can be named the way a person installs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DEBIAN = {
    "nginx": "nginx",
    "lighttpd": "lighttpd",
    "lighttpd-gnutls": "lighttpd-mod-gnutls",
    "openssl": "openssl",
    "cc": "gcc libc6-dev",
    "ip": "iproute2",
    "tc": "iproute2",
    "modprobe": "kmod",
    "libcurl": "libcurl3-gnutls",
    "qatengine": "qatengine",
}
FEDORA = DEBIAN | {
    "lighttpd-gnutls": "lighttpd-mod_gnutls",
    "libcurl": "libcurl",
    "cc": "gcc glibc-devel",
    "ip": "iproute",
    "tc": "iproute-tc",
}
SUSE = FEDORA | {"ip": "iproute2", "tc": "iproute2"}
ARCH = DEBIAN | {"lighttpd-gnutls": "lighttpd", "cc": "gcc", "libcurl": "libcurl-gnutls"}
ALPINE = DEBIAN | {"lighttpd-gnutls": "lighttpd", "cc": "gcc musl-dev", "libcurl": "libcurl"}


@dataclass(frozen=True)
class Family:
    """Distributions that share names of packages and the command that installs them."""

    words: tuple[str, ...]
    """In the names of its distributions, as /etc/os-release has them."""
    command: str
    table: Mapping[str, str]
    headers: str
    """The package that a kernel's modules are built with; ``{release}`` is the kernel's."""


FAMILIES = (
    Family(("Debian", "Ubuntu", "Mint", "Raspbian"), "apt-get install", DEBIAN, "linux-headers-{release}"),
    Family(
        ("Fedora", "Red Hat", "CentOS", "Rocky", "Alma", "Oracle Linux", "Amazon Linux"),
        "dnf install",
        FEDORA,
        "kernel-devel-{release}",
    ),
    Family(("SUSE",), "zypper install", SUSE, "kernel-default-devel"),
    Family(("Arch Linux", "Manjaro"), "pacman -S", ARCH, "linux-headers"),
    Family(("Alpine",), "apk add", ALPINE, "linux-lts-dev"),
)


def advice(programs: Iterable[str], os_name: str | None) -> str:
    """How to install these programs there, as a command to type; in words where the distribution is not known."""
    found = family(os_name)
    if found is None:
        return (
            f"no command is known for {os_name or 'a system that does not say its name'}: install them as is done there"
        )
    names = sorted({package for program in programs for package in found.table.get(program, program).split()})
    return f"{found.command} {' '.join(names)}"


def names(programs: Iterable[str], kernel_release: str, os_name: str | None) -> list[str]:
    """The packages that hold these programs there; ``headers`` are those of this kernel."""
    held = family(os_name)
    table = {**(held.table if held else {}), "headers": (held.headers if held else "").format(release=kernel_release)}
    return sorted({package for program in programs for package in (table.get(program) or program).split()})


def headers(kernel_release: str, os_name: str | None) -> str:
    """How to install what modules for this kernel are built with, as a command to type, or in words."""
    found = family(os_name)
    if found is None:
        return f"install the headers of the kernel {kernel_release} as is done on {os_name or 'that system'}"
    return f"{found.command} {found.headers.format(release=kernel_release)}"


def family(os_name: str | None) -> Family | None:
    """A distribution's family, by its name in /etc/os-release; None where it is not known."""
    return next((family for family in FAMILIES if any(word in (os_name or "") for word in family.words)), None)
