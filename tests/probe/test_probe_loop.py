"""Sampling keeps to its schedule; signals are followed from now on, through new logs, restarts and silence."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessBug
from harness.model.ports import ProbeSample, StackSignal
from harness.model.stack import ProbeSpec, SignalSpec
from harness.model.wiring import Wiring
from harness.probe.loop import watch
from harness.probe.signals import HttpSignals, LogSignals, follow_source
from harness.testing.fakes import ManualClock, RealClock

SECOND_NS = 1_000_000_000


class Takes:
    """A probe whose samples take a given time of a driven clock."""

    def __init__(self, clock: ManualClock, *takes_ns: int) -> None:
        self.clock = clock
        self.takes_ns = list(takes_ns)

    async def sample(self, timeout_ns: int) -> ProbeSample:
        takes_ns = self.takes_ns.pop(0) if self.takes_ns else 0
        await self.clock.sleep_until(self.clock.now_ns() + takes_ns)
        return ProbeSample(ok=True, value=float(takes_ns))


async def watched(clock: ManualClock, probe, for_ns: int):
    events = []
    spec = ProbeSpec(name="lag", kind="http", params={}, every_ns=SECOND_NS)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch(spec, probe, clock, events.append))
        await clock.advance(for_ns)
        task.cancel()
    return events


async def test_slots_are_absolute_and_a_slow_sample_skips_those_it_ran_over() -> None:
    clock = ManualClock()
    events = await watched(clock, Takes(clock, 300_000_000, 2_500_000_000, 1_000_000_000, 0), 7 * SECOND_NS)
    assert [event.at_ns / SECOND_NS for event in events] == [0, 1, 4, 5, 6, 7]
    assert [event.took_ns for event in events][:3] == [300_000_000, 2_500_000_000, 1_000_000_000]
    assert {event.name for event in events} == {"lag"}


async def test_a_failed_sample_is_an_event_too() -> None:
    class Fails:
        async def sample(self, timeout_ns: int) -> ProbeSample:
            return ProbeSample(ok=False, error="refused")

    events = await watched(ManualClock(), Fails(), 2 * SECOND_NS)
    assert [(event.ok, event.value, event.error) for event in events] == [(False, None, "refused")] * 3


class Followed:
    """Collects signals, and waits for them."""

    def __init__(self) -> None:
        self.seen: list[StackSignal] = []

    def __call__(self, signal: StackSignal) -> None:
        self.seen.append(signal)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)


def log_signals(folder: Path, match: str, **more) -> LogSignals:
    spec = SignalSpec(**{"kind": "log", "source": "gw", "match": match, **more})
    source = follow_source(spec, str(folder), Wiring(), RealClock())
    assert isinstance(source, LogSignals)
    return source


async def test_log_lines_from_now_on_whole_and_through_replacement(tmp_path: Path) -> None:
    log = tmp_path / "gw.log"
    log.write_text("promoted epoch=1\n")
    followed = Followed()
    source = log_signals(tmp_path, r"promoted epoch=(?P<epoch>\d+)(?: by (?P<who>\w+))?", event="promoted")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.follow(followed))
        await asyncio.sleep(0)
        with log.open("a") as file:
            file.write("noise\npromoted epoch=2 by eu\npromoted epo")
        await followed.until(lambda: len(followed.seen) == 1)
        with log.open("a") as file:
            file.write("ch=3\n")
        await followed.until(lambda: len(followed.seen) == 2)
        fresh = tmp_path / "fresh"
        fresh.write_text("a longer line than the next log has\npromoted epoch=4\n")
        os.replace(fresh, log)
        await followed.until(lambda: len(followed.seen) == 3)
        log.write_text("promoted epoch=6\n")
        await followed.until(lambda: len(followed.seen) == 4)
        task.cancel()
    assert [(one.source, one.event, dict(one.fields)) for one in followed.seen] == [
        ("log:gw", "promoted", {"epoch": "2", "who": "eu"}),
        ("log:gw", "promoted", {"epoch": "3"}),
        ("log:gw", "promoted", {"epoch": "4"}),
        ("log:gw", "promoted", {"epoch": "6"}),
    ]


async def test_a_log_that_appears_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    followed = Followed()
    source = log_signals(tmp_path, r"executed (?P<idem>\S+)", kind="effects")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.follow(followed))
        await asyncio.sleep(0)
        (tmp_path / "gw.log").write_bytes(b"executed k-1\nexecuted k\xff2\x1b\n")
        await followed.until(lambda: len(followed.seen) == 2)
        task.cancel()
    assert [(one.event, one.fields["idem"]) for one in followed.seen] == [("effect", "k-1"), ("effect", "k\ufffd2")]


async def test_a_follower_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "gw.log"
    log.write_text("executed k-0\n")
    followed = Followed()
    source = log_signals(tmp_path, r"executed (?P<idem>\S+)", kind="effects")
    for count in (1, 2):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(source.follow(followed))
            await asyncio.sleep(0)
            if count == 1:
                with log.open("a") as file:
                    file.write("executed k-1\n")
            await followed.until(lambda: len(followed.seen) == count)  # noqa: B023 - awaited at once
            task.cancel()
        with log.open("a") as file:
            file.write("executed k-2\n")
    assert [one.fields["idem"] for one in followed.seen] == ["k-1", "k-2"]


def test_a_log_without_a_pattern_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(HarnessBug, match="has no `match`"):
        LogSignals(SignalSpec(kind="log", source="gw"), str(tmp_path), RealClock())


async def test_http_events_are_asked_for_since_the_last_and_earlier_ones_left_out() -> None:
    listed = [{"seq": 4, "event": "routed", "to": "eu"}]
    asked: list[str] = []
    broken = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
        body = b"not json" if broken else json.dumps(listed).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    followed = Followed()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.TaskGroup() as group:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"
        source = follow_source(SignalSpec(kind="http", source=url, event="routed"), "/", Wiring(), RealClock())
        assert isinstance(source, HttpSignals)
        task = group.create_task(source.follow(followed))
        await followed.until(lambda: len(asked) > 1)
        broken = True
        await followed.until(lambda: len(asked) > 3)
        broken = False
        listed += [
            {"seq": 6, "event": "other"},
            {"seq": 5, "event": "routed", "to": "us", "deep": {}, "n": 2},
            {"seq": 7},
        ]
        await followed.until(lambda: len(followed.seen) == 2)
        asked_then = len(asked)
        await followed.until(lambda: len(asked) > asked_then + 1)
        task.cancel()
    assert asked[0] == "/events"
    assert asked[1] == "/events?since=4"
    assert asked[-1] == "/events?since=7"
    assert [(one.source, one.event, dict(one.fields)) for one in followed.seen] == [
        (url, "routed", {"seq": "5", "event": "routed", "to": "us", "n": "2"}),
        (url, "routed", {"seq": "7"}),
    ]
