"""`result.json`: canonical JSON of a result. Raw: nothing cleaned, nothing rounded."""

from __future__ import annotations

import json

from harness.errors import HarnessBug
from harness.model.result import Result

__all__ = ["dump"]


def dump(result: Result) -> str:
    """The result as JSON: keys sorted, one top-level member per line, ASCII only, a line break at the end.

    `Result.model_validate_json` gives the same result back. Raises HarnessBug on NaN or infinity: neither is a measure.
    """
    members = result.model_dump(mode="json", by_alias=True)
    try:
        lines = [
            f"{json.dumps(name)}: {json.dumps(members[name], sort_keys=True, allow_nan=False, separators=(',', ':'))}"
            for name in sorted(members)
        ]
    except ValueError as exc:
        raise HarnessBug(f"result.json cannot hold a number that is not finite: {exc}") from exc
    return "{\n" + ",\n".join(lines) + "\n}\n"
