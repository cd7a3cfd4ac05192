"""The four headline figures: recovery, requests harmed, budget, data. Unknown is a value of its own, never 0."""

from __future__ import annotations

from harness.model.measured import BudgetCost, Recovery
from harness.model.result import CheckResult, ObjectiveResult, Result
from harness.model.verdict import CheckVerdict, Status
from harness.report import words
from harness.report.figures import Bar, bullet
from harness.report.frame import Words
from harness.report.numbers import bounds_text, count_share, number, percent, point_text
from harness.report.page import Badge, Tile
from harness.units import format_duration, format_ratio, parse_ratio

__all__ = ["build_tiles", "harm_words", "worst_budget"]

_ERROR_WORDS = {"slow": "too slow", "wrong": "wrong answer"}


def build_tiles(result: Result, recovery_limit_ns: int | None) -> tuple[Tile, ...]:
    """The tiles, in the order in which a manager asks."""
    return (_recovery(result, recovery_limit_ns), _harmed(result), _budget(result), _data(result))


def _judged(result: Result, measure: str) -> ObjectiveResult | None:
    return next((objective for objective in result.objectives if objective.measure == measure), None)


def _badge(objective: ObjectiveResult | None) -> Badge | None:
    return None if objective is None else words.STATUS_BADGES[objective.status]


def _recovery(result: Result, limit: int | None) -> Tile:
    recovery = result.measures.recovery
    badge = _badge(_judged(result, "recovery_time"))
    value, figure, lines = _recovery_words(recovery, limit)
    lines += _errors_line(result) + _worst_line(result)
    bar = None
    interval = recovery.interval
    if recovery.state in ("recovered", "censored") and interval is not None:
        tone = badge.tone if badge else "info"
        words_of_limit = "" if limit is None else f"limit {format_duration(limit)}"
        bar = Bar(lo=interval.lo_ns, hi=interval.hi_ns, limit=limit, limit_words=words_of_limit, tone=tone)
    finding = f"{value} {figure}".strip() + (f", limit {format_duration(limit)}" if limit is not None else "")
    return Tile(
        key="recovery",
        label="Recovery time",
        value=value,
        figure=figure,
        badge=badge,
        lines=lines,
        bar=bar,
        picture=None
        if bar is None
        else bullet(bar, Words(name="bar-recovery", title="Recovery time", finding=finding)),
    )


def _errors_line(result: Result) -> tuple[str, ...]:
    """How long operations went wrong, and when the last of them said so: they differ by what clients and servers wait."""
    period_ns, last_ns = result.measures.instants.error_period_ns, result.measures.instants.last_error_seen_ns
    if period_ns is None or last_ns is None:
        return ()
    return (f"Errors for {format_duration(period_ns)}; the last one seen at {format_duration(last_ns)}",)


def _worst_line(result: Result) -> tuple[str, ...]:
    """The slice that was away longest, where slices differ."""
    where = result.measures.worst.get("recovery_time")
    part = next((part for part in result.measures.slices if part.slice == where), None)
    if part is None or part.recovery.interval is None:
        return ()
    name = ", ".join(f"{key}={value}" for key, value in sorted(part.slice.items()))
    interval = part.recovery.interval
    away = f"> {format_duration(interval.lo_ns)}" if interval.hi_ns is None else point_text(interval)
    return (f"Worst slice {name}: {away}",)


def _recovery_words(recovery: Recovery, limit: int | None) -> tuple[str, str, tuple[str, ...]]:
    interval = recovery.interval
    if recovery.state == "recovered" and interval is not None:
        bounds = bounds_text(interval, limit)
        by = words.recovered_by(recovery)
        return point_text(interval), f"({bounds})" if bounds else "", (f"Back {by}",) if by else ()
    if recovery.state == "none":
        if recovery.masked:
            return "0 s", "no breach, but masked", ("Latency or retries moved: clients were slowed, not refused",)
        return "0 s", "no breach", ("The recovery rule saw no disruption",)
    if recovery.state == "censored" and interval is not None:
        return f"> {format_duration(interval.lo_ns)}", "not back yet", ("Still disrupted when we stopped watching",)
    return "unknown", "", (recovery.why or "Nothing was measured",)


def harm_words(result: Result, most: int = 3) -> str:
    """What kinds of harm there were: "198 × refused, 33 × too slow"; "none" without any."""
    counts = result.measures.counts
    ranked = sorted(counts.by_error.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count:,} × {_ERROR_WORDS.get(name, name)[:40]}" for name, count in ranked[:most] if count]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join([*shown, *([f"{rest:,} other"] if rest else [])]) or "none"


def _harmed(result: Result) -> Tile:
    counts = result.measures.counts
    if not counts.offered:
        return Tile(key="harmed", label="Requests harmed", value="unknown", lines=("No load was measured",))
    lines = [harm_words(result)] if counts.bad else ["Every valid request was answered well"]
    apart = [(counts.dropped, "never sent"), (counts.cut, "still open at the end")]
    if counts.dropped or counts.cut:
        told = ", ".join(f"{count:,} {what}" for count, what in apart if count)
        lines.append(f"Counted apart: {told}")
    elif counts.mid_stream:
        lines.append(f"{counts.mid_stream:,} of them broke mid-stream")
    return Tile(
        key="harmed",
        label="Requests harmed",
        value=f"{counts.bad:,}",
        figure=count_share(counts.bad, counts.valid),
        badge=_badge(_judged(result, "availability")),
        lines=tuple(lines),
    )


def worst_budget(result: Result) -> BudgetCost | None:
    """The SLO that the run cost most of its budget; None without SLOs."""
    return max(result.measures.budgets, key=lambda cost: cost.cost_share_ratio, default=None)


def _budget(result: Result) -> Tile:
    cost = worst_budget(result)
    if cost is None and not result.measures.counts.offered:
        return Tile(key="budget", label="Error budget", value="unknown", lines=("No load was measured",))
    if cost is None:
        return Tile(key="budget", label="Error budget", value="no SLO", lines=("The experiment states none",))
    objective = _judged(result, f"budget.{cost.slo}")
    badge = _badge(objective)
    window = format_duration(cost.window_ns)
    bar = None
    limit = _ratio_limit(objective)
    if limit is not None:
        tone = badge.tone if badge else "info"
        bar = Bar(
            lo=cost.cost_share_ratio,
            hi=cost.cost_share_ratio,
            limit=limit,
            limit_words=f"limit {format_ratio(limit)}",
            tone=tone,
        )
    lines = [f"{cost.slo} {format_ratio(cost.target_ratio)} over {window}"]
    lines.append(
        "Notional: priced as if all users were in the drill" if cost.notional else "Projected to production traffic"
    )
    if len(result.measures.budgets) > 1:
        lines[0] += f"; the worst of {len(result.measures.budgets)}"
    name = Words(
        name="bar-budget",
        title="Error budget used",
        finding=f"{format_ratio(cost.cost_share_ratio)} of the budget used",
    )
    return Tile(
        key="budget",
        label="Error budget used",
        value=format_ratio(cost.cost_share_ratio),
        figure=f"of {window}",
        badge=badge,
        lines=tuple(lines),
        bar=bar,
        picture=None if bar is None else bullet(bar, name),
    )


def _ratio_limit(objective: ObjectiveResult | None) -> float | None:
    if objective is None:
        return None
    try:
        return parse_ratio(objective.limit.lstrip("<>=≤≥! "))
    except ValueError:
        return None


def _data(result: Result) -> Tile:
    loss, checks = result.measures.loss, result.checks
    invalid = [check for check in checks if check.verdict is CheckVerdict.INVALID]
    unknown = [check for check in checks if check.verdict is CheckVerdict.UNKNOWN]
    badge = _data_badge(result, invalid, unknown)
    lines = ["acknowledged writes, counted from the warm-up on"] if loss.known and loss.acknowledged else []
    lines += [_check_line(checks, invalid, unknown)] if checks else []
    if not loss.known:
        lines.insert(0, loss.why.removeprefix("not checked: ") or "There were no final reads")
        value = "unknown" if checks or badge is not None else "not checked"
        return Tile(key="data", label="Data", value=value, badge=badge, lines=tuple(lines))
    if loss.lost == 0 and loss.bound_ratio is not None and loss.acknowledged:
        lines.append(f"True loss below {percent(loss.bound_ratio)} (95 %)")
    if loss.lost and loss.span_ns is not None:
        lines.append(f"Lost over {format_duration(loss.span_ns)}; {loss.recoverable:,} recoverable")
    return Tile(
        key="data",
        label="Data",
        value=number(loss.lost),
        figure=f"lost of {loss.acknowledged:,}",
        badge=badge,
        lines=tuple(lines),
    )


def _data_badge(result: Result, invalid: list[CheckResult], unknown: list[CheckResult]) -> Badge | None:
    stated = [o for o in result.objectives if o.kind == "check" or o.measure.startswith("data_loss")]
    if invalid or any(objective.status is Status.MISSED for objective in stated):
        return words.STATUS_BADGES[Status.MISSED]
    if unknown or any(objective.status is Status.UNKNOWN for objective in stated):
        return words.STATUS_BADGES[Status.UNKNOWN]
    return words.STATUS_BADGES[Status.MET] if stated or result.checks else None


def _check_line(checks: tuple[CheckResult, ...], invalid: list[CheckResult], unknown: list[CheckResult]) -> str:
    if invalid:
        named = ", ".join(check.name for check in invalid[:3])
        return f"{len(invalid)} of {len(checks)} checks found damage: {named}"
    if unknown:
        named = ", ".join(check.name for check in unknown[:3])
        return f"{len(unknown)} of {len(checks)} checks could not tell: {named}"
    return f"All {len(checks)} checks hold: {', '.join(check.name for check in checks[:4])}{' …' if len(checks) > 4 else ''}"
