"""SSH by paramiko: strict host keys, and a deadline on everything."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType

import paramiko

from hosts.errors import HostLost
from hosts.remote import known_hosts, login
from hosts.remote.route import resolve, typed
from hosts.testbed import Host

CONNECT_SECONDS = 15.0
LINE_BYTES = 256 << 20
"""More than an agent ever says in a line: a host must not fill this machine's memory."""
CERTIFICATE = "-cert-v01@openssh.com"
RSA_WITH_SHA2 = ("rsa-sha2-512", "rsa-sha2-256")

# paramiko logs whole tracebacks of what is raised and explained here anyway
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


LAST_BYTES, LAST_LINES = 1 << 16, 40
"""Of what a command wrote to its standard error: so much is kept."""
LAST_WORDS_SECONDS = 0.3
"""How long a command's last words may come behind its status, or the end of its output; what it left behind may keep
that open."""


class Channel:
    """A running remote command: lines in, lines out. ``name`` is the host's, for messages."""

    def __init__(self, name: str, channel: paramiko.Channel) -> None:
        self.name = name
        self._channel = channel
        self._buffer = bytearray()
        self._errors = bytearray()

    def write(self, data: bytes, timeout: float = 30.0) -> None:
        """Send all of ``data``. Raises HostLost when the channel is gone or takes nothing for ``timeout`` s."""
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._gone(error) from error

    def read_line(self, timeout: float) -> bytes:
        """The next line without its end. Raises HostLost at the end of the channel and after ``timeout`` s."""
        end, searched = time.monotonic() + timeout, 0
        while True:
            place = self._buffer.find(b"\n", searched)
            if place >= 0:
                line = bytes(self._buffer[:place])
                del self._buffer[: place + 1]
                return line
            searched = len(self._buffer)
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self._channel.recv(1 << 16)
            except TimeoutError as error:
                raise HostLost(
                    f"no answer after {timeout:g} s{self._last_words()}",
                    host=self.name,
                    next_step="see whether the host still lives and the network between holds",
                ) from error
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._gone(error) from error
            if not piece:
                raise self._gone(None)
            self._buffer += piece
            if len(self._buffer) > LINE_BYTES:
                raise HostLost(f"it said more than {LINE_BYTES >> 20} MiB without the end of a line", host=self.name)

    def errors(self) -> list[str]:
        """The last lines the remote command wrote to its standard error."""
        while self._channel.recv_stderr_ready():
            self._errors += self._channel.recv_stderr(1 << 16)
        del self._errors[:-LAST_BYTES]
        return self._errors.decode(errors="replace").splitlines()[-LAST_LINES:]

    def end_input(self) -> None:
        """Tell the remote command that nothing more comes. Raises HostLost when it is out of reach."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._gone(error) from error

    def wait(self, timeout: float) -> int | None:
        """The remote command's exit status, or None when it did not end in time."""
        if not self._channel.status_event.wait(timeout):
            return None
        end = time.monotonic() + LAST_WORDS_SECONDS
        while not self._channel.eof_received and time.monotonic() < end:
            time.sleep(0.005)  # what it said last may come behind its status
        return int(self._channel.exit_status)

    def close(self) -> None:
        """Close the channel; harmless when it is closed."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()

    def _gone(self, error: BaseException | None) -> HostLost:
        self._channel.status_event.wait(LAST_WORDS_SECONDS)  # stderr's come just behind the end of stdout
        said = f" ({error})" if error and str(error) else ""
        return HostLost(f"the SSH connection or the program behind it ended{said}{self._last_words()}", host=self.name)

    def _last_words(self) -> str:
        said = [line.strip() for line in self.errors() if line.strip()]
        return f"; it said: {said[-1]}" if said else ""


class _Proxy:
    """A command whose standard streams are the connection; ``said`` is what it complains of."""

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._errors = os.fdopen(os.memfd_create("proxy"), "rb")
        with theirs:
            self._process = subprocess.Popen(
                [os.environ.get("SHELL", "/bin/sh"), "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._errors,
                env=os.environ | {"SSH_ASKPASS_REQUIRE": "never"},
                # Ctrl-C is for the controller, which still needs its hosts; and without a terminal nothing asks there
                start_new_session=True,
            )

    def said(self) -> str:
        """Its last words, once it had a moment for them."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        lines = os.pread(self._errors.fileno(), 1 << 16, 0).decode(errors="replace").splitlines()
        return "; ".join([line.strip() for line in lines if line.strip()][-2:])

    def close(self) -> None:
        """End it and what it started; harmless when it has ended."""
        self.socket.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):  # of one that became root, and ends with its connection
                if number:
                    os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
                break
        self._errors.close()


class Connection:
    """One SSH connection to one host; a context manager.

    It leads where ``ssh`` would lead (``hosts/remote/route.py``), but no host key is ever believed that known_hosts
    does not have. Raises HostLost where there is no way, ConfigError where the user's configuration has none.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.route = resolve(name, host)
        self._proxy: _Proxy | None = None
        self._transport: paramiko.Transport | None = None
        try:
            known = self._known()
            with login.offered(self.route) as offer:
                self._transport = self._open(known)
                self._log_in(self._transport, offer)
        except BaseException:
            self.close()
            raise
        self._transport.set_keepalive(10)

    def _known(self) -> known_hosts.Known:
        """What the user's files say of the host; a file that is named and is not there is a mistake."""
        route, files = self.route, " or ".join(map(str, self.route.known_hosts))
        try:
            if self.host.identity_file and not route.identities[0].exists():
                raise HostLost(f"there is no identity file {route.identities[0]}", host=self.name)
            if any(file.exists() for file in route.known_hosts):
                return known_hosts.known(route.known_hosts, known_hosts.names(route.host, route.port, route.alias))
        except OSError as error:
            raise HostLost(f"cannot read {error.filename}: {error.strerror}", host=self.name) from error
        raise HostLost(
            f"no known_hosts file at {files}, so nobody can tell that this is the right host",
            host=self.name,
            next_step=f"log in once by hand, and compare the key's fingerprint: {typed(self.host)}",
        )

    def _open(self, known: known_hosts.Known) -> paramiko.Transport:
        """A connection to the host that is meant, to nobody else."""
        route, transport = self.route, None
        try:
            transport = paramiko.Transport(self._socket())
            transport.banner_timeout = CONNECT_SECONDS * (2 if self._proxy else 1)
            transport.auth_timeout = CONNECT_SECONDS
            options = transport.get_security_options()
            options.key_types = _preferred(known, tuple(options.key_types))
            transport.start_client(timeout=transport.banner_timeout + CONNECT_SECONDS)
            key = transport.get_remote_server_key()
        except (paramiko.SSHException, OSError, EOFError, UnicodeError) as error:
            if transport:
                transport.close()
            said = self._proxy.said() if self._proxy else ""
            raise HostLost(
                f"cannot connect to {route.host} port {route.port}: {said or _plain(error)}",
                host=self.name,
                next_step=f"see whether this can, and what it says: {typed(self.host)}",
            ) from error
        certificate = key.public_blob.key_blob if key.public_blob else None
        if trouble := known.trouble(known_hosts.Shown(key.asbytes(), certificate), datetime.now(UTC)):
            transport.close()
            raise HostLost(
                trouble,
                host=self.name,
                next_step="compare the key's fingerprint with somebody who knows the host before you change "
                + " or ".join(map(str, route.known_hosts)),
            )
        return transport

    def _socket(self) -> socket.socket:
        """Connected to the host or to what leads there. Raises OSError."""
        route = self.route
        if route.proxy:
            self._proxy = _Proxy(route.proxy)
            return self._proxy.socket
        problem: OSError | None = None
        for family, kind, protocol, _, place in socket.getaddrinfo(
            route.host, route.port, route.family, socket.SOCK_STREAM
        ):
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(CONNECT_SECONDS)
                if route.bind_address:
                    connected.bind((route.bind_address, 0))
                connected.connect(place)
            except OSError as error:  # a name may have addresses of a network that is not to be had here
                connected.close()
                problem = error
            else:
                return connected
        raise problem or OSError(errno.EADDRNOTAVAIL, "the name has no address")

    def _log_in(self, transport: paramiko.Transport, offer: login.Offer) -> None:
        """Offer keys until one is taken. Raises HostLost, saying which were not offered."""
        reason = "it takes none of the keys that were offered" if offer.keys else "there is no key to offer"
        for key in offer.keys:
            try:
                if more := transport.auth_publickey(self.route.user, key):
                    reason = f"a key is not enough there: it also asks for {', '.join(more)}"
                break
            except paramiko.BadAuthenticationType as error:
                reason = f"it takes no keys but {', '.join(error.allowed_types)}"
                break
            except (paramiko.SSHException, OSError, EOFError):
                if not transport.is_active():
                    reason = "it ended the connection after too many keys: name the right one"
                    break
        if transport.is_authenticated():
            return
        raise HostLost(
            f"the host did not let {self.route.user} in: {'; '.join([reason, *offer.left_out])}",
            host=self.name,
            next_step="check user and identity_file in the testbed file, or User and IdentityFile in ssh_config",
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def start(self, command: str) -> Channel:
        """Start a command on a channel of its own. The command line is quoted by whoever made it."""
        if self._transport is None:
            raise HostLost("the connection is closed", host=self.name)
        try:
            channel = self._transport.open_session(timeout=CONNECT_SECONDS)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise HostLost(f"cannot start a program: {_plain(error)}", host=self.name) from error
        return Channel(self.name, channel)

    def close(self) -> None:
        """Close the connection and what it went through; harmless when it is closed or cut."""
        if self._transport:
            with suppress(OSError, EOFError, paramiko.SSHException):
                self._transport.close()
        if self._proxy:
            self._proxy.close()
        self._transport = self._proxy = None


def _preferred(known: known_hosts.Known, usual: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds of host keys in the order in which they are asked for: certificates and keys that could be believed first.

    A host that has several keys then shows the one that is known.
    """
    certificates = tuple(kind + CERTIFICATE for kind in usual) if known.certified else ()
    names = [RSA_WITH_SHA2 if kind == "ssh-rsa" else (kind,) for kind in known.kinds]
    first = tuple(kind for kinds in names for kind in kinds if kind in usual)
    return certificates + first + tuple(kind for kind in usual if kind not in first)


def _plain(error: BaseException) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):  # of a name that no DNS could hold
        return "no such host name"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    if isinstance(error, EOFError):
        return "the other side closed the connection at once"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
