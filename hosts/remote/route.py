"""How a host is reached from here: what the testbed file says, and what OpenSSH makes of the user's configuration.

``ssh -G`` (ssh(1)) reads ssh_config: Include, Match, tokens and all. What stands in the testbed file comes before it,
as options of the command line do. Jumps are made by ``ssh -W``, each with strict host keys whatever the configuration
says. The last connection is made by ``hosts/remote/ssh.py``, which believes no host key that is not known either.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import fabric
import paramiko

from hosts.errors import ConfigError
from hosts.roles import ROLES
from hosts.testbed import Destination, Host, HostsTestbed, destination, expanded

Settings = Mapping[str, list[str]]
"""What ``ssh -G`` says: the values of each key."""
Asked = Callable[[Destination], Settings]
RESOLVING_SECONDS = 30.0
MOST_JUMPS = 8
STRICT = (
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no", "-o", "LogLevel=INFO"),
    # one that is there may be used, as where a person logged in for it; none is left behind
    *("-o", "ControlMaster=no"),
)
CLIENT = 'on Debian apt-get install openssh-client; or say ssh_config = "none" and spell the host out'
ELSE = "give the host a proxy_command of its own in the testbed file, or name another ssh_config there"
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ed25519")
KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
CANNOT = {
    "revokedhostkeys": "keep revoked keys as @revoked lines in known_hosts",
    "bindinterface": "use BindAddress",
}
"""Settings that protect or steer the connection and are not understood here, with what to do."""
ONLY_OPENSSH = ("include", "proxyjump")
"""What fabric passes over in ssh_config."""
FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


@dataclass(frozen=True)
class Route:
    """Where a connection leads and what it needs."""

    host: str
    port: int
    user: str
    identities: tuple[Path, ...] = ()
    """Private keys, or their public halves, in the order in which they are offered; some may not be there."""
    only_identities: bool = False
    """Whether the agent's other keys are kept back."""
    certificates: tuple[Path, ...] = ()
    """The user's, for one of the keys."""
    agent: Path | None = None
    """The SSH agent's socket."""
    known_hosts: tuple[Path, ...] = ()
    alias: str | None = None
    """What known_hosts calls the host, where that is not its name."""
    proxy: str | None = None
    """A command for the user's shell that is connected to the host."""
    jumps: tuple[str, ...] = ()
    """The hosts that it goes through, where they are known."""
    family: socket.AddressFamily = socket.AF_UNSPEC
    bind_address: str | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.host} port {self.port}"


def resolve(name: str, host: Host) -> Route:
    """The way to a host. Raises ConfigError, naming the host ``name``, where the configuration leads nowhere."""
    wanted = destination(host.address)
    wanted = Destination(host.user or wanted.user, wanted.host, host.port or wanted.port)
    try:
        if host.ssh_config == Path("none"):
            return _said(host, _plain(wanted))
        program = shutil.which("ssh")
        if program is None:
            return _said(host, _without_ssh(host, wanted))
        options = () if host.ssh_config is None else ("-F", str(expanded(host.ssh_config)))
        if options and not Path(options[1]).is_file():
            raise ConfigError(f"there is no ssh_config {options[1]}")
        return _said(host, route(wanted, (program, *options), lambda hop: _asked((program, *options), hop)))
    except ConfigError as error:
        raise ConfigError(error.what, host=name, next_step=error.next_step or ELSE) from error


def typed(host: Host) -> str:
    """What a person types to try the same."""
    named = destination(host.address)
    words = ["ssh", *(["-F", str(host.ssh_config)] if host.ssh_config else [])]
    port, user = host.port or named.port, host.user or named.user
    words += ["-p", str(port)] if port else []
    return shlex.join([*words, f"{user}@{named.host}" if user else named.host])


def require_two(hosts: HostsTestbed) -> None:
    """Raises ConfigError where both hosts' addresses lead to the same place."""
    one, other = (resolve(role, getattr(hosts, role)) for role in ROLES)
    if (one.host, one.port, one.proxy) == (other.host, other.port, other.proxy):
        raise ConfigError(
            f"sender and receiver are the same machine: both addresses lead to {one.host} port {one.port}",
            next_step="give each host's own address in the testbed file",
        )


def parse(text: str) -> dict[str, list[str]]:
    """What ``ssh -G`` said, by key in small letters."""
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key.lower(), []).append(value)
    return settings


def route(wanted: Destination, ssh: tuple[str, ...], asked: Asked) -> Route:
    """The way to a destination by what ``asked`` answers for it and for each jump.

    ``ssh``: the program, with -F or not. Raises ConfigError for what is not understood.
    """
    settings = asked(wanted)
    for key, instead in CANNOT.items():
        if _one(settings, key):
            raise ConfigError(
                f"ssh_config sets {key} for {wanted.host}, which is not understood here", next_step=instead
            )
    host, port, user = _one(settings, "hostname") or wanted.host, int(_one(settings, "port") or 22), settings["user"][0]
    tokens = {
        **{"%": "%", "h": host, "p": str(port), "r": user, "n": wanted.host, "u": getpass.getuser()},
        **{"d": str(expanded("~")), "i": str(os.getuid()), "k": _one(settings, "hostkeyalias") or host},
        **{"l": socket.gethostname(), "L": socket.gethostname().partition(".")[0]},
    }

    def paths(key: str) -> tuple[Path, ...]:
        return tuple(_path(value, tokens) for value in settings.get(key, ()) if value != "none")

    files = " ".join([*settings.get("userknownhostsfile", ()), *settings.get("globalknownhostsfile", ())]).split()
    return Route(
        host=host,
        port=port,
        user=user,
        identities=paths("identityfile"),
        only_identities=_one(settings, "identitiesonly") == "yes",
        certificates=paths("certificatefile"),
        agent=_agent(_one(settings, "identityagent") or "SSH_AUTH_SOCK", tokens),
        known_hosts=tuple(_path(file, tokens) for file in files if file != "none"),
        alias=_one(settings, "hostkeyalias"),
        proxy=_proxy(settings, tokens, ssh, asked),
        jumps=tuple(hop.host for hop in _hops(settings)),
        family=FAMILIES[_one(settings, "addressfamily") or "any"],
        bind_address=_one(settings, "bindaddress"),
    )


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Replace the tokens of ssh_config(5), ``%h`` and so on. Raises ConfigError for one that is not known here."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in tokens:
            raise ConfigError(f"ssh_config has {found[0]} in {text!r}, which is not understood here")
        return tokens[found[1]]

    return re.sub(r"%(.?)", value, text)


def jump(hops: list[Destination], to: tuple[str, int], ssh: tuple[str, ...], asked: Asked, deep: int = 0) -> str:
    """The command that is connected to ``to`` through ``hops``, the first of which is nearest.

    Each hop's own settings hold for it, and the first one's jumps come before it; host keys are strict at each.
    """
    if deep + len(hops) > MOST_JUMPS:
        raise ConfigError(f"more than {MOST_JUMPS} jumps, or ProxyJump leads in a circle", next_step="look at ssh -G")
    *before, last = hops
    settings = asked(last)
    before = before or _hops(settings)
    words = [*ssh, *STRICT]
    if before:
        beyond = (_one(settings, "hostname") or last.host, int(_one(settings, "port") or 22))
        # ssh replaces tokens in this once more
        words += ["-o", f"ProxyCommand={jump(before, beyond, ssh, asked, deep + 1).replace('%', '%%')}"]
    words += ["-l", last.user] if last.user else []
    words += ["-p", str(last.port)] if last.port else []
    return shlex.join([*words, "-W", f"[{to[0]}]:{to[1]}", "--", last.host])


def _proxy(settings: Settings, tokens: Mapping[str, str], ssh: tuple[str, ...], asked: Asked) -> str | None:
    if hops := _hops(settings):
        return jump(hops, (tokens["h"], int(tokens["p"])), ssh, asked)
    command = _one(settings, "proxycommand")
    if command and _one(settings, "proxyusefdpass") == "yes":
        raise ConfigError("ssh_config sets ProxyUseFdpass, which is not understood here")
    return expand(command, tokens) if command else None


def _hops(settings: Settings) -> list[Destination]:
    jumps = _one(settings, "proxyjump")
    try:
        return [destination("ssh://" + hop.removeprefix("ssh://")) for hop in jumps.split(",")] if jumps else []
    except ValueError as error:
        raise ConfigError(f"ProxyJump {jumps} of ssh_config is not understood here: {error}") from error


def _one(settings: Settings, key: str) -> str | None:
    """A setting that is given once, or None; ``none`` is nothing."""
    value = settings.get(key, ["none"])[0]
    return None if value == "none" else value


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    return expanded(os.path.expandvars(expand(text, tokens)))


def _agent(text: str, tokens: Mapping[str, str]) -> Path | None:
    """The agent's socket, by the values of IdentityAgent."""
    if text == "SSH_AUTH_SOCK" or text.startswith("$"):
        there = os.environ.get(text.strip("${}"))
        return Path(there) if there else None
    return _path(text, tokens)


def _asked(ssh: tuple[str, ...], hop: Destination) -> dict[str, list[str]]:
    """What ``ssh -G`` says of a destination. Raises ConfigError with its own words."""
    words = [*ssh, "-G", *(["-l", hop.user] if hop.user else []), *(["-p", str(hop.port)] if hop.port else [])]
    try:
        done = subprocess.run(
            [*words, "--", hop.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RESOLVING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"ssh -G {hop.host} took more than {RESOLVING_SECONDS:g} s (Match exec?)") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("Pseudo-terminal")]
        raise ConfigError(
            f"ssh does not understand its configuration: {'; '.join(said[-2:]) or 'it said nothing'}",
            next_step=f"see what ssh -G {hop.host} says",
        )
    return parse(done.stdout)


def _plain(wanted: Destination) -> Route:
    """A destination without any configuration."""
    return Route(
        host=wanted.host,
        port=wanted.port or 22,
        user=wanted.user or getpass.getuser(),
        identities=tuple(expanded(Path("~/.ssh", name)) for name in DEFAULT_KEYS),
        agent=_agent("SSH_AUTH_SOCK", {}),
        known_hosts=tuple(expanded(file) for file in KNOWN_HOSTS),
    )


def _without_ssh(host: Host, wanted: Destination) -> Route:
    """Where OpenSSH is not at hand: ssh_config as fabric reads it.

    That is right for what stands in one file, and there is nothing that could jump. Raises ConfigError.
    """
    named = expanded(host.ssh_config) if host.ssh_config else None
    plain = _plain(wanted)

    def asked(hop: Destination) -> dict[str, list[str]]:
        try:
            found = fabric.Config(runtime_ssh_path=str(named) if named else None).base_ssh_config.lookup(hop.host)
        except (paramiko.SSHException, OSError, UnicodeError, ValueError) as error:
            raise ConfigError(f"cannot read ssh_config: {error}", next_step=CLIENT) from error
        for key in ONLY_OPENSSH:
            if found.get(key, "none") != "none":
                text = f"only OpenSSH's ssh knows what {key} of ssh_config means for {hop.host}, and none is here"
                raise ConfigError(text, next_step=CLIENT)
        usual = {"user": [plain.user], "identityfile": [str(path) for path in plain.identities]}
        usual |= {"userknownhostsfile": [str(path) for path in plain.known_hosts]}
        said = {key: value if isinstance(value, list) else [value] for key, value in found.items()}
        mine = {"user": [hop.user] if hop.user else [], "port": [str(hop.port)] if hop.port else []}
        return usual | said | {key: value for key, value in mine.items() if value}

    return route(wanted, (), asked)


def _said(host: Host, found: Route) -> Route:
    """A route with what the testbed file says itself."""
    if host.identity_file:
        found = replace(found, identities=(expanded(host.identity_file),), only_identities=True, certificates=())
    if host.known_hosts:
        found = replace(found, known_hosts=(expanded(host.known_hosts),))
    if host.proxy_command:
        tokens = {"%": "%", "h": found.host, "p": str(found.port), "r": found.user}
        found = replace(found, proxy=expand(host.proxy_command, tokens), jumps=())
    return found
