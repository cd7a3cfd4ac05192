"""Which provider a gateway asks: cooldowns that honour Retry-After, one trial before a provider is trusted again.

Pure but for the clock it is given. There is no retry in here: the edge has the only retry loop, and each time it comes
back the pool names whom to ask next, a smaller model last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from harness.reference.mutants import IGNORES_RETRY_AFTER, NEVER_HALF_OPENS, RETRY_STORM

__all__ = ["Pool", "Provider", "advised_s"]

_FIRST_S, _LONGEST_S = 0.5, 4.0  # cooldown without advice: doubled with each failure in a row
_ADVISED_MOST_S = 30.0
_UNFUNDED_S = 30.0  # a provider that says 402: its account is empty, and no request will fill it
_TRIAL_S = 2.0  # a trial that has not been heard of for so long is over


@dataclass(slots=True, kw_only=True)
class Provider:
    """One place that generates. `model` is None where it serves the stack's own model, else the smaller one's revision.

    `foreign` is the model's name at a server that is not a reference engine.
    """

    name: str
    url: str
    model: str | None = None
    foreign: str | None = None
    cool_until: float = 0.0
    trial_until: float = 0.0
    failures: int = 0  # in a row

    def about(self, now: float) -> dict[str, object]:
        """For people and probes."""
        state = "closed" if not self.failures else "open" if now < self.cool_until else "half-open"
        return {"name": self.name, "model": self.model, "state": state, "cool_s": max(0.0, self.cool_until - now)}


def advised_s(status: int, headers: Mapping[str, str], now_unix: float) -> float | None:
    """Seconds to wait by what a provider answered: by Retry-After-Ms, else by Retry-After, which holds seconds or an HTTP date.

    None without one that makes sense. 30 s at most, and always for 402.
    """
    if status == 402:
        return _UNFUNDED_S
    for name, second in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * second
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - now_unix
            except ValueError:
                continue
        if not math.isnan(seconds):
            return min(max(0.0, seconds), _ADVISED_MOST_S)
    return None


class Pool:
    """A gateway's providers in the order of preference; those with a smaller model stand behind all others."""

    def __init__(
        self, providers: Sequence[Provider], mutants: frozenset[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.providers = tuple(sorted(providers, key=lambda one: one.model is not None))
        self._mutants = mutants
        self._clock = clock

    @property
    def own(self) -> tuple[Provider, ...]:
        """Those that serve the stack's own model."""
        return tuple(one for one in self.providers if one.model is None)

    def choose(self, model: str | None = None, *, begun: bool = False, smaller: bool = True) -> Provider:
        """Whom to ask now: the first that is not cooling down; one whose cooldown is over gets one request as a trial.

        A stream that has begun (`begun`) can only go on with its own `model`; a new one goes to a smaller model only where
        that is allowed (`smaller`). When all are cooling, the one that has the least of it left: never no one.
        """
        now = self._clock()
        fit = [one for one in self.providers if (one.model == model if begun else smaller or one.model is None)]
        if RETRY_STORM in self._mutants:
            return fit[0]
        for one in fit:
            if not one.failures:
                return one
            if now < one.cool_until or now < one.trial_until or NEVER_HALF_OPENS in self._mutants:
                continue
            one.trial_until = now + _TRIAL_S
            return one
        return min(fit, key=lambda one: one.cool_until)

    def failed(self, provider: Provider, advice_s: float | None = None) -> None:
        """Take in that a provider refused or broke off; `advice_s` is what its Retry-After said."""
        provider.trial_until = 0.0
        if IGNORES_RETRY_AFTER in self._mutants or RETRY_STORM in self._mutants:
            return
        provider.failures += 1
        own_s = min(_LONGEST_S, _FIRST_S * 2 ** (provider.failures - 1))
        until = self._clock() + (own_s if advice_s is None else advice_s)
        provider.cool_until = max(provider.cool_until, until)

    def succeeded(self, provider: Provider) -> None:
        """Take in that a provider answered."""
        provider.failures, provider.cool_until, provider.trial_until = 0, 0.0, 0.0

    def about(self) -> list[dict[str, object]]:
        """The state of each."""
        now = self._clock()
        return [one.about(now) for one in self.providers]
