"""Whole runs on a machine that does other things besides: again only when the run itself says that it was too busy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

from harness.cli.demo import too_busy

__all__ = ["paced"]

_TRIES = 3


def paced(run: Callable[[], CompletedProcess[str]]) -> tuple[Any, CompletedProcess[str]]:
    """The result of a `run --json` and the process. The reason of each repetition is printed; the last try stands as it is."""
    for left in reversed(range(_TRIES)):
        done = run()
        result = json.loads(done.stdout)
        busy = too_busy(reason["text"] for reason in result["reasons"])
        if not busy or not left:
            break
        sys.stderr.write(f"once more: {result['verdict']}, {busy}\n")
    return result, done
