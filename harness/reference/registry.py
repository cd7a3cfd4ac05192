"""What operators publish: the prompt template, configuration, keys and toggles, each a record of the replicated log.

A record is acknowledged like a turn: when the standby has it. Every gateway keeps the last it was told, so serving needs no
one's word for it. What is invalid is refused before any process loads it. A new configuration is for a tenth of the sessions
first; the gateway that serves promotes it or takes it back by how those fare (`Rollout`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.reference.channel import Wire
from harness.reference.mutants import NO_CANARY
from harness.reference.oracle import PINS

__all__ = ["FLAGS", "Registry", "Rollout", "key_of", "problem"]

FLAGS = {"cache": True, "fallback": True}
"""The feature toggles there are, and how they stand when nothing was published."""

_TEMPLATE = re.compile(r"tmpl\.r[1-9][0-9]{0,5}")
_MOST_BYTES = 2048
_CONFIG = {"answer_tokens_max": 4096}  # key, and the highest value that makes sense
_CANARY_SHARE = 10  # one in so many sessions
_SOAK_S, _SOAK_TURNS, _BAD_TURNS = 4.0, 8, 3


def key_of(root: str, generation: int, role: str = "tenant") -> str:
    """The bearer token of a generation of a role's keys: its number and what only a holder of the root can compute."""
    said = f"{generation}" if role == "tenant" else f"{role}.{generation}"
    return f"{said}.{hmac.new(root.encode(), said.encode(), hashlib.sha256).hexdigest()}"


def problem(name: str, value: Any) -> str | None:
    """What is wrong with a value to be published under a name; None when nothing is."""
    if len(json.dumps(value)) > _MOST_BYTES:
        return f"{name}: over {_MOST_BYTES} bytes"
    match name:
        case "template":
            good = isinstance(value, str) and _TEMPLATE.fullmatch(value) is not None
            return None if good else f"template: expected a revision such as tmpl.r2, got {value!r}"
        case "flags":
            good = isinstance(value, dict) and all(k in FLAGS and isinstance(v, bool) for k, v in value.items())
            return None if good else f"flags: expected true or false for some of {', '.join(FLAGS)}, got {value!r}"
        case "keys":
            good = isinstance(value, list) and len(value) > 0 and all(type(one) is int and one > 0 for one in value)
            return None if good else f"keys: expected the generations that are accepted, got {value!r}"
        case "config":
            if not isinstance(value, dict) or not value:
                return f"config: expected an object, got {value!r}"
            for key, one in value.items():
                if key not in _CONFIG:
                    return f"config.{key}: there is no such key; known are {', '.join(_CONFIG)}"
                if type(one) is not int or not 1 <= one <= _CONFIG[key]:
                    return f"config.{key}: expected a number from 1 to {_CONFIG[key]}, got {one!r}"
            return None
    return f"{name}: nothing is published under this name"


@dataclass(slots=True, kw_only=True)
class Rollout:
    """How a new configuration fares with the sessions it is tried on."""

    value: Wire
    began: float
    turns: deque[bool] = field(default_factory=lambda: deque(maxlen=20))

    def verdict(self, now: float) -> str | None:
        """ "active" after a soak without harm, "rolled-back" as soon as a few turns failed, None while it is too early."""
        bad = sum(not good for good in self.turns)
        if bad >= _BAD_TURNS and 2 * bad > len(self.turns):
            return "rolled-back"
        if now - self.began >= _SOAK_S and len(self.turns) >= _SOAK_TURNS and not bad:
            return "active"
        return None


class Registry:
    """The last that a gateway was told of each record."""

    def __init__(self, mutants: frozenset[str] = frozenset(), clock: Callable[[], float] = time.monotonic) -> None:
        self.records: Wire = {}
        self.rollout: Rollout | None = None
        self._mutants = mutants
        self._clock = clock

    def take(self, records: Wire) -> None:
        """Take over what the journal holds now."""
        if records == self.records:
            return
        config = records.get("config", {})
        if config.get("state") != "canary":
            self.rollout = None
        elif self.rollout is None or self.rollout.value != config["value"]:
            self.rollout = Rollout(value=config["value"], began=self._clock())
        self.records = records

    @property
    def template(self) -> str:
        """The prompt template in force."""
        return str(self.records.get("template", PINS.template))

    def flag(self, name: str) -> bool:
        """How a toggle stands."""
        return bool(self.records.get("flags", {}).get(name, FLAGS[name]))

    def config(self, session: str) -> tuple[Wire, bool]:
        """The configuration for a session, and whether it is on trial there."""
        config = self.records.get("config", {})
        if self.rollout is not None:
            tried = hashlib.sha256(session.encode()).digest()[0] % _CANARY_SHARE == 0
            return (self.rollout.value, True) if tried else (config.get("before", {}), False)
        return config.get("value", {}), False

    def published(self, name: str, value: Any) -> Any:
        """What goes on record when an operator publishes a valid value: a configuration begins as a canary."""
        if name != "config":
            return value
        before = self.records.get("config", {})
        known_good = before.get("value", {}) if before.get("state") == "active" else before.get("before", {})
        state = "active" if NO_CANARY in self._mutants else "canary"
        return {"value": value, "state": state, "before": known_good}

    def concluded(self) -> Wire | None:
        """What goes on record now that the rollout can be judged; None while it cannot, or there is none."""
        if self.rollout is None or (verdict := self.rollout.verdict(self._clock())) is None:
            return None
        before = self.records["config"]["before"]
        value = self.rollout.value if verdict == "active" else before
        return {"value": value, "state": "active", "before": before, "because": verdict}

    @property
    def accepted(self) -> list[int]:
        """The generations of keys that are accepted; the first, when nothing was published."""
        return list(self.records.get("keys", [1]))

    @property
    def newest_key(self) -> int:
        """The generation that everyone should use."""
        return int(max(self.accepted))

    def digest(self) -> str:
        """SHA-256 (hex) of all records: equal in all regions, or one of them has drifted."""
        return hashlib.sha256(json.dumps(self.records, sort_keys=True).encode()).hexdigest()
