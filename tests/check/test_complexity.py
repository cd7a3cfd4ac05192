"""What judging costs, in steps and not in seconds: four times the calls of a valid history take about four times the steps."""

from __future__ import annotations

import random

import pytest

from harness.check.linear.models import MODELS
from harness.check.linear.wgl import linearize
from harness.history.calls import FOREVER, UNKNOWN, Call


def calls(count: int, clients: int, pending: float) -> list[Call]:
    """A register, right by construction: each call takes effect at an instant between its beginning and its end."""
    rng, free, instants = random.Random(count), [0] * clients, []
    for number in range(count):
        client = min(range(clients), key=lambda each: free[each])
        begin = free[client] + rng.randrange(5)
        at = begin + rng.randrange(1, 10)
        end = at + rng.randrange(1, 10)
        free[client] = end + 1
        instants.append((at, number, begin, end, client))
    held, made = None, []
    for _, number, begin, end, client in sorted(instants):
        if number % 2:
            made.append(Call(id=number, f="read", value=None, out=held, call_ns=begin, ret_ns=end, process=str(client)))
            continue
        held = number % 10
        lost = rng.random() < pending
        out, ret_ns = (UNKNOWN, FOREVER) if lost else (None, end)
        made.append(Call(id=number, f="write", value=held, out=out, call_ns=begin, ret_ns=ret_ns, process=str(client)))
    return made


def steps_of(history: list[Call], most: int) -> tuple[str, int]:
    taken = 0

    def spent(steps: int) -> bool:
        nonlocal taken
        taken += steps
        return taken > most

    return linearize(MODELS["register"], history, spent).verdict, taken


@pytest.mark.parametrize("clients", [2, 5])
def test_steps_grow_with_the_calls_and_not_faster(clients: int) -> None:
    small, large = (steps_of(calls(count, clients, 0), 10**6) for count in (500, 2000))
    assert (small[0], large[0]) == ("legal", "legal")
    assert large[1] <= 8 * small[1], (small, large)


def test_a_search_ends_within_a_thousand_steps_of_its_budget() -> None:
    verdict, taken = steps_of([*calls(400, 20, 0.2), *_impossible()], 20_000)
    assert verdict in ("undecided", "illegal")
    assert taken <= 20_000 + 2 * 1024 + 400, taken


def _impossible() -> list[Call]:
    """A read, after all, of what nobody wrote."""
    return [Call(id=9999, f="read", value=None, out=77, call_ns=10**6, ret_ns=10**6 + 1, process="x")]
