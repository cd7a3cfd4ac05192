"""The kill matrix of correctness.md 5.2 beyond plain logs: each operator makes a right history wrong in one way.

`must` checks find it in every seed in which it applies; no other check does, unless a reason is written down here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from literal import judge
from worlds import BACK, FAULT, STEP, WORLDS, World, journal

from harness.registry import catalog

pytestmark = pytest.mark.slow
SEEDS = range(6)
Change = Callable[[World, random.Random], World | None]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """`world`: on what. `must`: the checks that must find it. `may`: check -> why it is its affair too."""

    world: str
    change: Change
    must: tuple[str, ...]
    may: dict[str, str] = field(default_factory=dict)


def verdicts(world: World) -> dict[str, str]:
    """Every check that judges this model, and its verdict."""
    within = dict(world.within)
    found = {}
    for name in catalog().names("check"):
        kind = catalog().check(name)
        if name != "exec" and (not kind.models or world.model in kind.models):
            seconds = within.get(name)
            result = judge(world.history(), name, world.context, within_ns=None if seconds is None else seconds * STEP)
            found[name] = str(result.verdict)
    return found


def acked(world: World, f: str) -> list[int]:
    return world.where(lambda op: op.f == f and op.outcome == "ok" and op.phase == "load" and (op.sent_ns or 0) >= 0)


def finals(
    world: World, change: Callable[[object], object], *, regions: tuple[str, ...] = ("eu-west", "us-east")
) -> World:
    """Final reads that show something else."""
    for place in world.where(lambda op: op.phase == "final" and op.f == "read" and op.region in regions):
        world = world.swap(place, result=json.dumps(change(json.loads(world.ops[place].result or "null"))))
    return world


# ---- counters


def sum_off_by_one(world: World, rng: random.Random) -> World:
    surplus = 1_000
    return finals(world, lambda shown: {**shown, "value": shown["value"] + surplus})  # type: ignore[dict-item, index]


def cancelling_pair(world: World, rng: random.Random) -> World | None:
    """One event lost, another of the same amount counted twice: the sum is right, the ledger is not."""
    events = json.loads(world.ops[-1].result or "{}")["events"]
    amount = {op.idem: op.value for op in world.ops if op.f == "add"}
    sure = {op.idem for op in world.ops if op.f == "add" and op.outcome == "ok"}
    pairs = [
        (one, two) for one in events for two in events if one != two and amount[one] == amount[two] and one in sure
    ]
    if not pairs:
        return None
    lost, twice = rng.choice(pairs)
    return finals(
        world,
        lambda shown: {**shown, "events": [e for e in shown["events"] if e != lost] + [twice]},  # type: ignore[dict-item, index]
    )


def event_lost(world: World, rng: random.Random) -> World | None:
    sure = [op for op in world.ops if op.f == "add" and op.outcome == "ok" and int(op.value or 0) > 0]
    lost = rng.choice(sure)
    return finals(
        world,
        lambda shown: {  # type: ignore[misc]
            "value": shown["value"] - int(str(lost.value)),  # type: ignore[index]
            "events": [event for event in shown["events"] if event != lost.idem],  # type: ignore[index]
        },
    )


# ---- registers


def old_value_read(world: World, rng: random.Random) -> World | None:
    """A read shows a value that had been overwritten before it was sent."""
    writes = sorted((op for op in world.ops if op.f == "write" and op.outcome == "ok"), key=lambda op: op.sent_ns or 0)
    for place in world.where(lambda op: op.f == "read" and op.phase == "load"):
        sent = world.ops[place].sent_ns or 0
        past = [op for op in writes if (op.done_ns or 0) < sent]
        for old in past:
            if any((old.done_ns or 0) < (new.sent_ns or 0) for new in past):
                return world.swap(place, result=json.dumps(old.value))
    return None


def read_before_it_was_written(world: World, rng: random.Random) -> World | None:
    for place in world.where(lambda op: op.f == "read" and op.phase == "load"):
        later = [op for op in world.ops if op.f == "write" and (op.sent_ns or 0) > (world.ops[place].done_ns or 0)]
        if later:
            return world.swap(place, result=json.dumps(rng.choice(later).value))
    return None


def rolled_back(world: World, rng: random.Random) -> World | None:
    """The end shows a value though a later one was acknowledged."""
    writes = [op for op in world.ops if op.f == "write" and op.outcome == "ok"]
    first = min(writes, key=lambda op: op.done_ns or 0)
    if not any((op.sent_ns or 0) > (first.done_ns or 0) for op in writes):
        return None
    return finals(world, lambda _: first.value)


# ---- queues


def message_lost(world: World, rng: random.Random) -> World | None:
    """No receive returns an acknowledged message; none of its receives was uncertain."""
    sent = {op.value for op in world.ops if op.f == "send" and op.outcome == "ok"}
    places = world.where(lambda op: op.f == "receive" and json.loads(op.result or "null") in sent)
    if not places:
        return None
    gone = set(places) & {rng.choice(places)}
    return replace(world, ops=tuple(op for place, op in enumerate(world.ops) if place not in gone))


def given_out_twice(world: World, rng: random.Random) -> World | None:
    places = world.where(lambda op: op.f == "receive" and json.loads(op.result or "null") is not None)
    again = world.ops[rng.choice(places)]
    more = replace(
        again, op=999, phase="load", region=None, sent_ns=(again.done_ns or 0) + 1, done_ns=(again.done_ns or 0) + 9
    )
    return replace(world, ops=(*world.ops, more))


# ---- jobs


def job_never_ends(world: World, rng: random.Random) -> World | None:
    """An acknowledged job is in no final read, though the sink saw it run: its terminal state is lost."""
    value = world.ops[rng.choice(acked(world, "submit"))].value
    return finals(world, lambda shown: [each for each in shown if each != value])  # type: ignore[attr-defined]


def job_runs_twice(world: World, rng: random.Random) -> World | None:
    signals = [event for event in world.events if getattr(event, "event", None) == "effect"]
    return replace(world, events=(*world.events, rng.choice(signals)))


def one_region_has_more(world: World, rng: random.Random) -> World | None:
    """An uncertain job is in one region and not in the other: no loss, and yet the regions differ."""
    shown = json.loads(world.ops[world.where(lambda op: op.f == "read")[0]].result or "[]")
    unsure = [op.value for op in world.ops if op.f == "submit" and op.outcome == "info" and op.value in shown]
    if not unsure:
        return None
    value = rng.choice(unsure)
    return finals(world, lambda shown: [each for each in shown if each != value], regions=("us-east",))  # type: ignore[attr-defined]


# ---- chat: content, cache, journal, replay


def wrong_answer(world: World, rng: random.Random) -> World | None:
    return world.swap(
        rng.choice([n for n in acked(world, "append") if not world.ops[n].cached]), wrong=True, input=None
    )


def resend_answered_otherwise(world: World, rng: random.Random) -> World | None:
    """A second op under the key of an acknowledged turn, and for its value, gets another answer."""
    first = world.ops[rng.choice([n for n in acked(world, "append") if not world.ops[n].cached])]
    again = replace(
        first, op=999, sent_ns=(first.done_ns or 0) + 1, done_ns=(first.done_ns or 0) + 2, answer="else", input="else"
    )
    return replace(world, ops=(*world.ops, again))


def hits(world: World) -> list[int]:
    return world.where(lambda op: bool(op.cached))


def served_beyond_its_time(world: World, rng: random.Random) -> World | None:
    """A hit is older than the cache may keep it: the time to live is less than it was."""
    for place in hits(world):
        hit = world.ops[place]
        makers = world.where(
            lambda op, hit=hit: op.input == hit.input and not op.cached and (op.done_ns or 0) < (hit.sent_ns or 0)
        )
        age = min(((hit.sent_ns or 0) - (world.ops[maker].done_ns or 0)) // STEP for maker in makers) if makers else 0
        if age >= 1:
            return replace(world, within=(("cache-sound", age),))
    return None


def served_to_another_tenant(world: World, rng: random.Random) -> World | None:
    places = hits(world)
    return world.swap(rng.choice(places), input="q of nobody else") if places else None


def old_prompt_version_served(world: World, rng: random.Random) -> World | None:
    places = hits(world)
    return world.swap(rng.choice(places), version="r0") if places else None


def cached_error(world: World, rng: random.Random) -> World | None:
    refused = world.where(lambda op: op.f == "append" and op.outcome == "fail")
    places = hits(world)
    return world.swap(refused[0], cached=True, status=500) if refused and places else None


def replay_differs(world: World, rng: random.Random) -> World | None:
    return world.swap(rng.choice(world.where(lambda op: op.f == "replay")), wrong=True, answer="else")


def journal_holds_another_answer(world: World, rng: random.Random) -> World | None:
    """The replay gives what the journal holds, and the client had been told something else."""
    sure = {op.value for op in world.ops if op.f == "append" and op.outcome == "ok"}
    places = world.where(lambda op: op.f == "replay" and op.value in sure)
    return world.swap(rng.choice(places), answer="else")


def journal_altered(world: World, rng: random.Random) -> World | None:
    lines = list(world.lines or ())
    at = rng.randrange(len(lines))
    lines[at] = lines[at].replace('"body": "[\\"', '"body": "[\\"x')
    return replace(world, lines=tuple(lines))


def journal_entry_taken_out(world: World, rng: random.Random) -> World | None:
    lines = list(world.lines or ())
    del lines[rng.randrange(len(lines) - 1)]
    return replace(world, lines=tuple(lines))


def journal_end_cut_off(world: World, rng: random.Random) -> World | None:
    return replace(world, lines=(world.lines or ())[:-1])


OPERATORS: dict[str, Operator] = {
    "sum off": Operator(world="counter", change=sum_off_by_one, must=("counter", "exactly-once")),
    "cancelling pair": Operator(world="counter", change=cancelling_pair, must=("counter", "exactly-once")),
    "event lost": Operator(world="counter", change=event_lost, must=("counter",)),
    "old value read": Operator(
        world="register",
        change=old_value_read,
        must=("linearizable", "fresh"),
    ),
    "read before written": Operator(
        world="register",
        change=read_before_it_was_written,
        must=("linearizable", "phantom"),
    ),
    "rolled back": Operator(world="register", change=rolled_back, must=("durable",)),
    "message lost": Operator(
        world="queue",
        change=message_lost,
        must=("durable",),
        may={"linearizable": "a first-in-first-out queue cannot give out what came after the lost one"},
    ),
    "given out twice": Operator(
        world="queue",
        change=given_out_twice,
        must=("exactly-once", "linearizable"),
    ),
    "job never ends": Operator(world="jobs", change=job_never_ends, must=("durable",)),
    "job runs twice": Operator(world="jobs", change=job_runs_twice, must=("exactly-once",)),
    "one region has more": Operator(world="jobs", change=one_region_has_more, must=("converged",)),
    "wrong answer": Operator(
        world="chat",
        change=wrong_answer,
        must=("content",),
        may={
            "cache-sound": "what was wrong was no answer that a cache may repeat",
            "resume": "its content was streamed",
        },
    ),
    "resend answered otherwise": Operator(world="chat", change=resend_answered_otherwise, must=("content",)),
    "cached beyond its time": Operator(world="chat", change=served_beyond_its_time, must=("cache-sound",)),
    "cached for another tenant": Operator(world="chat", change=served_to_another_tenant, must=("cache-sound",)),
    "cached of an old version": Operator(world="chat", change=old_prompt_version_served, must=("cache-sound",)),
    "cached error": Operator(world="chat", change=cached_error, must=("cache-sound",)),
    "replay differs": Operator(world="chat", change=replay_differs, must=("replay",)),
    "journal holds another answer": Operator(world="chat", change=journal_holds_another_answer, must=("replay",)),
    "journal altered": Operator(world="chat", change=journal_altered, must=("sealed",)),
    "journal entry taken out": Operator(world="chat", change=journal_entry_taken_out, must=("sealed",)),
    "journal end cut off": Operator(world="chat", change=journal_end_cut_off, must=()),
}


@pytest.mark.parametrize("sort", WORLDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_in_a_right_world(sort: str, seed: int) -> None:
    found = verdicts(WORLDS[sort](random.Random(seed)))
    assert [name for name, verdict in found.items() if verdict == "invalid"] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_found_by_its_checks_and_by_no_other(name: str) -> None:
    operator, applied = OPERATORS[name], 0
    for seed in SEEDS:
        rng = random.Random(seed)
        wrong = operator.change(WORLDS[operator.world](rng), rng)
        if wrong is None:
            continue
        applied += 1
        found = {check for check, verdict in verdicts(wrong).items() if verdict == "invalid"}
        assert set(operator.must) <= found, (seed, found)
        assert found - set(operator.must) <= set(operator.may), (seed, found)
    assert applied >= 2, "an operator that seldom applies proves nothing"


def test_what_the_worlds_are_judged_by_decides_something_in_most_of_them() -> None:
    """A check that answers unknown wherever it is asked would pass everything above."""
    decided: dict[str, int] = {}
    for sort, make in WORLDS.items():
        for seed in SEEDS:
            for check, verdict in verdicts(make(random.Random(seed))).items():
                decided[f"{sort}:{check}"] = decided.get(f"{sort}:{check}", 0) + (verdict == "valid")
    judged = {name for operator in OPERATORS.values() for name in (f"{operator.world}:{c}" for c in operator.must)}
    assert {name: decided[name] for name in judged if decided[name] < 3} == {}
    assert FAULT < BACK and journal([]) == ()
