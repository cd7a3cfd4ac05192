"""What providers charge and what is billed: each turn once, whatever it took, and every charge explained by an attempt.

A provider charges an account for each token that it generated, also for those that were lost on the way. A turn's bill is a part of
its outcome in the log, so that a turn that counts is billed, and one that does not is not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.reference.oracle import split

__all__ = ["ACCOUNT", "KEY", "Bill", "Charges", "bills_of", "reconcile"]

ACCOUNT, KEY = "x-account", "x-request-key"
"""Headers of a request to a provider: who pays, and the idempotency key of the turn it is for."""


class Bill(NamedTuple):
    """One outcome in the log. In tokens."""

    idem: str
    billed: int
    said: int  # of the answer as it stands there


def bills_of(outcomes: Iterable[tuple[str, str]]) -> list[Bill]:
    """The bill of each outcome, of which key and body are given as they stand in the log."""
    bodies = ((idem, json.loads(text)) for idem, text in outcomes)
    return [Bill(idem, body["usage"].get("completion_tokens", 0), len(split(body["answer"]))) for idem, body in bodies]


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

    `overbilled` and `underbilled` are tokens billed beyond, and short of, the answers in the log, where a key has one
    answer however often it was billed; `unexplained` requests that a provider charged and nobody here made; `vain` the
    share (0..1) of the charged tokens that are in no answer, at least: what another gateway was charged for is not known
    here. All 0 for nothing. What was billed and charged by nobody is not judged: the cache answers so, and a region whose
    ledger died with it.
    """
    requests: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    for ledger in charges:
        for key, (count, tokens) in ledger.items():
            requests[key] += count
            charged[key] += tokens
    billed: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for bill in bills:
        billed[bill.idem] += bill.billed
        said[bill.idem] = bill.said
    total = charged.total()
    lost = sum(max(0, tokens - said[key]) for key, tokens in charged.items())
    return {
        "turns": len(said),
        "billed": billed.total(),
        "charged": total,
        "overbilled": (billed - said).total(),
        "underbilled": (said - billed).total(),
        "unexplained": sum(max(0, count - attempts.get(key, 0)) for key, count in requests.items()),
        "vain": lost / total if total else 0.0,
    }
