"""The pieces that sample results are made of: one run of a region kill, as the measures leave it."""

from __future__ import annotations

import math
import random
from typing import Any

from harness.model import measured as m
from harness.model import result as r
from harness.model.verdict import EXIT_CODES, CheckVerdict, Status, Verdict

MS, S = 1_000_000, 1_000_000_000
START = 10 * S


def make_series(
    buckets: int = 250, bucket_ms: int = 250, outage: tuple[float, float] | None = (20.1, 24.4)
) -> r.Series:
    """Poisson load at 60/s. In the outage (seconds since the run's origin) one op in twenty is good."""
    rng = random.Random(7)
    t, offered, good, p50, p99, tt50, tt95 = [], [], [], [], [], [], []
    errors: dict[str, list[int]] = {"refused": [], "timeout": [], "slow": []}
    regions: dict[str, list[int]] = {"eu-west": [], "us-east": []}
    probe_good, probe_bad = [], []
    mean = 60 * bucket_ms / 1000
    for place in range(buckets):
        at = START / S + place * bucket_ms / 1000
        down = outage is not None and outage[0] <= at < outage[1]
        n = max(0, round(rng.gauss(mean, math.sqrt(mean))))
        ok = sum(rng.random() < (0.05 if down else 0.9995) for _ in range(n))
        bad = n - ok
        refused = round(bad * 0.7)
        t.append(round(at * S))
        offered.append(n)
        good.append(ok)
        errors["refused"].append(refused if down else 0)
        errors["timeout"].append(bad - refused if down else 0)
        errors["slow"].append(0 if down else bad)
        after = outage is not None and at >= outage[1] and at < 40.5
        slowed = math.exp(-(at - outage[1]) / 2) if after and outage else 0
        base = (0.09 + 0.25 * slowed) * S
        p50.append(round(base * rng.uniform(0.9, 1.1)) if not down else None)
        p99.append(round((base * 4 + slowed * 2 * S) * rng.uniform(0.8, 1.3)) if not down else None)
        tt50.append(round(base * 0.4) if not down else None)
        tt95.append(round(base * 0.9 * rng.uniform(0.9, 1.2)) if not down else None)
        primary = not down and not after
        regions["eu-west"].append(ok if primary else 0)
        regions["us-east"].append(0 if primary else ok)
        probe_good.append(0 if down else 2)
        probe_bad.append(2 if down else 0)
    return r.Series(
        bucket_ns=bucket_ms * MS,
        t_ns=tuple(t),
        offered=tuple(offered),
        good=tuple(good),
        errors={name: tuple(values) for name, values in errors.items()},
        latency_p50_ns=tuple(p50),
        latency_p99_ns=tuple(p99),
        ttft_p50_ns=tuple(tt50),
        ttft_p95_ns=tuple(tt95),
        regions={name: tuple(values) for name, values in regions.items()},
        prober_good=tuple(probe_good),
        prober_bad=tuple(probe_bad),
    )


def recovered(lo_ms: int, hi_ms: int, by: str = "stack") -> m.Recovery:
    return m.Recovery(
        state="recovered",
        interval=m.Interval(lo_ns=lo_ms * MS, hi_ns=hi_ms * MS),
        recovered_by=by,
        from_fault="eu-down",
        effect=m.Interval(lo_ns=20_020 * MS, hi_ns=20_045 * MS),
        last_bad_op=1419,
        first_good_op=1431,
    )


NONE = m.Recovery(state="none")
UNKNOWN = m.Recovery(state="unknown", why="nothing was injected")


def objective(text: str, status: Status, limit: str, observed: str, **more: Any) -> r.ObjectiveResult:
    more.setdefault("measure", text.split(" ")[0])
    more.setdefault("file", "experiments/region-kill.yaml")
    more.setdefault("line", 30)
    return r.ObjectiveResult(text=text, status=status, limit=limit, observed=observed, **more)


def check(name: str, verdict: CheckVerdict, sentence: str, **more: Any) -> r.CheckResult:
    return r.CheckResult(name=name, kind=name, verdict=verdict, sentence=sentence, **more)


def run_facts(**more: Any) -> r.RunFacts:
    facts: dict[str, Any] = {
        "run_id": "20261123T100002Z-region-kill-7f3a",
        "name": "region-kill",
        "title": "The primary region dies at peak load",
        "hypothesis": "us-east answers within 5 s, and no acknowledged turn is lost, doubled or out of order.",
        "owner": "serving-sre",
        "tags": ("failover", "critical"),
        "stack": "genai",
        "environment": "staging",
        "started_utc": "2026-11-23T10:00:02Z",
        "duration_ns": 78_400 * MS,
        "seed": 7,
        "plan_hash": "9c1e4f0a77d2b1c3" * 4,
        "version": "0.1.0",
        "profile": "chat",
        "load": "60/s poisson, open loop, 200 sessions",
        "source": "experiments/region-kill.yaml",
    }
    return r.RunFacts(**{**facts, **more})


def counts() -> m.Counts:
    return m.Counts(
        offered=4812,
        valid=4809,
        good=4578,
        bad=231,
        ok=4611,
        fail=140,
        info=58,
        cut=3,
        slow=33,
        mid_stream=12,
        by_error={"refused": 140, "timeout": 58, "slow": 33},
    )


def latency() -> tuple[m.LatencyRow, ...]:
    def row(measure: str, population: str, count: int, scale: float) -> m.LatencyRow:
        base = round(90 * MS * scale)
        return m.LatencyRow(
            measure=measure,
            population=population,
            count=count,
            p50_ns=base,
            p90_ns=base * 2,
            p95_ns=base * 3,
            p99_ns=base * 5,
            p999_ns=base * 8 if count > 1000 else None,
            max_ns=base * 11,
        )

    return (row("latency", "calm", 4380, 1), row("latency", "all", 4611, 1.3), row("ttft", "calm", 2190, 0.4))


def slices() -> tuple[m.SliceMeasures, ...]:
    def one(where: dict[str, str], bad: int, recovery: m.Recovery) -> m.SliceMeasures:
        return m.SliceMeasures(
            slice=where,
            counts=m.Counts(offered=2400, valid=2400, good=2400 - bad, bad=bad),
            availability=m.Availability(lo_ratio=1 - bad / 2400, hi_ratio=1 - bad / 2400),
            recovery=recovery,
            loss=m.Loss(known=True, lost=0, acknowledged=2290, share_ratio=0.0, bound_ratio=3 / 2290),
        )

    return (one({"group": "follow"}, 61, recovered(2100, 2300)), one({"group": "sticky"}, 170, recovered(4210, 4490)))


def budgets(cost: float = 0.0016) -> tuple[m.BudgetCost, ...]:
    day = 86_400 * S
    return (
        m.BudgetCost(
            slo="availability",
            target_ratio=0.999,
            window_ns=30 * day,
            bad=231,
            valid=4809,
            outage_s=4.13,
            cost_share_ratio=cost,
            burn_rate=48.0,
            affordable=1 / cost,
            left_before_ratio=0.6,
            left_source="stated in the experiment",
            notional=False,
            basis="projected to 400/s at the drill, mean 250/s: prod p95, 2026-10",
        ),
        m.BudgetCost(
            slo="ttft",
            target_ratio=0.95,
            window_ns=30 * day,
            bad=250,
            valid=4611,
            outage_s=4.3,
            cost_share_ratio=cost / 50,
            burn_rate=1.1,
            affordable=50 / cost,
            notional=False,
            basis="projected to 400/s at the drill, mean 250/s: prod p95, 2026-10",
        ),
    )


def measures(**more: Any) -> m.Measures:
    values: dict[str, Any] = {
        "counts": counts(),
        "availability": m.Availability(lo_ratio=0.95134, hi_ratio=0.95197, wire_ratio=0.93),
        "window_ns": 3 * S,
        "smallest_outage_ns": 500 * MS,
        "steady_bad_upper_ratio": 0.0061,
        "disruptions": (
            m.Disruption(
                start_ns=20_060 * MS,
                end_ns=24_380 * MS,
                cause="eu-down",
                edge="inject",
                incident="eu-down",
                bad=226,
                valid=262,
                last_bad_ns=24_300 * MS,
            ),
        ),
        "recovery": recovered(4210, 4490),
        "recovery_return": NONE,
        "recovery_prober": recovered(4190, 4310),
        "instants": m.Instants(
            first_success_ns=2_900 * MS,
            error_period_ns=4_240 * MS,
            last_error_seen_ns=5_100 * MS,
            detection_ns=1_310 * MS,
            detection_source="edge event routed",
            failover_ns=3_600 * MS,
            failback_ns=21_800 * MS,
            gap_ns=1_900 * MS,
            gray_ns=700 * MS,
            retry_amplification=1.18,
        ),
        "latency": latency(),
        "budgets": budgets(),
        "loss": m.Loss(
            known=True,
            lost=0,
            acknowledged=4581,
            share_ratio=0.0,
            bound_ratio=3 / 4581,
            span_ns=0,
            holes=0,
            regions={"eu-west": 0, "us-east": 0},
        ),
        "slices": slices(),
        "probes": (
            m.ProbeSummary(name="repl-lag", samples=61, failed=2, min=0.0, max=14.0, mean=0.42, last=0.0),
            m.ProbeSummary(name="standby-serving", samples=120, failed=0, min=1.0, max=1.0, mean=1.0, last=1.0),
        ),
    }
    return m.Measures(**{**values, **more})


def fault(**more: Any) -> r.FaultResult:
    values: dict[str, Any] = {
        "id": "eu-down",
        "entry": "eu-down",
        "kind": "kill",
        "targets": ("gateway-eu", "engine-eu", "journal-eu"),
        "what": "SIGKILL the whole process tree of gateway-eu, engine-eu, journal-eu",
        "clients_see": "open connections are reset; new ones are refused",
        "on_revert": "the instances are started again; connections that were open stay broken",
        "effect": m.Interval(lo_ns=20_020 * MS, hi_ns=20_045 * MS),
        "end": m.Interval(lo_ns=40_010 * MS, hi_ns=40_460 * MS),
        "witnessed": True,
        "held": True,
        "reverted": True,
        "verified": True,
        "exposure": r.Exposure(good=296, needed=30, met=True, how="by region, in the 5 s before"),
    }
    return r.FaultResult(**{**values, **more})


def phases() -> tuple[r.PhaseSpan, ...]:
    edges = [0, 8, 10, 20, 39, 40, 51, 66, 68, 76, 77, 78]
    names = ["start", "warmup", "steady", "inject", "observe", "heal", "settle", "drain", "final", "seal", "judge"]
    return tuple(
        r.PhaseSpan(phase=name, start_ns=a * S, end_ns=b * S)
        for name, a, b in zip(names, edges[:-1], edges[1:], strict=True)
    )


def marks() -> tuple[r.TimelineMark, ...]:
    """As `measure` makes them: one per target, signals, notes."""
    return (
        r.TimelineMark(at_ns=20_000 * MS, kind="note", text="steady state held: good 99.98%, ttft.p95 61 ms"),
        *(
            r.TimelineMark(at_ns=(20_020 + n) * MS, kind="inject", text=f"eu-down in effect on {name}-eu")
            for n, name in enumerate(("gateway", "engine", "journal"))
        ),
        r.TimelineMark(at_ns=21_330 * MS, kind="signal", text="detected (edge)"),
        r.TimelineMark(at_ns=23_620 * MS, kind="signal", text="promoted (gateway-us)"),
        *(
            r.TimelineMark(at_ns=(40_010 + n) * MS, kind="revert", text=f"eu-down reverting on {name}-eu")
            for n, name in enumerate(("gateway", "engine", "journal"))
        ),
    )


def met_objectives() -> tuple[r.ObjectiveResult, ...]:
    place = {"kind": "check"}
    return (
        objective("recovery_time <= 5s", Status.MET, "<= 5 s", "4.4 s (4.2 to 4.5 s)", margin_ratio=0.102, line=30),
        objective("recovery_time.return <= 2s", Status.MET, "<= 2 s", "0 s, no breach", margin_ratio=1.0, line=31),
        objective("data_loss = 0", Status.MET, "= 0", "0 of 4,581", line=32),
        objective("budget.availability <= 0.5%", Status.MET, "<= 0.5 %", "0.16 %", margin_ratio=0.68, line=33),
        objective("latency.p99 <= 2s", Status.MET, "<= 2 s", "450 ms", margin_ratio=0.775, line=34),
        *(
            objective(name, Status.MET, "holds", "valid", line=37, **place)
            for name in ("durable", "exactly-once", "session-order", "resume", "converged")
        ),
    )


def valid_checks() -> tuple[r.CheckResult, ...]:
    good = CheckVerdict.VALID
    return (
        check(
            "durable",
            good,
            "All 4,581 acknowledged turns are in both regions.",
            counts={"lost": 0},
            volume={"acknowledged": 4581, "overlapping the fault": 212},
        ),
        check(
            "exactly-once",
            good,
            "No turn took effect twice, by idempotency key.",
            counts={"duplicates": 0},
            volume={"keys": 4581},
        ),
        check(
            "session-order",
            good,
            "Every session kept its acknowledged order.",
            counts={"reordered": 0},
            volume={"sessions": 200},
        ),
        check(
            "resume",
            good,
            "12 broken streams went on at their exact offset.",
            counts={"gaps": 0, "overlaps": 0},
            volume={"streams": 12},
        ),
        check(
            "converged",
            good,
            "Both regions' final reads are equal, and were equal 2 s later.",
            volume={"sessions": 200},
        ),
    )


def validity(**more: Any) -> r.Validity:
    values: dict[str, Any] = {
        "started": 4812,
        "ended": 4812,
        "accounted": True,
        "dropped": 0,
        "late_p50_ns": 60_000,
        "late_p99_ns": 410_000,
        "late_max_ns": 3_800_000,
        "resolution_ns": 25_000_000,
        "workers": 1,
        "final_reads": 400,
        "steady_state_met": True,
        "steady_state_after": True,
        "gc_pause_max_ns": 900_000,
        "run_delay_ns": 2_100_000,
    }
    return r.Validity(**{**values, **more})


SAFE = r.Safety(journaled=3, reverted=3, verified=3)


def result(verdict: Verdict, sentence: str, **more: Any) -> r.Result:
    values: dict[str, Any] = {
        "run": run_facts(),
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
        "sentence": sentence,
        "reasons": (),
        "objectives": met_objectives(),
        "checks": valid_checks(),
        "measures": measures(),
        "faults": (fault(),),
        "steps": (),
        "phases": phases(),
        "marks": marks(),
        "series": make_series(),
        "validity": validity(),
        "safety": SAFE,
        "findings": (
            r.Finding(
                severity="medium", text="Recovery uses 88 % of its limit: warm-up grows with the number of sessions."
            ),
            r.Finding(severity="strength", text="Sessions pinned to us-east noticed nothing."),
        ),
        "not_shown": (
            "One run: a true failure rate of up to 95 % is still possible (95 % confidence).",
            "A killed process is not a power cut: what was in the page cache survived.",
            "Load was 60/s; production peaks at 400/s.",
        ),
        "t0_ns": 20 * S,
    }
    return r.Result(**{**values, **more})
