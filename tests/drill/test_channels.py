"""Where status updates go: apprise delivers them, an unknown service is refused before the drill, no address is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.drill.comms import Updates, require_channels
from harness.drill.record import Record
from harness.errors import UnsafeError
from harness.model.drill import Ask, Channel, CommsSpec, Drill
from tests.drill.small_drill import channel

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)  # apprise's own, on Python 3.11


def drill(*channels: Channel) -> Drill:
    return Drill(
        name="day", title="Day", owner="sre", source="day.yaml", base_dir="/", exercise="functional", people={},
        comms=CommsSpec(channels=channels), steps=(Ask(id="page", text="?", who="sre"),),
    )  # fmt: skip


def told(made: Drill, folder: Path) -> list[tuple[str, bool, str]]:
    """What is kept of the posts of one update."""
    record = Record(folder / "events.jsonl", frozenset())
    record.add("drill", mode="rehearse", wall_utc="2026-11-25T10:00:00+00:00", version="0")
    updates = Updates(made, folder, record, send=True)
    updates.write("investigating", "tool")
    updates.close()
    record.close()
    posts = [event.posted for event in record.events if event.posted is not None]
    return [(one.host, one.ok, one.error) for one in posts]


def test_apprise_delivers_and_keeps_no_address(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    with channel() as (url, got):
        service = url.replace("http://", "json://")
        require_channels(drill(Channel(apprise=service)))
        assert told(drill(Channel(apprise=service)), tmp_path) == [("apprise json", True, "")]
    (letter,) = got
    assert letter["title"] == "[DRILL] Day: investigating" and str(letter["message"]).startswith("[DRILL] ")
    assert "hook-of-the-shop" not in (tmp_path / "events.jsonl").read_text()


def test_what_apprise_cannot_deliver_is_on_record(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    with channel(status=500) as (url, _):
        posts = told(drill(Channel(apprise=url.replace("http://", "json://"))), tmp_path)
    assert posts == [("apprise json", False, "not delivered")]


def test_an_unknown_service_is_refused_before_the_drill() -> None:
    pytest.importorskip("apprise")
    with pytest.raises(
        UnsafeError, match=r"channels\[1\]: apprise knows no service for apprise carrier-pigeon$"
    ) as said:
        require_channels(
            drill(Channel(webhook="http://127.0.0.1:9/x"), Channel(apprise="carrier-pigeon://secret/token"))
        )
    assert "secret" not in str(said.value)


def test_without_the_extra_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(UnsafeError, match="needs apprise, which is not installed") as said:
        require_channels(drill(Channel(apprise="json://127.0.0.1:9/x")))
    assert "blackstart[notify]" in str(said.value.remedy)
    require_channels(drill(Channel(webhook="http://127.0.0.1:9/x")))
