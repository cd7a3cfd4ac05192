"""A large history costs memory for the columns that its measures read, not for all that it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.histories import make_run

pytestmark = pytest.mark.slow

SMALL, LARGE = 500_000, 2_500_000
MOST_BYTES = 220
"""For each op more, measured and rendered: a dozen columns of 8 bytes, and the values of all acknowledged writes and final reads as
texts. It takes 130 to 140; with every column held twice and all values numbered at once it was 360, with an object a write 800."""


def test_memory_grows_by_less_than_the_history_itself(tmp_path: Path) -> None:
    small, large = (told(make_run(tmp_path, count)) for count in (SMALL, LARGE))
    assert (small["rows"], large["rows"]) == (SMALL, LARGE)
    assert (large["gb"] - small["gb"]) * 1e9 / (LARGE - SMALL) < MOST_BYTES


def told(run: Path) -> dict[str, float]:
    """What measuring and rendering the run took, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.histories", "report", str(run)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
