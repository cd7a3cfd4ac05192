"""Approvals: a file beside the drill's run directories, bound to the plan's hash. Identity is recorded, not verified."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from harness.errors import StoreError, UnsafeError
from harness.model.drill_result import Approval
from harness.store.whole import write_whole

__all__ = ["approvals_of", "approve", "require_approvals"]


def _path(reports: Path, drill: str) -> Path:
    return reports / f"{drill}.approvals.json"


def approvals_of(reports: Path, drill: str, plan_hash: str | None = None) -> tuple[Approval, ...]:
    """The approvals of a drill, oldest first, of one plan if given. Raises StoreError when the file is damaged."""
    path = _path(reports, drill)
    if not path.is_file():
        return ()
    try:
        found = tuple(Approval.model_validate(one) for one in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise StoreError(f"{path}: not a list of approvals: {exc}") from exc
    return tuple(one for one in found if plan_hash is None or one.plan_hash == plan_hash)


def approve(reports: Path, drill: str, approval: Approval) -> tuple[Approval, ...]:
    """Record an approval; the approvals of that plan so far. A second one by the same name changes nothing."""
    known = approvals_of(reports, drill)
    if not any((one.by, one.plan_hash) == (approval.by, approval.plan_hash) for one in known):
        known = (*known, approval)
        text = json.dumps([one.model_dump() for one in known], indent=1) + "\n"
        write_whole(_path(reports, drill), text, make_folder=True)
    return tuple(one for one in known if one.plan_hash == approval.plan_hash)


def require_approvals(given: tuple[Approval, ...], required: int, plan_hash: str, drill: str) -> None:
    """Raises UnsafeError when fewer people than required approved exactly this plan."""
    people = {one.by for one in given}
    if len(people) < required:
        raise UnsafeError(
            f"plan {plan_hash[:12]} of {drill} is approved by {len(people)} of {required} people",
            remedy=f"have it read and approved: blackstart drill approve {drill} --by NAME",
        )


def now_utc(moment: datetime) -> str:
    """An instant as records keep it."""
    return moment.isoformat(timespec="seconds")
