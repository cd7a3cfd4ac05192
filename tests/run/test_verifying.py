"""The user's own checks: what they print is their verdict; whatever else they do is unknown, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import StoreError
from harness.model.experiment import CheckSpec
from harness.model.result import CheckResult
from harness.run.verifying import verified
from harness.store.rundir import RunDir

VALID = """#!/bin/sh
printf '{"verdict": "%s", "sentence": "%s reads", "counts": {"strays": 0}}' valid "$(ls "$1" | wc -l)"
"""
INVALID = """#!/bin/sh
test "$BLACKSTART_RUN" = "$1" || exit 9
echo '{"verdict": "invalid", "sentence": "one stray", "evidence": [{"op": 7, "at_ns": 5, "text": "stray"}]}'
"""


def outcome(tmp_path: Path, script: str, run_dir: RunDir | None = None, **params: Any) -> CheckResult:
    program = tmp_path / "verify.sh"
    program.write_text(script)
    program.chmod(0o755)
    argv = ["./verify.sh", "${run:dir}"]
    spec = CheckSpec(name="residency", kind="exec", params={"exec": argv, **params})
    plan: Any = SimpleNamespace(experiment=SimpleNamespace(checks=(spec,), base_dir=str(tmp_path)))
    return verified(plan, run_dir or RunDir.create(tmp_path / "reports", "x", datetime.now(UTC)))["residency"]


def test_a_run_judged_again_asks_no_program_twice(tmp_path: Path) -> None:
    run_dir = RunDir.create(tmp_path / "reports", "x", datetime.now(UTC))
    assert outcome(tmp_path, "#!/bin/sh\nexit 3\n", run_dir).verdict == "unknown", "asked again: it may do better"
    first = outcome(tmp_path, INVALID, run_dir)
    assert outcome(tmp_path, VALID, run_dir) == first
    (run_dir.path / "answers.json").write_text("{")
    with pytest.raises(StoreError, match=r"answers\.json: damaged"):
        outcome(tmp_path, VALID, run_dir)


def test_a_verdict_is_taken_over_with_its_counts_and_evidence(tmp_path: Path) -> None:
    valid = outcome(tmp_path, VALID)
    assert (valid.verdict, valid.counts) == ("valid", {"strays": 0})
    invalid = outcome(tmp_path, INVALID)
    assert (invalid.verdict, invalid.sentence, [row.op for row in invalid.evidence]) == ("invalid", "one stray", [7])


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\necho no such bucket >&2; exit 4\n", "ended with 4: no such bucket"),
        ("#!/bin/sh\necho fine\n", "printed no verdict: the output: Invalid JSON"),
        (
            """#!/bin/sh\necho '{"verdict": "fine", "sentence": "x"}'\n""",
            "printed no verdict: verdict: Input should be",
        ),
        ("#!/no/such/interpreter\n", "cannot run"),
    ],
)
def test_whatever_is_no_verdict_is_unknown(tmp_path: Path, script: str, why: str) -> None:
    found = outcome(tmp_path, script)
    assert found.verdict == "unknown"
    assert why in (found.why_unknown or "")


def test_a_program_that_does_not_end_is_killed_and_unknown(tmp_path: Path) -> None:
    found = outcome(tmp_path, "#!/bin/sh\nexec sleep 30\n", timeout="50ms")
    assert (found.verdict, (found.why_unknown or "").endswith("not done in 0.05 s")) == ("unknown", True)
