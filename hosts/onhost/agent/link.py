"""The link's test between two agents, in clear; and who listens on this host."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time

from .evp import CHUNK
from .values import Given

RETRANSMITTED, SEGMENTS, MIN_RTT = 100, 136, 148
"""Where struct tcp_info (include/uapi/linux/tcp.h) has tcpi_total_retrans, tcpi_segs_out, tcpi_min_rtt (µs)."""


def give(address: str, port: int, size: int, timeout: float) -> Given:
    """Let one connection in and send ``size`` bytes down it; what TCP tells of it once all has arrived."""
    with socket.create_server((address, port), family=_family(address)) as server:
        server.settimeout(timeout)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(timeout)
            connection.sendall(bytes(size))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the other end closes when it has all
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    retransmitted, segments, microseconds = (
        struct.unpack_from("=I", told, offset)[0] for offset in (RETRANSMITTED, SEGMENTS, MIN_RTT)
    )
    return Given(microseconds / 1e6, segments, retransmitted)


def pull(address: str, port: int, size: int, timeout: float) -> float:
    """Take ``size`` bytes from such a giver; seconds from the start of connect to the last byte."""
    end, got, room = time.monotonic() + timeout, 0, bytearray(CHUNK)
    while True:
        start = time.perf_counter()
        try:
            connection = socket.create_connection((address, port), timeout=timeout)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
    with connection:
        while got < size:
            try:
                count = connection.recv_into(room)
            except TimeoutError:
                raise TimeoutError(f"{got} of {size} bytes came, and none in {timeout:g} s after that") from None
            if not count:
                raise ConnectionError(f"the link's test ended after {got} of {size} bytes")
            got += count
    return time.perf_counter() - start


def port_taken(address: str, port: int) -> bool:
    """Whether somebody has this port of this host: what answers there later must be the server we start."""
    try:
        socket.create_server((address, port), family=_family(address)).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return True
    return False


def send_protocol(protocol: int, source: str, target: str, content: bytes) -> None:
    """Send one IP packet (raw(7)): a raw socket of any protocol is there without a kernel module's being loaded."""
    with socket.socket(_family(source), socket.SOCK_RAW, protocol) as sending:
        sending.bind((source, 0))
        sending.sendto(content, (target, 0))


def hear_protocol(protocol: int, address: str, content: bytes, timeout: float) -> bool:
    """Whether such a packet arrives. What this host's firewall drops does not get here, either."""
    end = time.monotonic() + timeout
    with socket.socket(_family(address), socket.SOCK_RAW, protocol) as hearing:
        hearing.bind((address, 0))
        while (left := end - time.monotonic()) > 0:
            if not select.select([hearing], [], [], left)[0]:
                break
            if hearing.recv(1 << 16).endswith(content):  # behind the IP header, which IPv4 hands over, too
                return True
    return False


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
