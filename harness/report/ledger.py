"""The evidence in tables: objectives in full, slices, percentiles, budget, data, faults, steps, validity, safety, inputs."""

from __future__ import annotations

import shlex

from harness.model.measured import LatencyRow, SliceMeasures
from harness.model.result import CheckResult, FaultResult, Result
from harness.report import words
from harness.report.evidence import cells, table
from harness.report.extras import ReportExtras
from harness.report.front import finding_lines, objective_lines
from harness.report.meaning import recovery_words
from harness.report.minimal import minimal_figure
from harness.report.numbers import number, percent, ratio_text
from harness.report.page import Badge, Block, Cell, Note, Pre, Section
from harness.report.paging import pages_table
from harness.report.scene import Scene
from harness.report.text import plural
from harness.units import format_duration, format_ratio

__all__ = [
    "budget_section",
    "data_section",
    "faults_section",
    "inputs_section",
    "latency_section",
    "logs_section",
    "objectives_section",
    "probes_section",
    "safety_section",
    "slices_section",
    "validity_section",
]


def _since(ns: int | None) -> str:
    return "–" if ns is None else format_duration(ns)


def objectives_section(result: Result) -> Section:
    """Every objective with its source, its reason and the rows that prove it; every finding."""
    rows = [
        cells(
            Cell(text=line.text, code=True, anchor=line.anchor),
            line.limit,
            line.observed,
            line.margin,
            Cell(text="", badge=line.badge),
            line.why or "–",
            Cell(text=line.place or "–", code=bool(line.place)),
        )
        for line in objective_lines(result)
    ]
    heads = ("Objective", "Limit", "Observed", "#Margin", "Verdict", "Why", "Stated in")
    blocks: list[Block] = [table("Objectives and checks", heads, rows, 120)] if rows else []
    blocks += [
        Note(lines=(f"{line.text}:", *line.evidence), badge=line.badge)
        for line in objective_lines(result)
        if line.evidence
    ]
    findings = finding_lines(result.findings)
    if findings:
        listed = [cells(line.number, Cell(text="", badge=line.badge), line.text) for line in findings]
        blocks.append(table("Findings", ("No.", "Severity", "Finding"), listed))
    return Section(anchor="objectives-in-full", title="Objectives in full", lead="", blocks=tuple(blocks))


def _slice_name(where: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(where.items())) or "all"


def _slice_row(name: str, measures: SliceMeasures) -> tuple[Cell, ...]:
    counts, availability, loss = measures.counts, measures.availability, measures.loss
    lost = "–" if loss is None or not loss.known else f"{number(loss.lost)} of {loss.acknowledged:,}"
    return cells(
        name,
        f"{counts.valid:,}",
        f"{counts.bad:,}" + (f" to {counts.bad + measures.unplaced:,}" if measures.unplaced else ""),
        "–" if availability is None else _availability(availability.lo_ratio, availability.hi_ratio),
        recovery_words(measures.recovery, brief=True),
        "–" if measures.recovery_return is None else recovery_words(measures.recovery_return, brief=True),
        lost,
    )


def _availability(lo: float, hi: float) -> str:
    low, high = format_ratio(lo), format_ratio(hi)
    return low if low == high else f"{low} to {high}"


def slices_section(result: Result) -> Section:
    """The whole, and beside it every slice, the worst first."""
    measures = result.measures
    ranked = sorted(
        measures.slices,
        key=lambda part: (1.0 if part.availability is None else part.availability.lo_ratio, _slice_name(part.slice)),
    )
    whole = SliceMeasures(
        slice={},
        counts=measures.counts,
        availability=measures.availability,
        recovery=measures.recovery,
        recovery_return=measures.recovery_return,
        loss=measures.loss,
    )
    rows = [_slice_row("the whole", whole), *(_slice_row(_slice_name(part.slice), part) for part in ranked)]
    unplaced = max((part.unplaced for part in ranked), default=0)
    lead = "No slices were measured."
    if ranked:
        lead = f"The worst slice {'may be' if unplaced else 'is'} {_slice_name(ranked[0].slice)}."
    if unplaced:
        lead += f" Of up to {unplaced:,} operations that were not served nothing says to which they belong."
    heads = ("Slice", "#Valid", "#Bad", "#Availability", "Recovery", "After the return", "#Lost writes")
    blocks = (table("The whole and its slices, worst first", heads, rows),) if measures.counts.offered else ()
    return Section(anchor="slices", title="By slice", lead=lead, blocks=blocks)


_LOST_ROWS = 200
_LATENCIES = {
    "latency": "latency",
    "ttft": "time to first token",
    "chunk_gap": "longest wait between chunks, per stream",
}


def _latency_cells(row: LatencyRow) -> tuple[Cell, ...]:
    where = ", ".join(part for part in (row.f, row.group) if part) or "all operations"
    name = _LATENCIES[row.measure]
    quantiles = (row.p50_ns, row.p90_ns, row.p95_ns, row.p99_ns, row.p999_ns, row.max_ns)
    return cells(name, row.population, where, f"{row.count:,}", *(_since(value) for value in quantiles))


def latency_section(result: Result) -> Section:
    """Percentiles from intended start; dashes where fewer than 20 operations stand behind one."""
    rows = [_latency_cells(row) for row in result.measures.latency]
    heads = ("Measure", "Population", "Operations", "#Count", "#p50", "#p90", "#p95", "#p99", "#p99.9", "#max")
    blocks = (table("Percentiles", heads, rows),) if rows else ()
    lead = "From the intended start; “calm” is outside every disruption. No percentile from under 20 operations."
    return Section(anchor="latency", title="Latency", lead=lead if rows else "No latency was measured.", blocks=blocks)


def budget_section(result: Result) -> Section:
    """What each SLO's budget paid."""
    budgets = result.measures.budgets
    if not budgets:
        return Section(anchor="budget", title="Error budget", lead="The experiment names no SLO.", blocks=())
    rows = [
        cells(
            cost.slo,
            f"{format_ratio(cost.target_ratio)} over {format_duration(cost.window_ns)}",
            f"{cost.bad:,} of {cost.valid:,}",
            f"{number(round(cost.outage_s, 2))} s",
            format_ratio(cost.cost_share_ratio),
            number(None if cost.burn_rate is None else round(cost.burn_rate, 1)),
            "–" if cost.affordable is None else number(round(cost.affordable, 1 if cost.affordable < 10 else None)),
            "–"
            if cost.left_before_ratio is None
            else f"{ratio_text(cost.left_before_ratio)} ({cost.left_source or 'source not stated'})",
            ("notional: " if cost.notional else "") + cost.basis,
        )
        for cost in budgets
    ]
    pages = pages_table(result)
    heads = ("SLO", "Target", "#Bad", "#Outage", "#Budget used", "#Burn rate", "#Affordable", "Left before", "Basis")
    lead = "Outage: seconds of full outage at the offered load. Affordable: runs of this cost per window. Never add up SLOs."
    return Section(
        anchor="budget",
        title="Error budget",
        lead=lead,
        blocks=(table("Budget", heads, rows), *([pages] if pages else [])),
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in sorted(counts.items())[:8]) or "–"


def _check_blocks(check: CheckResult, scene: Scene) -> list[Block]:
    if not check.evidence:
        return []
    rows = [
        cells(f"op {row.op}", "–" if row.at_ns is None else scene.at(row.at_ns, 2), row.text) for row in check.evidence
    ]
    proof = table(f"{check.name}: the rows that prove it", ("Operation", "At", "What"), rows, 12)
    return [minimal_figure(check, scene, proof) or proof]


def data_section(result: Result, scene: Scene) -> Section:
    """Loss and every data check, with how much each saw and the operations that prove it."""
    loss = result.measures.loss
    rows = [
        cells(
            check.name,
            Cell(text="", badge=words.CHECK_BADGES[check.verdict]),
            check.sentence + (f" ({check.why_unknown})" if check.why_unknown else ""),
            _counted(check.counts),
            _counted(check.volume),
        )
        for check in result.checks
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(table("Data checks", ("Check", "Verdict", "In words", "Counts", "Evidence seen"), rows))
    for check in result.checks:
        blocks += _check_blocks(check, scene)
    if loss.known:
        facts = [
            cells("Lost", f"{number(loss.lost)} of {loss.acknowledged:,} acknowledged"),
            cells("Share", "–" if loss.share_ratio is None else percent(loss.share_ratio)),
            cells("Upper bound of the share (95 %)", "–" if loss.bound_ratio is None else percent(loss.bound_ratio)),
            cells("Span of lost acknowledgements", _since(loss.span_ns)),
            cells("Last lost acknowledgement after the effect", _since(loss.until_ns)),
            cells("Holes (a later write of the same writer survived)", number(loss.holes)),
            cells("Recoverable from evidence regions", f"{loss.recoverable:,}"),
            *(cells(f"Lost in {name}", f"{count:,}") for name, count in sorted(loss.regions.items())[:12]),
        ]
        blocks.append(table("Loss, by final reads", ("Loss", "Measured"), facts))
        if loss.writes:
            gone = [
                cells(
                    f"op {one.op}",
                    "–" if one.acked_ns is None else scene.at(one.acked_ns, 2),
                    one.key or "–",
                    one.value or "–",
                )
                for one in loss.writes
            ]
            blocks.append(table("Every lost write", ("Operation", "Acknowledged", "Key", "Value"), gone, _LOST_ROWS))
        lead = "Acknowledged writes against the final reads; the headline is the worst region."
    else:
        lead = f"Loss is unknown: {loss.why or 'there were no final reads'}."
    return Section(anchor="data", title="Data", lead=lead, blocks=tuple(blocks))


def _span(fault: FaultResult, scene: Scene) -> tuple[str, str]:
    def moment(lo: int, hi: int | None) -> str:
        first = scene.at(lo, 2)
        return first if hi is None or scene.at(hi, 2) == first else f"{first} to {scene.at(hi, 2)}"

    effect = "–" if fault.effect is None else moment(fault.effect.lo_ns, fault.effect.hi_ns)
    end = "–" if fault.end is None else moment(fault.end.lo_ns, fault.end.hi_ns)
    return effect, end


def _exposure(fault: FaultResult) -> Cell:
    exposure = fault.exposure
    if exposure is None:
        return Cell(text="none expected" if fault.expect_no_impact else "–")
    good = "not known" if exposure.good is None else f"{exposure.good:,}"
    return Cell(text=f"{good} of {exposure.needed} needed, {exposure.how}", badge=words.yes_no(exposure.met))


def _proof(fault: FaultResult) -> tuple[Badge, ...]:
    return tuple(words.yes_no(value) for value in (fault.witnessed, fault.held, fault.reverted, fault.verified))


def faults_section(result: Result, scene: Scene) -> Section:
    """Each fault as it really went, then each scenario step."""
    went, meant = [], []
    for fault in result.faults:
        effect, end = _span(fault, scene)
        badges = [Cell(text="", badge=badge) for badge in _proof(fault)]
        went.append(cells(fault.id, ", ".join(fault.targets) or "–", effect, end, *badges, _exposure(fault)))
        error = f"Error: {fault.error}" if fault.error else "–"
        meant.append(cells(fault.id, f"{fault.kind}: {fault.what}", fault.clients_see, fault.on_revert, error))
    heads = ("Fault", "Targets", "Took effect", "Ended", "Witnessed", "Held", "Reverted", "Verified", "Load felt it")
    blocks: list[Block] = []
    if went:
        blocks.append(table("Faults as they went", heads, went))
        blocks.append(table("What they are", ("Fault", "What", "Clients see", "On revert", "Error"), meant))
    else:
        blocks.append(Note(lines=("No fault was planned: a calm run that measures the noise floor.",)))
    if result.steps:
        rows = [
            cells(
                step.id,
                "not started" if step.started_ns is None else scene.at(step.started_ns, 2),
                "–"
                if step.started_ns is None or step.ended_ns is None
                else format_duration(step.ended_ns - step.started_ns),
                Cell(
                    text="–" if step.exit_code is None else str(step.exit_code),
                    badge=words.yes_no(None if step.exit_code is None else step.exit_code == 0),
                ),
            )
            for step in result.steps
        ]
        blocks.append(table("Scenario steps", ("Step", "Started", "#Took", "Ended with"), rows))
        blocks += [Pre(title=f"Output of {step.id}", text=step.output) for step in result.steps[:20] if step.output]
    return Section(anchor="faults", title="Faults and steps", lead="", blocks=tuple(blocks))


def probes_section(result: Result) -> Section | None:
    """Every probe over inject and later; None without probes."""
    rows = [
        cells(
            probe.name,
            f"{probe.samples:,}",
            f"{probe.failed:,}",
            *(number(value) for value in (probe.min, probe.mean, probe.max, probe.last)),
        )
        for probe in result.measures.probes
    ]
    if not rows:
        return None
    heads = ("Probe", "#Samples", "#Failed", "#Min", "#Mean", "#Max", "#Last")
    return Section(anchor="probes", title="Probes", lead="From inject on.", blocks=(table("Probes", heads, rows),))


def validity_section(result: Result) -> Section:
    """Whether the instrument can be trusted."""
    v = result.validity
    lateness = f"p50 {_since(v.late_p50_ns)}, p99 {_since(v.late_p99_ns)}, max {_since(v.late_max_ns)}"

    def row(name: str, text: str, value: bool | None) -> tuple[Cell, ...]:
        return cells(name, text, Cell(text="", badge=words.yes_no(value)))

    late = None if v.late_p99_ns is None or v.resolution_ns is None else v.late_p99_ns <= v.resolution_ns
    rows = [
        row("Every operation accounted for", f"{v.started:,} started, {v.ended:,} ended", v.accounted),
        row("Load on time", f"lateness {lateness}; finest resolution claimed {_since(v.resolution_ns)}", late),
        row("Nothing dropped", f"{v.dropped:,} dropped by the generator", v.dropped == 0),
        row(
            "Workers alive",
            f"{plural(v.workers, 'worker')}, {v.dead_workers} died",
            v.dead_workers == 0 if v.workers else None,
        ),
        row("Steady state before", "judged before anything was broken", v.steady_state_met),
        row("Steady state after", "judged again at the end", v.steady_state_after),
        row(
            "Final reads",
            f"{v.final_reads:,} read; unread: {', '.join(v.unread[:8]) or 'none'}",
            (not v.unread) if v.final_reads else None,
        ),
        row("Open loop", "a slow stack does not slow the load", not v.closed_loop),
    ]
    if v.clock_error_ns is not None:
        text = f"load came from other clocks, measured to within {format_duration(v.clock_error_ns)}; effects are wider by that"
        rows.append(cells("One clock", text, "–"))
    if v.gc_pause_max_ns is not None or v.run_delay_ns is not None:
        text = f"longest collection pause {_since(v.gc_pause_max_ns)}, waited for a processor {_since(v.run_delay_ns)}"
        rows.append(cells("Generator's own delays", text, "–"))
    blocks: list[Block] = [table("Validity", ("Question", "What was seen", "Holds"), rows)]
    if v.notes:
        blocks.append(Note(lines=("Notes on the instrument:", *v.notes[:20])))
    if result.not_shown:
        blocks.append(Note(lines=("What this run does not show:", *result.not_shown[:20])))
    return Section(anchor="validity", title="Can this be trusted?", lead="", blocks=tuple(blocks))


def _many(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def safety_section(result: Result) -> Section:
    """Proof that everything was put back, or the list of what was not and the commands."""
    s = result.safety
    rows = [
        cells("Faults journaled before they were applied", f"{s.journaled}"),
        cells("Reverted", f"{s.reverted}"),
        cells("Absence verified", f"{s.verified}"),
        cells("Unresolved", f"{len(s.unresolved)}"),
        cells("Residue found afterwards", f"{len(s.residue)}"),
        cells("Reaper", s.reaper),
    ]
    blocks: list[Block] = [table("Undo proof", ("Safety", "Count"), rows)]
    if s.unresolved:
        blocks.append(
            Note(lines=("as far as can be proven, still broken:", *s.unresolved[:20]), badge=words.UNRESOLVED)
        )
    if s.residue:
        blocks.append(Note(lines=("found afterwards, not there before:", *s.residue[:20]), badge=words.RESIDUE))
    if s.audited:
        blocks.append(
            table(
                "Before and after",
                ("Looked at", "#Before", "#After", "Could not look"),
                [cells(one.source, _many(one.before), _many(one.after), one.blind or "–") for one in s.audited],
            )
        )
    if s.changed:
        blocks.append(Note(lines=("changed meanwhile, not surely by this run:", *s.changed[:20])))
    if s.commands:
        blocks.append(Pre(title="Commands that undo it by hand", text="\n".join(s.commands[:40]), open_=True))
    applied = [fault for fault in result.faults if fault.effect is not None]
    clean = not (s.unresolved or s.residue) and s.verified >= s.journaled and all(fault.verified for fault in applied)
    if clean and not (s.journaled or applied):
        lead = "Nothing was broken, so there was nothing to put back."
    elif clean:
        lead = "Everything that was broken was put back, and that was checked."
    else:
        lead = "Not everything is proven to be put back."
    return Section(anchor="safety", title="Safety", lead=lead, blocks=tuple(blocks))


def inputs_section(result: Result, extras: ReportExtras) -> Section:
    """What went in, and how to run it again."""
    run = result.run
    again = f"blackstart run {shlex.quote(run.source)} --set seed={run.seed}" if run.source else ""
    rows = [
        cells("Experiment", f"{run.name}: {run.title}"),
        cells("Hypothesis", run.hypothesis or "–"),
        cells("Document", Cell(text=run.source or "–", code=True)),
        cells("Plan hash", Cell(text=run.plan_hash, code=True)),
        cells("Seed", str(run.seed)),
        cells("Load", f"{run.profile}, {run.load}"),
        cells("Stack", f"{run.stack} ({run.environment})"),
        cells("Run", Cell(text=run.run_id, code=True)),
        cells("Started", run.started_utc),
        cells("Tags", ", ".join(run.tags) or "–"),
        cells("Blackstart", run.version),
    ]
    if extras.manifest_hash:
        rows.append(cells("Manifest", Cell(text=extras.manifest_hash, code=True)))
    blocks: list[Block] = [table("Inputs", ("Input", "Value"), rows)]
    if again:
        blocks.append(Pre(title="Run it again", text=again, open_=True))
    if extras.plan_yaml:
        blocks.append(Pre(title="Plan, resolved", text=extras.plan_yaml))
    blocks += [
        Pre(title=f"{entry.name}{f' (SHA-256 {entry.sha256})' if entry.sha256 else ''}", text=entry.text)
        for entry in extras.inputs[:12]
    ]
    return Section(anchor="inputs", title="Inputs", lead="", blocks=tuple(blocks))


def logs_section(extras: ReportExtras) -> Section | None:
    """The last lines of each instance; None without any."""
    blocks = tuple(Pre(title=tail.instance, text="\n".join(tail.lines)) for tail in extras.logs[:40] if tail.lines)
    if not blocks:
        return None
    return Section(
        anchor="logs", title="Last log lines", lead="Whole logs are in logs/ of the run directory.", blocks=blocks
    )
