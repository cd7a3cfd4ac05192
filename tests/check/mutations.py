"""What makes a right history of logs wrong, each in one way, with the checks that must find it and those that must not."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from generate import CHECKED, REGIONS, Made

from harness.history.events import SignalEvent
from harness.history.op import Op


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


def lose_a_tail(made: Made, rng: random.Random) -> Mutant | None:
    """All of a session's turns from some acknowledged one on are in no final read: a recovery point in the past."""
    if not (victims := _present(made, "ok")):
        return None
    op = rng.choice(victims)
    changed = made.with_results(made.finals(str(op.session)), lambda values: values[: values.index(str(op.value))])
    # A cut-off end that an earlier read had shown is still no fork: reads stay beginnings of one history.
    return Mutant(made=changed, must=frozenset({"durable"}), must_not=_rest("durable"), names=op.op)


def lose_the_middle(made: Made, rng: random.Random) -> Mutant | None:
    """A turn is in no final read though its session's next one is: no slow replica explains that."""
    middles = [op for op in _present(made, "ok") if not _seen_early(made, op.value)]
    middles = [
        op for op in middles if json.loads(made.ops[made.finals(str(op.session))[0]].result or "[]")[-1] != op.value
    ]
    if not middles:
        return None
    op = rng.choice(middles)
    changed = made.with_results(
        made.finals(str(op.session)), lambda values: [value for value in values if value != op.value]
    )
    return Mutant(made=changed, must=frozenset({"durable"}), must_not=_rest("durable"), names=op.op)


def diverge(made: Made, rng: random.Random) -> Mutant | None:
    """A stream sent some of it again, and it was something else."""
    at = rng.choice([n for n, op in enumerate(made.ops) if op.f == "append" and op.outcome == "ok"])
    ops = list(made.ops)
    ops[at] = replace(ops[at], result=json.dumps({"offsets": [[0, 5], [3, 9]], "length": 9, "exact": False}))
    return Mutant(
        made=replace(made, ops=tuple(ops)), must=frozenset({"resume"}), must_not=_rest("resume"), names=ops[at].op
    )


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
    lose_a_tail,
    lose_the_middle,
    diverge,
)
