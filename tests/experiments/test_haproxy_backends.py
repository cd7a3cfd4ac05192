"""HAProxy in front of two upstreams of which one dies or freezes: how long errors began, and when the last was seen."""

from __future__ import annotations

import shutil

import pytest

from tests.experiments.conftest import Drill

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
]

S = 1_000_000_000


def test_a_killed_upstream_costs_two_to_three_seconds_of_errors(drill: Drill) -> None:
    done = drill("haproxy-backend-kill")
    done.expect("PASS")
    moments, recovery = done.result["measures"]["instants"], done.result["measures"]["recovery"]
    assert recovery["recovered_by"] == "stack"
    assert recovery["interval"]["hi_ns"] >= 2 * S
    assert moments["error_period_ns"] <= 3.5 * S
    assert done.result["faults"][0]["exposure"]["how"] == "served by web-1"
    _not_called_a_short_gap(done.path.joinpath("report.html").read_text(), moments)


def test_a_frozen_upstream_is_seen_by_clients_until_their_last_request_times_out(drill: Drill) -> None:
    done = drill("haproxy-backend-freeze")
    done.expect("PASS")
    moments = done.result["measures"]["instants"]
    assert moments["error_period_ns"] >= 4 * S
    assert moments["last_error_seen_ns"] - moments["error_period_ns"] >= 1.5 * S, "`timeout server` is 2 s"
    assert set(done.result["measures"]["counts"]["by_error"]) <= {"http 504", "timeout"}
    # The balancer's own health signal stays green: half of its clients suffer meanwhile.
    assert moments["gray_ns"] >= 4 * S
    _not_called_a_short_gap(done.path.joinpath("report.html").read_text(), moments)


def _not_called_a_short_gap(report: str, moments: dict[str, int]) -> None:
    assert moments["gap_ns"] < moments["error_period_ns"] / 2, "the other upstream went on serving"
    assert "not how long the outage was" in report
    assert "longest time without any good completion" not in report
    assert "the last one seen at" in report


def test_without_the_binary_it_is_refused(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    done = drill("haproxy-backend-kill")
    assert (done.code, done.result["verdict"]) == (4, "REFUSED")
    assert "cannot run 'haproxy'" in done.result["sentence"]
