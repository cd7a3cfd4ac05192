"""For every test: no deadline on a property's example (how fast this machine is today is not what a property is about), and
the record of which cells of the table of faults were proven (`--cells FILE`); which tests may run side by side (`-n N`)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.pages import Browser, Reader, open_browser

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_CELL = "cell"

_SHARED = {
    "engine": (
        "tests/engine/*",
        "tests/run/test_killing.py",
        "tests/run/test_residue.py",
        "tests/faults/test_cut.py",
        "tests/faults/test_nft.py",
    )
}
"""Lane -> the files that must not run side by side: they share the machine's container engine or the kernel's tables."""


_WHOLE = ("tests/run/*", "tests/experiments/*", "tests/cli/*", "tests/test_wheel.py")
"""Where a live test is a whole run, of half a minute."""


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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lanes for `-n N --dist loadgroup`: a file is one lane's, and so are those that share the engine; the slowest go first."""
    weight: dict[str, int] = defaultdict(int)
    lanes = {}
    for item in items:
        path = item.path.relative_to(config.rootpath)
        lane = next(
            (name for name, files in _SHARED.items() if any(path.match(each) for each in files)), path.as_posix()
        )
        item.add_marker(pytest.mark.xdist_group(lane))
        lanes[item.nodeid] = lane
        seconds = 10 if any(path.match(each) for each in _WHOLE) else 1
        weight[lane] += seconds * any(item.get_closest_marker(name) for name in ("live", "slow", "browser"))
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
