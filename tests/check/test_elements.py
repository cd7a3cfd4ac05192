"""Sets and queues from bare calls: what became of every element, and how late the late ones were seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from harness.check.elements import set_full, total_queue
from harness.cli.app import app
from harness.history.calls import FOREVER, UNKNOWN, Call


def call(n: int, f: str, begin: int, end: int, value: object = None, out: Any = UNKNOWN) -> Call:
    return Call(id=n, f=f, value=value, out=out, call_ns=begin, ret_ns=end)


SET = [
    call(1, "add", 0, 10, "stable"),
    call(2, "add", 0, 10, "late"),
    call(3, "add", 0, 20, "gone"),
    call(4, "add", 0, FOREVER, "unsure"),
    call(5, "read", 30, 35, out=("stable", "gone")),
    call(6, "read", 70, 75, out=("stable",)),
    call(7, "read", 90, 95, out=("stable", "late")),
    call(8, "add", 100, 110, "last"),
]


def test_every_element_has_one_fate_and_stale_ones_their_latency() -> None:
    tally = set_full(SET)
    assert tally.outcome == {
        "sent": 5, "stable": 1, "lost": 1, "stale": 1, "duplicated": 0, "phantom": 0, "never_read": 2,
        "stable_p50_ns": 0, "stable_max_ns": 60, "stale_p50_ns": 60, "stale_max_ns": 60, "lost_p50_ns": 10, "lost_max_ns": 10,
    }  # fmt: skip
    assert tally.findings == {"lost": [("gone", 7)], "stale": [("late", 6)]}
    # Missed last by the read that began at 70, known since 10.
    assert tally.stale_ns == [60]
    # Shown last by the read that began at 30, known since 20.
    assert tally.lost_ns == [10]


def test_twice_in_one_read_and_from_nowhere() -> None:
    tally = set_full([call(1, "add", 0, 1, "a"), call(2, "read", 2, 3, out=("a", "a", "x"))])
    assert (tally.outcome["duplicated"], tally.outcome["phantom"], tally.outcome["stable"]) == (1, 1, 1)
    assert "stale_max_ns" not in tally.outcome
    assert tally.outcome["stable_max_ns"] == 0


def test_what_no_read_ever_showed_was_lost_at_once() -> None:
    tally = set_full([call(1, "add", 0, 10, "a"), call(2, "add", 0, 10, "b"), call(3, "read", 20, 25, out=("b",))])
    assert (tally.outcome["lost"], tally.lost_ns) == (1, [0])


def test_a_queue_tells_the_fates_of_its_messages() -> None:
    tally = total_queue(
        [
            call(1, "send", 0, 1, "a"),
            call(2, "send", 0, 1, "b"),
            call(3, "send", 0, FOREVER, "c"),
            call(4, "receive", 2, 3, out="a"),
            call(5, "receive", 4, 5, out="a"),
            call(6, "receive", 6, 7, out="z"),
        ]
    )
    found = tally.outcome
    assert (found["sent"], found["lost"], found["duplicated"], found["phantom"]) == (3, 1, 1, 1)


def test_the_command_shows_them(tmp_path: Path) -> None:
    rows = []
    for at, (kind, process, f, value) in enumerate(
        [
            ("invoke", 0, "add", 1), ("ok", 0, "add", 1), ("invoke", 1, "read", None), ("ok", 1, "read", []),
            ("invoke", 1, "read", None), ("ok", 1, "read", [1]),
        ]
    ):  # fmt: skip
        rows.append(json.dumps({"type": kind, "process": process, "f": f, "value": value, "time": at * 1_000_000}))
    path = tmp_path / "h.jsonl"
    path.write_text("\n".join(rows))
    said = CliRunner().invoke(app, ["check", str(path), "--model", "set-full"])
    assert said.exit_code == 1 and "sent 1, stable 0, lost 0, stale 1" in said.stdout
    assert "stale max 1ms" in said.stdout.replace("1 ms", "1ms")
    told = json.loads(CliRunner().invoke(app, ["check", str(path), "--model", "set-full", "--json"]).stdout)
    assert told["outcome"]["stale_max_ns"] == 1_000_000
