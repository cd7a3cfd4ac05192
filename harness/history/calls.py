"""A call on one object: what was asked, what was answered, and between which instants it can have taken effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["FOREVER", "UNKNOWN", "Call", "Unknown", "by_key"]

FOREVER = 2**63 - 1
"""The end of a call of which nobody knows whether it took effect."""


class Unknown:
    """The answer of a call that nobody heard. One value, `UNKNOWN`."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. It took effect at one instant of the closed interval [call_ns, ret_ns].

    `ret_ns` FOREVER: it may have taken effect at any time since `call_ns`, or never; `out` is then UNKNOWN. `id` names it in
    evidence (an op's number, or a place in a file). `value` and `out` are hashable. `failed`: it surely had no effect; only
    checks of transactions look at such calls (a value that was read though its writer failed).
    """

    id: int
    f: str
    value: Any = None
    out: Any = UNKNOWN
    call_ns: int
    ret_ns: int = FOREVER
    key: Any = None
    process: Any = None
    failed: bool = False

    @property
    def pending(self) -> bool:
        """Whether it may never have taken effect."""
        return self.ret_ns == FOREVER


def by_key(calls: Iterable[Call]) -> dict[Any, tuple[Call, ...]]:
    """The calls on each object, in order of their beginning; objects are judged apart (Herlihy and Wing 1990: locality)."""
    groups: dict[Any, list[Call]] = {}
    for call in sorted(calls, key=lambda each: (each.call_ns, each.ret_ns)):
        groups.setdefault(call.key, []).append(call)
    return {key: tuple(group) for key, group in groups.items()}
