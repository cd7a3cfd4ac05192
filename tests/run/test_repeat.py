from __future__ import annotations

import pytest

from harness.model.verdict import Verdict
from harness.run.repeat import is_flaky, overall, seeds

PASS, FAIL, ABORTED, DIRTY = Verdict.PASS, Verdict.FAIL, Verdict.ABORTED, Verdict.DIRTY
INCONCLUSIVE, REFUSED = Verdict.INCONCLUSIVE, Verdict.REFUSED


def test_one_run_keeps_the_seed_and_repeats_differ_reproducibly():
    assert seeds(7, 1) == (7,)
    drawn = seeds(7, 50)
    assert len(set(drawn)) == 50
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert seeds(7, 3) == drawn[:3]
    assert seeds(8, 3) != drawn[:3]


@pytest.mark.parametrize(
    ("verdicts", "require", "expected"),
    [
        ([PASS, PASS], "all", PASS),
        ([PASS, FAIL], "all", FAIL),
        ([FAIL, PASS], "all", FAIL),
        ([PASS, INCONCLUSIVE], "all", INCONCLUSIVE),
        ([REFUSED, INCONCLUSIVE], "all", REFUSED),
        ([PASS, FAIL], "any", PASS),
        ([FAIL, INCONCLUSIVE], "any", FAIL),
        ([PASS, DIRTY], "any", DIRTY),
        ([PASS, ABORTED], "any", ABORTED),
        ([], "all", INCONCLUSIVE),
        ([], "any", INCONCLUSIVE),
    ],
)
def test_what_several_runs_come_to(verdicts, require, expected):
    assert overall(verdicts, require) is expected


def test_a_failure_and_a_pass_are_flaky():
    assert is_flaky([FAIL, PASS])
    assert not is_flaky([PASS, INCONCLUSIVE])
    assert not is_flaky([FAIL, FAIL])
