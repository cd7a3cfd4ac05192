"""Takes values from the environment out of a plan that is shown or stored. Pure.

Only where free text is: a name or a number that the judge reads must stay what it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.model.secrets import masked_value

__all__ = ["mask_plan"]

_STACK = ("experiment", "stack")
_FREE: tuple[tuple[str, ...], ...] = (
    *(("experiment", key) for key in ("title", "hypothesis", "owner", "tags")),
    ("experiment", "traffic", "source"),
    ("experiment", "load", "options"),
    ("experiment", "timeline", "*", "argv"),
    ("experiment", "timeline", "*", "params", "*", "*"),
    ("experiment", "checks", "*", "params", "*", "*"),
    (*_STACK, "entry"),
    (*_STACK, "params"),
    (*_STACK, "signals"),
    (*_STACK, "exports"),
    (*_STACK, "regions", "*", "entry"),
    (*_STACK, "instances", "*", "host", "params"),
    (*_STACK, "instances", "*", "prepare"),
    (*_STACK, "instances", "*", "ready", "probe", "params"),
    (*_STACK, "probes", "*", "params"),
    (*_STACK, "roles", "*", "params"),
    ("steps", "*", "argv"),
    ("faults", "*", "params", "*", "*"),
    ("faults", "*", "what"),
    ("faults", "*", "clients_see"),
    ("faults", "*", "on_revert"),
)
"""Paths in the plan's JSON; `*` is every key or index. A fault's own values are names of modes and numbers: only what is
inside a list or mapping there, such as a command, is free text."""


def mask_plan(raw: Any, secrets: Collection[str]) -> Any:
    """The plan's JSON value with every secret replaced, the same again when it was masked before."""
    if secrets:
        for path in _FREE:
            raw = _at(raw, path, secrets)
    return raw


def _at(value: Any, path: tuple[str, ...], secrets: Collection[str]) -> Any:
    if not path:
        return masked_value(value, secrets)
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {key: _at(inner, rest, secrets) if step in ("*", key) else inner for key, inner in value.items()}
    if isinstance(value, list) and step == "*":
        return [_at(inner, rest, secrets) for inner in value]
    return value
