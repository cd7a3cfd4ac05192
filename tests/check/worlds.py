"""Right histories of other sorts than logs: sums, registers, queues, jobs, and chat with a cache, a journal and replays.

Each op takes effect at one instant between its sending and its end, in the order of those instants; a fault in the middle makes
some uncertain. Beside `generate.py`, which does the same for logs in more depth.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from harness.check.context import CheckContext, FaultSpan
from harness.history.chain import FIRST
from harness.history.events import Event, NoteEvent, PhaseEvent, RunEvent, SignalEvent
from harness.history.exports import EXPORTED, Export
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable

REGIONS = ("eu-west", "us-east")
STEP = 1_000_000_000
FAULT, BACK, STOP, FINAL = 20, 40, 60, 100
TTL = 15
BEGUN_NS = 1_795_600_000 * STEP
RUN = RunEvent(
    at_ns=0,
    run_id="r",
    name="n",
    wall_utc="2026-11-25T09:46:40.000+00:00",
    origin_ns=0,
    seed=1,
    plan_hash="h",
    version="0",
)


@dataclass(frozen=True, kw_only=True)
class World:
    """A history with what it is judged on. `within`: seconds, by check."""

    model: str
    ops: tuple[Op, ...]
    events: tuple[Event, ...] = ()
    lines: tuple[str, ...] | None = None
    sink: bool = False
    within: tuple[tuple[str, int], ...] = ()

    def history(self) -> History:
        exports = () if self.lines is None else (Export(name="eu", lines=self.lines),)
        return History(ops=OpTable.of(self.ops), events=(RUN, *self.events), exports=exports)

    @property
    def context(self) -> CheckContext:
        span = FaultSpan(
            id="fault",
            effect_lo_ns=FAULT * STEP,
            effect_hi_ns=FAULT * STEP,
            end_lo_ns=BACK * STEP,
            end_hi_ns=BACK * STEP,
        )
        exports = () if self.lines is None else ("eu",)
        return CheckContext(
            model=self.model, regions=REGIONS, faults=(span,), faults_planned=1, sink=self.sink, exports=exports
        )

    def swap(self, at: int, **more: Any) -> World:
        """The same with one op changed."""
        ops = list(self.ops)
        ops[at] = replace(ops[at], **more)
        return replace(self, ops=tuple(ops))

    def where(self, wanted: Callable[[Op], bool]) -> list[int]:
        return [place for place, op in enumerate(self.ops) if wanted(op)]


def op(number: int, f: str, span: tuple[float, float], **more: Any) -> Op:
    begin, end = (round(at * STEP) for at in span)
    facts = {"outcome": "ok", "session": "s", "key": "s", "writer": "w"} | more
    return Op(op=number, f=f, intended_ns=begin, sent_ns=begin, done_ns=end, **facts)


def _ops(rng: random.Random, count: int) -> list[tuple[float, float, float, str]]:
    """(sent, took effect, ended, outcome) of each, by effect; an uncertain one may have none (then its effect is -1)."""
    made = []
    for _ in range(count):
        sent = rng.uniform(0, STOP)
        at = sent + rng.uniform(0, 2)
        done = at + rng.uniform(0, 2)
        fate = rng.random()
        outcome = "info" if FAULT <= sent <= BACK and fate < 0.3 else "fail" if fate < 0.05 else "ok"
        gone = outcome == "fail" or (outcome == "info" and rng.random() < 0.4)
        made.append((sent, -1.0 if gone else at, done, outcome))
    made[0] = (FAULT + 1.0, FAULT + 2.0, FAULT + 3.0, "ok")  # something was acknowledged while it was broken
    return sorted(made, key=lambda each: each[1])


def counter(rng: random.Random) -> World:
    ops, taken, total = [], [], 0
    steps = _ops(rng, 20)
    for number, (sent, at, done, outcome) in enumerate(steps):
        amount = rng.choice([-3, -1, 1, 2, 5])
        ops.append(op(number, "add", (sent, done), value=str(amount), idem=f"k{number}", outcome=outcome))
        if at >= 0:
            taken.append((at, amount, f"k{number}"))
    for _ in range(4):
        begin = rng.uniform(0, STOP)
        shown = sum(amount for at, amount, _ in taken if at <= begin + 1)
        ops.append(op(len(ops), "read", (begin, begin + 2), result=json.dumps(shown)))
    total = sum(amount for _, amount, _ in taken)
    for turn in range(2):
        for place, region in enumerate(REGIONS):
            result = json.dumps({"value": total, "events": [key for _, _, key in taken]})
            span = (FINAL + 3 * turn + place, FINAL + 3 * turn + place + 0.5)
            ops.append(op(len(ops), "read", span, phase="final", region=region, result=result))
    return World(model="counter", ops=tuple(ops), events=(PhaseEvent(at_ns=FINAL * STEP, phase="final"),))


def register(rng: random.Random) -> World:
    ops, taken = [], []
    for number, (sent, at, done, outcome) in enumerate(_ops(rng, 16)):
        ops.append(
            op(number, "write", (sent, done), value=f"v{number}", idem=f"k{number}", outcome=outcome, session=None)
        )
        if at >= 0:
            taken.append((at, f"v{number}"))
    for _ in range(8):
        begin = rng.uniform(0, STOP)
        held = [value for at, value in taken if at <= begin + 0.5]
        shown = json.dumps(held[-1] if held else None)
        ops.append(op(len(ops), "read", (begin, begin + 1), result=shown, session=None, writer=f"r{len(ops)}"))
    for turn in range(2):
        for place, region in enumerate(REGIONS):
            span = (FINAL + 3 * turn + place, FINAL + 3 * turn + place + 0.5)
            result = json.dumps(taken[-1][1])
            ops.append(op(len(ops), "read", span, phase="final", region=region, result=result, session=None))
    return World(model="register", ops=tuple(ops), events=(PhaseEvent(at_ns=FINAL * STEP, phase="final"),))


def queue(rng: random.Random) -> World:
    ops: list[Op] = []
    taken = []
    for number, (sent, at, done, outcome) in enumerate(_ops(rng, 16)):
        ops.append(op(number, "send", (sent, done), value=f"v{number}", idem=f"k{number}", outcome=outcome, key="q"))
        if at >= 0:
            taken.append((at, f"v{number}"))
    rest = [value for _, value in taken]
    free = 0.0
    for at, value in taken[: rng.randrange(len(taken))]:
        begin = max(free, at + rng.uniform(0.1, 5))  # one receiver: first in, first out
        free = begin + 1.1
        ops.append(op(len(ops), "receive", (begin, begin + 1), result=json.dumps(value), key="q"))
        rest.remove(value)
    for place, left in enumerate([*rest, None]):
        span = (FINAL + place, FINAL + place + 0.5)
        ops.append(op(len(ops), "receive", span, phase="final", region="eu-west", result=json.dumps(left), key="q"))
    return World(model="queue", ops=tuple(ops))


def jobs(rng: random.Random) -> World:
    ops, ran = [], []
    for number, (sent, at, done, outcome) in enumerate(_ops(rng, 16)):
        ops.append(op(number, "submit", (sent, done), value=f"v{number}", idem=f"k{number}", outcome=outcome))
        if at >= 0:
            ran.append((at, f"v{number}", f"k{number}"))
    for place, region in enumerate(REGIONS):
        result = json.dumps([value for _, value, _ in ran])
        ops.append(
            op(len(ops), "read", (FINAL + place, FINAL + place + 0.5), phase="final", region=region, result=result)
        )
    events = [
        SignalEvent(at_ns=round(at * STEP), source="worker", event="effect", fields={"idem": key}) for at, _, key in ran
    ]
    return World(
        model="jobs", ops=tuple(ops), events=(*events, PhaseEvent(at_ns=FINAL * STEP, phase="final")), sink=True
    )


def chat(rng: random.Random) -> World:
    """Turns that are compared and journaled; some ask what was asked before and are answered from a cache of 15 s."""
    ops: list[Op] = [op(0, "append", (-20, -19), value="first", idem="first", compared=1, input="i", answer="i")]
    values: list[tuple[str, str]] = [("first", "i")]
    asked: dict[str, float] = {}
    for number, (sent, at, done, outcome) in enumerate(sorted(_ops(rng, 24)), start=1):
        question = f"q{rng.randrange(6)}" if outcome == "ok" else f"alone{number}"
        facts: dict[str, Any] = {"input": question, "version": "r1", "answer": f"a-{question}", "compared": 1}
        fresh = asked.get(question, -99.0)
        if outcome == "ok" and fresh < sent <= fresh + TTL:
            facts["cached"] = True
        elif outcome == "ok":
            asked[question] = done
        if outcome != "ok":
            facts |= {"answer": None, "compared": 0}
        ops.append(op(number, "append", (sent, done), value=f"v{number}", idem=f"k{number}", outcome=outcome, **facts))
        if at >= 0:
            values.append((f"v{number}", f"a-{question}"))
    ordered = [value for value, _ in values]
    for place, region in enumerate(REGIONS):
        span = (FINAL + place, FINAL + place + 0.5)
        ops.append(op(len(ops), "read", span, phase="final", region=region, result=json.dumps(ordered)))
        for value, answer in [*rng.sample(values, min(6, len(values))), values[0]]:
            facts = {"phase": "final", "region": region, "compared": 1, "answer": answer}
            ops.append(op(len(ops), "replay", span, value=value, version=None if value == "first" else "r1", **facts))
    inside = next(
        (one for one in ops if one.f == "append" and one.outcome == "ok" and one.sent_ns == (FAULT + 1) * STEP), ops[0]
    )
    answer = str(inside.answer)
    facts = {"phase": "final", "region": "eu-west", "compared": 1, "answer": answer, "version": inside.version}
    ops.append(op(len(ops), "replay", (FINAL + 3, FINAL + 4), value=inside.value, **facts))
    note = NoteEvent(at_ns=(FINAL + 9) * STEP, code=EXPORTED, text="", data={"name": "eu"})
    return World(
        model="log",
        ops=tuple(ops),
        events=(PhaseEvent(at_ns=FINAL * STEP, phase="final"), note),
        lines=journal(ordered),
        within=(("cache-sound", TTL),),
    )


def journal(said: list[str]) -> tuple[str, ...]:
    prev, lines = FIRST, []
    for number, text in enumerate(said, start=1):
        at_ns = BEGUN_NS + number * STEP
        body = json.dumps([text, at_ns])
        digest = hashlib.sha256((prev + body).encode()).hexdigest()
        lines.append(json.dumps({"prev": prev, "hash": digest, "body": body, "at_unix_ns": at_ns}))
        prev = digest
    return tuple(lines)


WORLDS: dict[str, Callable[[random.Random], World]] = {
    "counter": counter,
    "register": register,
    "queue": queue,
    "jobs": jobs,
    "chat": chat,
}
