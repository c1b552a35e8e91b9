"""What must hold between both hosts before anything is measured: addresses, routes, ports that let the receiver in."""

from __future__ import annotations

from collections.abc import Sequence

from harness.measuring import way
from hosts.errors import Refusal
from hosts.remote.agent import AgentError
from hosts.remote.host import RemoteHost


def require(sender: RemoteHost, receiver: RemoteHost, ports: Sequence[int] = way.PORTS) -> None:
    """Raises Refusal with the one thing that is in the way of all paths, HostLost."""
    placed(sender, receiver)
    for port in ports:
        if refusal := way.refused(sender, receiver, port):
            raise refusal


def placed(sender: RemoteHost, receiver: RemoteHost) -> None:
    """Addresses are on the named interfaces, and the routes between them, too. Raises Refusal, HostLost."""
    for host, other in ((sender, receiver), (receiver, sender)):
        _addressed(host)
        _routed(host, str(other.host.data_address))


def _addressed(host: RemoteHost) -> None:
    place = host.host
    there = host.agent.addresses()
    if str(place.data_address) in there.get(place.data_interface, ()):
        return
    owner = next((name for name, some in there.items() if str(place.data_address) in some), None)
    if owner:
        instead, step = f"{owner} has it", f"name {owner} as data_interface of the {host.name}"
    elif place.data_interface in there:
        instead, step = f"that has {' and '.join(there[place.data_interface]) or 'none'}", "check data_address"
    else:
        instead, step = f"there are {' '.join(there)}", "check data_interface and data_address"
    raise Refusal(
        f"{place.data_address} is not an address of {place.data_interface}: {instead}",
        host=host.name,
        next_step=f"{step} in the testbed file",
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
