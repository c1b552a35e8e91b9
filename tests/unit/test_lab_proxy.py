"""The proxy command: standard input and output as a TCP connection, no longer than the lab."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from hosts.lab.guests import PROXY


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def start(server: socket.socket, lab: int | None = None, patience: str = "0") -> subprocess.Popen[bytes]:
    port = server.getsockname()[1]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROXY), str(lab or os.getpid()), "127.0.0.1", str(port), patience],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_everything_passes_both_ways(server: socket.socket) -> None:
    proxy = start(server)
    connection, _ = server.accept()
    payload = os.urandom(1 << 20)
    assert proxy.stdin and proxy.stdout
    proxy.stdin.write(payload)
    proxy.stdin.flush()
    got = b""
    while len(got) < len(payload):
        got += connection.recv(1 << 16)
    assert got == payload
    connection.sendall(b"answer")
    assert os.read(proxy.stdout.fileno(), 100) == b"answer"
    connection.close()
    assert proxy.wait(timeout=5) == 0
    proxy.communicate()


def test_it_ends_with_its_input(server: socket.socket) -> None:
    proxy = start(server)
    connection, _ = server.accept()
    proxy.communicate(timeout=5)
    assert connection.recv(1) == b""
    connection.close()
    assert proxy.returncode == 0


def test_it_ends_with_the_lab(server: socket.socket) -> None:
    lab = subprocess.Popen(["sleep", "60"])
    proxy = start(server, lab.pid)
    connection, _ = server.accept()
    lab.kill()
    lab.wait()
    assert proxy.wait(timeout=5) == 0
    proxy.communicate()
    connection.close()


def test_no_connection_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(PROXY), str(os.getpid()), "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == f"lab {os.getpid()}: no connection to 127.0.0.1 port {port}: Connection refused\n"


def test_it_waits_for_a_guest_that_boots_but_not_longer_than_the_lab() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    lab = subprocess.Popen(["sleep", "60"])
    proxy = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROXY), str(lab.pid), *map(str, address), "30"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(0.3)
    assert proxy.poll() is None
    with socket.create_server(address) as late:
        late.settimeout(5)
        late.accept()[0].close()
    assert proxy.wait(timeout=5) == 0
    proxy.communicate()
    waiting = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROXY), str(lab.pid), *map(str, address), "30"],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.2)
    lab.kill()
    lab.wait()
    assert waiting.wait(timeout=5) == 1
