"""What a legal order is, by trying them all; and random histories of correct and incorrect objects. For small histories."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations, product

from harness.check.linear.models import ILLEGAL, Model
from harness.history.calls import FOREVER, UNKNOWN, Call


def legal(model: Model, calls: Sequence[Call]) -> bool:
    """Whether some order of the completed calls and some of the pending ones respects real time and the model."""
    calls = [call for call in calls if not (call.pending and call.f in model.reads)]
    sure = [call for call in calls if not call.pending]
    maybe = [call for call in calls if call.pending]
    for chosen in product((False, True), repeat=len(maybe)):
        some = sure + [call for call, take in zip(maybe, chosen, strict=True) if take]
        if any(_explains(model, order) for order in permutations(some)):
            return True
    return False


def _explains(model: Model, order: Sequence[Call]) -> bool:
    state = model.initial
    for place, call in enumerate(order):
        if any(later.ret_ns < call.call_ns for later in order[place + 1 :]):
            return False
        state = model.step(state, call)
        if state is ILLEGAL:
            return False
    return True


def random_calls(
    rng: random.Random, words: Sequence[str], count: int, *, lie: float = 0.1, lost: float = 0.1
) -> list[Call]:
    """Calls on a register (read, write, cas) as a correct one would answer them, some answers changed, some never heard."""
    made: list[tuple[int, int, int, str, object]] = []
    for n in range(count):
        begin = rng.randrange(3 * count)
        at = begin + rng.randrange(4)
        f = rng.choice(words)
        value = {"write": f"v{n}", "cas": (f"v{rng.randrange(count)}", f"v{n}")}.get(f)
        made.append((at, begin, at + rng.randrange(4), f, value))
    state: object = None
    calls = []
    for n, (_, begin, end, f, value) in enumerate(sorted(made, key=lambda each: each[0])):
        out: object = UNKNOWN
        if f == "read":
            out = state
        elif f == "write":
            out, state = None, value
        else:
            old, new = value  # type: ignore[misc]
            out = state == old
            state = new if out else state
        if f == "read" and rng.random() < lie:
            out = rng.choice([None, *(f"v{k}" for k in range(count))])
        pending = f != "read" and rng.random() < lost
        calls.append(
            Call(
                id=n,
                f=f,
                value=value,
                out=UNKNOWN if pending else out,
                call_ns=begin,
                ret_ns=FOREVER if pending else end,
            )
        )
    return calls
