"""Testbed: a sender, a receiver and the link between them, read from TOML into a validated model."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from ipaddress import IPv6Address
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    ValidationError,
    field_validator,
    model_validator,
)

from hosts.errors import ConfigError

BUILTIN = Path(__file__).parent / "testbeds"
Place = tuple[int | str, ...]
"""Where in a file something is: names of tables and keys, numbers of items."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Destination(NamedTuple):
    """Whom ``ssh`` is asked for: an alias, a name or an address; None is what its configuration says."""

    user: str | None
    host: str
    port: int | None


def destination(text: str) -> Destination:
    """``[user@]host`` or ``ssh://[user@]host[:port]``, as ssh(1) takes it; an IPv6 address may stand in brackets.

    Raises ValueError for what ssh would not take, or take for something else.
    """
    uri = text.startswith("ssh://")
    user, _, host = text.removeprefix("ssh://").removesuffix("/" if uri else "").rpartition("@")
    if _STRANGE.search(text) or text.startswith("-") or user.startswith("-") or ("@" in text and not user):
        raise ValueError(f"{text!r} is nothing that ssh takes: an alias, a name or an address, with user@ before it")
    port = None
    if found := re.fullmatch(r"(\[.*\]|[^:]*):([^:]*)", host):
        if not uri:
            raise ValueError(f"{text!r} ends in a port, which ssh takes elsewhere: say port = {found[2]}")
        host, port = found[1], int(found[2]) if found[2].isdecimal() else 0
        if not 1 <= port <= 65535:
            raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if ":" in host:
        IPv6Address(host)
    if not host or host.startswith("-"):
        raise ValueError(f"{text!r} names no host")
    return Destination(user or None, host, port)


_STRANGE = re.compile(r"[\s\0-\x1f\x7f'`\"$\\;&<>|(){}]")  # as OpenSSH's valid_hostname: it may come before a shell


class Host(_Model):
    """How to reach one host, and where its end of the measured link is.

    What is None is what the user's SSH configuration says, or OpenSSH's default.
    """

    address: str
    """What ``ssh`` takes: an alias of ~/.ssh/config, a name or an address, with ``user@`` before it or not."""
    data_address: IPvAnyAddress
    """On the measured link."""
    data_interface: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")
    """Its end of the measured link."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """For SSH."""
    user: str | None = Field(default=None, min_length=1)
    identity_file: Path | None = None
    """The only key that is offered, be it from this file or, where the SSH agent has it, from there."""
    known_hosts: Path | None = None
    """Host keys are strict: this file must know the host."""
    proxy_command: str | None = None
    """OpenSSH's ProxyCommand (``%h`` and ``%p`` stand for address and port)."""
    ssh_config: Path | None = None
    """What is read instead of ~/.ssh/config and /etc/ssh/ssh_config; as with ``ssh -F``, ``none`` is nothing."""
    become: Literal["sudo"] | None = None
    """How root is reached by a user who is not."""
    disk: Path | None = None
    """A directory there on a real file system, where the files of suites lie that ask for a disk."""

    @field_validator("address")
    @classmethod
    def _is_a_destination(cls, address: str) -> str:
        destination(address)
        return address

    @field_validator("user")
    @classmethod
    def _is_a_user(cls, user: str | None) -> str | None:
        if user and (user.startswith("-") or _STRANGE.search(user)):
            raise ValueError(f"{user!r} is no user's name")
        return user

    @field_validator("disk")
    @classmethod
    def _is_whole(cls, disk: Path | None) -> Path | None:
        if disk and not disk.is_absolute():
            raise ValueError(f"{disk} is no absolute path")
        return disk

    @field_validator("data_address")
    @classmethod
    def _is_a_link_of_its_own(cls, address: IPvAnyAddress) -> IPvAnyAddress:
        if address.version == 6 and address.is_link_local:
            raise ValueError(f"{address} means another host on every link: give both ends an address of their own")
        return address

    @model_validator(mode="after")
    def _says_one_thing(self) -> Host:
        named = destination(self.address)
        for key, here, there in (("user", self.user, named.user), ("port", self.port, named.port)):
            if here is not None and there is not None and here != there:
                raise ValueError(f"address says {key} {there}, and {key} says {here}")
        return self


class HostsTestbed(_Model):
    """Two hosts that exist: nothing is booted. ``shape`` lets the harness put a rate on the link's two ends."""

    kind: Literal["hosts"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    sender: Host
    receiver: Host
    shape: bool = False
    shared_interface: bool = False
    """Whether a data interface may be shaped, and have IPsec policies, that carries the SSH connection too."""
    quiet: bool = False
    """Whether governors, turbo, idle states and the places of interrupts and servers are changed for a run."""
    provision: bool = False
    """Whether packages that a run needs and a host lacks are installed."""

    @model_validator(mode="after")
    def _are_two(self) -> HostsTestbed:
        one, other = self.sender, self.receiver
        if one.data_address == other.data_address:
            raise ValueError(
                f"sender and receiver have the same data_address, {one.data_address}: they must be two hosts"
            )
        if one.data_address.version != other.data_address.version:
            raise ValueError("the one data_address is IPv4 and the other one IPv6")
        return self


class LabTestbed(_Model):
    """A lab: two guests that the harness boots on this machine. Each kind (``hosts/lab``) adds keys of its own.

    ``release`` is the Debian release whose programs they run.
    """

    kind: str
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    release: Literal["bookworm", "trixie"] = Field(default="trixie", validation_alias=AliasChoices("release", "suite"))
    memory_mb: int = Field(default=768, ge=256, le=16384)


class GuestsTestbed(LabTestbed):
    """A lab whose guests have a kernel of their own: Debian's, one built from Debian's source, or the file ``kernel``.

    ``series`` (as 7.3) says which of Debian's, and ``additions`` what one that is built has besides the usual
    (``hosts/lab/built_kernel.py``). ``modules`` is where the modules of ``kernel`` are installed; None for the usual
    places (``hosts/lab/own_kernel.py``).
    """

    boots: ClassVar[Literal["uml", "bzImage"]]
    """What its guests can boot."""
    series: str | None = Field(default=None, pattern=r"^\d+\.\d+$")
    additions: tuple[str, ...] = ()
    kernel: Path | None = None
    modules: Path | None = None

    @model_validator(mode="after")
    def _is_one_kernel(self) -> GuestsTestbed:
        if self.kernel and (self.series or self.additions):
            raise ValueError("series and additions are of a kernel that is built, and kernel names another one")
        return self


class AutoTestbed(_Model):
    """The best lab that this machine can run (``hosts/lab/best.py``), found out when it is first needed.

    ``kernel`` and ``modules``: the best one that boots this kernel.
    """

    kind: Literal["auto"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    kernel: Path | None = None
    modules: Path | None = None


Settled = HostsTestbed | LabTestbed
AnyTestbed = Settled | AutoTestbed


def load(name_or_file: str, provision: bool = False) -> AnyTestbed:
    """Read a built-in testbed by name (``lab``) or any testbed by file. ``provision``: as if the file said so.

    Raises ConfigError when there is no such testbed or the file does not say what a testbed needs.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        path = BUILTIN / f"{name_or_file}.toml"
        if not path.exists():
            names = ", ".join(sorted(p.stem for p in BUILTIN.glob("*.toml")))
            raise ConfigError(
                f"no testbed is called {name_or_file!r}",
                next_step=f"name one of: {names}; or give a file that ends in .toml",
            )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the testbed {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the testbed {path} is not valid TOML: {error}") from error
    more = {"provision": True} if provision else {}
    model = _model(content.get("kind"), path)
    if provision and model is not HostsTestbed:
        raise ConfigError(f"--provision is for two hosts of yours: the lab {path.stem} is made with all that it needs")
    try:
        return model.model_validate({"name": path.stem, **content, **more})
    except ValidationError as error:
        raise ConfigError(f"the testbed {path} is not right: {explain(error)}") from error


def with_kernel(spec: AnyTestbed, kernel: Path, modules: Path | None) -> AnyTestbed:
    """The same lab with a kernel of somebody's own, under a name of its own: its nights are another series.

    Raises ConfigError where the testbed's hosts have a kernel already.
    """
    if not isinstance(spec, GuestsTestbed | AutoTestbed):
        raise ConfigError(
            f"the testbed {spec.name} boots no kernel of yours: its hosts run one already",
            next_step="take --testbed auto, lab, lab-kvm or lab-qemu",
        )
    changed: dict[str, object] = {"name": f"{spec.name}-kernel", "kernel": kernel, "modules": modules}
    if isinstance(spec, GuestsTestbed):
        changed |= {"series": None, "additions": ()}
    return spec.model_copy(update=changed)


def as_toml(hosts: HostsTestbed) -> str:
    """A testbed as the file that says it. Its strings, numbers and truths look in TOML as in JSON."""

    def lines(content: Mapping[str, object]) -> list[str]:
        return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]

    content = hosts.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    written = lines({key: value for key, value in content.items() if key not in tables})
    for key, value in tables.items():
        written += ["", f"[{key}]", *lines(value)]
    return "\n".join([*written, ""])


def _model(kind: object, path: Path) -> type[HostsTestbed] | type[LabTestbed] | type[AutoTestbed]:
    from hosts.lab import kinds  # here: labs hand out hosts, and so stand on this module

    models: dict[str, type[HostsTestbed] | type[LabTestbed] | type[AutoTestbed]] = {
        "hosts": HostsTestbed,
        "auto": AutoTestbed,
    }
    models |= {name: lab.model for name, lab in kinds.known().items()}
    if not isinstance(kind, str) or kind not in models:
        reason = "kind: it is missing" if kind is None else f"kind: no testbed is of the kind {kind!r}"
        raise ConfigError(f"the testbed {path} is not right: {reason} (known: {', '.join(sorted(models))})")
    return models[kind]


def expanded(path: str | Path) -> Path:
    """A path with the home directory that ``~`` or ``~user`` at its beginning stands for. Raises ConfigError."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path} begins with a home directory, and there is none of that name") from error


def explain(error: ValidationError, leave_out: Collection[str] = ()) -> str:
    """A pydantic error in one line: where, and what is wrong there. ``leave_out``: the models' own names in places.

    What only follows from another mistake is not said: a list that is too short for want of its wrong items, a missing
    key that was misspelt.
    """
    wrong = [(item["loc"], item["type"], item["msg"]) for item in error.errors()]
    keys = {kind: [place for place, other, _ in wrong if other == kind] for kind in ("missing", "extra_forbidden")}
    parts = []
    for place, kind, message in wrong:
        inside = any(other[: len(place)] == place and len(other) > len(place) for other, _, _ in wrong)
        if (kind == "too_short" and inside) or (kind == "missing" and _alike(place, keys["extra_forbidden"])):
            continue
        where = ".".join(str(p) for p in place if p not in leave_out)
        reason = message.removeprefix("Value error, ")
        if kind == "extra_forbidden":
            meant = _alike(place, keys["missing"])
            reason = f"there is no such key{f' ({meant} is missing)' if meant else ''}"
        parts.append(f"{where or 'file'}: {reason}")
    return "; ".join(parts)


def _alike(place: Place, others: Iterable[Place]) -> str | None:
    """The key among others of the same table whose name is like that of this one; None where there is none."""
    names = [str(other[-1]) for other in others if other[:-1] == place[:-1]]
    return next(iter(get_close_matches(str(place[-1]), names, 1)), None)
