"""The small-sample rules: what is called a change, what is not, and what counts whatever the numbers say."""

from __future__ import annotations

import pytest

from harness.drill.compare import compare, shown, spread
from harness.drill.samples import Figure, sample_of
from harness.model.verdict import Verdict

OLD = (4.0, 4.1, 4.2, 4.3, 4.4)


def both(sample, old, new):
    before = [sample(day, value) for day, value in enumerate(old, start=1)]
    after = [sample(day, value) for day, value in enumerate(new, start=len(old) + 1)]
    return compare(before, after)


@pytest.mark.parametrize(
    ("old", "new", "finding", "p"),
    [
        (OLD, (5.2, 5.3, 5.4), "worse", 1 / 56),
        (OLD, (3.0, 3.1, 3.2), "better", 1 / 56),
        (OLD, (4.6, 4.7, 4.8), "no change", 1 / 56),  # surely longer, but by 12 % only
        (OLD, (4.15, 9.0, 9.5), "no change", 7 / 56),  # twice as long, but not surely
        (OLD, (4.2, 4.2, 4.2), "no change", None),
        (OLD[:4], (5.2, 5.3, 5.4), "not enough runs", None),
        (OLD, (4.3, 4.5), "not enough runs", None),
        (OLD, (9.0,), "suspected", None),
        (OLD, (4.5,), "not enough runs", None),  # the worst so far, by no more than luck allows
        ((0.0,) * 5, (1.0, 1.1, 1.2), "worse", 1 / 56),  # from never to once
    ],
)
def test_what_is_called_a_change(sample, old, new, finding, p):
    (measure,) = both(sample, old, new).measures
    assert measure.finding == finding
    if p is not None:
        assert measure.p == pytest.approx(p)


def test_a_shift_within_the_resolution_is_no_change(sample):
    coarse = [
        sample(day, None, figures={"recovery_time": Figure(value=v, unit="s", resolution=1.0)})
        for day, v in enumerate((1.0, 1.1, 1.2, 1.3, 1.4, 2.0, 2.1, 2.2), start=1)
    ]
    (measure,) = compare(coarse[:5], coarse[5:]).measures
    assert (measure.finding, round(measure.shift or 0, 6)) == ("no change", 0.9)
    assert measure.ratio == pytest.approx(1.75, abs=0.01)


def test_too_few_runs_are_said_with_numbers(sample):
    (measure,) = both(sample, OLD[:2], (9.0,)).measures
    assert measure.words == "not enough runs to compare (have 2 old and 1 new, need 5 and 3)"


def test_a_limit_counts_whatever_the_numbers_say(sample):
    new = [sample(9, 4.0, verdict=Verdict.FAIL, missed=("data_loss = 0",)), sample(10, 4.1)]
    result = compare([sample(1), sample(2)], new)
    assert (result.verdict, result.missed, result.exit_code(block=False)) == (Verdict.FAIL, ("data_loss = 0",), 1)
    assert compare([], [sample(3)]).exit_code(block=True) == 0
    assert compare([], []).exit_code(block=False) == 3, "nothing was proven"


def test_a_regression_blocks_only_on_request(sample):
    result = both(sample, OLD, (5.2, 5.3, 5.4))
    assert result.worse == ("recovery_time",)
    assert (result.exit_code(block=False), result.exit_code(block=True)) == (0, 1)


def test_unlike_runs_are_left_out_with_why(sample):
    old = [
        sample(1, verdict=Verdict.INCONCLUSIVE),
        sample(2, environment="prod"),
        sample(3, stack="shop"),
        sample(4, key="b" * 64),
        sample(5, name="surge"),
        sample(6),
    ]
    result = compare(old, [sample(7)])
    assert result.old == (old[5].run_id,)
    assert [one.why for one in result.left_out] == [
        "INCONCLUSIVE: its numbers are not proven",
        "another environment: 'prod', not 'staging'",
        "another stack: 'shop', not 'genai'",
        f"another plan: {'b' * 12}, not {'a' * 12} (stack, load or timeline differ)",
        "another experiment: 'surge', not 'region-kill'",
    ]


def test_a_run_in_both_sets_is_new(sample):
    runs = [sample(day) for day in range(1, 7)]
    result = compare(runs, runs[-1:])
    assert (len(result.old), result.new) == (5, (runs[-1].run_id,))


def test_versions_and_dirty_trees_are_cautioned(sample):
    result = compare([sample(1, version="0.0.9")], [sample(2, dirty=True)])
    assert result.cautions == (
        "measured by different versions of Blackstart: 0.0.9, 0.1.0",
        f"run from a work tree with changes: {result.new[0]}",
    )


def test_a_result_becomes_a_sample(samples):
    one = sample_of(samples.failing(), "k")
    assert one.figures["recovery_time"] == Figure(value=2.31, unit="s", resolution=0.03)
    assert one.figures["recovery_time.return"] == Figure(value=0, unit="s")
    assert one.figures["data_loss"] == Figure(value=7, unit="count")
    assert one.figures["budget.availability"].value == 0.0009
    assert one.figures["detection"].value == 1.31
    assert one.missed == ("data_loss = 0", "durable")
    assert sample_of(samples.passing(), "k").near == ("recovery_time <= 5s",)  # 10 % of room left
    assert "recovery_time" not in sample_of(samples.SAMPLES["censored"](), "k").figures, "no upper bound: no number"


def test_spreads_in_words():
    assert spread((4.0, 4.2, 4.4, 4.1, 4.3), "s") == "4.2 s (4 s to 4.4 s, 94% sure)"
    assert spread((0.0016,), "ratio") == "0.16 %"
    assert spread((), "s") == "-"
    assert shown(7, "count") == "7"
