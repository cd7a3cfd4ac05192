"""`make sample`: run region-kill on the healthy reference stack and keep its page as the committed sample report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.cli.documents import load
from harness.cli.drilling import carry_out
from harness.model.verdict import Verdict
from harness.plan.make import make_plan
from harness.registry import catalog

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "reports" / "sample"
KEPT = ("report.html", "summary.md", "junit.xml")


def main() -> int:
    """0 when the run passed and its outputs were kept; anything else leaves the old sample alone."""
    with tempfile.TemporaryDirectory() as folder:
        result, run_dir = carry_out(make_plan(load("region-kill", None, None).value, catalog()), Path(folder))
        if result.verdict is not Verdict.PASS:
            sys.stderr.write(f"the sample is a PASS; this run was {result.verdict}: {result.sentence}\n")
            return result.exit_code
        SAMPLE.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            text = (run_dir.path / name).read_text()
            (SAMPLE / name).write_text(text.replace(f"{ROOT}/", ""))  # a committed page names no folder of this machine
    return 0


if __name__ == "__main__":
    sys.exit(main())
