"""The view of a result: cleaned of hostile text, then turned into a page of words and pictures. Pure."""

from __future__ import annotations

from dataclasses import replace

from harness.model.result import Result
from harness.report import evidence, ledger, paging
from harness.report.controls import controls_section
from harness.report.extras import InputFile, LogTail, ReportExtras
from harness.report.front import build_front
from harness.report.page import Page
from harness.report.scene import scene_of
from harness.report.text import clean, clean_block, clean_result

__all__ = ["build_page"]


def _clean_extras(extras: ReportExtras) -> ReportExtras:
    return replace(
        extras,
        plan_yaml=None if extras.plan_yaml is None else clean_block(extras.plan_yaml, 40_000, 800, head=True),
        inputs=tuple(
            InputFile(
                name=clean(entry.name, 200), text=clean_block(entry.text, 40_000, 800, head=True), sha256=entry.sha256
            )
            for entry in extras.inputs
        ),
        comparable=tuple(
            replace(run, run_id=clean(run.run_id, 120), started_utc=clean(run.started_utc, 60))
            for run in extras.comparable
        ),
        logs=tuple(
            LogTail(instance=clean(tail.instance, 120), lines=tuple(clean(line, 400) for line in tail.lines[-20:]))
            for tail in extras.logs
        ),
        controls=extras.controls,
        manifest_hash=None if extras.manifest_hash is None else clean(extras.manifest_hash, 120),
    )


def build_page(result: Result, extras: ReportExtras | None = None) -> Page:
    """The whole page. Sections that have nothing to say say so, or are left out."""
    result = clean_result(result)
    given = _clean_extras(extras or ReportExtras())
    scene = scene_of(result)
    sections = (
        ledger.objectives_section(result),
        evidence.timeline_section(result, scene),
        evidence.impact_section(result, scene),
        evidence.recovery_section(result, scene),
        ledger.slices_section(result),
        ledger.latency_section(result),
        ledger.budget_section(result),
        ledger.data_section(result, scene),
        ledger.faults_section(result, scene),
        ledger.probes_section(result),
        paging.alerts_section(result),
        ledger.validity_section(result),
        ledger.safety_section(result),
        controls_section(result, given.controls),
        ledger.inputs_section(result, given),
        ledger.logs_section(given),
    )
    return Page(
        name=result.run.name,
        run_id=result.run.run_id,
        front=build_front(result, given, scene),
        sections=tuple(section for section in sections if section is not None),
    )
