"""`make sample`: run region-kill on the healthy reference stack; its page is the committed sample report and README's picture."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from harness.cli.documents import load
from harness.cli.drilling import carry_out
from harness.model.verdict import Verdict
from harness.plan.make import make_plan
from harness.registry import catalog
from tests.pages import chromium, open_browser

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "reports" / "sample"
KEPT = ("report.html", "summary.md", "junit.xml")
PICTURE = ROOT / "docs" / "report.png"
WIDTH = 1100


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
    if chromium() is None:
        sys.stderr.write("no chromium on PATH: docs/report.png is of an older sample\n")
    else:
        asyncio.run(photograph())
    return 0


async def photograph() -> None:
    """Page one of the sample, whole, as README shows it."""
    async with open_browser() as browser:
        await browser.size(WIDTH)
        await browser.open(SAMPLE / "report.html")
        foot = await browser.value("document.getElementById('page-one').getBoundingClientRect().bottom")
        PICTURE.write_bytes(await browser.picture(WIDTH, round(foot) + 16))


if __name__ == "__main__":
    sys.exit(main())
