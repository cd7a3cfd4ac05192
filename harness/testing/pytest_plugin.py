"""pytest runs experiments: `pytest --blackstart experiments/region-kill.yaml`. Every experiment file is one test.

Loaded through the entry point `pytest11`; it does nothing without `--blackstart`. Each experiment runs in a process of its
own, so that an interrupted pytest still has everything put back.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ExperimentFile", "ExperimentItem"]

_KIND = re.compile(r"^kind:\s*experiment\s*$", re.MULTILINE)
_TIMELINE = re.compile(r"^timeline:", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("blackstart")
    group.addoption("--blackstart", action="store_true", help="collect Blackstart experiments (*.yaml) as tests")
    group.addoption("--blackstart-reports", default="reports", metavar="DIR", help="where their runs land")
    group.addoption("--blackstart-profile", metavar="NAME", help="a profile of the experiments")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ExperimentFile | None:
    """An experiment with a timeline; documents that others extend are not run."""
    if not parent.config.getoption("--blackstart") or file_path.suffix not in (".yaml", ".yml"):
        return None
    text = file_path.read_text(encoding="utf-8", errors="replace")
    if not _KIND.search(text) or not _TIMELINE.search(text):
        return None
    return ExperimentFile.from_parent(parent, path=file_path)


class ExperimentFile(pytest.File):
    """One experiment's document."""

    def collect(self) -> Iterable[pytest.Item]:
        yield ExperimentItem.from_parent(self, name=self.path.stem)


class ExperimentError(Exception):
    """The run did not pass. The message is what a person needs: verdict, why, where the report is."""


class ExperimentItem(pytest.Item):
    """Passes when the run's verdict is PASS; INCONCLUSIVE and REFUSED fail too: nothing is green without proof."""

    def runtest(self) -> None:
        config = self.config
        argv = [sys.executable, "-m", "harness", "run", str(self.path), "--json"]
        argv += ["--reports", config.getoption("--blackstart-reports")]
        profile = config.getoption("--blackstart-profile")
        done = subprocess.run([*argv, *(["--profile", profile] if profile else [])], capture_output=True, check=False)
        said = done.stderr.decode(errors="replace")
        self.add_report_section("call", "blackstart", said)
        if done.returncode == 0:
            return
        raise ExperimentError(_why(done.stdout, said, done.returncode))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message alone: our own stack trace tells nothing about theirs."""
        if isinstance(excinfo.value, ExperimentError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"experiment: {self.name}"


def _why(stdout: bytes, stderr: str, code: int) -> str:
    try:
        result = json.loads(stdout)
        lines = [f"{result['verdict']}: {result['sentence']}"]
    except (ValueError, KeyError, TypeError):
        return f"exit code {code}\n{stderr.strip()[-2000:]}"
    missed = (row for row in result.get("objectives", ()) if row["status"] != "met")
    lines += [
        f"  {row['status']}: {row['text']}: {row['observed']}{': ' + row['why'] if row['why'] else ''}"
        for row in missed
    ]
    report = re.search(r"^report: (.*)$", stderr, re.MULTILINE)
    return "\n".join([*lines, *([f"  report: {report[1]}"] if report else [])])
