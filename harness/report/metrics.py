"""`metrics.txt`: the run's figures in OpenMetrics text, for GitLab's metrics report and anything that scrapes files.

Source: the OpenMetrics text format; GitLab compares the file of a merge request with that of its target branch.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.measured import Recovery
from harness.model.result import Result
from harness.model.verdict import EXIT_CODES, CheckVerdict, Status
from harness.report.text import clean_result

__all__ = ["render_metrics"]


def render_metrics(result: Result) -> str:
    """One gauge a line, ended by `# EOF`. What was not measured has no line: absent is not zero. Times are in seconds."""
    result = clean_result(result)
    lines = [f"{_series(name, result.run.name, labels)} {value:.10g}" for name, labels, value in _figures(result)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _figures(result: Result) -> Iterator[tuple[str, dict[str, str], float]]:
    measures = result.measures
    yield "blackstart_exit_code", {}, EXIT_CODES[result.verdict]
    for which, recovery in (("failover", measures.recovery), ("return", measures.recovery_return)):
        yield from _recovery(which, recovery)
    if measures.loss.known and measures.loss.lost is not None:
        yield "blackstart_lost_writes", {}, measures.loss.lost
    for cost in measures.budgets:
        yield "blackstart_budget_cost_ratio", {"slo": cost.slo}, cost.cost_share_ratio
    for row in result.objectives:
        if row.status is not Status.UNKNOWN:
            yield "blackstart_objective_met", {"objective": row.text}, float(row.status is Status.MET)
    for check in result.checks:
        if check.verdict is not CheckVerdict.UNKNOWN:
            yield "blackstart_check_valid", {"check": check.name}, float(check.verdict is CheckVerdict.VALID)


def _recovery(which: str, recovery: Recovery) -> Iterator[tuple[str, dict[str, str], float]]:
    if recovery.interval is None:
        return
    yield "blackstart_recovery_seconds", {"which": which, "bound": "lower"}, recovery.interval.lo_ns / 1e9
    if recovery.interval.hi_ns is not None:
        yield "blackstart_recovery_seconds", {"which": which, "bound": "upper"}, recovery.interval.hi_ns / 1e9


def _series(name: str, experiment: str, labels: dict[str, str]) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"experiment": experiment, **labels}.items())
    return f"{name}{{{shown}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
