"""A testbed that is only looked at: each host that can be reached, by an agent that refuses every change."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from harness.events import Events
from harness.measuring.opened import OpenTestbed
from hosts import facts
from hosts.errors import HarnessError
from hosts.facts import Facts
from hosts.lab import kinds
from hosts.remote import route
from hosts.remote.host import RemoteHost
from hosts.roles import ROLES
from hosts.testbed import HostsTestbed, LabTestbed, Settled


@dataclass(frozen=True)
class Reached:
    """The hosts that answered, by role, with what they are; and why others did not."""

    testbed: HostsTestbed
    lab: bool
    hosts: dict[str, RemoteHost]
    facts: dict[str, Facts]
    lost: dict[str, HarnessError]

    def opened(self, sender: Facts, receiver: Facts) -> OpenTestbed:
        """As what deploys on hosts sees them, with the facts that are given: nothing is measured there."""
        return OpenTestbed(
            sender=self.hosts["sender"],
            receiver=self.hosts["receiver"],
            sender_facts=sender,
            receiver_facts=receiver,
            may_shape=self.testbed.shape,
            meter=None,
            surroundings=dict,
            measuring=nullcontext,
            payloads={},
            shared={},
            environment={},
        )


@contextmanager
def reached(spec: Settled, events: Events) -> Iterator[Reached]:
    """Boot a lab, or connect to hosts, and look.

    Raises HarnessError where there is no lab, ConfigError where both hosts are one.
    """
    with ExitStack() as stack:
        hosts = spec
        if isinstance(spec, LabTestbed):
            parts = stack.enter_context(kinds.of(spec).obtain(spec, events.progress))
            hosts = stack.enter_context(parts.boot(events.progress)).testbed
        else:
            route.require_two(spec)
        assert isinstance(hosts, HostsTestbed)  # noqa: S101 - a lab's guests are hosts
        events.progress("looking at sender and receiver")
        found = Reached(hosts, isinstance(spec, LabTestbed), {}, {}, {})
        with ThreadPoolExecutor(2) as pool:
            for role, seen in zip(ROLES, pool.map(lambda role: _look(hosts, role), ROLES), strict=True):
                if isinstance(seen, HarnessError):
                    found.lost[role] = seen
                    continue
                found.hosts[role], found.facts[role] = stack.enter_context(seen[0]), seen[1]
        yield found


def _look(hosts: HostsTestbed, role: str) -> tuple[RemoteHost, Facts] | HarnessError:
    """One host and its facts, or why it cannot be used."""
    try:
        host = RemoteHost(role, getattr(hosts, role), run="check", looks=True)
        try:
            return host, facts.gather(host, role)
        except BaseException as error:
            host.close(error)
            raise
    except HarnessError as error:
        return error
