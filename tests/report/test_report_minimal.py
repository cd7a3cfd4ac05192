"""The picture of a minimal history: one bar an operation, every label beside its bar and inside the picture."""

from __future__ import annotations

import re

import pytest
import report_samples as samples

from harness.model.result import EvidenceRow
from harness.report.html import render_html

S = 1_000_000_000


def page_of(*rows: EvidenceRow) -> str:
    failed = samples.failing()
    check = failed.checks[0].model_copy(update={"evidence": rows, "sentence": "2 of 9 are missing"})
    return render_html(failed.model_copy(update={"checks": (check,)}))


def row(op: int, begin: float, end: float | None, lane: str = "s1", label: str = "append a") -> EvidenceRow:
    ended_ns = None if end is None else round(end * S)
    return EvidenceRow(
        op=op, text=f"row {op}", at_ns=0, lane=lane, label=label, began_ns=round(begin * S), ended_ns=ended_ns
    )


def test_each_operation_is_a_bar_of_its_session_with_words_and_a_description() -> None:
    page = page_of(row(1, 19, 20), row(2, 21, None, "s2"), row(3, 60, 61, "final, us-east", "read"))
    figure = page[page.index('id="fig-minimal-') :].split("</figure>")[0]
    for words in ("op 1 append a", "op 2 append a", "op 3 read", "final, us", "<title", "<desc", "2 of 9 are missing"):
        assert words in figure, words
    assert "row 2" in figure, "the rows stand behind it as a table"


def test_one_operation_alone_is_drawn_beside_the_faults() -> None:
    page = page_of(row(1, 1, 2))
    figure = page[page.index('id="fig-minimal-') :].split("</figure>")[0]
    assert "op 1 append a" in figure and 'opacity="0.13"' in figure


def test_an_operation_that_proves_two_things_is_drawn_once() -> None:
    page = page_of(row(1, 19, 20), row(2, 21, 22), row(2, 21, 22))
    picture = page[page.index('id="fig-minimal-') :].split("</svg>")[0]
    assert picture.count("op 2 append a") == 1 and page.count("row 2") >= 2


def test_rows_without_instants_stay_a_table() -> None:
    page = page_of(EvidenceRow(op=1, text="row 1"), EvidenceRow(op=2, text="row 2"))
    assert "fig-minimal-" not in page and "row 1" in page


@pytest.mark.parametrize("length", [1, 24])
def test_no_label_leaves_the_picture(length: int) -> None:
    page = page_of(*(row(n, 19 + n, 30 - n / 2, f"s{n}", "x" * length) for n in range(8)))
    figure = page[page.index('id="fig-minimal-') :].split("</figure>")[0]
    for picture in re.findall(r"<svg.*?</svg>", figure, re.S):
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', picture)[1])  # type: ignore[index]
        assert all(0 <= float(x) <= width for x in re.findall(r'<text[^>]* x="([\d.-]+)"', picture))
