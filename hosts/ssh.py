"""The only file that imports fabric and paramiko: strict host keys, and a deadline on everything."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import fabric
import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from hosts.errors import HarnessError
from hosts.testbed import Host

CONNECT_SECONDS = 15.0

# paramiko logs whole tracebacks of what is raised and explained here anyway
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)


class SshError(HarnessError):
    """The connection to a host could not be made, or ended."""


class Channel:
    """A running remote command: lines in, lines out. ``name`` is the host's, for messages."""

    def __init__(self, name: str, channel: paramiko.Channel) -> None:
        self.name = name
        self._channel = channel
        self._buffer = bytearray()
        self._errors: deque[str] = deque(maxlen=40)

    def write(self, data: bytes, timeout: float = 30.0) -> None:
        """Send all of ``data``. Raises SshError when the channel is gone or takes nothing for ``timeout`` s."""
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._gone(error) from error

    def read_line(self, timeout: float) -> bytes:
        """The next line without its end. Raises SshError at the end of the channel and after ``timeout`` s."""
        end = time.monotonic() + timeout
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                return bytes(line)
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            try:
                piece = self._channel.recv(1 << 16)
            except TimeoutError as error:
                raise SshError(
                    f"no answer after {timeout:g} s{self._last_words()}",
                    host=self.name,
                    next_step="see whether the host still lives and the network between holds",
                ) from error
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._gone(error) from error
            if not piece:
                raise self._gone(None)
            self._buffer += piece

    def errors(self) -> list[str]:
        """The last lines the remote command wrote to its standard error."""
        while self._channel.recv_stderr_ready():
            self._errors.extend(self._channel.recv_stderr(1 << 16).decode(errors="replace").splitlines())
        return list(self._errors)

    def end_input(self) -> None:
        """Tell the remote command that nothing more comes. Raises SshError when it is out of reach."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._gone(error) from error

    def wait(self, timeout: float) -> int | None:
        """The remote command's exit status, or None when it did not end in time."""
        if self._channel.status_event.wait(timeout):
            return int(self._channel.exit_status)
        return None

    def close(self) -> None:
        """Close the channel; harmless when it is closed."""
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()

    def _gone(self, error: BaseException | None) -> SshError:
        self._channel.status_event.wait(0.3)  # the last words of stderr come just behind the end of stdout
        said = f" ({error})" if error and str(error) else ""
        return SshError(f"the SSH connection or the program behind it ended{said}{self._last_words()}", host=self.name)

    def _last_words(self) -> str:
        said = [line.strip() for line in self.errors() if line.strip()]
        return f"; it said: {said[-1]}" if said else ""


class Connection:
    """One SSH connection to one host; a context manager.

    The host's key must be in its ``known_hosts``; an unknown or changed key is refused. The user's own
    ``~/.ssh/config`` is not read: what the testbed file says is what is used.
    """

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        known_hosts = Path(host.known_hosts).expanduser()
        if not known_hosts.is_file():
            raise SshError(
                f"no known_hosts file at {known_hosts}, so nobody can tell that this is the right host",
                host=name,
                next_step=f"ssh-keyscan -p {host.port} {host.address}, compare the key's fingerprint, keep it there",
            )
        connect: dict[str, object] = {"banner_timeout": CONNECT_SECONDS, "auth_timeout": CONNECT_SECONDS}
        if host.identity_file:
            identity = Path(host.identity_file).expanduser()
            if not identity.is_file():
                raise SshError(f"there is no identity file {identity}", host=name)
            connect |= {"key_filename": str(identity), "allow_agent": False, "look_for_keys": False}
        self._connection = fabric.Connection(
            host.address,
            user=host.user,
            port=host.port,
            gateway=host.proxy_command,
            connect_timeout=CONNECT_SECONDS,
            connect_kwargs=connect,
            config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
        )
        # fabric would accept any key: this replaces its policy before anything is opened
        self._connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            self._connection.client.load_host_keys(str(known_hosts))
            self._connection.open()
        except paramiko.BadHostKeyException as error:
            self.close()
            raise SshError(
                "the host's key is not the one in known_hosts: another machine, or somebody between",
                host=name,
                next_step=f"find out why before you change {known_hosts}",
            ) from error
        except paramiko.AuthenticationException as error:
            self.close()
            raise SshError(
                f"the host did not let {host.user} in: {error}",
                host=name,
                next_step="check user and identity_file in the testbed file",
            ) from error
        except (paramiko.SSHException, paramiko.PasswordRequiredException, OSError, EOFError) as error:
            self.close()
            raise SshError(
                f"cannot connect to {host.address} port {host.port}: {_plain(error)}",
                host=name,
                next_step="check address, port, proxy_command and known_hosts in the testbed file",
            ) from error
        transport = self._connection.client.get_transport()
        if transport is not None:
            transport.set_keepalive(10)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def start(self, command: str) -> Channel:
        """Start a command on a channel of its own. The command line is quoted by whoever made it."""
        transport = self._connection.client.get_transport()
        if transport is None:
            raise SshError("the connection is closed", host=self.name)
        try:
            channel = transport.open_session(timeout=CONNECT_SECONDS)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise SshError(f"cannot start a program: {_plain(error)}", host=self.name) from error
        return Channel(self.name, channel)

    def close(self) -> None:
        """Close the connection and what it went through; harmless when it is closed or cut."""
        transport = self._connection.client.get_transport()
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._connection.close()
        if isinstance(proxy := getattr(transport, "sock", None), paramiko.ProxyCommand):
            with suppress(OSError, paramiko.SSHException):
                proxy.close()


def _plain(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host name"
    if isinstance(error, NoValidConnectionsError):
        return "; ".join(sorted({getattr(cause, "strerror", None) or str(cause) for cause in error.errors.values()}))
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    if isinstance(error, EOFError):
        return "the other side closed the connection at once"
    return str(error) or type(error).__name__
