"""Testbed: a sender, a receiver and the link between them, read from TOML into a validated model."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, ValidationError

from hosts.errors import ConfigError

BUILTIN = Path(__file__).parent / "testbeds"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Host(_Model):
    """How to reach one host, and where its end of the measured link is.

    ``proxy_command`` is OpenSSH's ProxyCommand (``%h`` and ``%p`` stand for address and port). Host keys are
    strict: ``known_hosts`` (default ``~/.ssh/known_hosts``) must know the host.
    """

    address: str
    data_address: IPvAnyAddress
    data_interface: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")
    port: int = Field(default=22, ge=1, le=65535)
    user: str = "root"
    identity_file: Path | None = None
    known_hosts: Path = Path("~/.ssh/known_hosts")
    proxy_command: str | None = None


class HostsTestbed(_Model):
    """Two hosts that exist: nothing is booted. ``shape`` lets the harness put a rate on the link's two ends."""

    kind: Literal["hosts"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    sender: Host
    receiver: Host
    shape: bool = False


class UmlTestbed(_Model):
    """The embedded lab: two User Mode Linux guests that the harness boots on this machine."""

    kind: Literal["uml"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    suite: Literal["bookworm", "trixie"] = "trixie"
    memory_mb: int = Field(default=768, ge=256, le=16384)


class QemuTestbed(_Model):
    """An embedded lab of two QEMU guests with the suite's ordinary kernel; the sender has a virtio crypto card.

    ``accel`` is how their processors are made: by software (``tcg``), or by this machine's own where a guest that is
    booted to try it comes up (``kvm-if-it-works``).
    """

    kind: Literal["qemu"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    suite: Literal["bookworm", "trixie"] = "trixie"
    memory_mb: int = Field(default=768, ge=384, le=16384)
    accel: Literal["tcg", "kvm-if-it-works"] = "tcg"


LabTestbed = UmlTestbed | QemuTestbed
AnyTestbed = HostsTestbed | LabTestbed
Testbed = Annotated[AnyTestbed, Field(discriminator="kind")]


class _File(BaseModel):
    testbed: Testbed


def load(name_or_file: str) -> AnyTestbed:
    """Read a built-in testbed by name (``lab``) or any testbed by file.

    Raises ConfigError when there is no such testbed or the file does not say what a testbed needs.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        path = BUILTIN / f"{name_or_file}.toml"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in BUILTIN.glob("*.toml")))
            raise ConfigError(
                f"no testbed is called {name_or_file!r}",
                next_step=f"name one of: {known}; or give a file that ends in .toml",
            )
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the testbed {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the testbed {path} is not valid TOML: {error}") from error
    try:
        return _File.model_validate({"testbed": {"name": path.stem, **content}}).testbed
    except ValidationError as error:
        raise ConfigError(f"the testbed {path} is not right: {explain(error)}") from error


def explain(error: ValidationError, leave_out: Collection[str] = ("testbed", "hosts", "uml", "qemu")) -> str:
    """A pydantic error in one line: where, and what is wrong there. ``leave_out``: the models' own names in places."""
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"] if p not in leave_out)
        said = (
            "there is no such key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        )
        parts.append(f"{where or 'file'}: {said}")
    return "; ".join(parts)
