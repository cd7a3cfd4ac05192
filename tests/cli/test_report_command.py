"""`report` judges what is whole, and what a run logged is clean of secrets however the run ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import drilling
from harness.errors import StoreError, UnsafeError
from harness.run import able, lock, permit, subject
from harness.run.lock import register
from harness.store.rundir import RunDir


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKSTART_STATE", str(tmp_path / "state"))


def test_a_run_under_way_is_not_judged(tmp_path: Path) -> None:
    run_dir = RunDir.create(tmp_path, "x", datetime.now(UTC))
    run_dir.write("plan.json", "{}")
    with register(run_dir.run_id, run_dir.path, "shop"), pytest.raises(UnsafeError, match="is under way"):
        drilling.report("last", tmp_path)
    assert not run_dir.result.exists()


def test_logs_are_clean_of_secrets_when_the_run_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def conduct(plan: object, run_dir: RunDir, *more: object) -> None:
        (run_dir.logs / "gw.log").write_text("token s3cret-value\n")
        raise StoreError("no space left")

    monkeypatch.setattr(drilling, "_conduct", conduct)
    monkeypatch.setattr(able, "require_able", lambda plan, catalog: None)
    monkeypatch.setattr(permit, "permit", lambda plan, consent, now: ())
    monkeypatch.setattr(lock, "lock_keys", lambda stack, catalog: ())
    monkeypatch.setattr(subject, "subject_text", lambda plan: "{}")
    monkeypatch.setattr(subject, "subject_note", lambda plan: None)
    monkeypatch.setattr("harness.plan.make.dump_plan", lambda plan: "{}")
    origin = SimpleNamespace(secrets=frozenset({"s3cret-value"}), documents={})
    load = SimpleNamespace(crew=None)
    experiment = SimpleNamespace(name="x", stack=SimpleNamespace(name="shop"), origin=origin, load=load)
    plan = SimpleNamespace(experiment=experiment, longest_ns=1)
    with pytest.raises(StoreError):
        drilling.carry_out(plan, tmp_path / "reports")  # type: ignore[arg-type]
    (log,) = (tmp_path / "reports").glob("*/logs/gw.log")
    assert log.read_text() == "token ***\n"
