"""What a run notes of the project it tests: the commit, whether there are changes, and the files that evidence is about."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from harness.errors import SpecError
from harness.plan.identity import comparable_key
from harness.plan.make import dump_plan, load_plan, make_plan
from harness.registry import catalog
from harness.run.subject import covered, git_state, project_root, subject_files, subject_note, subject_text
from harness.spec.load import load_experiment

STACK = """
version: 1
kind: stack
name: shop
regions: {eu: {}}
instances:
  web: {region: eu, host: {process: [../ops/serve, --port, "${port:http}"]}, ports: [http]}
drillable: [web]
entry: "http://${addr:web.http}"
"""
EXPERIMENT = """
version: 1
kind: experiment
name: kill-web
title: The shop dies
hypothesis: It comes back.
stack: stacks/shop.yaml
seed: 7
load: {profile: http, arrival: {rate: 20/s}, timeout: 1s}
blast_radius: {regions: 1, share: 100%}
timeline:
  - {id: down, at: 0s, jitter: 1s, fault: kill, on: {instance: web}, for: 20s}
recovered_when: "good >= 99% for 3s"
objectives: ["recovery_time <= 5s"]
covers: ["deploy/**", "*.toml"]
"""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "shop"
    for folder in ("experiments/stacks", "ops", "deploy/eu", "reports"):
        (root / folder).mkdir(parents=True)
    (root / "experiments/stacks/shop.yaml").write_text(STACK)
    (root / "experiments/kill-web.yaml").write_text(EXPERIMENT)
    (root / "experiments/ops").symlink_to("../ops")
    (root / "ops/serve").write_text("#!/bin/sh\n")
    (root / "deploy/eu/web.yaml").write_text("replicas: 2\n")
    (root / "deploy/secret.env").write_text("x\n")
    (root / "shop.toml").write_text("")
    (root / ".gitignore").write_text("*.env\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "first")
    return root


def git(root, *words):
    subprocess.run(["git", "-C", str(root), *words], check=True, timeout=20)


def plan_of(root, text=EXPERIMENT):
    path = root / "experiments/kill-web.yaml"
    path.write_text(text)
    return make_plan(load_experiment(path, catalog=catalog()).value, catalog())


def test_the_files_of_a_run_are_its_covers_and_its_own(project):
    files = subject_files(plan_of(project))
    assert list(files) == ["deploy/eu/web.yaml", "ops/serve", "shop.toml"]
    assert files["deploy/eu/web.yaml"] == hashlib.sha256(b"replicas: 2\n").hexdigest()
    assert json.loads(subject_text(plan_of(project)))["covers"] == ["deploy/**", "*.toml"]


def test_git_says_the_commit_and_whether_there_are_changes(project):
    state = git_state(project)
    assert state.commit is not None
    assert (len(state.commit), state.dirty) == (40, False)
    (project / "reports/run.json").write_text("{}")
    assert git_state(project).dirty is False, "what runs leave behind changes nothing that was tested"
    (project / "deploy/eu/web.yaml").write_text("replicas: 3\n")
    assert git_state(project).dirty is True
    note = subject_note(plan_of(project))
    assert note.code == "subject"
    assert (note.data["commit"], note.data["dirty"]) == (state.commit, True)


def test_without_git_files_are_found_all_the_same(tmp_path):
    assert git_state(tmp_path).commit is None
    (tmp_path / "experiments").mkdir()
    assert project_root(str(tmp_path / "experiments/x.yaml")) == tmp_path


@pytest.mark.parametrize(
    ("path", "glob", "under"),
    [
        ("deploy/eu/web.yaml", "deploy/**", True),
        ("deploy/eu/web.yaml", "deploy", True),
        ("deploy/eu/web.yaml", "deploy/*", True),  # a folder that matches counts with all below it
        ("deploy/eu/web.yaml", "**/*.yaml", True),
        ("web.yaml", "**/*.yaml", True),
        ("deploy.yaml", "deploy/**", False),
        ("deployed/web.yaml", "deploy*/**", True),
        ("src/a.py", "*.py", False),
        ("src/a.py", "./src/?.py", True),
        ("src/ab.py", "src/?.py", False),
    ],
)
def test_globs(path, glob, under):
    assert covered(path, [glob]) is under


def test_the_key_goes_by_what_is_tested(project):
    plan = plan_of(project)
    key = comparable_key(plan)
    same = {
        "another seed": EXPERIMENT.replace("seed: 7", "seed: 8"),
        "another title": EXPERIMENT.replace("The shop dies", "The shop is killed"),
        "moved lines": "\n\n" + EXPERIMENT,
        "another limit": EXPERIMENT.replace("<= 5s", "<= 6s"),
        "other covers": EXPERIMENT.replace('"*.toml"', '"*.cfg"'),
    }
    for what, text in same.items():
        assert comparable_key(plan_of(project, text)) == key, what
    assert comparable_key(plan_of(project, EXPERIMENT.replace("20/s", "30/s"))) != key


def test_the_key_does_not_depend_on_where_the_project_is(project, tmp_path):
    here = plan_of(project)
    project.rename(tmp_path / "elsewhere")
    there = plan_of(tmp_path / "elsewhere")
    assert comparable_key(there) == comparable_key(here)


def test_a_stored_plan_gives_the_same_key(project):
    plan = plan_of(project)
    read = load_plan(dump_plan(plan))
    assert comparable_key(read) == comparable_key(plan)


def test_a_plan_of_another_version_is_read_by_the_hash_of_its_text(project):
    plan = plan_of(project)
    body = json.loads(dump_plan(plan)) | {"invented_later": 1, "hash": ""}
    with pytest.raises(SpecError, match="the plan was changed"):
        load_plan(json.dumps(body))
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for folder in (plan.experiment.stack.base_dir, plan.experiment.base_dir):
        text = text.replace(folder, ".")
    body["hash"] = hashlib.sha256(text.encode()).hexdigest()
    assert load_plan(json.dumps(body)).hash == body["hash"]
