"""Whom a gateway asks and whom it lets in, an engine's line, and what an edge knows of its cells: pure, or on one loop."""

from __future__ import annotations

import asyncio

import pytest

from harness.reference.admission import Admission
from harness.reference.engine import Line, Speed, _Engine
from harness.reference.follower import Follower, cell_of, parse_cell
from harness.reference.metrics import Metrics
from harness.reference.mutants import (
    ASKS_EACH_TIME,
    IGNORES_RETRY_AFTER,
    NEVER_HALF_OPENS,
    NO_ADMISSION,
    RETRY_STORM,
    SHEDS_BLINDLY,
)
from harness.reference.oracle import PINS
from harness.reference.providers import Pool, Provider, advised_s


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def pool(clock: Clock, *mutants: str) -> Pool:
    providers = [
        Provider(name="small", url="s", model="small.r1"),
        Provider(name="own", url="a"),
        Provider(name="other", url="b"),
    ]
    return Pool(providers, frozenset(mutants), clock)


def test_a_provider_that_refused_is_left_alone_as_long_as_it_asked_then_tried_once() -> None:
    clock = Clock()
    one = pool(clock)
    own = one.choose()
    assert own.name == "own"
    one.failed(own, 3.0)
    assert one.choose().name == "other"
    clock.now += 2.9
    assert one.choose().name == "other"
    clock.now += 0.2
    assert [one.choose().name for _ in range(3)] == ["own", "other", "other"]  # a single trial
    one.succeeded(own)
    assert [one.choose().name for _ in range(2)] == ["own", "own"]


def test_without_advice_the_cooldown_doubles_up_to_four_seconds() -> None:
    clock = Clock()
    one = pool(clock)
    own = one.choose()
    cools = []
    for _ in range(5):
        one.failed(own)
        cools.append(own.cool_until - clock.now)
        clock.now = own.cool_until
    assert cools == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_the_smaller_model_comes_last_and_someone_is_always_asked() -> None:
    clock = Clock()
    one = pool(clock)
    for expected in ("own", "other", "small"):
        provider = one.choose()
        assert provider.name == expected
        one.failed(provider, {"own": 9.0, "other": 5.0, "small": 7.0}[expected])
    assert one.choose().name == "other"  # has the least of its cooldown left
    assert one.choose("small.r1", begun=True).name == "small"
    assert one.choose(None, begun=True).name == "other"


def test_where_the_smaller_model_is_switched_off_nothing_new_is_begun_on_it() -> None:
    one = pool(Clock())
    for provider in one.own:
        one.failed(provider, 9.0)
    assert one.choose().name == "small"
    assert one.choose(smaller=False).name == "own", "it is asked although it cools down: nobody else may be"
    assert one.choose("small.r1", begun=True, smaller=False).name == "small", "what it began it may finish"


def test_mutants_of_the_pool_do_what_they_say() -> None:
    clock = Clock()
    for mutant in (IGNORES_RETRY_AFTER, RETRY_STORM):
        one = pool(clock, mutant)
        one.failed(one.choose(), 9.0)
        assert one.choose().name == "own", mutant
    one = pool(clock, NEVER_HALF_OPENS)
    one.failed(one.choose(), 1.0)
    clock.now += 60
    assert one.choose().name == "other"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "900"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "1", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "2", "retry-after-ms": "soon"}, 2.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_milliseconds(headers: dict[str, str], seconds: float | None) -> None:
    assert advised_s(429, headers, 1000.0) == seconds
    assert advised_s(402, headers, 1000.0) == 30.0, "an empty account fills by no request"


def test_the_less_urgent_are_refused_first() -> None:
    door = Admission(limit=10)
    open_to = {
        name: max(n for n in range(20) if door.admits(n, name)) + 1 for name in ("interactive", "standard", "batch")
    }
    assert open_to == {"interactive": 10, "standard": 8, "batch": 5}
    assert door.admits(7, "unknown") and not door.admits(8, "unknown")
    assert door.refused["interactive"] == 10 and door.refused["standard"] == 13
    assert all(Admission(limit=10, mutants=frozenset({NO_ADMISSION})).admits(n, "batch") for n in range(1000))
    assert Admission(limit=10, mutants=frozenset({SHEDS_BLINDLY})).admits(9, "batch")


async def test_places_are_given_in_order_and_who_leaves_the_line_takes_none() -> None:
    line = Line(1)
    served: list[str] = []
    gate = asyncio.Event()

    async def job(name: str) -> None:
        async with line.place():
            served.append(name)
            await gate.wait()

    first, second, third = (asyncio.create_task(job(name)) for name in "abc")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (served, line.waiting, line.taken) == (["a"], 2, 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (line.waiting, line.taken) == (1, 1)
    line.resize(2)
    await asyncio.sleep(0)
    assert served == ["a", "c"] and line.taken == 2
    gate.set()
    await asyncio.gather(first, third)
    assert (line.waiting, line.taken) == (0, 0)


def test_a_tenant_belongs_to_the_cell_its_name_begins_with() -> None:
    cells = {"eu": 1, "us": 2}
    assert [cell_of(name, cells) for name in ("eu-acme", "us-1", "europe-1", "")] == ["eu", "us", "us", "us"]
    assert parse_cell("eu:a=http://x,b=http://y") == ("eu", {"a": "http://x", "b": "http://y"})
    for text in ("", "eu", "eu:a=http://x", ":a=x,b=y", "eu:a=,b=y"):
        with pytest.raises(ValueError, match="expected NAME:REGION=URL,REGION=URL"):
            parse_cell(text)


async def test_an_edge_keeps_the_route_it_knew_and_takes_no_older_one() -> None:
    cell = Follower("eu", {"a": "http://a", "b": "http://b/"}, frozenset())
    assert cell.servable() is None and cell.primary is None and cell.about()["told_ms_ago"] is None
    cell.hear({"epoch": 3, "primary": "a", "serves": True})
    first = cell.servable()
    assert first is not None and first.name == "a"
    async with asyncio.timeout(60) as call:
        first.calls.add(call)
        cell.hear({"epoch": 2, "primary": "b", "serves": True})
        assert cell.servable() is first and call.when() > asyncio.get_running_loop().time() + 30
        cell.hear({"epoch": 4, "primary": "b", "serves": True})
        assert cell.primary is not None and cell.primary.url == "http://b"
        assert call.when() <= asyncio.get_running_loop().time()  # attempts at the region that lost its role end
        call.reschedule(None)
    cell.hear({"epoch": 4, "primary": "b", "serves": False})
    assert cell.servable() is None
    cell.live(first, good=False)
    assert cell.seen == {"a bad": 1}


def test_the_mutant_that_asks_each_time_serves_only_on_a_fresh_word() -> None:
    cell = Follower("eu", {"a": "http://a", "b": "http://b"}, frozenset({ASKS_EACH_TIME}))
    cell.told |= {"serves": True, "primary": "a"}
    assert cell.servable() is None


async def test_the_first_of_a_template_pays_for_its_beginning_and_those_behind_wait_for_the_same() -> None:
    speed = Speed(first_s=0, step_s=0, per_running_s=0, shortest=1, longest=4, per_event=4, prefill_s=0.03)
    engine = _Engine("e", speed, Metrics(), PINS)
    pins = {"model": PINS.model, "tokenizer": PINS.tokenizer, "template": "tmpl.r9"}
    asked = {"messages": [{"role": "user", "content": "hello"}], "pins": pins}
    warm, real = engine.job(asked | {"max_tokens": 1}), engine.job(asked | {"seed": 3})
    began = asyncio.get_running_loop().time()
    await engine._prefilled(warm)
    assert asyncio.get_running_loop().time() - began >= 0.029 and engine.met_cold == 0
    await engine._prefilled(real)
    assert engine.met_cold == 0
    cold = [engine.job(asked | {"seed": 3, "pins": pins | {"template": "tmpl.r10"}}) for _ in range(3)]
    await asyncio.gather(*(engine._prefilled(job) for job in cold))
    assert engine.met_cold == 3 and len(engine.warm) == 2
