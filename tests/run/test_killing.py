"""B1, B2 and B24, on every commit: twenty of the rounds of `python -m tests.killing`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.timeout(400)
def test_twenty_deaths_of_the_conductor_leave_nothing() -> None:
    command = [sys.executable, "-m", "tests.killing", "--count", "20", "--seed", "20", "--limit", "240", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=390)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == [], done.stderr
    assert done.returncode == 0, done.stderr
    assert told["kill"]["with faults standing"] >= 4
    assert told["both"]["rounds"] == 2
    assert told["stop"]["rounds"] == 1
