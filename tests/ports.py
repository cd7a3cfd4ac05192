"""Ports for the servers of tests: none is given twice, by whichever worker, nor to a run of Blackstart meanwhile."""

from __future__ import annotations

from harness.model.stack import HostSpec, Instance, Stack
from harness.stacks.claims import Claims
from harness.stacks.wire import allocate

__all__ = ["free_port"]

_CLAIMS = Claims()
"""For as long as the worker lives."""
_ONE = Instance(name="one", host=HostSpec(kind="process", params={}), ports={"any": None})
_STACK = Stack(name="one", base_dir="/", instances={"one": _ONE})


def free_port() -> int:
    """A port of loopback that nobody listens on, chosen as a run chooses its own."""
    return allocate(_STACK, "", _CLAIMS).ports["one"]["any"]
