"""The portfolio page and the coverage grid: what stands, what is fresh, what was spent, what was never tested."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser

import pytest

from harness.drill.coverage import age_words, coverage_table, covered_before, last_covered
from harness.drill.portfolio import Portfolio, render_portfolio, standing
from harness.drill.schedule import Due
from harness.store.index import RunRow, Spent
from tests.drill.portfolio_samples import BUDGET, DAY_NS, NOW, row


def page(*rows: RunRow, names: tuple[str, ...] = (), dues: tuple[Due, ...] = ()) -> str:
    return render_portfolio(Portfolio(rows=rows, names=names, dues=dues, now=NOW, fresh_ns=30 * DAY_NS))


def words(html: str) -> str:
    said: list[str] = []

    class Reader(HTMLParser):
        inside = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.inside = tag

        def handle_data(self, data: str) -> None:
            if self.inside not in ("style", "script"):
                said.append(data)

    Reader().feed(html)
    return " ".join(" ".join(said).split())


def test_a_pass_is_fresh_until_it_is_old_or_a_later_run_fails() -> None:
    def fresh(*rows: RunRow) -> bool:
        return standing("region-kill", rows, NOW, 10 * DAY_NS).fresh

    assert fresh(row(20))
    assert not fresh(row(10)), "16 days old"
    assert not fresh(row(20), row(21, "FAIL"))
    assert fresh(row(20), row(21, "INCONCLUSIVE")), "what proves nothing takes nothing away"
    assert fresh(row(20, "FAIL"), row(21))
    assert not fresh(row(20, "FAIL"))
    assert not fresh()


def test_it_says_how_every_experiment_stands_also_those_never_run() -> None:
    text = words(page(row(20), row(24, "FAIL", "region-pause"), names=("region-kill", "slow-link")))
    assert "1 of 3 experiments have a fresh pass (30 d)." in text
    assert "region-kill ✓ PASS 6 days ago 4.3 s ≤ 5 s 88 % 0 ✓ fresh until 2026-12-20 it came back" in text
    assert "region-pause ✕ FAIL 2 days ago 4.3 s ≤ 5 s 88 % 0 ? never passed" in text
    assert "slow-link never run" in text


def test_budget_counts_what_began_in_the_window_and_adds_no_two_slos() -> None:
    other = Spent(slo="ttft", target_ratio=0.95, window_ns=30 * DAY_NS, share_ratio=0.5, notional=False)
    old = row(1, started_utc="2026-10-26T10:00:00+00:00")  # 31 days before
    text = words(page(old, row(20), row(21, "ABORTED", budgets=(BUDGET, other))))
    assert "availability genai 99.9 % over 30 d 2 2 % 52 s notional" in text
    assert "ttft genai 95 % over 30 d 1 50 % 18 h projected to production traffic" in text


def test_the_trend_holds_only_runs_of_the_same_key() -> None:
    html = page(row(19, comparable="other"), row(20), row(21, "FAIL"))
    text = words(html)
    assert "1 of the last 2 comparable runs passed." in text
    assert html.count('id="trend-region-kill"') == 1


def test_drills_stand_with_their_schedule() -> None:
    due = Due(name="quarter", state="overdue", next=NOW + timedelta(days=3), since=NOW)
    drill = row(22, "FAIL", "quarter", kind="drill", mode="live", budgets=(), failures=())
    text = words(page(drill, dues=(due, Due(name="yearly", state="never"))))
    assert "quarter ✕ FAIL 4 days ago live ✕ overdue 2026-11-29 12:00" in text
    assert "yearly never – – ? never carried out" in text
    assert "1 of 2" in text, "overdue"


def test_the_same_rows_give_the_same_bytes_and_hostile_ones_stay_text() -> None:
    bad = "<script>alert(1)</script>\x00\u202e"
    rows = (row(20), row(21, name=bad, sentence=bad * 20_000, stack=bad, limit_text=bad))
    html = page(*rows, names=(bad,))
    assert html == page(*rows, names=(bad,))
    assert len(html.encode()) < 1_000_000
    assert "<script>alert" not in html and "\x00" not in html and "\u202e" not in html
    assert page().count("<main>") == 1, "nothing stored, nothing there"


def test_the_last_test_of_each_failure_counts() -> None:
    tests = covered_before((row(20), row(21, "FAIL", limit_ratio=1.2), row(22, failures=())))
    assert [(one.failure, one.service, one.verdict, one.ratio) for one in last_covered(tests)] == [
        ("kill", "gateway", "FAIL", 1.2)
    ]
    table = coverage_table(last_covered(tests), ("gateway", "journal"), NOW, lambda run_id: f"{run_id}/report.html")
    assert table is not None
    assert [column.head for column in table.columns] == ["Failure", "gateway", "journal"]
    (cells,) = table.rows
    assert [cell.text for cell in cells] == ["kill", "5 days ago, 120 % of the limit", "not tested"]
    assert cells[1].badge is not None and cells[1].badge.word == "FAIL"
    assert cells[1].href == "20261121T100000Z-region-kill-0015/report.html"
    assert coverage_table((), ("gateway",), NOW, str) is None


@pytest.mark.parametrize(
    ("started", "said"),
    [
        ("2026-11-26T11:59:00+00:00", "today"),
        ("2026-11-25T12:00:00+00:00", "1 day ago"),
        ("2026-11-27T12:00:00+00:00", "today"),
        ("", ""),
    ],
)
def test_age_in_words(started: str, said: str) -> None:
    assert age_words(started, NOW) == said
