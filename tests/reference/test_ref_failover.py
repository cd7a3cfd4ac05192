"""The stack under kill, freeze and cut links: what was acknowledged stays, once and in order; and each mutant's defect."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from harness.reference import oracle
from harness.reference.oracle import PINS, Basis

pytestmark = [pytest.mark.live, pytest.mark.slow]
Make = Callable[..., Awaitable[Any]]


def is_exact(answer: Any) -> bool:
    prompt = oracle.prompt_sha([{"role": "user", "content": f"turn {answer.value}"}], PINS.template)
    basis = Basis(pins=PINS, prompt=prompt)
    return answer.text == oracle.answer(basis, oracle.length(basis, 16, 24))


class Killer:
    """Sends a signal to a region in the middle of a load, and remembers when."""

    def __init__(self, stack: Any, short: str, number: int) -> None:
        self._stack, self._short, self._number = stack, short, number
        self.at = 0.0

    async def strike(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.at = time.monotonic()
        self._stack.signal(self._stack.region(self._short), self._number)

    def good_after(self, answers: list[Any]) -> float:
        """Seconds from the strike to the first answer of a turn asked for after it; for ever when there is none."""
        return min((a.done - self.at for a in answers if a.acked and a.began > self.at), default=float("inf"))


async def assert_clean(stack: Any, short: str, answers: list[Any]) -> None:
    found = await stack.judge(short, answers)
    assert (found.lost, found.doubled, found.reordered) == ([], [], [])
    for answer in answers:
        if answer.acked:
            assert is_exact(answer), answer
        else:
            assert answer.error, f"ended silently: {answer}"


async def test_a_killed_region_loses_nothing_and_returns_as_standby(make_stack: Make) -> None:
    stack = await make_stack()
    killer = Killer(stack, "eu", signal.SIGKILL)
    answers = await stack.load(4, rate=40, sessions=80, midway=killer.strike(1))
    print(f"first good answer {killer.good_after(answers):.2f} s after the kill")
    assert killer.good_after(answers) < 5
    await assert_clean(stack, "us", answers)
    resumed = [a for a in answers if a.acked and a.serving["resumed"]]
    assert resumed and all(a.serving["region"] == "us-east" and a.serving["epoch"] == 2 for a in resumed)
    refused = [a for a in answers if a.status == 503]
    for answer in refused:  # 503: surely no effect
        assert answer.value not in await stack.values("us", answer.session)

    for name in stack.region("eu"):
        stack.spawn(name)
    more = await stack.load(1.5, rate=30, sessions=80)
    assert all(a.acked and a.serving["region"] == "us-east" for a in more)  # the return costs nothing
    await stack.ready()
    digest = await stack.converged()
    assert digest["epoch"] == 3
    for short in ("eu", "us"):
        await assert_clean(stack, short, answers)
    assert "standby-joined:eu-west" in await stack.events()


async def test_a_frozen_region_is_replaced_and_fenced_when_it_wakes(make_stack: Make) -> None:
    stack = await make_stack()
    hiccup = asyncio.create_task(stack.load(1.5, rate=30))
    await asyncio.sleep(0.5)
    stack.signal(stack.region("eu"), signal.SIGSTOP)
    await asyncio.sleep(0.25)  # a hiccup: must not fail over
    stack.signal(stack.region("eu"), signal.SIGCONT)
    assert all(answer.acked for answer in await hiccup)
    assert not any(event.startswith("promoted") for event in await stack.events())

    killer = Killer(stack, "eu", signal.SIGSTOP)
    answers = await stack.load(4, rate=40, sessions=80, midway=killer.strike(1))
    print(f"first good answer {killer.good_after(answers):.2f} s after the freeze")
    assert killer.good_after(answers) < 5
    direct = [stack.turn(f"s{n}", f"direct-{n}", url=stack.url("gateway-eu"), timeout=4) for n in range(10)]
    waking = asyncio.gather(*direct)  # clients of the old primary, who wait for it to wake
    await asyncio.sleep(0.3)
    stack.signal(stack.region("eu"), signal.SIGCONT)
    assert not any(answer.acked for answer in await waking)
    await stack.ready()
    await stack.converged()
    for short in ("eu", "us"):
        await assert_clean(stack, short, [*answers, *await hiccup])


async def test_a_silent_standby_is_taken_out_and_never_promoted_behind(make_stack: Make) -> None:
    stack = await make_stack()
    for link in ("repl-eu-us", "repl-us-eu"):
        stack.links[link].cut()
    answers = await stack.load(3, rate=20)
    assert all(answer.acked for answer in answers)
    degraded = [a for a in answers if a.serving["degraded"] == "unreplicated"]
    assert degraded and {a.serving["epoch"] for a in degraded} == {2}
    assert (await stack.get(stack.url("edge") + "/v1/replication"))[1]["behind"] > 0

    stack.signal(stack.region("eu"), signal.SIGKILL)
    await stack.until(stack.url("edge") + "/v1/about", lambda _, body: body["regions"]["eu-west"] == "down")
    assert (await stack.turn("s0", "while-down")).status == 503  # us-east lacks what was acknowledged
    assert not any(event.startswith("promoted") for event in await stack.events())

    for link in ("repl-eu-us", "repl-us-eu"):
        stack.links[link].heal()
    for name in stack.region("eu"):
        stack.spawn(name)
    await stack.ready()
    await stack.converged()
    for short in ("eu", "us"):
        await assert_clean(stack, short, answers)


async def test_the_edge_may_die_and_be_cut_off(make_stack: Make) -> None:
    stack = await make_stack()
    first = await stack.turn("s", "v1")
    stack.signal(["edge"], signal.SIGKILL)
    stack.spawn("edge")
    await stack.ready()
    second = await stack.turn("s", "v2")
    assert first.acked and second.acked and second.serving["epoch"] == 1  # it knew its route

    stack.links["edge-eu"].cut()  # eu-west lives, but the edge and its clients cannot reach it
    await stack.until(stack.url("edge") + "/readyz", lambda s, body: s == 200 and body["primary"] == "us-east")
    third = await stack.turn("s", "v3")
    assert third.acked and third.serving["region"] == "us-east"
    fenced = await stack.turn("s", "v4", url=stack.url("gateway-eu"))
    assert (fenced.status, fenced.error) == (409, "not_primary")
    stack.links["edge-eu"].heal()
    await stack.ready()
    stack.signal(["engine-us"], signal.SIGKILL)  # a region without its engine makes no progress
    await stack.until(stack.url("edge") + "/readyz", lambda s, body: s == 200 and body["primary"] == "eu-west")
    fourth = await stack.turn("s", "v5")
    assert fourth.acked and fourth.serving["region"] == "eu-west"
    assert await stack.values("eu", "s") == ["v1", "v2", "v3", "v5"]


async def test_an_operator_switches_over_and_back_under_load(make_stack: Make) -> None:
    stack = await make_stack()
    assert (await switch(stack, "eu-west"))[0] == 200  # it has the role already
    assert (await switch(stack, "mars"))[0] == 400

    async def practise() -> None:
        await asyncio.sleep(0.5)
        status, over = await switch(stack, "us-east")
        assert (status, over["primary"]) == (200, "us-east"), over
        at_once = await asyncio.gather(switch(stack, "eu-west"), switch(stack, "us-east"))
        assert [status for status, _ in at_once] == [200, 409], "of two operators the second is told of the first"

    answers = await stack.load(5, rate=40, sessions=80, midway=practise())
    assert [answer for answer in answers if not answer.acked] == []
    await assert_clean(stack, "eu", answers)
    assert [event for event in await stack.events() if "promoted" in event] == ["promoted:us-east", "promoted:eu-west"]
    stack.signal(stack.region("us"), signal.SIGSTOP)
    status, body = await switch(stack, "us-east")
    stack.signal(stack.region("us"), signal.SIGCONT)
    assert status == 409 and "us-east is" in body["error"]["message"]


async def switch(stack: Any, region: str) -> tuple[int, Any]:
    url = stack.url("edge") + "/v1/switch"
    async with aiohttp.ClientSession() as session, session.post(url, json={"region": region}) as reply:
        return reply.status, await reply.json()


async def test_asynchronous_replication_loses_its_tail_into_quarantine(make_stack: Make) -> None:
    stack = await make_stack(replication="async")
    answers = await stack.load(1, rate=30)
    assert all(answer.acked for answer in answers)
    stack.links["repl-eu-us"].cut()
    tail = await stack.load(0.8, rate=30)
    assert any(answer.acked for answer in tail)
    stack.signal(stack.region("eu"), signal.SIGKILL)
    await stack.until(stack.url("edge") + "/readyz", lambda s, body: s == 200 and body["primary"] == "us-east")
    lost = (await stack.judge("us", [*answers, *tail])).lost
    assert lost and set(lost) <= {answer.value for answer in tail}
    stack.links["repl-eu-us"].heal()
    for name in stack.region("eu"):
        stack.spawn(name)
    await stack.ready()
    await stack.converged()
    _, quarantine = await stack.get(stack.url("gateway-eu") + "/v1/quarantine")
    assert set(lost) <= {turn["value"] for turn in quarantine["turns"]}
    assert all(turn["fenced_by"] == 2 and turn["epoch"] == 1 for turn in quarantine["turns"])
    assert (await stack.judge("eu", [*answers, *tail])).lost == lost


async def test_mutant_ack_before_replicate_loses_acknowledged_turns(make_stack: Make) -> None:
    stack = await make_stack(mutant="ack-before-replicate")
    killer = Killer(stack, "eu", signal.SIGKILL)
    answers = await stack.load(3.5, rate=40, sessions=80, midway=killer.strike(1))
    found = await stack.judge("us", answers)
    print(f"lost {len(found.lost)}: {found.lost[:5]}")
    assert found.lost and not found.doubled
    _, about = await stack.get(stack.url("edge") + "/v1/about")
    assert [mutant["name"] for mutant in about["mutants"]] == ["ack-before-replicate"]


async def test_mutant_no_idempotency_doubles_turns(make_stack: Make) -> None:
    stack = await make_stack(mutant="no-idempotency")
    killer = Killer(stack, "eu", signal.SIGKILL)
    answers = await stack.load(3.5, rate=40, sessions=80, midway=killer.strike(1))
    found = await stack.judge("us", answers)
    print(f"doubled {len(found.doubled)}: {found.doubled[:5]}")
    assert found.doubled and not found.lost


async def test_mutant_shallow_health_does_not_see_a_frozen_region(make_stack: Make) -> None:
    stack = await make_stack(mutant="shallow-health")
    killer = Killer(stack, "eu", signal.SIGSTOP)
    answers = await stack.load(5.5, rate=10, sessions=100, midway=killer.strike(0.3))
    assert killer.good_after(answers) == float("inf")
    assert not any(event.startswith(("down", "promoted")) for event in await stack.events())
