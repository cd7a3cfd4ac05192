"""Shipped experiments against real servers: run as a user would, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BLACKSTART = Path(sys.executable).with_name("blackstart")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
BUSY = frozenset({"untrusted-load"})
"""Why a run on an overloaded machine proves nothing."""
AGAIN = BUSY | {"no-exposure"}
"""Why a run gets a second try: the load was late, or a region that stood still for a moment had lost the lead before the fault."""
SHORT = ("load.warmup=1s", "steady_state.for=3s")
"""What a test spares of the calm before the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A run that ended: its exit code, its result, its directory."""

    code: int
    result: dict[str, Any]
    path: Path
    talk: str

    def expect(self, verdict: str) -> None:
        """The run came out like this. A machine too busy to pace the load proves nothing, and must have said so."""
        late = [row["text"] for row in self.result["reasons"] if row["code"] in BUSY]
        if late and self.result["verdict"] == "INCONCLUSIVE":
            pytest.skip(f"this machine was too busy to prove anything: {late[0]}")
        assert self.result["verdict"] == verdict, (self.result["sentence"], self.result["reasons"], self.talk)
        assert self.code == self.result["exit_code"]


Drill = Callable[..., Done]


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    """Runs a shipped experiment with `--set` assignments, its state and reports in the test's own folder."""

    def run(name: str, *sets: str, limit_s: float = 220) -> Done:
        done = once(name, sets, limit_s)
        unproven = {row["code"] for row in done.result["reasons"]}
        return once(name, sets, limit_s) if done.result["verdict"] == "INCONCLUSIVE" and unproven & AGAIN else done

    def once(name: str, sets: tuple[str, ...], limit_s: float) -> Done:
        before = set((tmp_path / "reports").glob("2*"))
        ended = subprocess.run(
            [BLACKSTART, "run", EXPERIMENTS / f"{name}.yaml", "--json", "--reports", tmp_path / "reports"]
            + [word for one in (*SHORT, *sets) for word in ("--set", one)],
            cwd=tmp_path,
            env=os.environ | {"BLACKSTART_STATE": str(tmp_path / "home"), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        assert ended.stdout, ended.stderr
        (path,) = set((tmp_path / "reports").glob("2*")) - before
        return Done(code=ended.returncode, result=json.loads(ended.stdout), path=path, talk=ended.stderr)

    return run
