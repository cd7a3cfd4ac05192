"""Valid histories of a replicated log, as a correct system would leave them; `mutations.py` makes them wrong.

The system: one log per session; an append takes effect at one instant between its sending and its end; a fault in the middle
turns what is in flight into uncertain ops, which took effect then, later, or never; both regions end equal.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from harness.check.context import CheckContext, FaultSpan
from harness.history.events import Event, PhaseEvent, SignalEvent
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable

REGIONS = ("eu-west", "us-east")
STEP = 1_000_000
CHECKED = (
    "durable",
    "exactly-once",
    "session-order",
    "resume",
    "converged",
    "phantom",
    "fresh",
    "session-guarantees",
    "single-writer",
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A history as rows that mutations may replace, and its context."""

    ops: tuple[Op, ...]
    events: tuple[Event, ...]
    context: CheckContext

    def history(self) -> History:
        return History(ops=OpTable.of(self.ops), events=self.events)

    def finals(self, session: str, region: str | None = None) -> list[int]:
        """Positions of a session's final reads."""
        return [
            n
            for n, op in enumerate(self.ops)
            if op.phase == "final" and op.session == session and region in (None, op.region)
        ]

    def with_results(self, positions: list[int], change: Callable[[list[str]], list[str]]) -> Made:
        """The same with other results of some reads."""
        ops = list(self.ops)
        for n in positions:
            ops[n] = replace(ops[n], result=json.dumps(change(json.loads(ops[n].result or "[]"))))
        return replace(self, ops=tuple(ops))


@dataclass
class _Sim:
    """A correct system under load, driven by one random source."""

    rng: random.Random
    turns: int
    reads: bool
    now: int = 0
    ops: list[Op] = field(default_factory=list)
    effects: list[tuple[int, str]] = field(default_factory=list)
    lins: dict[str, list[tuple[int, float, str]]] = field(default_factory=dict)

    def session(self, name: str, fault: tuple[int, int], end: int) -> None:
        rng, now, writer = self.rng, self.rng.randrange(5), 0
        self.lins[name] = []
        for n in range(self.turns):
            sent = now + rng.randrange(4)
            lin = sent + rng.randrange(4)
            done = lin + rng.randrange(4)
            fate = rng.random()
            in_fault = sent <= fault[1] and done >= fault[0]
            outcome = "info" if in_fault and fate < 0.5 else "fail" if fate < 0.1 else "ok"
            value = f"{name}-{n}"
            if outcome == "ok" or (outcome == "info" and rng.random() < 0.6):
                at = lin if outcome == "ok" else rng.choice([lin, lin, rng.randrange(sent, end)])
                self.lins[name].append((at, rng.random(), value))
                self.effects.append((at, f"k-{value}"))
            self._write(name, value, (sent, done), outcome, writer)
            writer += outcome == "info"
            now = done + rng.randrange(3)

    def _write(self, session: str, value: str, span: tuple[int, int], outcome: str, writer: int) -> None:
        length = self.rng.randrange(1, 20)
        cut = self.rng.randrange(length)
        whole = {"offsets": [[0, cut], [cut, length]] if cut else [[0, length]], "length": length, "exact": True}
        part = {"offsets": [[0, cut]], "length": None, "exact": None}
        self.ops.append(
            Op(
                op=len(self.ops),
                f="append",
                session=session,
                key=session,
                writer=f"{session}/{writer}",
                value=value,
                idem=f"k-{value}",
                intended_ns=span[0] * STEP,
                sent_ns=span[0] * STEP,
                done_ns=span[1] * STEP,
                outcome=outcome,  # type: ignore[arg-type]
                chunks=length,
                epoch=1,
                result=json.dumps(whole if outcome == "ok" else part),
            )
        )

    def state(self, session: str, at: int) -> list[str]:
        return [value for lin, _, value in sorted(self.lins[session]) if lin <= at]

    def read(self, session: str, span: tuple[int, int], phase: str = "load", region: str = "eu-west") -> None:
        lin = self.rng.randint(*span)
        self.ops.append(
            Op(
                op=len(self.ops),
                f="read",
                session=session,
                key=session,
                writer=f"{session}/r",
                intended_ns=span[0] * STEP,
                sent_ns=span[0] * STEP,
                done_ns=span[1] * STEP,
                outcome="ok",
                phase=phase,  # type: ignore[arg-type]
                region=region,
                result=json.dumps(self.state(session, lin)),
            )
        )


def valid(rng: random.Random, *, sessions: int = 2, turns: int = 6, reads: bool = True, sink: bool = True) -> Made:
    """A history on which every check must be valid: at least one op acknowledged, and one open during the fault."""
    fault = (turns, 3 * turns)
    end = 20 * turns
    sim = _Sim(rng=rng, turns=turns, reads=reads)
    names = [f"s{n}" for n in range(sessions)]
    for name in names:
        sim.session(name, fault, end)
        if reads:
            for _ in range(rng.randrange(4)):
                begin = rng.randrange(12 * turns)
                sim.read(name, (begin, begin + rng.randrange(4)))
    if not any(op.outcome == "ok" and op.f == "append" for op in sim.ops):
        return valid(rng, sessions=sessions, turns=turns, reads=reads, sink=sink)
    rounds = rng.choice([1, 2])
    for turn in range(rounds):
        for name in names:
            for region in REGIONS:
                at = end + 1 + turn * 2000 + rng.randrange(20)
                sim.read(name, (at, at + 1), "final", region)
    rng.shuffle(sim.ops)  # the order of rows means nothing
    events: list[Event] = [PhaseEvent(at_ns=end * STEP, phase="final")]
    if sink:
        events += [
            SignalEvent(at_ns=at * STEP, source="gateway", event="effect", fields={"idem": idem})
            for at, idem in sim.effects
        ]
    span = FaultSpan(id="fault", effect_lo_ns=0, effect_hi_ns=0, end_lo_ns=fault[1] * STEP, end_hi_ns=end * STEP)
    context = CheckContext(model="log", profile="chat", regions=REGIONS, faults=(span,), faults_planned=1, sink=sink)
    return Made(ops=tuple(sim.ops), events=tuple(events), context=context)
