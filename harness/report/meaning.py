"""What a run means and does not show, in sentences made from templates and facts. No sentence goes beyond its numbers."""

from __future__ import annotations

from harness.model.measured import Recovery
from harness.model.result import Result
from harness.model.verdict import CheckVerdict
from harness.report.figures import stretches
from harness.report.numbers import bounds_text, percent, point_text
from harness.report.text import plural
from harness.report.tiles import worst_budget
from harness.report.words import recovered_by
from harness.units import format_duration

__all__ = ["means", "not_shown", "parts_words", "recovery_words", "touched"]

MOST = 4


def recovery_words(recovery: Recovery, *, brief: bool = False) -> str:
    """A recovery in one phrase, whatever its state; `brief` leaves out by whom."""
    interval = recovery.interval
    if recovery.state == "recovered" and interval is not None:
        bounds = bounds_text(interval)
        by = "" if brief else recovered_by(recovery)
        return f"{point_text(interval)}{f' ({bounds})' if bounds else ''}{f', {by}' if by else ''}"
    if recovery.state == "none":
        return "0 s, no breach" + (" (masked: latency or retries moved)" if recovery.masked else "")
    if recovery.state == "censored" and interval is not None:
        return f"more than {format_duration(interval.lo_ns)}: not back while we watched"
    return f"unknown{': ' + recovery.why if recovery.why else ''}"


def parts_words(result: Result) -> str:
    """The recovery's parts: "detect 1.3 s, fail over 2.3 s, converge 0.8 s"; empty when it cannot be parted."""
    parts = stretches(result)
    if len(parts) < 2:
        return ""
    return ", ".join(f"{part.words} {part.length}" for part in parts)


def _recovery_sentence(result: Result) -> str:
    recovery = result.measures.recovery
    parts = parts_words(result)
    tail = f": {parts}." if parts else "."
    if recovery.state == "recovered":
        heads = {
            "stack": "The stack recovered without help",
            "step": "Service came back after a scenario step, while the fault still stood",
            "revert": "Service came back only when the fault was taken away: failover is not shown",
        }
        return heads.get(recovery.recovered_by or "", "Service came back; by whom cannot be told") + tail
    if recovery.state == "censored":
        return "Service had not come back when the run stopped watching."
    if recovery.state == "none" and result.faults:
        return (
            "Clients were not refused, but slowed: latency or retries moved while no disruption was seen."
            if recovery.masked
            else "Clients saw no disruption that chance would not allow."
        )
    return ""


def _data_sentence(result: Result) -> str:
    invalid = [check for check in result.checks if check.verdict is CheckVerdict.INVALID]
    if invalid:
        names = " and ".join(check.name for check in invalid[:3])
        return f"Data came back damaged: {names} {'does' if len(invalid) == 1 else 'do'} not hold."
    loss = result.measures.loss
    if loss.known and loss.lost == 0 and loss.acknowledged:
        regions = f" in {len(loss.regions)} regions" if len(loss.regions) > 1 else ""
        return f"Every one of {loss.acknowledged:,} acknowledged writes was read back{regions}."
    if loss.known and loss.lost:
        return (
            f"{loss.lost:,} of {loss.acknowledged:,} acknowledged writes are gone ({percent(loss.share_ratio or 0)})."
        )
    return ""


def _return_sentence(result: Result) -> str:
    back = result.measures.recovery_return
    ended = result.measures.recovery.state in ("recovered", "none")
    if ended and back.state == "none" and any(fault.reverted for fault in result.faults):
        return "Taking the fault away again caused no disruption."
    if back.state == "recovered" and back.interval is not None:
        return f"The return hurt too: {point_text(back.interval)} of disruption when the fault was taken away."
    if back.state == "censored":
        return "Taking the fault away caused a disruption that had not ended when the run stopped watching."
    return ""


def _budget_sentence(result: Result) -> str:
    cost = worst_budget(result)
    if cost is None or not cost.affordable or cost.cost_share_ratio <= 0:
        return ""
    if result.measures.recovery.state != "recovered":
        return ""  # what was cut short would have cost more
    count = f"{cost.affordable:,.0f}" if cost.affordable >= 10 else f"{cost.affordable:.1f}"
    what = "incidents like this" if cost.affordable >= 2 else "incident like this"
    return f"The {cost.slo} budget would bear {count} {what} per {format_duration(cost.window_ns)}."


def touched(result: Result) -> str:
    """What the run did to the stack, in one sentence: faults applied and put back or not, load sent. For every verdict.

    The load is that which is measured, without the warm-up.
    """
    applied = [fault for fault in result.faults if fault.effect is not None]
    offered = result.measures.counts.offered
    load = (
        f"{plural(offered, 'operation')} of load {'was' if offered == 1 else 'were'} sent after the warm-up"
        if offered
        else "no load was sent"
    )
    if not applied and result.safety.journaled:
        return f"No fault is proven to have taken effect (what was begun is under Safety), and {load}."
    if not applied:
        return f"Nothing was broken: no fault was applied, and {load}."
    names = ", ".join(f"{fault.id} ({fault.kind})" for fault in applied[:3])
    names += f" and {len(applied) - 3} more" if len(applied) > 3 else ""
    safety = result.safety
    back = "by the run itself"
    if safety.reaper.startswith("acted"):
        back = "by the reaper, after the run's own process was gone"
    open_ = len(safety.unresolved) + sum(not fault.verified for fault in applied if not safety.journaled)
    if open_ or safety.residue:
        left = [f"{open_} of them not proven put back"] if open_ else []
        left += [f"left behind: {', '.join(safety.residue[:2])}"] if safety.residue else []
        return f"{plural(len(applied), 'fault')} applied, {'; '.join(left)}: {names}; {load}."
    return f"{plural(len(applied), 'fault')} applied and proven put back {back}: {names}; {load}."


def means(result: Result) -> tuple[str, ...]:
    """What the run shows, at most four sentences. Empty when nothing was measured."""
    if not result.measures.counts.offered:
        return ()
    made = (
        _recovery_sentence(result),
        _data_sentence(result),
        _return_sentence(result),
        _budget_sentence(result),
    )
    return tuple(sentence for sentence in made if sentence)[:MOST]


def not_shown(result: Result) -> tuple[str, ...]:
    """What the run does not show: the judge's sentences first, and that the load was not people when it is priced so."""
    sentences = list(result.not_shown)
    if len(sentences) < MOST and any(cost.notional for cost in result.measures.budgets):
        sentences.append("Budget figures are notional: the load was synthetic, and no production traffic is declared.")
    smallest = result.measures.smallest_outage_ns
    if len(sentences) < MOST and smallest is not None:
        sentences.append(f"A full outage shorter than {format_duration(smallest)} would not be seen at this load.")
    return tuple(sentences[:MOST])
