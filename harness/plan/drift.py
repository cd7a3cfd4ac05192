"""What changed between a frozen plan and the plan that its document gives now: targets first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.model.plan import Plan, PlannedFault
from harness.plan.make import canonical

__all__ = ["drift"]

_OTHERS = 20


def drift(frozen: Plan, now: Plan) -> tuple[str, ...]:
    """One line for each difference: per fault the targets that came and went, then every other value. Empty: the same plan."""
    if frozen.hash == now.hash:
        return ()
    lines = list(_targets(frozen, now))
    others = [
        line
        for line in _values(canonical(frozen), canonical(now), "")
        if not line.startswith("faults.") or ".targets" not in line.partition(":")[0]
    ]
    lines += others[:_OTHERS]
    if len(others) > _OTHERS:
        lines.append(f"and {len(others) - _OTHERS} more")
    return tuple(lines)


def _targets(frozen: Plan, now: Plan) -> Iterator[str]:
    before = {fault.id: fault for fault in frozen.faults}
    after = {fault.id: fault for fault in now.faults}
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = _names(before.get(name)), _names(after.get(name))
        if name not in after:
            yield f"fault {name}: gone, with its targets {', '.join(old)}"
        elif name not in before:
            yield f"fault {name}: new, on {', '.join(new)}"
        else:
            gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
            if gone or come:
                yield f"fault {name}: targets {' '.join([*(f'-{one}' for one in gone), *(f'+{one}' for one in come)])}"


def _names(fault: PlannedFault | None) -> list[str]:
    if fault is None:
        return []
    return [
        f"{target.kind} {target.name}" + (f" ({', '.join(target.candidates)})" if target.candidates else "")
        for target in fault.targets
    ]


def _values(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _values(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _values(one, other, f"{path}.{index}")
    elif old != new:
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
