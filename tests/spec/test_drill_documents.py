"""Drills and runbooks: what loads, and every slip with its place and remedy in one pass."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from harness.errors import SpecError
from harness.model.drill import Ask, Command, ExperimentStep, RunbookStep, Say
from harness.registry import catalog as real_catalog
from harness.spec.load_drill import load_drill, load_gate, load_runbook
from harness.spec.nodes import Plain, Source, plain
from harness.spec.schema import schema_of
from harness.spec.yaml_text import parse

TODAY = date(2026, 11, 25)
SHIPPED = Path(__file__).parents[2] / "drills"
RUNBOOK = """\
version: 1
kind: runbook
name: loss
title: A region is gone
owner: sre
reviewed: 2026-11-01
review_every: 90d
recovery_objective: 60s
people: {operator: a person}
escalation:
  - {after: 5m, to: operator}
  - {after: 15m, to: operator}
detection: [{signal: good, threshold: "good < 95% for 10s"}]
steps:
  - id: look
    title: Look
    who: operator
    run: {exec: [./ops/look], within: 5s}
    verify: The screen is green.
    changes: false
    expect: 10s
  - id: promote
    title: Promote
    who: operator
    run: {exec: [./ops/promote, us]}
    verify: {exec: [ops-check]}
    rollback: {exec: [./ops/demote, us]}
    on_fail: rollback
    expect: 30s
  - {id: tell, title: Tell, who: operator, run: Say it., verify: {none: words}, irreversible: it is said, expect: 5s}
comms:
  resolved: {internal: "over after {{ elapsed }}"}
"""
DRILL = """\
version: 1
kind: drill
name: quarterly
owner: sre
objectives: ["recovery_time <= 60s", "data_loss = 0"]
schedule: {cron: "0 10 * * 2", timezone: Europe/Berlin, blackout: [{from: 2026-12-15, to: 2027-01-05, why: freeze}]}
people: {commander: oncall, operator: serving}
approvals: {required: 1}
comms: {first_update: 5m, channels: [{webhook: "http://127.0.0.1:9/x"}], templates: runbooks/loss.yaml}
steps:
  - {say: Announce it, who: commander, template: announced}
  - {experiment: ../experiments/region-kill.yaml, runs: {times: 3}}
  - {experiment: region-kill, sweep: {load.arrival.rate: [20/s, 40/s]}, find: highest passing}
  - {runbook: "runbooks/loss.yaml#promote", who: commander, expect: 15s}
  - {ask: Did the page arrive?, who: commander}
  - {runbook: runbooks/loss.yaml, id: again}
"""


def values(text: str) -> Plain:
    node = parse(text, Source(name="text", base=Path(), lines=tuple(text.split("\n"))))
    assert node is not None
    return plain(node)


class Drills:
    def __init__(self, project: Any, catalog: Any) -> None:
        self.project, self.catalog = project, catalog
        self.drill, self.runbook = DRILL, RUNBOOK

    def load(self) -> Any:
        folder = self.project.folder.parent / "drills"
        (folder / "runbooks").mkdir(parents=True, exist_ok=True)
        (folder / "quarterly.yaml").write_text(self.drill)
        (folder / "runbooks" / "loss.yaml").write_text(self.runbook)
        return load_drill(folder / "quarterly.yaml", catalog=self.catalog, env={}, today=TODAY)

    def problems(self) -> list[str]:
        with pytest.raises(SpecError) as caught:
            self.load()
        return [f"{p.file}:{p.line}:{p.column}: {p.where}: {p.message}" for p in caught.value.problems]


@pytest.fixture
def drills(project: Any, catalog: Any) -> Drills:
    return Drills(project, catalog)


def test_it_is_read_with_what_it_cites(drills: Drills) -> None:
    drill = drills.load().value
    kinds = [(type(step), step.id) for step in drill.steps]
    assert kinds == [
        (Say, "say-announced"),
        (ExperimentStep, "region-kill"),
        (ExperimentStep, "region-kill-2"),
        (RunbookStep, "promote"),
        (Ask, "ask"),
        (RunbookStep, "again.look"),
        (RunbookStep, "again.promote"),
        (RunbookStep, "again.tell"),
    ]
    once, sweep = drill.experiments
    assert (once.times, once.sweep, [variant.value for variant in once.variants]) == (3, None, [None])
    rates = [(variant.value, variant.experiment.load.arrival.rate_per_s) for variant in sweep.variants]
    assert rates == [("20/s", 20.0), ("40/s", 40.0)]
    promote = drill.steps[3]
    assert (promote.who, promote.expect_ns, promote.action.expect_ns) == ("commander", 15 * 10**9, 30 * 10**9)
    folder = str(drills.project.folder.parent / "drills" / "runbooks")
    assert promote.action.run == Command(argv=(f"{folder}/ops/promote", "us"), cwd=folder, within_ns=30 * 10**9)
    assert promote.action.verify == Command(argv=("ops-check",), cwd=folder, within_ns=30 * 10**9)
    assert drill.comms.templates == {"resolved": {"internal": "over after {{ elapsed }}"}}
    assert drill.schedule.blackouts[0].until_utc == "2027-01-06T00:00:00+00:00"


def test_its_objectives_are_every_experiments(drills: Drills) -> None:
    experiment = drills.load().value.experiments[0].variants[0].experiment
    texts = [(one.predicate.text, one.line) for one in experiment.objectives]
    assert texts[-2:] == [("exactly-once.duplicates = 0", 29), ("recovery_time <= 60s", 5)]
    assert sum(text == "data_loss = 0" for text, _ in texts) == 1, "its own and the drill's are one"


def test_it_says_where_each_step_is(drills: Drills) -> None:
    loaded = drills.load().value
    text = drills.drill.splitlines()
    assert list(loaded.lines) == [step.id for step in loaded.steps]
    for step in loaded.steps:
        key = {"experiment": "experiment:", "runbook": "runbook:", "say": "say:", "ask": "ask:"}[step.kind]
        assert key in text[loaded.lines[step.id] - 1], step.id


def test_no_two_steps_have_one_name(drills: Drills) -> None:
    drills.drill = DRILL.replace(
        "who: commander}\n  - {runbook: runbooks", "id: again, who: commander}\n  - {runbook: runbooks"
    )
    assert drills.problems() == ["drills/quarterly.yaml:16:39: steps[5].id: another step is called 'again' already"]


def test_every_problem_of_all_documents_comes_in_one_pass(drills: Drills) -> None:
    drills.drill = (
        drills.drill.replace("who: commander, template", "who: comander, template")
        .replace("0 10 * * 2", "0 10 * *")
        .replace("Europe/Berlin", "Europe/Brlin")
        .replace("data_loss = 0", "data_los = 0")
        .replace("loss.yaml#promote", "loss.yaml#promot")
        .replace("{ask: Did", "{aks: Did")
        .replace("http://127", "htp://127")
    )
    drills.runbook = drills.runbook.replace("    rollback: {exec: [./ops/demote, us]}\n", "")
    drills.project.write("region-kill.yaml", (drills.project.folder / "region-kill.yaml").read_text() + "seeed: 3\n")
    assert drills.problems() == [
        "drills/quarterly.yaml:5:38: objectives[1]: unknown measure 'data_los'; did you mean 'data_loss'?",
        "drills/quarterly.yaml:6:18: schedule.cron: not a cron line: '0 10 * *' (expected five fields)",
        "drills/quarterly.yaml:6:40: schedule.timezone: unknown time zone 'Europe/Brlin'",
        "drills/quarterly.yaml:9:48: comms.channels[0].webhook: expected an http or https URL, got 'htp://127.0.0.1:9/x'",
        "drills/quarterly.yaml:11:29: steps[0].who: unknown person 'comander'; did you mean 'commander'?",
        "drills/quarterly.yaml:15:6: steps[4]: expected a step with one of experiment, say, ask, runbook",
        "experiments/region-kill.yaml:31:1: seeed: unknown key 'seeed'; did you mean 'seed'?",
        "drills/runbooks/loss.yaml:22:5: steps[1]: a step that changes something needs a way back",
        "drills/runbooks/loss.yaml:27:14: steps[1].on_fail: there is no rollback to make",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    verify: The screen is green.\n", "", "steps[0]: a step without `verify` cannot be known to have worked"),
        ("    changes: false\n", "", "steps[0]: a step that changes something needs a way back"),
        ("changes: false", "changes: false\n    rollback: undo", "steps[0].rollback: a step that changes nothing has no rollback"),
        ("on_fail: rollback", "irreversible: never", "steps[1].irreversible: a step with a rollback is not irreversible"),
        ("who: operator\n    run: {exec: [./ops/look]", "who: oprator\n    run: {exec: [./ops/look]",
         "steps[0].who: unknown person 'oprator'; did you mean 'operator'?"),
        ("after: 15m, to: operator", "after: 4m, to: nobody", "escalation[1].to: unknown person 'nobody'"),
        ("after: 15m", "after: 4m", "escalation[1].after: expected more than the 5 m before it, got '4m'"),
        ("expect: 30s", "expect: 50s", "recovery_objective: its steps are expected to take 65 s, more than 60 s"),
        ("{{ elapsed }}", "{{ elapsd }}", "comms.resolved.internal: unknown word 'elapsd'; did you mean 'elapsed'?"),
        ("{{ elapsed }}", "{{ elapsed", "comms.resolved.internal: not a template: unexpected end of template"),
        ("good < 95% for 10s", "good < 95 for 10s", "detection[0].threshold: good is a share: expected a value"),
        ("id: promote", "id: look", "steps[1].id: another step is called 'look' already"),
        ("reviewed: 2026-11-01", "reviewed: 2026-13-01", "reviewed: there is no such day: '2026-13-01'"),
    ],
)  # fmt: skip
def test_lints_of_a_runbook(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in RUNBOOK
    path = tmp_path / "loss.yaml"
    path.write_text(RUNBOOK.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_runbook(path, env={}, today=TODAY)
    told = [f"{one.where}: {one.message}" for one in caught.value.problems]
    assert any(line.startswith(problem) for line in told), told
    assert all(one.line for one in caught.value.problems)


def test_an_overdue_review_and_an_uncounted_step_are_warnings(tmp_path: Path) -> None:
    path = tmp_path / "loss.yaml"
    path.write_text(RUNBOOK.replace(", expect: 5s}", "}"))
    warnings = [one.message for one in load_runbook(path, env={}, today=date(2027, 3, 1)).warnings]
    assert warnings == [
        "its review has been overdue since 2027-01-30",
        "no `expect`: this step's time is not counted towards the recovery objective",
    ]
    assert load_runbook(path, env={}, today=TODAY).warnings[0].line == 30


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("find: highest passing", "id: s", "steps[2]: a sweep says what it looks for"),
        ("sweep: {load.arrival.rate: [20/s, 40/s]}, ", "", "steps[2]: there is no `sweep` to find it in"),
        ("runs: {times: 3}", 'expect: "FIAL:durable"', "steps[1].expect: unknown verdict 'FIAL'; did you mean 'FAIL'?"),
        ("recovery_time <= 60s", "recovery_time <= 30s",
         "objectives[0]: the runbook's steps are expected to take 60 s, more than this objective allows"),
        ("recovery_time <= 60s", "budget.speed <= 1%", "objectives[0]: unknown SLO 'speed', in experiment 'region-kill'"),
        ("people: {commander: oncall, operator: serving}", "people: {commander: oncall}",
         "steps[5]: step 'look' of loss is for 'operator', who is not here"),
        ("../experiments/region-kill.yaml", "../experiments/region-kil.yaml",
         "steps[1].experiment: no experiment file '../experiments/region-kil.yaml'; did you mean 'region-kill.yaml'?"),
    ],
)  # fmt: skip
def test_lints_of_a_drill(drills: Drills, old: str, new: str, problem: str) -> None:
    assert old in drills.drill
    drills.drill = drills.drill.replace(old, new, 1)
    assert any(problem in line for line in drills.problems()), drills.problems()


@pytest.mark.parametrize(("kind", "text"), [("drill", DRILL), ("runbook", RUNBOOK)])
def test_the_schema_takes_what_loads_and_no_slip(kind: str, text: str, catalog: Any) -> None:
    schema = schema_of(kind, catalog)
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)
    document = values(text)
    assert [error.message for error in validator.iter_errors(document)] == []
    for old, new in (("who: ", "hwo: "), ("name: ", "nmae: "), ("owner: sre", "owner: 3")):
        assert not validator.is_valid(values(text.replace(old, new, 1))), old


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_documents_load_without_a_warning_and_fit_the_schema(path: Path) -> None:
    kind = str(values(path.read_text())["kind"])
    if kind == "gate":
        loaded: Any = load_gate(path, catalog=real_catalog(), env={}, builtin=SHIPPED.parent / "experiments")
    elif kind == "drill":
        loaded = load_drill(path, catalog=real_catalog(), env={}, builtin=SHIPPED.parent / "experiments", today=TODAY)
    else:
        loaded = load_runbook(path, env={}, today=TODAY)
    assert (loaded.value.name, loaded.warnings) == (path.stem, ())
    document = values(path.read_text())
    assert [error.message for error in Draft7Validator(schema_of(kind, real_catalog())).iter_errors(document)] == []


@pytest.mark.parametrize(
    "entry", ["{audience: customer}", '{webhook: "http://127.0.0.1:9/x", apprise: "json://127.0.0.1:9/x"}']
)
def test_a_channel_is_one_address(drills: Drills, entry: str) -> None:
    drills.drill = drills.drill.replace('{webhook: "http://127.0.0.1:9/x"}', entry)
    (problem,) = drills.problems()
    assert "comms.channels[0]: expected either `webhook` or `apprise`" in problem
