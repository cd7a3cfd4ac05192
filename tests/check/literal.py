"""Literal histories, short enough to be read: times in seconds, ids in order of writing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

from harness.check.context import CheckContext, FaultSpan
from harness.check.run import run_check
from harness.history.events import Event, PhaseEvent, SignalEvent
from harness.history.exports import Export
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable
from harness.model.catalog import Catalog
from harness.model.experiment import CheckSpec
from harness.model.result import CheckResult

S = 1_000_000_000

NAMES = (
    "durable",
    "exactly-once",
    "session-order",
    "resume",
    "converged",
    "phantom",
    "fresh",
    "session-guarantees",
    "single-writer",
    "counter",
    "linearizable",
    "append-order",
    "content",
    "cache-sound",
    "replay",
    "sealed",
)
CATALOG = Catalog(paths={"check": {name: f"harness.check.{name.replace('-', '_')}:KIND" for name in NAMES}})

KILL = FaultSpan(id="eu-down", effect_lo_ns=10 * S, effect_hi_ns=10 * S + 1, end_lo_ns=20 * S, end_hi_ns=21 * S)
TWO = CheckContext(model="log", profile="chat", regions=("eu-west", "us-east"), faults=(KILL,), faults_planned=1)
ONE = replace(TWO, regions=("eu-west",))
CALM = replace(ONE, faults=(), faults_planned=0)


class Script:
    """Writes down ops: `append("a", 1, 2)` is sent at 1 s and acknowledged at 2 s."""

    def __init__(self, model: str = "log") -> None:
        self.write_word = {"log": "append", "set": "add", "counter": "add", "jobs": "submit", "register": "write"}.get(
            model, "send"
        )
        self.ops: list[Op] = []
        self.events: list[Event] = []
        self.exports: list[Export] = []
        self._ids = count(1)

    def write(self, value: str | None, sent: float, done: float, outcome: str = "ok", **more: Any) -> Op:
        session = more.pop("session", "s1")
        facts = {"key": session, "session": session, "writer": f"w-{session}", "value": value}
        facts |= {"idem": None if value is None else f"k-{value}", "served_by": "gateway-eu", "region": "eu-west"}
        return self._add(self.write_word, sent, done, outcome, facts | more)

    def read(self, values: Any, sent: float, done: float | None = None, **more: Any) -> Op:
        session = more.pop("session", "s1")
        facts = {"key": session, "session": session, "writer": f"r-{session}", "result": json.dumps(values)}
        outcome = more.pop("outcome", "ok")
        return self._add(more.pop("f", "read"), sent, sent + 0.1 if done is None else done, outcome, facts | more)

    def final(self, values: Any, region: str | None = "eu-west", at: float = 60, **more: Any) -> Op:
        return self.read(values, at, phase="final", region=region, **more)

    def finals(self, values: Any, at: float = 60, **more: Any) -> None:
        """The same final read in both regions."""
        for region in ("eu-west", "us-east"):
            self.final(values, region, at, **more)

    def effect(self, idem: str, at: float) -> None:
        self.events.append(SignalEvent(at_ns=round(at * S), source="gateway-eu", event="effect", fields={"idem": idem}))

    def phase(self, name: Any, at: float) -> None:
        self.events.append(PhaseEvent(at_ns=round(at * S), phase=name))

    def history(self) -> History:
        return History(ops=OpTable.of(self.ops), events=tuple(self.events), exports=tuple(self.exports))

    def check(self, kind: str, context: CheckContext = ONE, **spec: Any) -> CheckResult:
        return judge(self.history(), kind, context, **spec)

    def _add(self, f: str, sent: float, done: float, outcome: str, facts: dict[str, Any]) -> Op:
        at_ns = round(sent * S)
        times = {"intended_ns": at_ns, "sent_ns": at_ns, "done_ns": round(done * S)}
        if outcome == "dropped":
            times |= {"sent_ns": None, "done_ns": None}
        op = Op(op=next(self._ids), f=f, outcome=outcome, **times, **facts)  # type: ignore[arg-type]
        self.ops.append(op)
        return op


def judge(history: History, kind: str, context: CheckContext, **spec: Any) -> CheckResult:
    """One check, through the same door as a run's."""
    # A context keeps an index of the history it was asked about; a new one asks anew.
    return run_check(history, CheckSpec(name=kind, kind=kind, **spec), replace(context, _built={}), CATALOG)


def ops_of(result: CheckResult) -> list[int]:
    """The ops that the evidence names."""
    return [row.op for row in result.evidence]


def verdicts(history: History, context: CheckContext, kinds: Iterable[str]) -> dict[str, str]:
    """Check -> verdict."""
    return {kind: str(judge(history, kind, context).verdict) for kind in kinds}
