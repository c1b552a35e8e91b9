"""The interfaces from user space to the kernel's ciphers, and the cells of kernel crypto that are measured by each."""

from __future__ import annotations

from dataclasses import dataclass

from hosts.onhost.agent.values import CryptoInterface


@dataclass(frozen=True)
class Interface:
    """One of them. A cell of kernel crypto has its name in a record, and a path that no other interface's cell has."""

    name: CryptoInterface
    prefix: str
    """Of the paths of its cells; AF_ALG's is that of records that knew no other."""
    option: str
    """What our program calls it."""
    builds: tuple[str, ...] = ()
    """Kernel modules of ours that it needs."""

    def path(self, operation: str) -> str:
        """Of cells that ``encrypt`` or ``decrypt`` by it."""
        return f"{self.prefix}-{operation}"


DEVCRYPTO = Interface("/dev/crypto", "devcrypto", "devcrypto", ("devcrypto",))
"""The paper's own: a request is an ioctl."""
AF_ALG = Interface("AF_ALG", "raw", "af_alg")
INTERFACES: dict[CryptoInterface, Interface] = {one.name: one for one in (DEVCRYPTO, AF_ALG)}
OPERATIONS = {"encrypt": "enciphering", "decrypt": "deciphering"}
_PATHS = {one.path(operation): (one, operation) for one in INTERFACES.values() for operation in OPERATIONS}


def of_path(path: str) -> Interface | None:
    """By which interface cells of this path ask the kernel; None of other paths."""
    return _PATHS[path][0] if path in _PATHS else None


def operation(path: str) -> str | None:
    """What cells of this path do, ``encrypt`` or ``decrypt``; None of other paths."""
    return _PATHS[path][1] if path in _PATHS else None
