"""The adapter, driven on both servers: every toxic, populate, down and up, each read back."""

from __future__ import annotations

import socket

import pytest

from harness.errors import InjectError, UnsafeError
from harness.model.ports import Toxic
from harness.proxy.client import Links, NewLink, PlainLinks, ToxiproxyLinks

pytestmark = [pytest.mark.live, pytest.mark.slow]

TOXICS = {
    "bandwidth": {"rate": 7},
    "latency": {"latency": 7, "jitter": 3},
    "limit_data": {"bytes": 7},
    "reset_peer": {"timeout": 7},
    "slicer": {"average_size": 70, "size_variation": 30, "delay": 7},
    "slow_close": {"delay": 7},
    "timeout": {"timeout": 7},
}


@pytest.fixture(params=[ToxiproxyLinks, PlainLinks])
def links(request, either, pair) -> Links:
    return request.param(either.url, embedded=either is pair["embedded"])


def link(name, listen="127.0.0.1:0", upstream="127.0.0.1:1"):
    return NewLink(name=name, listen=listen, upstream=upstream, options={"mirror_refusal": True})


async def test_every_toxic_is_added_updated_and_removed(links):
    await links.create("a b", "127.0.0.1:0", "127.0.0.1:1", {})
    for stream in ("upstream", "downstream"):
        for kind, attributes in TOXICS.items():
            name = f"blackstart-{kind}-{stream}"
            for toxicity, more in ((0.5, 0), (1.0, 100)):
                wanted = {key: value + more for key, value in attributes.items()}
                await links.add("a b", Toxic(name=name, type=kind, stream=stream, toxicity=toxicity, attributes=wanted))
                (there,) = (toxic for toxic in (await links.get("a b")).toxics if toxic.name == name)
                assert (there.type, there.stream, there.toxicity, there.attributes) == (kind, stream, toxicity, wanted)
    assert len((await links.get("a b")).toxics) == 2 * len(TOXICS)
    for toxic in (await links.get("a b")).toxics:
        await links.remove("a b", toxic.name)
        await links.remove("a b", toxic.name)
    assert (await links.get("a b")).toxics == ()


async def test_down_and_up(links, dial):
    state = await links.create("a", "127.0.0.1:0", "127.0.0.1:1", {})
    port = int(state.listen.rpartition(":")[2])
    for enabled in (False, False, True, True):
        await links.set_enabled("a", enabled)
        assert (await links.get("a")).enabled is enabled
        if enabled:
            dial(port)
        else:
            with pytest.raises(ConnectionRefusedError):
                dial(port)


async def test_populate_makes_what_is_missing_and_uses_the_very_same(links, either):
    theirs = await links.create("theirs", "127.0.0.1:0", "127.0.0.1:1", {})
    other = type(links)(links.url, embedded=links.embedded)
    announced = []
    wanted = [link("theirs", theirs.listen), link("one"), link("two")]
    states = await other.populate(wanted, lambda *made: announced.append(made))
    assert [state.name for state in states] == ["theirs", "one", "two"]
    assert states[0] == theirs
    assert [made[0] for made in announced] == ["one", "two"]
    assert other.created == {"one", "two"}
    assert await other.populate([link(state.name, state.listen) for state in states]) == states
    for state in states:
        await other.delete(state.name)
    assert list(either.json("GET", "/proxies")) == ["theirs"]


async def test_a_populate_that_fails_half_way_leaves_nothing(links, either):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnsafeError, match=r"link one, two, three: .*address already in use.*free the port"):
            await links.populate([link("one"), link("two", listen), link("three")])
    assert either.json("GET", "/proxies") == {}
    assert links.created == frozenset()


async def test_populate_touches_nothing_when_one_link_is_someone_elses(links, either):
    theirs = await links.create("theirs", "127.0.0.1:0", "127.0.0.1:1", {})
    either.toxic("theirs", "latency", latency=1)
    for wanted, why in ((theirs.listen, "set by someone else"), ("127.0.0.1:1", "set by someone else")):
        with pytest.raises(UnsafeError, match=why):
            await links.populate([link("one"), link("theirs", wanted)])
    either.untoxic("theirs", "latency_downstream")
    with pytest.raises(UnsafeError, match="already has a proxy 'theirs'"):
        await links.populate([link("one"), link("theirs", "127.0.0.1:1")])
    assert list(either.json("GET", "/proxies")) == ["theirs"]


async def test_a_proxy_is_made_again_with_what_should_stand(links, either):
    state = await links.create("a", "127.0.0.1:0", "127.0.0.1:1", {})
    for name in ("blackstart-1", "blackstart-2"):
        await links.add("a", Toxic(name=name, type="latency", attributes={"latency": 1, "jitter": 0}))
    await links.remove("a", "blackstart-1")
    await links.recreate("a")
    again = await links.get("a")
    assert (again.listen, [toxic.name for toxic in again.toxics]) == (state.listen, ["blackstart-2"])
    either.call("DELETE", "/proxies/a")
    await links.recreate("a")
    assert await links.get("a") == again, "also when somebody deleted it"
    with pytest.raises(InjectError, match="proxy not found"):
        await links.get("b")
