"""What operations of the protocol speak of: changes, counters, transfers, costs.

Runs on the host too, whose Python 3.9 cannot evaluate ``X | None``: hence Optional and Union.
"""
# ruff: noqa: UP007, UP045

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Union

Connection = Literal["new", "resumed", "kept"]
"""What each request of a batch begins with: see ``small.Batch``."""
CipherKind = Literal["skcipher", "aead"]
CryptoInterface = Literal["/dev/crypto", "AF_ALG"]
"""From user space to the kernel's ciphers and hashes."""


@dataclass(frozen=True)
class Hello:
    """The agent's first words."""

    directory: str
    """The run's own: on tmpfs, mode 0700, removed with the agent. Relative paths below start there."""
    uid: int
    recovered: list[str]
    """What earlier agents had left and this one put back, or would if it did not only look, a line each."""
    remaining: list[str]
    """What they had left and this one did not put back, with the reason."""
    boot: str
    """The kernel's name for this boot (proc_sys_kernel(5), random/boot_id); empty where it tells none."""
    management: list[str]
    """The interface by which the SSH connection leaves, and those beneath it; empty where that cannot be told."""
    executable: bool
    """Whether programs may be run from the directory: False where all tmpfs there is mounted noexec."""
    python: str
    """The path of the Python that it runs under."""
    python_version: str


# changes of the host: see kinds.py


@dataclass(frozen=True)
class DirectoryChange:
    """A new directory. Undone: removed with all that is in it."""

    what: str
    path: str
    mode: int
    kind: Literal["directory"] = "directory"


@dataclass(frozen=True)
class FileChange:
    """A new file. Undone: removed, unless somebody else has written it anew."""

    what: str
    path: str
    content: str
    mode: int
    kind: Literal["file"] = "file"


@dataclass(frozen=True)
class ModuleChange:
    """Kernel modules by their names. Undone: unloaded with what they brought in."""

    what: str
    names: list[str]
    sticky: bool
    """The kernel may not let go of them any more; that is then no error."""
    kind: Literal["module"] = "module"


@dataclass(frozen=True)
class InsmodChange:
    """A kernel module from a file. Undone: unloaded."""

    what: str
    name: str
    path: str
    kind: Literal["insmod"] = "insmod"


@dataclass(frozen=True)
class PriorityChange:
    """A crypto driver's priority. Undone: the old one."""

    what: str
    driver: str
    value: int
    kind: Literal["priority"] = "priority"


@dataclass(frozen=True)
class CommandChange:
    """A change made by the command ``apply``. Undone: by the command ``undo``."""

    what: str
    look: list[str]
    present: str
    """A regular expression that ``look``'s output matches when the change is in force."""
    refuse: Optional[str]
    """One that it matches when something of somebody else is in its place."""
    apply: list[str]
    undo: list[str]
    stdin: Optional[str] = field(repr=False)
    kind: Literal["command"] = "command"


@dataclass(frozen=True)
class ProcessChange:
    """A server. Undone: its process group ended. ``stdout`` and ``stderr`` are paths of new files."""

    what: str
    argv: list[str]
    stdout: str
    stderr: str
    stdin: Optional[str] = field(repr=False)
    kind: Literal["process"] = "process"


@dataclass(frozen=True)
class SettingChange:
    """Another value of a file of /sys or /proc. Undone: the old one."""

    what: str
    path: str
    value: str
    kind: Literal["setting"] = "setting"


Change = Union[
    DirectoryChange,
    FileChange,
    ModuleChange,
    InsmodChange,
    PriorityChange,
    CommandChange,
    ProcessChange,
    SettingChange,
]


@dataclass(frozen=True)
class Result:
    """A finished command. ``status`` is None when its deadline ended it, 127 when it is not there."""

    status: Optional[int]
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0


# counters and busy time


@dataclass(frozen=True)
class FileCounter:
    """The one group of a regular expression in a file, summed over all its matches."""

    path: str
    pattern: str
    kind: Literal["file"] = "file"


@dataclass(frozen=True)
class SizeCounter:
    """A file's size in bytes."""

    path: str
    kind: Literal["size"] = "size"


@dataclass(frozen=True)
class TableCounter:
    """A field (Tcp.RetransSegs) of a table like /proc/net/snmp."""

    path: str
    field: str
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class NumberCounter:
    """An unsigned number of 64 bits in a file, as this machine has them, from ``offset_bytes`` on."""

    path: str
    offset_bytes: int
    kind: Literal["number"] = "number"


@dataclass(frozen=True)
class AssociationCounter:
    """A field of an ESP SA (xfrm.Association), which is found by where it leads to and its SPI."""

    destination: str
    spi: int
    field: Literal["protection", "offload", "added", "bytes", "packets"]
    kind: Literal["association"] = "association"


@dataclass(frozen=True)
class StatisticCounter:
    """What an interface's driver counts under a name (``ethtool -S``)."""

    interface: str
    name: str
    kind: Literal["statistic"] = "statistic"


@dataclass(frozen=True)
class LinkState:
    """What of an interface changes a result, as JSON: see ``ethtool.state``."""

    interface: str
    kind: Literal["link"] = "link"


Counter = Union[FileCounter, SizeCounter, TableCounter, NumberCounter, AssociationCounter, StatisticCounter, LinkState]


@dataclass(frozen=True)
class CpuTime:
    """The host's busy time since boot, all processors together, and the step in which it is counted."""

    busy_seconds: float
    resolution_seconds: float
    each: list[float] = field(default_factory=list)
    """Busy seconds of each processor that is online."""
    softirq: list[float] = field(default_factory=list)
    """Of these, the seconds in interrupts' later half."""
    numbers: list[int] = field(default_factory=list)
    """What the kernel calls these processors."""


@dataclass(frozen=True)
class Observation:
    """Counters by name, None for one that could not be read; busy time before and after they were read."""

    values: dict[str, Optional[int]]
    states: dict[str, Optional[str]]
    """What is no number: an SA's protection and offload, a link's state."""
    cpu_before: CpuTime
    cpu_after: CpuTime


@dataclass(frozen=True)
class Tls:
    """Whom the receiver trusts and what it offers."""

    ca: str
    """The path, on the receiver, of the authority's certificate."""
    version: Literal["1.2", "1.3"]
    priority: str
    """The one cipher suite as a GnuTLS priority string."""
    openssl: Optional[str]
    """Its name in OpenSSL; None where that has none."""
    group: Optional[str] = None
    """The one group that the generator of load offers for the key exchange; None for its library's own choice."""
    key: Optional[str] = None
    """What OpenSSL calls the server's key; None where nobody asks."""


@dataclass(frozen=True)
class Fetched:
    """A transfer, or a batch of them; what only one of both tells is None for the other."""

    error: Optional[str]
    """libcurl's number and words, what a client of ours said, or what was wrong with a request of a batch."""
    seconds: float
    """From the start of connect to the last payload byte; wall time of a whole batch."""
    received_bytes: int
    cpu_before: CpuTime
    cpu_after: CpuTime
    handshake_seconds: Optional[float]
    """TLS alone, of one transfer; None without TLS."""
    latencies_us: Optional[list[float]]
    """Of each request of a batch that went well."""
    connections: Optional[int]
    """Opened by a batch."""
    sha256_ok: Optional[bool]
    """Of a batch: all bodies right, one wrong, or None when too few came."""
    told: Optional[str] = None
    """The line of JSON that a client of ours told of it; None of libcurl."""


@dataclass(frozen=True)
class LogTail:
    """A log from ``offset_bytes`` on, where ``count`` lines are due. One that is not there has none."""

    path: str
    offset_bytes: int
    count: int


@dataclass(frozen=True)
class Alike:
    """How many lines of a log are alike: what they say in JSON, without the fields in which lines differ anyway."""

    line: str
    count: int


@dataclass(frozen=True)
class Tallied:
    """A log of JSON objects, a line each, counted."""

    alike: list[Alike]
    connections: int
    """How many different ones the lines are of."""
    different: dict[str, int]
    """How many different values each of the fields has that tell connections apart."""


@dataclass(frozen=True)
class Received:
    """The first ``size_bytes`` of a file: what a transfer wrote there."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class Residency:
    """How much of a file lies in memory, in whole pages."""

    resident_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Decipher:
    """How a payload was enciphered: a cipher by OpenSSL's name."""

    evp: str
    key_hex: str = field(repr=False)
    iv_hex: str = field(repr=False)


@dataclass(frozen=True)
class Digested:
    """A payload's SHA-256 in hex, or why there is none."""

    sha256: Optional[str]
    error: Optional[str]


# system calls and costs


@dataclass(frozen=True)
class SystemCalls:
    """What traced processes did: see ``syscalls.count``."""

    calls: dict[str, int]
    """How often each call was made, by its name."""
    read_bytes: int
    written_bytes: int
    moved_bytes: int
    """Sent on within the kernel."""
    uncounted: list[str]
    """Calls that may have carried bytes which no result tells."""


@dataclass(frozen=True)
class Given:
    """What a sender's TCP tells of a connection (tcp(7), TCP_INFO)."""

    min_rtt_seconds: float
    segments: int
    """Sent, those sent again among them."""
    retransmitted: int


@dataclass(frozen=True)
class Timed:
    """What is usual of many tries with one size: the lower quartile."""

    size_bytes: int
    usual_ns: float


@dataclass(frozen=True)
class Costs:
    """One operation on few bytes and on many."""

    small: Timed
    large: Timed
