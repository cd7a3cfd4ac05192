"""Each turn is billed once, whatever it took, and every charge of a provider is explained."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from harness.reference.usage import ACCOUNT, KEY, Bill, Charges, reconcile

Make = Callable[..., Awaitable[Any]]


def bill(idem: str, billed: int = 20, said: int = 20) -> Bill:
    return Bill(idem=idem, billed=billed, said=said)


def test_nothing_comes_to_nothing() -> None:
    assert set(reconcile([], [], {}).values()) == {0}


@pytest.mark.parametrize(
    ("bills", "charges", "attempts", "found"),
    [
        ([bill("a")], [{"a": [1, 20]}], {"a": 1}, {"turns": 1, "billed": 20, "charged": 20}),
        ([bill("a", billed=40)], [{"a": [2, 20]}], {"a": 2}, {"overbilled": 20, "underbilled": 0}),
        (
            [bill("a"), bill("a")],
            [{"a": [2, 40]}],
            {"a": 2},
            {"turns": 1, "billed": 40, "overbilled": 20},
        ),  # billed twice
        ([bill("a", billed=40), bill("b", billed=0)], [{}], {}, {"overbilled": 20, "underbilled": 20}),
        ([bill("a")], [{"a": [2, 40]}], {"a": 1}, {"unexplained": 1, "vain": 0.5}),  # a request that nobody here made
        (
            [bill("a")],
            [{"a": [1, 12]}, {"a": [1, 8]}],
            {"a": 2},
            {"charged": 20, "unexplained": 0, "vain": 0},
        ),  # resumed elsewhere
        ([bill("a")], [{"b": [1, 12]}], {"b": 1}, {"vain": 1.0}),  # came to no turn
        (
            [bill("a")],
            [{"a": [1, 8]}],
            {"a": 1},
            {"vain": 0, "underbilled": 0},
        ),  # the rest was charged to another gateway
    ],
)
def test_what_does_not_agree_is_told(
    bills: list[Bill], charges: list[dict[str, list[int]]], attempts: dict[str, int], found: dict[str, float]
) -> None:
    all_of_it = reconcile(bills, charges, attempts)
    assert {name: all_of_it[name] for name in found} == found


def test_a_provider_charges_accounts_apart_and_probes_nobody() -> None:
    ledger = Charges()
    assert ledger.begin({}) is None and ledger.begin({ACCOUNT: "one"}) is None
    for account in ("one", "one", "two"):
        place = ledger.begin({ACCOUNT: account, KEY: "k"})
        assert place is not None
        place[1] += 5
    assert ledger.of == {"one": {"k": [2, 10]}, "two": {"k": [1, 5]}}


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(("mutant", "overbilled"), [("", False), ("bills-each-attempt", True)])
async def test_a_turn_that_was_asked_for_again_is_billed_once(make_stack: Make, mutant: str, overbilled: bool) -> None:
    slow = ["--step-ms", "100", "--min-tokens", "24", "--max-tokens", "24"]  # over two seconds for an answer
    stack = await make_stack(mutant=mutant, extra={"engine-eu": slow, "engine-us": slow})
    url = stack.url("gateway-eu") + "/v1/billing"
    assert (await stack.turn("s", "calm")).acked
    assert (await stack.turn("s", "calm")).acked  # answered from the log: nobody is asked
    body = await stack.until(url, lambda status, _: status == 200)
    assert (body["turns"], body["unexplained"], body["overbilled"], body["vain"]) == (1, 0, 0, 0)
    assert body["billed"] == body["charged"] > 0
    # A client hangs up, its answer is given up after a second, and it comes again: a part of it is generated twice.
    gone = asyncio.create_task(stack.turn("s", "again"))
    await stack.until(stack.url("engine-eu") + "/health", lambda _, told: told["running"] == 1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await stack.until(stack.url("gateway-eu") + "/v1/about", lambda _, told: told["running"] == 0)
    again = await stack.turn("s", "again")
    assert again.acked and again.exact
    body = await stack.until(url, lambda status, _: status == 200)
    assert (body["turns"], body["unexplained"], body["underbilled"]) == (2, 0, 0)
    assert body["vain"] > 0, "what was generated for nobody is charged all the same"
    assert (body["overbilled"] > 0) == overbilled, body


@pytest.mark.live
@pytest.mark.slow
async def test_what_a_provider_charged_is_not_guessed(make_stack: Make) -> None:
    stack = await make_stack()
    url = stack.url("gateway-us") + "/v1/billing"
    await stack.until(url, lambda status, _: status == 200)
    stack.signal(["engine-us"], signal.SIGKILL)
    status, body = await stack.get(url)
    assert status == 503 and "own" in body["error"]["message"]
