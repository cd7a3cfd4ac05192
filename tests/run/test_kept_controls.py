"""The project's controls are those of the day of the run, whatever the document says later."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import SpecError, StoreError
from harness.model.control import Control, Controls
from harness.run.controls import CONTROLS, keep_controls, kept_controls, project_controls
from harness.store.rundir import RunDir

TEXT = "version: 1\nkind: controls\nshipped: false\n"
TEXT += "controls: [{framework: House, edition: '3', control: R-7, asks: x, by: [data]}]\n"


def test_they_are_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert project_controls() is None
    Path(CONTROLS).parent.mkdir()
    Path(CONTROLS).write_text(TEXT)
    control = Control(framework="House", edition="3", control="R-7", asks="x", by=("data",))
    own = project_controls()
    assert own == Controls(controls=(control,), shipped=False)
    run_dir = RunDir.create(tmp_path / "reports", "day", datetime.now(UTC))
    keep_controls(run_dir, None)
    assert kept_controls(run_dir) is None
    keep_controls(run_dir, own)
    Path(CONTROLS).write_text("version: 1\n")
    with pytest.raises(SpecError):
        project_controls()
    assert kept_controls(run_dir) == own
    (run_dir.path / "inputs" / "controls.json").write_text("{")
    with pytest.raises(StoreError, match=r"controls\.json: cannot read"):
        kept_controls(run_dir)
