"""Which controls of DORA, ISO 22301, SOC 2 and NIST a record supports evidence for. The mapping is data: `controls.json`.

A project adds to it, or replaces it, by a `drills/controls.yaml` of its own, which is kept with each run.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from typing import Any

from harness.model.control import Control, Controls
from harness.model.result import Result
from harness.model.verdict import CheckVerdict, Verdict
from harness.report.page import Cell, Column, Section, Table
from harness.report.text import clean

__all__ = ["controls", "controls_part", "controls_section", "evidence_of", "evidence_words", "merged"]

_PROVEN = (Verdict.PASS, Verdict.FAIL)
_LEAD = (
    "What is recorded here supports evidence for these controls. It does not show compliance with any of them: that is for"
    " whoever assesses the whole. Paraphrased; the edition is named."
)


@cache
def _mapping() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(files("harness.report").joinpath("controls.json").read_text(encoding="utf-8"))
    return read


def evidence_words() -> dict[str, str]:
    """Every sort of evidence, in words."""
    return dict(_mapping()["evidence"])


@cache
def controls() -> tuple[Control, ...]:
    """The shipped mapping, in its own order."""
    return tuple(Control(**{**one, "by": tuple(one["by"])}) for one in _mapping()["controls"])


def evidence_of(result: Result) -> tuple[str, ...]:
    """The sorts of evidence that a run holds. None when it proved nothing: whatever was seen then is no evidence."""
    if result.verdict not in _PROVEN:
        return ()
    measures, safety = result.measures, result.safety
    disrupted = any(fault.witnessed for fault in result.faults)
    found = {
        "disruption": disrupted,
        "recovery": disrupted and measures.recovery.state in ("recovered", "none", "censored"),
        "switchover": disrupted and measures.instants.failover_ns is not None,
        "data": measures.loss.known and any(check.verdict is not CheckVerdict.UNKNOWN for check in result.checks),
        "put-back": disrupted and not safety.unresolved and not safety.residue,
        "report": True,
    }
    return tuple(kind for kind, there in found.items() if there)


def merged(own: Controls) -> tuple[Control, ...]:
    """The project's controls after the shipped ones that it keeps: one of the same framework and number replaces those."""
    named = {(one.framework, one.control) for one in own.controls}
    kept = [one for one in controls() if own.shipped and (one.framework, one.control) not in named]
    return (*kept, *own.controls)


def controls_part(found: Collection[str], own: Controls | None = None) -> Section | None:
    """The controls that at least one sort of evidence here supports; None when there is no evidence."""
    words = evidence_words()
    rows = []
    for one in merged(own or Controls()):
        here = [words[kind] for kind in one.by if kind in found]
        lacking = [words[kind] for kind in one.by if kind not in found]
        if here:
            cells = (
                f"{one.framework} {one.control}",
                one.edition,
                one.asks,
                "; ".join(here),
                "; ".join(lacking) or "–",
            )
            rows.append(tuple(Cell(text=clean(text, 400)) for text in cells))
    if not rows:
        return None
    heads = ("Control", "Edition", "It asks to", "Supported here by", "Not in this record")
    table = Table(caption="Supports evidence for", columns=tuple(Column(head=head) for head in heads), rows=tuple(rows))
    return Section(anchor="controls", title="Controls", lead=_LEAD, blocks=(table,))


def controls_section(result: Result, own: Controls | None = None) -> Section | None:
    """The section of a run's report."""
    return controls_part(evidence_of(result), own)
