"""Bringing a stack up: order, attaching, readiness, and what is said and undone when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harness.errors import HarnessBug, UnsafeError
from harness.model.ports import ProbeSample
from harness.model.stack import HostSpec, Instance, ProbeSpec, Ready, Stack
from harness.model.wiring import Wiring
from harness.stacks.bring_up import bring_up
from harness.testing.fakes import FakeHost, RealClock

SPEC = HostSpec(kind="fake", params={})


class Answers:
    """A probe that says no so many times, then yes."""

    def __init__(self, noes: int = 0) -> None:
        self.noes = noes

    async def sample(self, timeout_ns: int) -> ProbeSample:
        self.noes -= 1
        return ProbeSample(ok=self.noes < 0, error=None if self.noes < 0 else "status 503, expected 200")


def ready(within_ns: int = 10_000_000_000) -> Ready:
    return Ready(probe=ProbeSpec(name="ready", kind="http", params={}), within_ns=within_ns)


def stack(*instances: Instance) -> Stack:
    return Stack(name="s", base_dir="/", instances={one.name: one for one in instances})


async def up(whole: Stack, hosts, probes=None, wiring: Wiring | None = None):
    events = []
    probes = probes or {}
    try:
        started = await bring_up(
            whole,
            wiring or Wiring(),
            hosts,
            lambda _spec, name: probes.get(name, Answers()),
            lambda event: events.append((event.instance, event.what)),
            RealClock(),
        )
    finally:
        up.events = events
    return started, events


async def test_attaches_to_what_runs_and_starts_the_rest_in_order() -> None:
    whole = stack(
        Instance(name="edge", host=SPEC, needs=("db",)),
        Instance(name="db", host=SPEC, ready=ready(), needs=("disk",)),
        Instance(name="disk", host=SPEC, ready=ready()),
    )
    hosts = {
        "edge": FakeHost("edge", running=False),
        "db": FakeHost("db", running=False),
        "disk": FakeHost("disk"),
    }
    started, events = await up(whole, hosts, {"disk": Answers(2), "db": Answers(1)})
    assert started == ("db", "edge")
    assert events == [
        ("disk", "found"),
        ("disk", "ready"),
        ("db", "started"),
        ("db", "ready"),
        ("edge", "started"),
        ("edge", "ready"),
    ]
    assert hosts["disk"].calls == []


async def test_one_that_never_gets_ready_is_named_and_what_was_started_is_ended() -> None:
    whole = stack(
        Instance(name="db", host=SPEC),
        Instance(name="old", host=SPEC),
        Instance(name="edge", host=SPEC, ready=ready(300_000_000)),
    )
    hosts = {"db": FakeHost("db", running=False), "old": FakeHost("old"), "edge": FakeHost("edge", running=False)}
    with pytest.raises(
        UnsafeError,
        match=r"instance edge: not ready within 300 ms; waited for `ready:` \(http\), last answer: status 503, expected 200",
    ):
        await up(whole, hosts, {"edge": Answers(10**9)})
    assert [name for name, host in hosts.items() if await host.find()] == ["old"]
    assert ("edge", "stopped") in up.events
    assert ("db", "stopped") in up.events


async def test_one_that_ends_at_once_is_not_waited_for() -> None:
    host = FakeHost("edge", running=False)

    class Ends:
        async def sample(self, timeout_ns: int) -> ProbeSample:
            host.vanish()
            return ProbeSample(ok=False, error="refused")

    with pytest.raises(UnsafeError, match="instance edge: ended before it was ready"):
        await up(stack(Instance(name="edge", host=SPEC, ready=ready(60_000_000_000))), {"edge": host}, {"edge": Ends()})


async def test_a_cancel_ends_what_was_started() -> None:
    host = FakeHost("edge", running=False)
    whole = stack(Instance(name="edge", host=SPEC, ready=ready()))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up(whole, {"edge": host}, {"edge": Answers(10**9)}))
        while await host.find() is None:
            await asyncio.sleep(0.01)
        task.cancel()
    assert task.cancelled()
    assert await host.find() is None


async def test_a_circle_of_needs_is_a_bug_not_a_hang() -> None:
    whole = stack(Instance(name="a", host=SPEC, needs=("b",)), Instance(name="b", host=SPEC, needs=("a",)))
    with pytest.raises(HarnessBug, match="a, b"):
        await up(whole, {})


@pytest.mark.live
@pytest.mark.slow
async def test_real_instances_are_ready_when_their_ports_accept(rig) -> None:
    for name in ("a", "b"):
        rig.function(name, "serve", "${port:http}", ports={"http": None})
    wiring = rig.wiring()
    hosts = {name: rig.host(name, wiring) for name in rig.instances}
    started, events = await up(rig.stack(), hosts, wiring=wiring)
    assert sorted(started) == ["a", "b"]
    for name in started:
        _, writer = await asyncio.open_connection("127.0.0.1", wiring.ports[name]["http"])
        writer.close()
        await writer.wait_closed()
    again, events = await up(rig.stack(), hosts, wiring=wiring)
    assert again == ()
    assert sorted(event for event in events if event[1] == "found") == [("a", "found"), ("b", "found")]


@pytest.mark.live
@pytest.mark.slow
async def test_the_end_of_the_log_of_one_that_died_is_shown(rig) -> None:
    rig.program("a")
    spec = HostSpec(kind="process", params={"process": ["sh", "-c", "echo cannot open '\033[31m'ledger; exit 1"]})
    rig.instances["a"] = replace(rig.instances["a"], host=spec, ready=ready())
    hosts = {"a": rig.host("a")}
    with pytest.raises(UnsafeError) as failed:
        await up(rig.stack(), hosts, {"a": Answers(10**9)})
    assert "instance a: ended before it was ready" in str(failed.value)
    assert "\n    cannot open  [31mledger" in str(failed.value)
    assert str(rig.folder / "logs" / "a.log") in str(failed.value)
