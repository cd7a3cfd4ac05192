"""For every test: no deadline on a property's example (how fast this machine is today is not what a property is about), and
the record of which cells of the table of faults were proven (`--cells FILE`); which tests may run side by side (`-n N`)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.lanes import Lanes, lane_of, seconds_of
from tests.pages import Browser, Reader, open_browser

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_CELL = "cell"


class Cells:
    """Gathers which cells were proven: every live test of a cell that ran has passed. One that was skipped proves nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passed: dict[tuple[str, str], bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hears of every test, whichever process ran it."""
        for name, cell in report.user_properties:
            if name == _CELL and (report.failed or (report.when == "call" and report.passed)):
                fault, where = cell
                self._passed[fault, where] = self._passed.get((fault, where), True) and report.passed

    def pytest_sessionfinish(self) -> None:
        """Write what was proven."""
        cells: dict[str, list[str]] = {}
        for (fault, where), passed in sorted(self._passed.items()):
            if passed:
                cells.setdefault(fault, []).append(where)
        self._path.write_text(json.dumps(cells, indent=1, sort_keys=True) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cells", metavar="FILE", help="write the cells of the table of faults that this run proved")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--cells")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Cells(Path(path)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Called with `-n N` only. (xdist's own groups are lost with pytest 9.)"""
    return Lanes(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slowest lanes first, so that none is left to run alone at the end."""
    weight: dict[str, int] = defaultdict(int)
    lanes = {}
    for item in items:
        path = item.path.relative_to(config.rootpath)
        lanes[item.nodeid] = lane = lane_of(path.as_posix())
        if any(item.get_closest_marker(name) for name in ("live", "slow", "browser")):
            weight[lane] += seconds_of(path.as_posix())
    items.sort(key=lambda item: -weight[lanes[item.nodeid]])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Each report carries the cells of its test: with lanes, another process than the one that ran it writes them down."""
    report = yield
    report.user_properties.extend((_CELL, mark.args) for mark in item.iter_markers("cell"))
    return report


@pytest.fixture(scope="session")
def read() -> type[Reader]:
    """The structure and the text of a page."""
    return Reader


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A fresh page in headless Chromium."""
    async with open_browser() as page:
        yield page
