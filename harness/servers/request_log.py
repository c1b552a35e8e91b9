"""What every server's log must show: each request once, with the whole payload, over as many connections as are due."""

from __future__ import annotations

from harness.api.path import Observed, Witness


def check(seen: Observed) -> Witness:
    """The facts of the log, and what of them speaks against the path."""
    sent = [line["bytes"] for line in seen.log]
    facts: dict[str, int | float | str | bool | None] = {"server_requests": len(sent), "server_bytes": sum(sent)}
    if seen.requests > 1:
        facts["connections"] = seen.connections
    if sent != [seen.payload] * seen.requests:
        shown = str(sent) if len(sent) < 4 else f"{len(sent)} requests, {sum(sent)} bytes"
        due = "one request" if seen.requests == 1 else f"{seen.requests} requests"
        return Witness(facts, f"the server's log shows {shown}, not {due} of {seen.payload}")
    if seen.requests > 1 and seen.connections != seen.connections_due:
        return Witness(facts, f"{seen.connections} connections were made, not {seen.connections_due}")
    return Witness(facts)
