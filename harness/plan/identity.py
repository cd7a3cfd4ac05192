"""What makes two runs tests of the same thing: a digest of the plan less what the seed draws and less mere words. Pure."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.model.plan import Plan
from harness.plan.make import canonical

__all__ = ["comparable_key"]

_WORDS = (
    "seed",
    "runs",
    "title",
    "hypothesis",
    "owner",
    "tags",
    "source",
    "base_dir",
    "profile",
    "covers",
    "blackouts",
)
_LIMITS = ("objectives", "abort_when", "budget_left")


def comparable_key(plan: Plan) -> str:
    """SHA-256 (hex) of all that a measured number depends on: stack, load, timeline, rules, checks; not the limits.

    Runs with another seed have the same, and so has the same project in another folder; a moved line, a new title or owner
    changes nothing. Objectives are left out: two runs whose numbers can be compared may have been judged by different ones.
    """
    experiment: dict[str, Any] = canonical(plan)["experiment"]
    kept = {key: value for key, value in experiment.items() if key not in (*_WORDS, *_LIMITS)}
    kept["stack"] = {key: value for key, value in experiment["stack"].items() if key not in ("blackouts", "base_dir")}
    essence = {key: _moved(value, str(Path(plan.experiment.base_dir).parent)) for key, value in kept.items()}
    text = json.dumps(essence, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _moved(value: Any, root: str) -> Any:
    """The value with what lies beside the experiments' folder, as `../ops/promote`, told relative to it."""
    if root in ("/", "."):
        return value
    if isinstance(value, str):
        return value.replace(root, "..")
    if isinstance(value, dict):
        return {key: _moved(inner, root) for key, inner in value.items()}
    return [_moved(inner, root) for inner in value] if isinstance(value, list) else value
