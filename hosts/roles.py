"""What the two hosts of a testbed are for."""

from __future__ import annotations

from typing import Literal

Role = Literal["sender", "receiver"]
ROLES: tuple[Role, Role] = ("sender", "receiver")
"""In the order in which hosts are always told."""
