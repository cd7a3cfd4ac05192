"""What a verdict rests on besides the history: the undo journal."""

from __future__ import annotations

import importlib.util
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.run.journal import Closed, Intent, Journal, Opened, Reverted
from harness.run.outcome import journaled_safety
from harness.store.rundir import RunDir

_spec = importlib.util.spec_from_file_location("scene", Path(__file__).parents[1] / "measure" / "scene.py")
assert _spec is not None and _spec.loader is not None
scene = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("scene", scene)
_spec.loader.exec_module(scene)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path, "kill", datetime(2026, 1, 1, tzinfo=UTC))


def journal(run_dir: RunDir, *records: Reverted | Closed) -> None:
    """Two targets of one fault, and what became of them."""
    opened = Opened(run_id="r", pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring())
    written = Journal(run_dir.undo)
    written.append(opened)
    for name in ("gw-eu", "engine-eu"):
        target = Target(kind="instance", name=name)
        written.append(
            Intent(
                id=f"eu-down@{name}", fault="eu-down", kind="kill", params={}, target=target, state={}, deadline_ns=9
            )
        )
    for record in records:
        written.append(record)
    written.close()


def safety(run_dir: RunDir):
    return journaled_safety(run_dir, scene.history_of([]), scene.plan_of())


def test_without_a_journal_the_events_tell(run_dir: RunDir) -> None:
    told = safety(run_dir)
    assert (told.journaled, told.reverted, told.verified, told.reaper) == (1, 1, 1, "not needed")


def test_the_journal_counts_every_target(run_dir: RunDir) -> None:
    journal(
        run_dir,
        Reverted(id="eu-down@gw-eu", verified=True, by="conductor", what="answers"),
        Reverted(id="eu-down@engine-eu", verified=True, by="conductor", what="answers"),
        Closed(by="conductor"),
    )
    told = safety(run_dir)
    assert (told.journaled, told.reverted, told.verified, told.unresolved) == (2, 2, 2, ())
    assert told.reaper == "not needed"


def test_what_the_journal_leaves_open_is_named(run_dir: RunDir) -> None:
    journal(run_dir, Reverted(id="eu-down@gw-eu", verified=False, by="conductor", what="still refused"))
    told = safety(run_dir)
    assert (told.journaled, told.reverted, told.verified) == (2, 1, 0)
    assert told.unresolved == ("eu-down@engine-eu: never reverted", "eu-down@gw-eu: still refused")


def test_what_the_reaper_put_back_is_said(run_dir: RunDir) -> None:
    journal(
        run_dir,
        *(Reverted(id=f"eu-down@{name}", verified=True, by="reaper", what="") for name in ("gw-eu", "engine-eu")),
        Closed(by="reaper"),
    )
    assert safety(run_dir).reaper == "acted: put back 2"
