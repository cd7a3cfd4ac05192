"""What gateways run with is compared between regions; whoever differs is told, and not switched to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from harness.reference.setup import Setup, differing

Make = Callable[..., Awaitable[Any]]


def setup(**changes: Any) -> Setup:
    given: dict[str, Any] = {
        "admit": 36,
        "cache_ms": 0,
        "providers": ("own", "small"),
        "model": "m.r1",
        "key_root": "root",
    }
    return Setup(**given | changes)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ()),
        ({"admit": 35}, ("admit",)),
        ({"providers": ("own",), "model": "m.r2"}, ("model", "providers")),
        ({"key_root": "other"}, ("keys",)),
        ({"key_root": ""}, ("keys",)),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], names: tuple[str, ...]) -> None:
    assert differing(setup().told(), setup(**changes).told()) == names
    assert "root" not in str(setup().told()), "a secret is told by its digest"


def test_who_has_not_told_differs_in_nothing() -> None:
    assert differing(None, setup().told()) == differing(setup().told(), None) == ()


@pytest.mark.parametrize(
    "changes", [{"admit": 0}, {"admit": True}, {"admit": None}, {"answer_tokens_max": 4097}, {"model": "m"}, ["admit"]]
)
def test_what_makes_no_sense_changes_nothing(changes: Any) -> None:
    one = setup()
    with pytest.raises(ValueError, match=r"expected|no such setting"):
        one.edit(
            {"answer_tokens_max": 8} | changes
            if isinstance(changes, dict) and "answer_tokens_max" not in changes
            else changes
        )
    assert one == setup()


def test_an_edit_is_told() -> None:
    one = setup()
    one.edit({"answer_tokens_max": 8, "admit": 3})
    assert differing(one.told(), setup().told()) == ("admit", "answer_tokens_max")
    one.edit({"answer_tokens_max": None, "admit": 36})
    assert one == setup()


@pytest.mark.live
@pytest.mark.slow
async def test_nobody_switches_to_a_region_that_has_drifted(make_stack: Make) -> None:
    stack = await make_stack()
    about = stack.url("edge") + "/v1/about"
    async with aiohttp.ClientSession() as session:

        async def post(url: str, body: Any) -> tuple[int, Any]:
            async with session.post(url, json=body) as reply:
                return reply.status, await reply.json()

        assert (await post(stack.url("gateway-us") + "/admin/setup", {"admit": "many"}))[0] == 400
        assert (await post(stack.url("gateway-us") + "/admin/setup", {"answer_tokens_max": 8}))[0] == 200
        await stack.until(about, lambda _, body: body["drift"] == ["answer_tokens_max"])
        status, refused = await post(stack.url("edge") + "/v1/switch", {"region": "us-east"})
        assert status == 409 and "answer_tokens_max" in refused["error"]["message"]
        assert (await post(stack.url("edge") + "/v1/switch", {"region": "eu-west"}))[0] == 200  # it serves already
        await post(stack.url("gateway-us") + "/admin/setup", {"answer_tokens_max": None})
        await stack.until(about, lambda _, body: body["drift"] == [])
        assert (await post(stack.url("edge") + "/v1/switch", {"region": "us-east"}))[0] == 200
    events = await stack.events()
    assert [event for event in events if event in ("drifted:us-east", "alike:us-east")] == [
        "drifted:us-east",
        "alike:us-east",
    ]
