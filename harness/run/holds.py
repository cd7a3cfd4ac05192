"""What stands on what: faults that hold the same thing of the same target, oldest first. Reverts restore what was before all.

Faults nest. Those of one kind that do the same (two pauses) share one state, the original; only the last to end puts it back.
Those of a kind with layers (two `config` changes) each add theirs to the original, whichever ends first. Others do not mix.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from harness.errors import InjectError
from harness.model.catalog import FaultKind
from harness.model.fields import JsonObject
from harness.model.plan import Target
from harness.model.ports import Injector

__all__ = ["Hold", "Holds", "Layer", "hold_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing of one target, such as the processes of an instance."""

    target: str
    what: str


def hold_of(kind: FaultKind, params: JsonObject, target: Target) -> Hold | None:
    """What a fault shares or layers with others of its kind; None for one that stands beside whatever else does."""
    if not kind.holds:
        return None
    return Hold(target=f"{target.kind} {target.name}", what=kind.holds[-1].format(**params))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One fault on one hold. `state` holds the original, the same for all layers."""

    fault: str
    kind: FaultKind
    params: JsonObject
    injector: Injector
    state: Any


@dataclass(slots=True)
class Holds:
    """The layers of one run, in this process. A hold's lock is taken for as long as its layers are read or changed."""

    _layers: dict[Hold, list[Layer]] = field(default_factory=lambda: defaultdict(list))
    _locks: dict[Hold, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def lock(self, hold: Hold) -> asyncio.Lock:
        """The lock of one hold."""
        return self._locks[hold]

    def standing(self, hold: Hold) -> tuple[Layer, ...]:
        """The layers on a hold, oldest first."""
        return tuple(self._layers[hold])

    def below(self, hold: Hold, kind: FaultKind, params: JsonObject) -> tuple[Layer, ...]:
        """The layers that a new fault would stand on. Raises InjectError when it cannot stand on them."""
        layers = self.standing(hold)
        for layer in layers:
            if layer.kind.name != kind.name or not (kind.layers or layer.params == params):
                raise InjectError(f"{hold.target}: fault {layer.fault!r} ({layer.kind.name}) holds its {hold.what}")
        return layers

    def add(self, hold: Hold, layer: Layer) -> None:
        """A new fault stands on top."""
        self._layers[hold].append(layer)

    def drop(self, hold: Hold, fault: str) -> None:
        """A fault does not stand there any more. Legal when it never did."""
        self._layers[hold] = [layer for layer in self._layers[hold] if layer.fault != fault]
