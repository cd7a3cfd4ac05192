"""For every test: no deadline on a property's example (how fast this machine is today is not what a property is about), and
the record of which cells of the table of faults were proven: `--cells FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_OUTCOMES = pytest.StashKey[dict[tuple[str, str], bool]]()
"""(fault, where) -> whether every live test of that cell that ran has passed. One that was skipped proves nothing."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cells", metavar="FILE", help="write the cells of the table of faults that this run proved")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OUTCOMES] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    outcomes = item.config.stash[_OUTCOMES]
    for mark in item.iter_markers("cell"):
        if report.failed or (report.when == "call" and report.passed):
            outcomes[mark.args] = outcomes.get(mark.args, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--cells")
    if path is None:
        return
    cells: dict[str, list[str]] = {}
    for (fault, where), passed in sorted(session.config.stash[_OUTCOMES].items()):
        if passed:
            cells.setdefault(fault, []).append(where)
    Path(path).write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n")
