"""Valid histories of a replicated log, as a correct system would leave them, and mutations that make them wrong.

The system: one log per session; an append takes effect at one instant between its sending and its end; a fault in the middle
turns what is in flight into uncertain ops, which took effect then, later, or never; both regions end equal.
"""

from __future__ import annotations

import itertools
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


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A history made wrong: the checks that must find it, those that must not, and an op that the evidence must name."""

    made: Made
    must: frozenset[str]
    must_not: frozenset[str]
    names: int | None = None


def _rest(*flagged: str) -> frozenset[str]:
    return frozenset(CHECKED) - frozenset(flagged)


def _present(made: Made, outcome: str) -> list[Op]:
    """Writes of that outcome that the final reads show."""
    found = []
    for op in made.ops:
        if op.f == "append" and op.outcome == outcome:
            shown = json.loads(made.ops[made.finals(str(op.session))[0]].result or "[]")
            if op.value in shown:
                found.append(op)
    return found


def _seen_early(made: Made, value: str | None) -> bool:
    return any(op.phase == "load" and op.f == "read" and f'"{value}"' in (op.result or "") for op in made.ops)


def drop_everywhere(made: Made, rng: random.Random) -> Mutant | None:
    """An acknowledged turn is in no final read."""
    if not (victims := _present(made, "ok")):
        return None
    op = rng.choice(victims)
    changed = made.with_results(
        made.finals(str(op.session)), lambda values: [value for value in values if value != op.value]
    )
    seen = _seen_early(made, op.value)  # then its hole is a fork too, unless it was the last
    free = ("durable", "session-order") if seen else ("durable",)
    return Mutant(made=changed, must=frozenset({"durable"}), must_not=_rest(*free), names=op.op)


def drop_in_one_region(made: Made, rng: random.Random) -> Mutant | None:
    """An acknowledged turn is missing in one region's final reads: a hole there, when it was not the last."""
    if not (victims := _present(made, "ok")):
        return None
    op = rng.choice(victims)
    positions = made.finals(str(op.session), rng.choice(REGIONS))
    changed = made.with_results(positions, lambda values: [value for value in values if value != op.value])
    flagged = ("durable", "converged")
    return Mutant(made=changed, must=frozenset(flagged), must_not=_rest(*flagged, "session-order"), names=op.op)


def drop_uncertain(made: Made, rng: random.Random) -> Mutant | None:
    """An uncertain turn that no earlier read showed is in no final read: it never happened, and nothing is wrong."""
    victims = [op for op in _present(made, "info") if not _seen_early(made, op.value)]
    if not victims:
        return None
    op = rng.choice(victims)
    changed = made.with_results(
        made.finals(str(op.session)), lambda values: [value for value in values if value != op.value]
    )
    return Mutant(made=changed, must=frozenset(), must_not=_rest())


def truncate(made: Made, rng: random.Random) -> Mutant | None:
    """One region's log ends early."""
    if not (victims := _present(made, "ok")):
        return None
    op = rng.choice(victims)
    positions = made.finals(str(op.session), rng.choice(REGIONS))
    changed = made.with_results(positions, lambda values: values[: values.index(str(op.value))])
    flagged = ("durable", "converged")
    return Mutant(made=changed, must=frozenset(flagged), must_not=_rest(*flagged))


def duplicate(made: Made, rng: random.Random) -> Mutant | None:
    """A turn stands twice in every final read."""
    if not (victims := _present(made, "ok") + _present(made, "info")):
        return None
    op = rng.choice(victims)
    place = rng.random()

    def twice(values: list[str]) -> list[str]:
        at = round(place * len(values))
        return [*values[:at], str(op.value), *values[at:]]

    changed = made.with_results(made.finals(str(op.session)), twice)
    # Standing before its first place, it is also before what was acknowledged before it was sent.
    return Mutant(
        made=changed,
        must=frozenset({"exactly-once"}),
        must_not=_rest("exactly-once", "session-order", "session-guarantees"),
        names=op.op,
    )


def swap(made: Made, rng: random.Random) -> Mutant | None:
    """Two neighbours change places, though one was acknowledged before the other was sent."""
    by_value = {op.value: op for op in made.ops if op.f == "append"}
    pairs = []
    for session in {str(op.session) for op in made.ops}:
        values = json.loads(made.ops[made.finals(session)[0]].result or "[]")
        for one, two in itertools.pairwise(values):
            first, second = by_value[one], by_value[two]
            if first.outcome == "ok" and (first.done_ns or 0) < (second.sent_ns or 0):
                pairs.append((session, one, two))
    if not pairs:
        return None
    session, one, two = rng.choice(pairs)
    turned = {one: two, two: one}
    changed = made.with_results(made.finals(session), lambda values: [turned.get(value, value) for value in values])
    return Mutant(
        made=changed,
        must=frozenset({"session-order", "session-guarantees"}),  # out of order is out of order for its writer too
        must_not=_rest("session-order", "session-guarantees"),
        names=by_value[two].op,
    )


def invent(made: Made, rng: random.Random) -> Mutant | None:
    """Every final read of a session shows a value that nobody wrote."""
    session = rng.choice([str(op.session) for op in made.ops])
    place = rng.random()

    def more(values: list[str]) -> list[str]:
        at = round(place * len(values))
        return [*values[:at], "ghost", *values[at:]]

    positions = made.finals(session)
    changed = made.with_results(positions, more)
    return Mutant(made=changed, must=frozenset({"phantom"}), must_not=_rest("phantom"))


def resurrect(made: Made, rng: random.Random) -> Mutant | None:
    """A turn that surely failed is there."""
    if not (victims := [op for op in made.ops if op.f == "append" and op.outcome == "fail"]):
        return None
    op = rng.choice(victims)
    changed = made.with_results(made.finals(str(op.session)), lambda values: [*values, str(op.value)])
    return Mutant(made=changed, must=frozenset({"phantom"}), must_not=_rest("phantom"), names=op.op)


def run_twice(made: Made, rng: random.Random) -> Mutant | None:
    """The sink saw one more effect of a turn, though every log shows it once."""
    effects = [event for event in made.events if isinstance(event, SignalEvent)]
    if not effects:
        return None
    again = rng.choice(effects)
    changed = replace(made, events=(*made.events, again))
    op = next(op for op in made.ops if op.idem == again.fields["idem"])
    return Mutant(made=changed, must=frozenset({"exactly-once"}), must_not=_rest("exactly-once"), names=op.op)


def skip_offsets(made: Made, rng: random.Random) -> Mutant | None:
    """A stream that ended well went on beyond where it was cut."""
    victims = [n for n, op in enumerate(made.ops) if op.f == "append" and op.outcome == "ok"]
    at = rng.choice(victims)
    result = json.dumps({"offsets": [[0, 3], [5, 9]], "length": 9, "exact": None})
    ops = list(made.ops)
    ops[at] = replace(ops[at], result=result)
    return Mutant(
        made=replace(made, ops=tuple(ops)),
        must=frozenset({"resume"}),
        must_not=_rest("resume"),
        names=ops[at].op,
    )


def repeat_offsets(made: Made, rng: random.Random) -> Mutant | None:
    """A stream sent some of it again, the same: harmless."""
    victims = [n for n, op in enumerate(made.ops) if op.f == "append" and op.outcome == "ok"]
    at = rng.choice(victims)
    ops = list(made.ops)
    ops[at] = replace(ops[at], result=json.dumps({"offsets": [[0, 5], [3, 9]], "length": 9, "exact": True}))
    return Mutant(made=replace(made, ops=tuple(ops)), must=frozenset(), must_not=_rest())


def old_epoch(made: Made, rng: random.Random) -> Mutant | None:
    """A newer epoch acknowledged, and then the old one still did."""
    acked = sorted(
        (n for n, op in enumerate(made.ops) if op.f == "append" and op.outcome == "ok"),
        key=lambda n: made.ops[n].done_ns or 0,
    )
    ops = list(made.ops)
    first = acked[0]
    late = [n for n in acked[1:] if (ops[n].sent_ns or 0) > (ops[first].done_ns or 0)]
    if not late:
        return None
    for n in acked[1:]:
        ops[n] = replace(ops[n], epoch=2)
    ops[first] = replace(ops[first], epoch=2)
    deposed = rng.choice(late)
    ops[deposed] = replace(ops[deposed], epoch=1)
    return Mutant(
        made=replace(made, ops=tuple(ops)),
        must=frozenset({"single-writer"}),
        must_not=_rest("single-writer"),
        names=ops[deposed].op,
    )


def stale_read(made: Made, rng: random.Random) -> Mutant | None:
    """A read under load returns nothing, long after a turn of its session was acknowledged."""
    pairs = [
        (n, write)
        for n, read in enumerate(made.ops)
        if read.f == "read" and read.phase == "load"
        for write in made.ops
        if write.f == "append"
        and write.outcome == "ok"
        and write.session == read.session
        and (write.done_ns or 0) < (read.sent_ns or 0)
    ]
    if not pairs:
        return None
    at, _ = rng.choice(pairs)
    changed = made.with_results([at], lambda values: [])
    flagged = ("fresh", "session-guarantees")
    return Mutant(made=changed, must=frozenset(flagged), must_not=_rest(*flagged), names=made.ops[at].op)


MUTATIONS: tuple[Callable[[Made, random.Random], Mutant | None], ...] = (
    drop_everywhere,
    drop_in_one_region,
    drop_uncertain,
    truncate,
    duplicate,
    swap,
    invent,
    resurrect,
    run_twice,
    skip_offsets,
    repeat_offsets,
    old_epoch,
    stale_read,
)
