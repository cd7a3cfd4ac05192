"""Judging bare calls, from whatever history: one model, one verdict, the anomalies by name and the calls that prove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.check.elements import Tally, set_full, total_queue
from harness.check.elle.append import list_append
from harness.check.elle.graph import EdgeKind
from harness.check.elle.registers import rw_register
from harness.check.elle.transactions import transactions
from harness.check.linear.models import MODELS
from harness.check.linear.wgl import Spent, linearize
from harness.history.calls import Call, by_key
from harness.model.verdict import CheckVerdict

__all__ = ["JUDGES", "Anomaly", "Judgement", "judge_calls"]

_EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One kind of anomaly. `ids`: the calls that prove it, the first one at which it shows first. `count`: how often."""

    anomaly: str
    ids: tuple[int, ...]
    words: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict, why it is not known, the anomalies, and how many calls on how many objects it rests on.

    `outcome` (sets and queues): what became of how many elements, and how late the late ones were seen, in ns.
    """

    verdict: CheckVerdict
    why: str = ""
    anomalies: tuple[Anomaly, ...] = ()
    calls: int = 0
    keys: int = 0
    outcome: Mapping[str, int] = field(default_factory=dict)


JUDGES: Mapping[str, str] = {
    **{name: f"linearizable: {model.doc}" for name, model in MODELS.items()},
    "list-append": "serializable as far as reads can tell: txn [[append key value] [r key [values]] ...]",
    "rw-register": "serializable as far as reads can tell: txn [[w key value] [r key value] ...], values distinct",
    "set-full": "nothing lost, stale, doubled or from nowhere: add, read of the whole set",
    "total-queue": "nothing lost, doubled or from nowhere once drained: enqueue or send, dequeue or receive, drain",
}
"""Model -> what is judged."""


def judge_calls(
    calls: Sequence[Call], model: str, spent: Spent, orders: frozenset[EdgeKind] = frozenset()
) -> Judgement:
    """The judgement of one history. Unknown for an empty one, for one without an answer, and when the budget is spent.

    `orders` (transactions only): also hold to the order of processes, to real time. Raises ValueError for a call that the
    model does not know.
    """
    answered = [call for call in calls if not call.failed and not call.pending]
    if not answered:
        return Judgement(verdict=CheckVerdict.UNKNOWN, why="no call was answered", calls=len(calls))
    if model in MODELS:
        return _linear(calls, model, spent)
    if model in ("list-append", "rw-register"):
        judge = list_append if model == "list-append" else rw_register
        found = [
            Anomaly(anomaly=each.anomaly, ids=each.ids, words=each.words) for each in judge(transactions(calls), orders)
        ]
        return _of(found, len(calls), 1)
    if model == "set-full":
        if not any(call.f == "read" for call in answered):
            return Judgement(verdict=CheckVerdict.UNKNOWN, why="the set was never read", calls=len(calls))
        return _tallied(set_full(calls), calls)
    if not any(call.f in ("receive", "dequeue", "drain") for call in answered):
        return Judgement(verdict=CheckVerdict.UNKNOWN, why="nothing was ever received", calls=len(calls))
    return _tallied(total_queue(calls), calls)


def _of(found: Sequence[Anomaly], calls: int, keys: int) -> Judgement:
    verdict = CheckVerdict.INVALID if found else CheckVerdict.VALID
    return Judgement(verdict=verdict, anomalies=tuple(found), calls=calls, keys=keys)


def _tallied(tally: Tally, calls: Sequence[Call]) -> Judgement:
    found = [
        Anomaly(
            anomaly=kind,
            ids=tuple(call for _, call in each[:_EXAMPLES]),
            words=f"{', '.join(repr(value) for value, _ in each[:_EXAMPLES])}{' ...' if len(each) > _EXAMPLES else ''}",
            count=len(each),
        )
        for kind, each in sorted(tally.findings.items())
    ]
    return replace(_of(found, len(calls), 1), outcome=tally.outcome)


def _linear(calls: Sequence[Call], name: str, spent: Spent) -> Judgement:
    """Key by key, the shortest first; the first without an order ends it."""
    groups, undecided = by_key(calls), []
    for key, group in sorted(groups.items(), key=lambda item: len(item[1])):
        found = linearize(MODELS[name], group, spent)
        if found.verdict == "undecided":
            undecided.append(key)
        elif found.verdict == "illegal":
            stuck = next(call for call in group if call.id == found.stuck)
            where = "" if key is None else f" of key {key!r}"
            words = f"{stuck.f} {stuck.value!r} -> {stuck.out!r}{where} cannot be placed"
            if found.order:
                words += f"; the longest legal order of the others ends with {list(found.order[-3:])}"
            ids = tuple(each for each in (found.stuck, *found.order[-3:], *found.open[:3]) if each is not None)
            anomaly = Anomaly(anomaly="not-linearizable", ids=ids, words=words)
            return _of([anomaly], len(calls), len(groups))
    if undecided:
        why = f"the budget was spent on {len(undecided)} of {len(groups)} keys"
        return Judgement(verdict=CheckVerdict.UNKNOWN, why=why, calls=len(calls), keys=len(groups))
    return _of([], len(calls), len(groups))
