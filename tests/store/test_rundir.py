from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import SpecError, StoreError
from harness.store.rundir import RunDir, find_run

WHEN = datetime(2026, 11, 23, 10, 0, 2, tzinfo=UTC)


def test_two_runs_of_one_second_get_two_directories(tmp_path: Path) -> None:
    one, two = (RunDir.create(tmp_path, "region-kill", WHEN) for _ in range(2))
    assert one.path != two.path
    assert one.run_id.startswith("20261123T100002Z-region-kill-")
    assert one.ops.is_dir()


def test_the_manifest_notices_change_loss_and_addition(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "x", WHEN)
    run.write("result.json", "{}")
    run.write("summary.md", "fine")
    run.seal()
    assert run.verify() == ()
    run.write("result.json", '{"verdict": "PASS"}')
    (run.path / "summary.md").unlink()
    run.write("extra.txt", "?")
    assert run.verify() == ("missing: summary.md", "added: extra.txt", "changed: result.json")


def test_verify_without_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no readable manifest"):
        RunDir.create(tmp_path, "x", WHEN).verify()


def test_runs_are_found_by_last_id_and_path(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "x", WHEN)
    run.write("plan.json", "{}")
    assert find_run("last", tmp_path) == run
    assert find_run(run.run_id[-4:], tmp_path) == run
    assert find_run(str(run.path), tmp_path / "elsewhere") == run
    with pytest.raises(SpecError, match="no run 'nope'"):
        find_run("nope", tmp_path)
    with pytest.raises(SpecError, match="did you mean `last`"):
        find_run("latest", tmp_path)
