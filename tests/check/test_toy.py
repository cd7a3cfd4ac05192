"""The toy store, a part of it (`python -m tests.check.toy` does the whole): every bug is found by its check, health by none."""

from __future__ import annotations

import pytest

from tests.check.toy import BUGS, findings, recall
from tests.check.toy_store import simulate


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_does_harm_is_found_by_its_check(bug: str) -> None:
    found = recall(bug, range(200, 206))
    assert found.holds and found.found == found.bitten, found


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert list(findings(range(2000, 2016))) == []


def test_the_same_seed_gives_the_same_run() -> None:
    one, two = (simulate(7, "dual-leader") for _ in range(2))
    assert one.history.ops.arrow.equals(two.history.ops.arrow)
    assert one.bites == two.bites > 0
