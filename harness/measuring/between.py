"""What must hold between both hosts before anything is measured: addresses, routes, ports that let the receiver in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.api.bench import FIRST_PORT
from harness.measuring.link import PORT
from hosts.errors import HostLost, Refusal
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost

PORTS = (PORT, FIRST_PORT)
"""Tried before anything is measured: the link test's, and the first of the servers'."""
SECONDS = 5.0
LEAST = 64
"""Bytes that a port is tried with."""


def require(sender: RemoteHost, receiver: RemoteHost, ports: Sequence[int] = PORTS) -> None:
    """Raises Refusal with the one thing that is in the way of all paths, HostLost."""
    placed(sender, receiver)
    for port in ports:
        _open(sender, receiver, port)


def placed(sender: RemoteHost, receiver: RemoteHost) -> None:
    """Addresses are on the named interfaces, and the routes between them, too. Raises Refusal, HostLost."""
    for host, other in ((sender, receiver), (receiver, sender)):
        _addressed(host)
        _routed(host, str(other.host.data_address))


def _addressed(host: RemoteHost) -> None:
    place = host.host
    if not host.agent.has_address(str(place.data_address), place.data_interface):
        raise Refusal(
            f"{place.data_address} is not an address of {place.data_interface}",
            host=host.name,
            next_step="check data_address and data_interface in the testbed file",
        )


def _routed(host: RemoteHost, destination: str) -> None:
    """Packets to the peer leave by the interface that is named: else the figures would be another card's."""
    place = host.host
    try:
        taken = host.agent.interface_to(destination, str(place.data_address))
    except AgentError as error:
        raise Refusal(
            f"there is no way from {place.data_address} to {destination}: {error.what}", host=host.name
        ) from None
    if taken != place.data_interface:
        raise Refusal(
            f"packets from {place.data_address} to {destination} leave by {taken}, not by {place.data_interface}",
            host=host.name,
            next_step=f"name {taken} as data_interface, or give {destination} a route by {place.data_interface}",
        )


def _open(sender: RemoteHost, receiver: RemoteHost, port: int) -> None:
    """The receiver gets bytes from a port of the sender."""
    address = str(sender.host.data_address)
    with ThreadPoolExecutor(1) as pool:
        giving = pool.submit(sender.agent.give, address, port, LEAST, SECONDS)
        try:
            receiver.agent.pull(address, port, LEAST, SECONDS)
        except AgentError as error:
            why = error.what
        else:
            giving.result()
            return
        own = giving.exception()  # waits for it
    if isinstance(own, HostLost):
        raise own
    if isinstance(own, AgentError) and "in use" in own.what:
        raise Refusal(
            f"port {port} of {address} is in use",
            host=sender.name,
            next_step=f"find out by whom (ss -ltnp 'sport = :{port}') and end it, or wait",
        )
    raise Refusal(
        f"the receiver ({receiver.host.data_address}) does not get through to {address} TCP port {port}: {why}",
        host=sender.name,
        next_step="let the receiver in there: a firewall on the sender, or between, must pass TCP to port "
        f"{PORT} and to ports from {FIRST_PORT} on (docs/hosts.md)",
    )
