"""Which package holds a program, so that what is missing can be named the way a person installs it."""

from __future__ import annotations

from collections.abc import Iterable

DEBIAN = {
    "nginx": "nginx",
    "lighttpd": "lighttpd",
    "lighttpd-gnutls": "lighttpd-mod-gnutls",
    "openssl": "openssl",
    "cc": "gcc libc6-dev",
    "ip": "iproute2",
    "tc": "iproute2",
    "modprobe": "kmod",
    "pycurl": "python3-pycurl",
    "qatengine": "qatengine",
}
FEDORA = DEBIAN | {
    "lighttpd-gnutls": "lighttpd-mod_gnutls",
    "cc": "gcc glibc-devel",
    "ip": "iproute",
    "tc": "iproute-tc",
}


def advice(programs: Iterable[str], os_name: str | None) -> str:
    """How to install these programs there, as a command to type."""
    fedora = any(word in (os_name or "") for word in ("Fedora", "Red Hat", "CentOS", "Rocky", "Alma"))
    table, tool = (FEDORA, "dnf install") if fedora else (DEBIAN, "apt-get install")
    names = sorted({package for program in programs for package in table.get(program, program).split()})
    return f"{tool} {' '.join(names)}"
