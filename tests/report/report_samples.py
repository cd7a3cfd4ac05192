"""Results as runs leave them, one for each kind of page. Made from seeds; as a script with a folder it writes the pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from report_parts import (
    MS,
    NONE,
    S,
    budgets,
    check,
    counts,
    fault,
    make_series,
    marks,
    measures,
    met_objectives,
    objective,
    recovered,
    result,
    run_facts,
    valid_checks,
)

from harness.model import measured as m
from harness.model import result as r
from harness.model.verdict import CheckVerdict, Status, Verdict
from harness.report.extras import ComparableRun, InputFile, LogTail, ReportExtras


def passing() -> r.Result:
    return result(
        Verdict.PASS,
        "The primary region dies at peak load: service was back in 4.4 s (limit 5 s), and nothing was lost.",
    )


def failing() -> r.Result:
    lost = tuple(
        r.EvidenceRow(
            op=1200 + n,
            text=f"op {1200 + n}: append to session s-{n:03d}, turn t-{n:04x}, acknowledged by gateway-eu, absent from us-east",
            at_ns=(19_700 + 40 * n) * MS,
        )
        for n in range(7)
    )
    objectives = (
        objective("recovery_time <= 5s", Status.MET, "<= 5 s", "2.3 s (2.28 to 2.34 s)", margin_ratio=0.53),
        objective(
            "data_loss = 0",
            Status.MISSED,
            "= 0",
            "7 of 4,488",
            lo=7,
            hi=7,
            evidence=lost,
            line=32,
            why="7 acknowledged turns are absent from the final reads of us-east",
        ),
        objective("budget.availability <= 0.5%", Status.MET, "<= 0.5 %", "0.09 %", margin_ratio=0.82),
        objective("durable", Status.MISSED, "holds", "invalid: 7 lost", kind="check", line=37, evidence=lost),
        *(
            objective(name, Status.MET, "holds", "valid", kind="check", line=37)
            for name in ("exactly-once", "session-order", "resume")
        ),
    )
    return result(
        Verdict.FAIL,
        "The primary region dies at peak load: service was back in 2.3 s (limit 5 s), and 7 acknowledged turns are gone.",
        run=run_facts(
            run_id="20261123T100305Z-region-kill-c01d",
            banners=(
                "mutant ack-before-replicate is switched on: turns are acknowledged before the standby has them.",
            ),
        ),
        reasons=(
            r.Reason(
                verdict=Verdict.FAIL,
                code="objective-missed",
                text="data_loss = 0 was missed: 7 of 4,488 acknowledged turns are absent from us-east.",
            ),
            r.Reason(
                verdict=Verdict.FAIL,
                code="check-invalid",
                text="durable is invalid: 7 acknowledged turns are absent from us-east.",
            ),
        ),
        objectives=objectives,
        checks=(
            check(
                "durable",
                CheckVerdict.INVALID,
                "7 acknowledged turns are absent from us-east; all were acknowledged in the 0.3 s before the kill.",
                counts={"lost": 7},
                volume={"acknowledged": 4488},
                evidence=lost,
            ),
            *valid_checks()[1:4],
        ),
        measures=measures(
            recovery=recovered(2280, 2340),
            budgets=budgets(0.0009),
            instants=m.Instants(detection_ns=1_310 * MS, failover_ns=1_900 * MS),
            loss=m.Loss(
                known=True,
                lost=7,
                acknowledged=4488,
                share_ratio=7 / 4488,
                bound_ratio=0.0032,
                span_ns=290 * MS,
                until_ns=-12 * MS,
                holes=0,
                recoverable=7,
                regions={"eu-west": 0, "us-east": 7},
            ),
        ),
        series=make_series(outage=(20.1, 22.3)),
        marks=tuple(mark for mark in marks() if "promoted" not in mark.text),
        findings=(
            r.Finding(severity="high", text="Turns are acknowledged before the standby has them: 7 were lost."),
            r.Finding(severity="low", text="Detection took 57 % of the recovery."),
        ),
    )


def inconclusive() -> r.Result:
    return result(
        Verdict.INCONCLUSIVE,
        "The kill of eu-west was never witnessed, so this run proves nothing.",
        reasons=(
            r.Reason(
                verdict=Verdict.INCONCLUSIVE,
                code="not-witnessed",
                text="Fault eu-down was applied, but its targets still answered 2 s later.",
            ),
            r.Reason(
                verdict=Verdict.INCONCLUSIVE,
                code="objective-unknown",
                text="recovery_time <= 5s cannot be judged without a fault.",
            ),
        ),
        objectives=(
            objective("recovery_time <= 5s", Status.UNKNOWN, "<= 5 s", "unknown", why="no fault was witnessed"),
            *met_objectives()[2:],
        ),
        faults=(
            fault(
                effect=None, end=None, witnessed=False, held=None, error="gateway-eu still answers on 127.0.0.1:41873"
            ),
        ),
        measures=measures(
            recovery=m.Recovery(state="unknown", why="no fault was witnessed"),
            recovery_prober=NONE,
            disruptions=(),
            instants=m.Instants(),
        ),
        series=make_series(outage=None),
        marks=(),
        findings=(),
    )


def empty_measures(why: str) -> m.Measures:
    return measures(
        counts=m.Counts(),
        availability=None,
        smallest_outage_ns=None,
        steady_bad_upper_ratio=None,
        disruptions=(),
        recovery=m.Recovery(state="unknown", why=why),
        recovery_return=m.Recovery(state="unknown", why=why),
        recovery_prober=m.Recovery(state="unknown", why=why),
        instants=m.Instants(),
        latency=(),
        budgets=(),
        loss=m.Loss(known=False, why=why),
        slices=(),
        probes=(),
    )


def refused() -> r.Result:
    return result(
        Verdict.REFUSED,
        "The run was refused: port 8081 is in use, so gateway-us cannot start. Nothing was broken.",
        reasons=(
            r.Reason(
                verdict=Verdict.REFUSED,
                code="port-in-use",
                text="Instance gateway-us needs 127.0.0.1:8081, which another process holds.",
            ),
        ),
        objectives=tuple(
            o.model_copy(update={"status": Status.UNKNOWN, "observed": "not measured", "margin_ratio": None})
            for o in met_objectives()[:5]
        ),
        checks=(),
        measures=empty_measures("nothing was injected"),
        faults=(
            fault(effect=None, end=None, witnessed=False, held=None, reverted=False, verified=False, exposure=None),
        ),
        phases=(r.PhaseSpan(phase="preflight", start_ns=0, end_ns=900 * MS),),
        marks=(),
        series=r.Series(bucket_ns=250 * MS),
        validity=r.Validity(started=0, ended=0, accounted=True, dropped=0),
        safety=r.Safety(),
        findings=(),
        not_shown=(),
        t0_ns=None,
    )


def aborted() -> r.Result:
    return result(
        Verdict.ABORTED,
        "Stopped after 15 s: the rule “good < 10% for 15s” was crossed. Everything was put back.",
        reasons=(
            r.Reason(
                verdict=Verdict.ABORTED,
                code="abort-rule",
                text="good < 10% for 15s: 4 % of 912 operations were good in the last 15 s.",
            ),
        ),
        objectives=(
            objective(
                "recovery_time <= 5s",
                Status.MISSED,
                "<= 5 s",
                "more than 15.1 s",
                margin_ratio=-2.02,
                why="not recovered when the run was stopped",
            ),
            *(
                o.model_copy(
                    update={
                        "status": Status.UNKNOWN,
                        "observed": "unknown",
                        "margin_ratio": None,
                        "why": "the run was stopped before its final reads",
                    }
                )
                for o in met_objectives()[1:4]
            ),
        ),
        checks=(check("durable", CheckVerdict.UNKNOWN, "There were no final reads.", why_unknown="aborted"),),
        measures=measures(
            recovery=m.Recovery(
                state="censored",
                interval=m.Interval(lo_ns=15_100 * MS, hi_ns=None),
                from_fault="eu-down",
                effect=m.Interval(lo_ns=20_020 * MS, hi_ns=20_045 * MS),
            ),
            recovery_prober=m.Recovery(state="censored", interval=m.Interval(lo_ns=15_050 * MS, hi_ns=None)),
            loss=m.Loss(known=False, why="the run was stopped before its final reads"),
            budgets=budgets(0.0061),
            disruptions=(
                m.Disruption(
                    start_ns=20_060 * MS,
                    end_ns=None,
                    cause="eu-down",
                    edge="inject",
                    bad=880,
                    valid=921,
                    last_bad_ns=35_100 * MS,
                ),
            ),
            instants=m.Instants(detection_ns=1_310 * MS),
        ),
        series=make_series(buckets=102, outage=(20.1, 99)),
        marks=(
            r.TimelineMark(at_ns=20_020 * MS, kind="fault", text="eu-west killed"),
            r.TimelineMark(at_ns=35_120 * MS, kind="abort", text="abort rule crossed"),
        ),
        phases=(
            r.PhaseSpan(phase="steady", start_ns=10 * S, end_ns=20 * S),
            r.PhaseSpan(phase="inject", start_ns=20 * S, end_ns=35 * S),
            r.PhaseSpan(phase="heal", start_ns=35 * S, end_ns=36 * S),
        ),
        faults=(fault(end=m.Interval(lo_ns=35_200 * MS, hi_ns=35_600 * MS)),),
        findings=(r.Finding(severity="high", text="us-east never took over: edge kept routing to eu-west."),),
    )


def dirty() -> r.Result:
    base = passing()
    return base.model_copy(
        update={
            "verdict": Verdict.DIRTY,
            "exit_code": 7,
            "sentence": "Link eu-db may still be partitioned: its revert could not be verified.",
            "reasons": (
                r.Reason(
                    verdict=Verdict.DIRTY,
                    code="revert-unverified",
                    text="Fault eu-cut on link eu-db: the fault proxy at 127.0.0.1:8474 did not answer the revert.",
                ),
            ),
            "safety": r.Safety(
                journaled=2,
                reverted=1,
                verified=1,
                unresolved=("eu-cut on link eu-db: partition",),
                residue=("toxic blackstart-7f3a-eu-cut on proxy eu-db",),
                commands=(
                    "blackstart recover 20261123T100002Z-region-kill-7f3a",
                    "curl -X DELETE 127.0.0.1:8474/proxies/eu-db/toxics/blackstart-7f3a-eu-cut",
                ),
                reaper="ran, failed",
            ),
            "faults": (
                fault(),
                fault(
                    id="eu-cut",
                    entry="eu-cut",
                    kind="partition",
                    targets=("eu-db",),
                    what="Stop reading on link eu-db",
                    reverted=False,
                    verified=False,
                    end=None,
                ),
            ),
        }
    )


def error() -> r.Result:
    return refused().model_copy(
        update={
            "verdict": Verdict.ERROR,
            "exit_code": 6,
            "sentence": "The history could not be written: no space left on device. The verdict is void.",
            "reasons": (
                r.Reason(
                    verdict=Verdict.ERROR, code="store", text="reports/…/ops/worker-0.parquet: no space left on device."
                ),
            ),
        }
    )


def censored() -> r.Result:
    base = aborted()
    return base.model_copy(
        update={
            "verdict": Verdict.FAIL,
            "exit_code": 1,
            "sentence": "Service was not back 15.1 s after the primary region died (limit 5 s).",
            "reasons": (
                r.Reason(
                    verdict=Verdict.FAIL,
                    code="objective-missed",
                    text="recovery_time <= 5s was missed: more than 15.1 s.",
                ),
            ),
        }
    )


def calm() -> r.Result:
    return result(
        Verdict.PASS,
        "Nothing was broken for 60 s, and nothing looked broken: the noise floor holds.",
        run=run_facts(
            name="no-fault",
            title="A calm minute",
            run_id="20261123T101500Z-no-fault-11aa",
            source="experiments/no-fault.yaml",
        ),
        objectives=(
            objective("availability >= 99.9%", Status.MET, ">= 99.9 %", "99.96 %", margin_ratio=0.6),
            *met_objectives()[5:7],
        ),
        measures=measures(
            recovery=NONE,
            recovery_prober=NONE,
            disruptions=(),
            instants=m.Instants(),
            slices=(),
            budgets=(),
            counts=m.Counts(offered=3600, valid=3600, good=3599, bad=1, ok=3600, slow=1, by_error={"slow": 1}),
        ),
        faults=(),
        marks=(),
        series=make_series(outage=None),
        safety=r.Safety(),
        findings=(),
        not_shown=(),
    )


def empty() -> r.Result:
    return refused().model_copy(update={"objectives": (), "reasons": (), "faults": (), "phases": (), "sentence": ""})


def long() -> r.Result:
    many = tuple(
        objective(
            f"recovery_time{{group=g{n}}} <= 5s",
            Status.MET,
            "<= 5 s",
            "4.4 s (4.2 to 4.5 s)",
            margin_ratio=0.1,
            measure=f"recovery_time{{group=g{n}}}",
        )
        for n in range(14)
    )
    return passing().model_copy(
        update={"series": make_series(buckets=1000, bucket_ms=100), "objectives": (*met_objectives(), *many)}
    )


HOSTILE = (
    "</script><script>alert(1)</script>",
    "\u202eevil\u202c \u2066rtl\u2069",
    "a\x00b\x1b[31mred\x1b[0m\x07",
    "]]> --> <!-- | pipe `tick` [x](http://evil.example/) @team #1 ::error::no\r\n::warning::x",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "x" * 1_000_000,
)


def hostile() -> r.Result:
    bad = " ".join(HOSTILE[:-1])
    base = failing()
    rows = tuple(r.EvidenceRow(op=n, text=text) for n, text in enumerate(HOSTILE))
    return base.model_copy(
        update={
            "run": run_facts(name=bad, title=bad, stack=bad, source=bad, banners=(bad,), load=bad),
            "sentence": HOSTILE[0] + HOSTILE[-1],
            "objectives": tuple(
                o.model_copy(update={"observed": text, "text": text[:500], "file": bad, "why": text})
                for o, text in zip(base.objectives, HOSTILE, strict=False)
            ),
            "checks": tuple(
                c.model_copy(update={"sentence": bad, "counts": {bad: 1}, "evidence": rows}) for c in base.checks
            ),
            "steps": (
                r.StepResult(id=bad, started_ns=21 * S, ended_ns=22 * S, exit_code=1, output=bad + "\n" + HOSTILE[-1]),
            ),
            "faults": (fault(id=bad, error=bad, targets=(bad,)),),
            "marks": tuple(r.TimelineMark(at_ns=20 * S + n, kind="fault", text=text) for n, text in enumerate(HOSTILE)),
            "series": base.series.model_copy(update={"errors": {text[:300]: base.series.offered for text in HOSTILE}}),
            "measures": base.measures.model_copy(
                update={"counts": counts().model_copy(update={"by_error": {text[:300]: 9 for text in HOSTILE}})}
            ),
            "findings": (r.Finding(severity="high", text=bad),),
            "not_shown": (bad,),
            "safety": r.Safety(journaled=1, unresolved=(bad,), residue=(bad,), commands=(bad,)),
            "reasons": (r.Reason(verdict=Verdict.FAIL, code=bad, text=bad),),
        }
    )


def extras() -> ReportExtras:
    shape = [
        (6200, Verdict.FAIL),
        (5300, Verdict.FAIL),
        (4900, Verdict.PASS),
        (4700, Verdict.PASS),
        (5200, Verdict.FAIL),
        (4600, Verdict.PASS),
        (4500, Verdict.PASS),
    ]
    return ReportExtras(
        plan_yaml="experiment: region-kill\nfaults:\n  - id: eu-down\n    at: 0.02s\n",
        inputs=(
            InputFile(
                name="experiments/region-kill.yaml",
                text="version: 1\nkind: experiment\nname: region-kill\n",
                sha256="ab" * 32,
            ),
        ),
        manifest_hash="41d7" * 16,
        comparable=tuple(
            ComparableRun(
                run_id=f"202611{day:02d}T100000Z-region-kill-{day:04x}",
                started_utc=f"2026-11-{day:02d}T10:00:00Z",
                verdict=verdict,
                recovery=m.Interval(lo_ns=(ms - 60) * MS, hi_ns=(ms + 60) * MS),
            )
            for day, (ms, verdict) in enumerate(shape, 2)
        ),
        logs=(LogTail(instance="gateway-us", lines=("promoted epoch=4", "serving")),),
    )


def crowded() -> r.Result:
    """As much as a real failing run has put on page one, and a bit more."""
    base = failing()
    long = (
        "7 of 1,099 acknowledged turns are missing in eu-west: first acknowledged 190 ms before "
        "the effect of eu-down, last 29 ms before the effect of eu-down; also 7 in us-east"
    )
    unknown = objective(
        "converged",
        Status.UNKNOWN,
        "holds",
        "cannot be told",
        kind="check",
        why="18 of 127 keys were not seen equal twice",
    )
    after = objective(
        "steady state holds again", Status.MET, "good >= 99.5%; ttft.p95 <= 800ms", "held", measure="steady_state.after"
    )
    back = met_objectives()[1]
    objectives = tuple(o.model_copy(update={"observed": long}) if o.text == "durable" else o for o in base.objectives)
    reasons = (*base.reasons[:1], base.reasons[1].model_copy(update={"text": f"durable: observed {long}"}))
    findings = tuple(r.Finding(severity="high", text=reason.text) for reason in reasons) + base.findings
    return base.model_copy(
        update={"objectives": (*objectives, unknown, after, back), "reasons": reasons, "findings": findings}
    )


SAMPLES: dict[str, Callable[[], r.Result]] = {
    "pass": passing,
    "fail": failing,
    "inconclusive": inconclusive,
    "refused": refused,
    "aborted": aborted,
    "dirty": dirty,
    "error": error,
    "censored": censored,
    "calm": calm,
    "empty": empty,
    "long": long,
    "crowded": crowded,
    "hostile": hostile,
}


def main(arguments: Sequence[str]) -> None:
    from pathlib import Path

    from harness.report.html import render_html

    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in SAMPLES.items():
        text = render_html(build(), extras() if name in ("pass", "long") else None)
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
        print(f"{name:14s} {len(text.encode()):9,d} bytes")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
