"""Guests whose kernels the modules of ours are tried on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from hosts.errors import HarnessError
from hosts.lab import uml
from hosts.remote.host import RemoteHost


@pytest.fixture(scope="package", params=["trixie", "bookworm"])
def released(request: pytest.FixtureRequest) -> Iterator[tuple[uml.UmlParts, RemoteHost]]:
    """A guest of each Debian release: kernels 6.12 and 6.1."""
    spec = uml.UmlTestbed(kind="uml", name=f"lab-{request.param}", release=request.param)
    with contextlib.ExitStack() as stack:
        try:
            parts = stack.enter_context(uml.obtain(spec))
        except HarnessError as error:
            pytest.skip(f"the {request.param} lab cannot be had here: {error}")
        lab = stack.enter_context(parts.boot())
        yield parts, stack.enter_context(RemoteHost("sender", lab.testbed.sender))
