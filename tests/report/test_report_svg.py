"""Charts keep every extreme, labels never touch, and colours can be told apart in both schemes."""

from __future__ import annotations

import random

import pytest

from harness.report.palette import DARK, LIGHT, SERIES, contrast
from harness.report.series import chunks, extremes, peaks, runs, summed, worst
from harness.report.svg import Label, log_ticks, nice_ticks, place_labels, text_width, time_ticks

S = 1_000_000_000


def test_thinning_keeps_the_lowest_and_the_highest_point() -> None:
    rng = random.Random(3)
    points = [(float(x), rng.random()) for x in range(5000)]
    points[1234] = (1234.0, 9.0)
    points[4321] = (4321.0, -9.0)
    thin = extremes(points, 300)
    assert len(thin) <= 302
    assert (1234.0, 9.0) in thin
    assert (4321.0, -9.0) in thin
    assert list(thin) == sorted(thin)


def test_gaps_part_a_line_and_groups_keep_totals() -> None:
    assert runs([0, 1, 2, 3], [1.0, None, 2.0, 3.0]) == (((0, 1.0),), ((2, 2.0), (3, 3.0)))
    assert runs([], []) == ()
    assert chunks(5, 2) == (range(3), range(3, 5))
    assert summed([1, 2, 3, 4, 5], 2) == (6, 9)
    assert worst([None, 3, 1, None, None], 2) == (3, None)
    assert peaks([[1, 0, 5, 0], [0, 3, 0, 0]], 2) == (1, 2)


def test_ticks_are_round() -> None:
    assert nice_ticks(97) == (0, 25, 50, 75, 100)
    assert nice_ticks(0) == (0, 1)
    assert log_ticks(3, 700) == (5, 10, 20, 50, 100, 200, 500) or log_ticks(3, 700) == (10, 100)
    assert time_ticks(-10 * S, 50 * S, 10) == tuple(n * 10 * S for n in range(-1, 6))


def test_labels_do_not_touch_one_another_nor_a_leader() -> None:
    rng = random.Random(5)
    for _ in range(60):
        labels = [
            Label(x=rng.uniform(0, 760), words="x" * rng.randint(4, 30), bold=n < 2) for n in range(rng.randint(1, 12))
        ]
        placed, left_out = place_labels(labels, 760, 3)
        assert len(placed) + left_out == len(labels)
        boxes = []
        for label in placed:
            long = text_width(label.words, bold=label.bold)
            left = label.x if label.anchor == "start" else label.x - long
            boxes.append((label, left, left + long))
        for place, (one, left, right) in enumerate(boxes):
            for other, other_left, other_right in boxes[place + 1 :]:
                if one.row == other.row:
                    assert right <= other_left or other_right <= left
                upper, (low_left, low_right) = (
                    (one, (other_left, other_right)) if one.row > other.row else (other, (left, right))
                )
                if one.row != other.row:
                    assert not low_left < upper.x < low_right


def test_four_crowded_moments_all_get_their_words() -> None:
    labels = [
        Label(x=340, words="recovered after 4.4 s", bold=True),
        Label(x=270, words="eu-west killed", bold=True),
        Label(x=290, words="detected"),
        Label(x=325, words="us-east promoted"),
    ]
    placed, left_out = place_labels(labels, 760, 3)
    assert left_out == 0
    assert {label.words for label in placed} == {label.words for label in labels}


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(scheme: dict[str, str]) -> None:
    for ink in ("text", "muted", "info", "pass", "warn", "fail"):
        for ground in ("bg", "surface"):
            assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
    for tone in ("pass", "warn", "fail", "info"):
        assert contrast(scheme[tone], scheme[f"{tone}-bg"]) >= 4.5, tone
        assert contrast(scheme["text"], scheme[f"{tone}-bg"]) >= 4.5, tone
        assert contrast(scheme["muted"], scheme[f"{tone}-bg"]) >= 4.5, tone
        assert contrast(scheme["bg"], scheme[tone]) >= 4.5, tone  # the sign on its disc
    for ground in ("line", "surface", "rule"):
        ink = "text" if ground != "rule" else "bg"
        assert contrast(scheme[ink], scheme[ground]) >= 3, ground  # words and marks on lanes


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_have_the_contrast_that_wcag_asks_for(scheme: dict[str, str]) -> None:
    for mark in (*SERIES, "good", "rule"):
        assert contrast(scheme[mark], scheme["bg"]) >= 3, mark
    assert contrast(scheme["good"], scheme["good-fill"]) >= 3


def test_both_schemes_name_the_same_colours() -> None:
    assert list(LIGHT) == list(DARK)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
