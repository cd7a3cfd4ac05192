"""B7, B8 and preflight as a user meets them: refused with 4 before anything is touched, and no run directory is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("blackstart"))
pytestmark = [pytest.mark.live, pytest.mark.slow]

STACK = """
version: 1
kind: stack
name: toy
environment: {environment}
regions: {{eu: {{}}, us: {{}}}}
instances:
  gw-eu: {{region: eu, service: gw, host: {{process: [sleep, "60"]}}, ports: [http]}}
  db-eu: {{region: eu, service: db, host: {{process: [sleep, "60"]}}}}
  gw-us: {{region: us, service: gw, host: {{process: [sleep, "60"]}}}}
  db-us: {{region: us, service: db, host: {{process: [sleep, "60"]}}}}
drillable: {drillable}
entry: "http://${{addr:gw-eu.http}}"
{more}
"""
EXPERIMENT = """
version: 1
kind: experiment
name: toy
title: t
hypothesis: h
stack: stack.yaml
load: {{profile: http, arrival: {{rate: 10/s}}, timeout: 1s}}
slo: [{{name: availability, target: 99.9%, window: 30d}}]
recovered_when: "good >= 90% for 3s"
objectives: [recovery_time <= 5s]
timeline: [{{id: down, at: 0s, fault: kill, on: {on}, for: 10s}}]
{more}
"""


@pytest.fixture
def project(tmp_path):
    class Project:
        def write(self, *, environment="local", drillable='["region:*"]', on="{region: eu}", stack="", more=""):
            (tmp_path / "stack.yaml").write_text(STACK.format(environment=environment, drillable=drillable, more=stack))
            (tmp_path / "toy.yaml").write_text(EXPERIMENT.format(on=on, more=more))

        def __call__(self, *args):
            env = os.environ | {"BLACKSTART_STATE": str(tmp_path / "state")}
            return subprocess.run([COMMAND, *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)

        def refused(self, *args):
            done = self("run", *args)
            assert done.returncode == 4, done.stderr
            assert not (tmp_path / "reports").exists(), "a refusal makes no run directory"
            return done.stderr

    made = Project()
    made.write()
    return made


def test_a_plan_that_drifted_is_refused_with_its_targets(project, tmp_path):
    frozen = project("plan", "toy.yaml", "--json")
    assert frozen.returncode == 0, frozen.stderr
    (tmp_path / "plan.json").write_text(frozen.stdout)
    project.write(on="{instance: [gw-eu]}")
    said = project.refused("--plan", "plan.json")
    assert "fault down: targets -instance db-eu" in said
    project.write(on="{region: us}")
    assert "fault down: targets -instance gw-eu -instance db-eu +instance gw-us +instance db-us" in project.refused(
        "toy.yaml", "--plan", "plan.json"
    )
    (tmp_path / "plan.json").write_text(frozen.stdout.replace("gw-eu", "gw-us"))
    done = project("run", "--plan", "plan.json")
    assert done.returncode == 2
    assert "the plan was changed after it was made" in done.stderr


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"drillable": '["gw-eu", "region:us"]'}, "contains db-eu, which is not drillable"),
        ({"on": "{service: gw}"}, "touches 2 regions (eu, us), more than the cap of 1"),
        ({"more": "blast_radius: {share: 25%}"}, "touches 2 of 4 instances (50%), more than the cap of 25%"),
        ({"environment": "production"}, "say --confirm-target toy"),
        ({"stack": 'blackout: [{from: 2026-01-01, to: 2999-12-31, why: "sales week"}]'}, "sales week"),
        ({"more": 'blackout: [{from: 2026-01-01, to: "2999-12-31T08:00+01:00", why: freeze}]'}, "--during-blackout"),
        ({"more": "budget_left: {availability: 0.1%}"}, "the run may cost"),
    ],
    ids=["protected", "regions", "share", "environment", "blackout-of-stack", "blackout", "budget"],
)
def test_what_may_not_run_now_is_refused(project, document, message):
    project.write(**document)
    assert message in project.refused("toy.yaml")
