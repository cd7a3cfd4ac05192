"""What providers charge and what is billed: each turn once, whatever it took, and every charge explained by an attempt.

A provider charges an account for each token that it generated, also for those that were lost on the way. A turn's bill is a part of
its outcome in the log, so that a turn that counts is billed, and one that does not is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["ACCOUNT", "KEY", "Bill", "Charges", "reconcile"]

ACCOUNT, KEY = "x-account", "x-request-key"
"""Headers of a request to a provider: who pays, and the idempotency key of the turn it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One turn in the log. In tokens."""

    idem: str
    billed: int
    said: int  # of the answer as it stands there


@dataclass(slots=True)
class Charges:
    """A provider's ledger, for the life of its process. Requests without an account are not charged."""

    of: dict[str, dict[str, list[int]]] = field(default_factory=dict)  # account -> key -> requests, tokens

    def begin(self, headers: Mapping[str, str]) -> list[int] | None:
        """The place to count a request's tokens at; None for one that nobody pays for."""
        account, key = headers.get(ACCOUNT), headers.get(KEY)
        if account is None or key is None:
            return None
        place = self.of.setdefault(account, {}).setdefault(key, [0, 0])
        place[0] += 1
        return place


def reconcile(
    bills: Iterable[Bill], charges: Iterable[Mapping[str, list[int]]], attempts: Mapping[str, int]
) -> dict[str, int | float]:
    """The bills of a log, the charges of some providers, and the attempts for which these were asked, compared.

    `overbilled` and `underbilled` are tokens billed beyond, and short of, the answers in the log; `unexplained` requests that a
    provider charged and nobody here made; `vain` the share (0..1) of the charged tokens that are in no answer. All 0 for nothing.
    """
    requests: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    for ledger in charges:
        for key, (count, tokens) in ledger.items():
            requests[key] += count
            charged[key] += tokens
    turns = {bill.idem: bill for bill in bills}
    said = {key: turns[key].said if key in turns else 0 for key in charged}
    total = charged.total()
    lost = sum(max(0, tokens - said[key]) for key, tokens in charged.items())
    return {
        "turns": len(turns),
        "billed": sum(bill.billed for bill in turns.values()),
        "charged": total,
        "overbilled": sum(max(0, bill.billed - bill.said) for bill in turns.values()),
        "underbilled": sum(max(0, bill.said - bill.billed) for bill in turns.values()),
        "unexplained": sum(max(0, count - attempts.get(key, 0)) for key, count in requests.items()),
        "vain": lost / total if total else 0.0,
    }
