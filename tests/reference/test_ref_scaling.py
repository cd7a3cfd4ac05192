"""Capacity is ordered before it is needed, given back late, and never to and fro."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
from dataclasses import replace

import aiohttp
import pytest

from harness.reference.forecast import Trend
from harness.reference.mutants import SCALES_LATE, SCALES_TO_AND_FRO
from harness.reference.scaling import Bounds, Lane, Order, Seen, orders
from tests.ports import free_port

BOUNDS = Bounds(floor=4, ceiling=40, provision_s=4.0, cool_s=10.0)
GAP_S = 0.25


def test_a_trend_meets_a_line_and_a_level() -> None:
    trend = Trend()
    assert trend.ahead(5) == 0
    for step in range(200):
        trend.observe(3 + 2 * step * GAP_S, GAP_S)
    assert trend.ahead(5) == pytest.approx(3 + 2 * (199 * GAP_S + 5), rel=0.02)
    for _ in range(400):
        trend.observe(7, GAP_S)
    assert trend.ahead(5) == pytest.approx(7, abs=0.1)
    for step in range(200):
        trend.observe(max(0.0, 7 - step * GAP_S), GAP_S)
    assert trend.ahead(60) == pytest.approx(0, abs=1) and trend.ahead(60) >= 0


def test_uneven_gaps_say_the_same() -> None:
    draw = random.Random(1)
    trend, at = Trend(), 0.0
    for _ in range(400):
        gap = draw.uniform(0.05, 0.6)
        at += gap
        trend.observe(4 + 1.5 * at, gap)
    assert trend.ahead(4) == pytest.approx(4 + 1.5 * (at + 4), rel=0.03)


def simulated(demand: list[float], mutants: frozenset[str] = frozenset(), cool_s: float = 10.0) -> tuple[int, Lane]:
    """(the most that demand exceeded the slots by, the lane) of one engine whose orders arrive when they should."""
    lane, slots, coming, worst = Lane(), 8, list[tuple[float, int]](), 0
    draw = random.Random(3)
    for step, mean in enumerate(demand):
        now = step * GAP_S
        slots = next((number for at, number in reversed(coming) if at <= now), slots)
        coming = [(at, number) for at, number in coming if at > now]
        wanted = max(0, round(draw.gauss(mean, math.sqrt(mean) / 2)))
        worst = max(worst, wanted - slots)
        lane.look(Seen(slots=slots, running=min(wanted, slots), waiting=max(0, wanted - slots)), GAP_S, now)
        for order in orders({"one": lane}, "", replace(BOUNDS, cool_s=cool_s), now, mutants).values():
            coming.append((now + order.after_s, order.slots))
    return worst, lane


RAMP = [5.0] * 60 + [5 + step * 0.22 for step in range(80)] + [22.6] * 120
"""Twenty seconds from 5 to 22 at once, and what is ordered takes four."""


def test_on_a_ramp_it_is_ahead_and_the_mutant_is_behind() -> None:
    worst, lane = simulated(RAMP)
    late, _ = simulated(RAMP, frozenset({SCALES_LATE}))
    assert worst <= 3 < 6 <= late, (worst, late)
    assert 23 <= lane.asked <= 40 and lane.flips <= 2


def test_noise_alone_makes_it_turn_only_without_patience() -> None:
    _, calm = simulated([12.0] * 600)
    _, hasty = simulated([12.0] * 600, frozenset({SCALES_TO_AND_FRO}))
    assert calm.flips <= 8 < 40 <= hasty.flips, (calm.flips, hasty.flips)


def test_capacity_is_given_back_down_to_what_was_called_for_of_late() -> None:
    _, lane = simulated([20.0] * 200 + [3.0] * 200)
    assert 4 <= lane.asked <= 8


def lane_of(demand: int, slots: int) -> Lane:
    lane = Lane()
    for step in range(40):
        lane.look(Seen(slots=slots, running=min(demand, slots), waiting=max(0, demand - slots)), GAP_S, step * GAP_S)
    return lane


def test_the_standby_is_as_large_as_the_largest_and_one_that_is_silent_gets_no_order() -> None:
    lanes = {"a": lane_of(15, 12), "b": lane_of(1, 8), "standby": lane_of(0, 8)}
    found = orders(lanes, "standby", BOUNDS, 10.0)
    assert found["standby"].slots == found["a"].slots == 20 and found["b"] == Order(slots=4, after_s=0.0)
    assert found["a"] == Order(slots=20, after_s=4.0)
    assert orders(lanes, "standby", BOUNDS, 10.25) == {}, "it is under way"
    lanes["a"].look(None, GAP_S, 10.5)
    assert orders(lanes, "standby", BOUNDS, 10.5) == {}


def test_floor_and_ceiling() -> None:
    lanes = {"a": lane_of(100, 8), "b": lane_of(0, 2)}
    assert {name: order.slots for name, order in orders(lanes, "", BOUNDS, 10.0).items()} == {"a": 40, "b": 4}


def test_an_engine_that_comes_back_small_is_ordered_for_again() -> None:
    lanes = {"standby": lane_of(15, 20), "a": lane_of(15, 20)}
    orders(lanes, "standby", BOUNDS, 10.0)
    lanes["a"].look(None, GAP_S, 11.0)
    lanes["a"].look(Seen(slots=8, running=8, waiting=4), GAP_S, 12.0)
    assert orders(lanes, "standby", BOUNDS, 12.0)["a"].slots >= 16


@pytest.mark.live
@pytest.mark.slow
async def test_what_is_ordered_of_an_engine_arrives_when_it_should() -> None:
    port = free_port()
    command = [sys.executable, "-m", "harness.reference.engine", "--port", str(port), "--slots", "2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as engine:
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                await _serving(session)
                for query in ("slots=0", "slots=many", "", "slots=3&after_ms=-1", "slots=3&after_ms=nan"):
                    async with session.post(f"/admin/resize?{query}") as reply:
                        assert reply.status == 400, query
                async with session.post("/admin/resize?slots=5&after_ms=300") as reply:
                    assert (await reply.json())["slots"] == 2
                async with asyncio.timeout(5):
                    while await _slots(session) != 5:
                        await asyncio.sleep(0.05)
                async with session.post("/admin/resize?slots=3") as reply:
                    assert (await reply.json())["slots"] == 3
        finally:
            engine.kill()


async def _serving(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await _slots(session)
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


async def _slots(session: aiohttp.ClientSession) -> int:
    async with session.get("/health") as reply:
        return int((await reply.json())["slots"])
