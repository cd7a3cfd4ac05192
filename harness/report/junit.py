"""`junit.xml`: one suite per experiment, one test case per objective and step, and one for the verdict itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from harness.model.result import ObjectiveResult, Result, StepResult
from harness.model.verdict import Status, Verdict
from harness.report.text import clean_result
from harness.units import NS_PER_S

__all__ = ["Suite", "render_junit"]

# XML 1.0 allows nothing else, escaped or not: one NUL would void the file for every reader.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str) -> str:
    return _NOT_XML.sub("", text)


def _seconds(ns: int) -> str:
    return f"{max(ns, 0) / NS_PER_S:.3f}"


class Suite:
    """Test cases under names that are all different: readers keep only the first of two alike."""

    def __init__(self, name: str, *, timestamp: str, seconds: str, hostname: str) -> None:
        self.classname = f"blackstart.{name}"
        self.root = ElementTree.Element("testsuites", {"name": "blackstart"})
        facts = {"name": name, "timestamp": timestamp, "time": seconds, "hostname": hostname}
        self.suite = ElementTree.SubElement(self.root, "testsuite", {key: _xml(value) for key, value in facts.items()})
        self.counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        self._names: set[str] = set()

    def properties(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Numbers and names that belong to the whole; before any case."""
        properties = ElementTree.SubElement(self.suite, "properties")
        for name, value in pairs:
            ElementTree.SubElement(properties, "property", {"name": _xml(name), "value": _xml(value)})

    def case(self, name: str, outcome: tuple[str, str, str] | None, *, seconds: str = "0.000", out: str = "") -> None:
        """One case; `outcome` is (element, type, message) unless it passed."""
        unique, count = name, 2
        while unique in self._names:
            unique, count = f"{name} ({count})", count + 1
        self._names.add(unique)
        attributes = {"name": _xml(unique), "classname": _xml(self.classname), "time": seconds}
        case = ElementTree.SubElement(self.suite, "testcase", attributes)
        self.counts["tests"] += 1
        if outcome is not None:
            element, kind, message = outcome
            ElementTree.SubElement(case, element, {"type": kind, "message": _xml(message)}).text = _xml(out or message)
            self.counts["failures" if element == "failure" else "errors"] += 1
        elif out:
            ElementTree.SubElement(case, "system-out").text = _xml(out)

    def text(self) -> str:
        """The file."""
        for element in (self.root, self.suite):
            for name, count in self.counts.items():
                element.set(name, str(count))
        ElementTree.indent(self.root)
        return "<?xml version='1.0' encoding='utf-8'?>\n" + ElementTree.tostring(self.root, encoding="unicode") + "\n"


def _objective_outcome(objective: ObjectiveResult) -> tuple[str, str, str] | None:
    said = f"{objective.text}: observed {objective.observed}, limit {objective.limit}"
    if objective.why:
        said += f" ({objective.why})"
    if objective.status is Status.MISSED:
        return "failure", objective.kind, said
    if objective.status is Status.UNKNOWN:
        return "error", "unknown", said  # a skipped case would leave the pipeline green
    return None


def _step_outcome(step: StepResult) -> tuple[str, str, str] | None:
    if step.exit_code == 0:
        return None
    if step.started_ns is None:
        return "error", "step", f"step {step.id} was not started"
    if step.exit_code is None:
        return "error", "step", f"step {step.id} did not end in time"
    return "error", "step", f"step {step.id} ended with {step.exit_code}, expected 0"


def _verdict_outcome(result: Result) -> tuple[str, str, str] | None:
    if result.verdict is Verdict.PASS:
        return None
    element = "failure" if result.verdict is Verdict.FAIL else "error"
    return element, result.verdict.value, f"{result.verdict.value}: {result.sentence}"


def _properties(result: Result) -> list[tuple[str, str]]:
    run, measures = result.run, result.measures
    pairs: list[tuple[str, str | int | float | None]] = [
        ("verdict", result.verdict.value),
        ("exit_code", result.exit_code),
        ("run_id", run.run_id),
        ("plan_hash", run.plan_hash),
        ("seed", run.seed),
        ("stack", run.stack),
        ("environment", run.environment),
        ("recovery.state", measures.recovery.state),
        ("ops.valid", measures.counts.valid),
        ("ops.bad", measures.counts.bad),
        ("data_loss", measures.loss.lost if measures.loss.known else None),
    ]
    interval = measures.recovery.interval
    if interval is not None:
        pairs.append(("recovery.lo_s", _seconds(interval.lo_ns)))
        pairs.append(("recovery.hi_s", None if interval.hi_ns is None else _seconds(interval.hi_ns)))
    pairs += [(f"budget.{cost.slo}.share", f"{cost.cost_share_ratio:.6g}") for cost in measures.budgets]
    pairs += [("banner", banner) for banner in run.banners]
    return [(name, str(value)) for name, value in pairs if value is not None]


def render_junit(result: Result) -> str:
    """JUnit XML of one run: missed is a failure, unknown an error, so that no gap in proof looks green.

    The case "verdict" carries what no objective does (REFUSED, DIRTY, ERROR). Text from the stack is filtered to XML's
    own characters.
    """
    result = clean_result(result)
    run = result.run
    suite = Suite(run.name, timestamp=run.started_utc, seconds=_seconds(run.duration_ns), hostname=run.stack)
    suite.properties(_properties(result))
    reasons = "\n".join(f"{reason.verdict.value} {reason.code}: {reason.text}" for reason in result.reasons[:20])
    out = "\n".join(part for part in (result.sentence, reasons, *result.safety.commands[:20]) if part)
    suite.case("verdict", _verdict_outcome(result), seconds=_seconds(result.run.duration_ns), out=out)
    for objective in result.objectives:
        evidence = "\n".join(row.text for row in objective.evidence[:12])
        observed = f"observed {objective.observed}, limit {objective.limit}"
        outcome = _objective_outcome(objective)
        head = observed if outcome is None else outcome[2]
        suite.case(objective.text, outcome, out=f"{head}\n{evidence}" if evidence else head)
    for step in result.steps:
        took = 0 if step.started_ns is None or step.ended_ns is None else step.ended_ns - step.started_ns
        suite.case(f"step {step.id}", _step_outcome(step), seconds=_seconds(took), out=step.output)
    return suite.text()
