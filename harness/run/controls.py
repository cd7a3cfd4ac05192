"""The project's own controls, kept with a run: read once, before anything begins, so that its report can be made again."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from harness.errors import StoreError
from harness.model.control import Controls
from harness.spec.controls import load_controls
from harness.store.rundir import RunDir

__all__ = ["CONTROLS", "keep_controls", "kept_controls", "project_controls"]

CONTROLS = "drills/controls.yaml"
"""Where a project has the document."""
_KEPT = "inputs/controls.json"
_ADAPTER = TypeAdapter(Controls)


def project_controls() -> Controls | None:
    """The mapping of the project in this folder; None without one. Raises SpecError."""
    return load_controls(Path(CONTROLS)) if Path(CONTROLS).is_file() else None


def keep_controls(run_dir: RunDir, own: Controls | None) -> None:
    """Write it beside the run's other inputs. Raises StoreError."""
    if own is not None:
        run_dir.write(_KEPT, _ADAPTER.dump_json(own, indent=1).decode() + "\n")


def kept_controls(run_dir: RunDir) -> Controls | None:
    """The mapping as it was when the run began. Raises StoreError when it cannot be read."""
    path = run_dir.path / _KEPT
    try:
        return _ADAPTER.validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError) as exc:
        raise StoreError(f"{path}: cannot read: {exc}") from exc
