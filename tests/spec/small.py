"""The smallest experiment that is allowed everything, and its plan on a stack of the test's own."""

from __future__ import annotations

from pathlib import Path

from harness.model.plan import Plan
from harness.plan.make import make_plan
from harness.registry import catalog
from harness.spec.load import load_experiment

__all__ = ["EXPERIMENT", "planned_on"]

EXPERIMENT = """
version: 1
kind: experiment
name: e
title: t
hypothesis: h
stack: s.yaml
load: {profile: http, arrival: {rate: 20/s}, timeout: 2s, with: {path: /}}
steady_state: {for: 5s, require: ["good >= 99%"]}
recovered_when: "good >= 99% for 3s"
observe: 10s
blast_radius: {regions: 2, share: 100%}
timeline:
  - FAULT
objectives: [recovery_time <= 5s]
"""


def planned_on(folder: Path, stack: str, fault: str) -> Plan:
    """The plan of the fault, an entry of the timeline, on this stack; raises what loading and planning raise."""
    (folder / "s.yaml").write_text(stack)
    (folder / "e.yaml").write_text(EXPERIMENT.replace("FAULT", fault))
    return make_plan(load_experiment(folder / "e.yaml", catalog=catalog(), env={}).value, catalog())
