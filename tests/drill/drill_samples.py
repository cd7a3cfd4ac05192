"""Results of drills as they come to be, and one full of hostile text, for the tests of pages and outputs."""

from __future__ import annotations

from harness.model.drill_result import (
    Approval,
    Covered,
    DrillFacts,
    DrillFinding,
    DrillObjective,
    DrillResult,
    DrillRun,
    DrillStepResult,
    Posted,
    RunFailure,
    RunFinding,
    RunObjective,
    Update,
)
from harness.model.verdict import EXIT_CODES, Status, Verdict

__all__ = ["HOSTILE", "failed_drill", "hostile_drill", "passed_drill"]

S = 10**9
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \x00\x1b[31m \u202etxt.exe ]]> | a | `x` {{ 7*7 }} ::error::x"


def passed_drill(text: str = "") -> DrillResult:
    """A drill of two experiments that passed; every free text of it has `text` behind it."""
    run_id = "20261126T100001Z-region-kill-7f3a"
    run = DrillRun(
        run_id=run_id,
        verdict=Verdict.PASS,
        wanted=True,
        sentence=f"Service was back in at most 4.4 s.{text}",
        recovery=f"4.2 to 4.4 s{text}",
        recovered=True,
        harmed=231,
        lost=0,
        title=f"The primary region dies{text}",
        started_utc="2026-11-26T10:00:01+00:00",
        limit=f"<= 5 s{text}",
        recovery_ratio=0.88,
        budget=f"availability 0.16 % of 30 d, notional{text}",
        failures=(RunFailure(kind=f"kill{text}", service=f"gateway{text}"),),
        evidence=("disruption", "recovery", "data", "put-back", "report"),
        objectives=(RunObjective(text=f"recovery_time <= 5s{text}", status=Status.MET, observed=f"4.4 s{text}"),),
        findings=(RunFinding(severity="low", text=f"Little room{text}"),),
    )
    ask = DrillStepResult(
        id="page",
        kind="ask",
        text=f"Did the page reach the right person?{text}",
        who=f"commander{text}",
        outcome="done",
        verdict=Verdict.PASS,
        started_ns=40 * S,
        ended_ns=95 * S,
        expect_ns=50 * S,
        by=f"oncall{text}",
        note=f"after a minute{text}",
        output=f"paged{text}\nby mail{text}",
    )
    experiment = DrillStepResult(
        id="region-kill",
        kind="experiment",
        text=f"The primary region dies{text}",
        outcome="done",
        verdict=Verdict.PASS,
        started_ns=1 * S,
        ended_ns=40 * S,
        runs=(run,),
    )
    return DrillResult(
        run=DrillFacts(
            run_id="20261126T100000Z-quarter-aeab",
            name="quarter",
            title=f"The primary region is lost{text}",
            owner=f"serving-sre{text}",
            exercise="full-scale",
            mode="live",
            started_utc="2026-11-26T10:00:00+00:00",
            duration_ns=95 * S,
            plan_hash="ab" * 32,
            version="0.1.0",
            source="drills/quarter.yaml",
        ),
        verdict=Verdict.PASS,
        exit_code=0,
        sentence=f"All 2 steps were carried out as they should be.{text}",
        steps=(experiment, ask),
        objectives=(DrillObjective(text=f"data_loss = 0{text}", status=Status.MET, observed=f"region-kill: 0{text}"),),
        updates=(
            Update(
                number=1,
                status="investigating",
                at_ns=2 * S,
                by=f"comms{text}",
                files=("outbox/01-investigating-internal.txt",),
                posted=(Posted(host=f"chat.example{text}", ok=False, error=f"answered 500{text}"),),
            ),
        ),
        approvals=(
            Approval(by=f"dora{text}", at_utc="2026-11-26T09:00:00+00:00", plan_hash="ab" * 32, note=f"ok{text}"),
        ),
        findings=(
            DrillFinding(
                number="F1",
                key="region-kill:1",
                severity="low",
                text=f"Little room{text}",
                step="region-kill",
                owner=f"serving{text}",
                due="2027-02-24",
                state="open",
                first_run="20261126T100000Z-quarter-aeab",
                first_seen_utc="2026-11-26T10:00:00+00:00",
            ),
        ),
        not_shown=(f"How steady the result is{text}",),
        first_update_ns=1 * S,
        longest_gap_ns=0,
        coverage=(
            Covered(
                failure=f"kill{text}",
                service=f"gateway{text}",
                run_id=run_id,
                name="region-kill",
                verdict=Verdict.PASS,
                started_utc="2026-11-26T10:00:01+00:00",
                ratio=0.88,
            ),
            Covered(
                failure="pause",
                service="journal",
                run_id="20261101T100001Z-region-pause-7f3a",
                name="region-pause",
                verdict=Verdict.FAIL,
                started_utc="2026-11-01T10:00:01+00:00",
                ratio=1.2,
            ),
        ),
        services=("gateway", "journal", f"edge{text}"),
    )


def failed_drill() -> DrillResult:
    """The same, with the page step not performed and nothing run before it: an overdue finding of an earlier drill stands."""
    base = passed_drill()
    steps = (
        base.steps[0].model_copy(update={"outcome": "not-begun", "verdict": Verdict.INCONCLUSIVE, "runs": ()}),
        base.steps[1].model_copy(
            update={"outcome": "not-performed", "verdict": Verdict.INCONCLUSIVE, "ended_ns": None}
        ),
    )
    left = base.findings[0].model_copy(update={"state": "carried", "severity": "high", "overdue": True})
    return base.model_copy(
        update={
            "verdict": Verdict.INCONCLUSIVE,
            "exit_code": EXIT_CODES[Verdict.INCONCLUSIVE],
            "sentence": "page was not performed.",
            "steps": steps,
            "findings": (left,),
            "coverage": (),
            "updates": (),
            "first_update_ns": None,
        }
    )


def hostile_drill() -> DrillResult:
    """Every text that a stack, a person or a document can give is hostile, and one is very long."""
    base = passed_drill(HOSTILE)
    return base.model_copy(update={"sentence": HOSTILE * 10_000})
