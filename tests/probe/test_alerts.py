"""Alerts by real HTTP posts, in the very JSON that Alertmanager 0.27 sends."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from harness.errors import UnsafeError
from harness.model.ports import StackSignal
from harness.probe.alerts import AlertReceiver
from tests.ports import free_port


class Ticks:
    """A clock that counts how often it was asked, in seconds."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def origin_ns(self) -> int:
        return 0

    def now_ns(self) -> int:
        self.asked += 1
        return self.asked * 1_000_000_000

    async def sleep_until(self, at_ns: int) -> None:
        raise NotImplementedError


def post_of(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="RegionDown"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "blackstart",
        "groupLabels": {"alertname": "RegionDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    }


def alert(status: str = "firing", region: str = "eu", starts: str = "1999-01-01T00:00:00Z") -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "RegionDown", "region": region, "severity": "page"},
        "annotations": {"summary": "The region is down"},
        "startsAt": starts,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": f"f-{region}",
    }


def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}/alerts"


class Received:
    def __init__(self) -> None:
        self.url = free_url()
        self.seen: list[StackSignal] = []
        self.receiver = AlertReceiver(self.url, Ticks(), self.seen.append)

    async def post(self, body: object, path: str = "") -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with aiohttp.ClientSession() as session, session.post(self.url + path, data=io.BytesIO(data)) as reply:
            return reply.status, await reply.text()


@pytest.fixture
async def received() -> AsyncIterator[Received]:
    made = Received()
    await made.receiver.open()
    yield made
    await made.receiver.close()


async def test_each_change_is_an_event_at_our_own_time_and_repetitions_are_counted(received: Received) -> None:
    assert await received.post(post_of(alert())) == (200, "ok\n")
    await received.post(post_of(alert()))  # Alertmanager's repeat_interval
    await received.post(post_of(alert(), alert(region="us")))
    await received.post(post_of(alert("resolved")))
    assert [
        (one.at_ns // 10**9, one.event, one.fields["status"], one.fields["label.region"]) for one in received.seen
    ] == [
        (1, "RegionDown", "firing", "eu"),
        (3, "RegionDown", "firing", "us"),
        (4, "RegionDown", "resolved", "eu"),
    ]
    assert received.seen[0].source == "alerts"
    assert received.seen[0].fields == {
        "alertname": "RegionDown",
        "status": "firing",
        "fingerprint": "f-eu",
        "starts_at": "1999-01-01T00:00:00Z",
        "label.region": "eu",
        "label.severity": "page",
    }
    assert (received.receiver.posts, received.receiver.refused, received.receiver.kept) == (4, 0, 3)


async def test_a_new_firing_of_one_that_was_never_said_to_be_resolved_is_an_event(received: Received) -> None:
    await received.post(post_of(alert()))
    await received.post(post_of(alert(starts="2026-01-01T00:00:00Z")), path="/other")
    assert [one.fields["status"] for one in received.seen] == ["firing", "firing"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"alerts!", "Expecting value"),
        ([], "expected an object with a list `alerts`"),
        ({"alerts": [{"status": "firing"}]}, "expected every alert to have `labels` with an `alertname`"),
        (post_of(alert("pending")), "expected status firing or resolved, got 'pending'"),
        (post_of(alert(), {"labels": {"alertname": 5}}), "expected every alert to have `labels` with an `alertname`"),
    ],
)
async def test_a_post_in_another_form_is_refused_whole(received: Received, body: object, said: str) -> None:
    status, text = await received.post(body)
    assert (status, received.seen) == (400, [])
    assert said in text
    assert (received.receiver.posts, received.receiver.refused) == (1, 1)


async def test_hostile_text_is_made_harmless_and_a_flood_is_bounded(received: Received) -> None:
    hostile = alert()
    hostile["labels"]["note"] = "a\x1b[31m\nb" + "x" * 5_000
    hostile["labels"] |= {f"label-{n:03}": "v" for n in range(100)}
    await received.post(post_of(hostile))
    fields = received.seen[0].fields
    assert len(fields) == 4 + 32
    assert all(text.isprintable() and len(text) <= 1000 for text in fields.values())
    status, _ = await received.post(b" " * 2_000_000)
    assert status == 413
    for chunk in range(0, 12_000, 2_000):
        await received.post(post_of(*(alert(region=f"{chunk + n}") | {"annotations": {}} for n in range(2_000))))
    assert (received.receiver.kept, received.receiver.left_out) == (10_000, 2_001)


async def test_a_place_that_is_taken_is_a_refusal_and_nothing_is_left_open() -> None:
    first, second = Received(), Received()
    await first.receiver.open()
    taken = AlertReceiver(first.url, Ticks(), second.seen.append)
    with pytest.raises(UnsafeError, match="cannot listen at"):
        await taken.open()
    await taken.close()
    await first.receiver.close()
    await first.receiver.close()
    again = AlertReceiver(first.url, Ticks(), second.seen.append)
    await again.open()
    await again.close()
