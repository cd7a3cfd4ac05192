"""The gate: what stored evidence is worth, reason by reason, and the command on a project in git."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.app import run as run_command
from harness.drill.gate import Evidence, Wanted, judge_entry, read_evidence
from harness.model.verdict import Verdict
from harness.plan.identity import comparable_key
from harness.plan.make import make_plan
from harness.registry import catalog
from harness.run.subject import SUBJECT, subject_text
from harness.spec.load import load_experiment

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = 86_400_000_000_000
WANTED = Wanted(
    name="region-kill",
    source="experiments/region-kill.yaml",
    key="k",
    objectives=frozenset({"recovery_time <= 5s", "data_loss = 0"}),
    files={"deploy/a.yaml": "1", "deploy/b.yaml": "2"},
    covers=("deploy/**",),
    freshness_ns=30 * DAY,
)


def run(days: float, verdict: Verdict = Verdict.PASS, **more) -> Evidence:
    facts = {
        "run_id": f"r{days:g}",
        "started": NOW - timedelta(days=days),
        "verdict": verdict,
        "key": "k",
        "objectives": WANTED.objectives | {"latency.p99 <= 2s"},
        "commit": "c0ffee",
        "dirty": False,
        "files": WANTED.files,
    }
    return Evidence(**facts | more)


def codes(*evidence: Evidence, want: Wanted = WANTED, **rules) -> list[str]:
    decision = judge_entry(want, evidence, NOW, **rules)
    assert decision.passes is (not decision.reasons)
    return [why.code for why in decision.reasons]


def test_a_fresh_pass_of_the_same_plan_and_files_passes():
    decision = judge_entry(WANTED, [run(2)], NOW)
    assert (decision.passes, decision.run_id, decision.verdict) == (True, "r2", Verdict.PASS)
    assert (decision.age_s, decision.cautions) == (2 * 86_400, ())
    assert decision.expires == NOW + timedelta(days=28)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ([], ["no-run"]),
        ([run(31)], ["too-old"]),
        ([run(30)], []),  # at most: the very limit is fresh
        ([run(1, key="other")], ["plan-changed"]),
        ([run(1, key=None)], ["plan-changed"]),
        ([run(1, objectives=frozenset({"data_loss = 0"}))], ["plan-changed"]),
        ([run(1, defects=("mutant",))], ["plan-changed"]),
        ([run(1, key="other"), run(2)], []),  # another plan's run says nothing of this one
        ([run(1, Verdict.INCONCLUSIVE)], ["no-proof"]),
        ([run(1, Verdict.ABORTED), run(2)], []),
        ([run(1, Verdict.FAIL, missed=("data_loss = 0",)), run(2)], ["failed"]),
        ([run(1, Verdict.DIRTY), run(2)], ["dirty"]),
        ([run(1, files=None)], ["subject-unknown"]),
        ([run(1, files={"deploy/a.yaml": "1"})], ["covers-changed"]),
        ([run(40, files={}, broken=("changed: result.json",))], ["too-old", "altered", "covers-changed"]),
        ([run(1), run(2, Verdict.FAIL)], ["flaky"]),
        ([run(1), run(31, Verdict.FAIL)], []),  # that long ago it was not this one
        ([run(1), run(2, Verdict.FAIL, commit="dec0de")], []),  # something was changed in between
        ([run(1), run(2, Verdict.FAIL, files={})], []),
        ([run(1, dirty=True), run(2, Verdict.FAIL, dirty=True)], []),  # changes without a name may be the repair
    ],
)
def test_what_evidence_is_worth(evidence, expected):
    assert codes(*evidence) == expected


def test_flaky_may_be_allowed_by_name():
    decision = judge_entry(WANTED, [run(1), run(2, Verdict.FAIL)], NOW, flaky="allow")
    assert decision.passes
    assert [why.text for why in decision.cautions] == ["flaky: r2 came out FAIL with the very same plan and files"]


def test_several_passes_in_a_row_may_be_asked_for():
    three = replace(WANTED, passes=3)
    assert codes(run(1), run(2), run(3), want=three) == []
    assert codes(run(1), run(2), want=three) == ["too-few"]
    assert codes(run(1), run(2), run(3, Verdict.FAIL, commit="other"), want=three) == ["failed"]


def test_it_says_what_is_stale_and_why():
    decision = judge_entry(WANTED, [run(41, files={"deploy/a.yaml": "0", "deploy/c.yaml": "3"})], NOW)
    assert [why.text for why in decision.reasons] == [
        "r41 passed 41 d ago, at most 30 d counts",
        "files changed since r41: deploy/a.yaml, deploy/b.yaml (new), deploy/c.yaml (gone)",
    ]
    (why,) = judge_entry(WANTED, [run(1, objectives=frozenset({"data_loss = 0"}))], NOW).reasons
    assert why.text == "no run of it as it is now: r1 was not asked for recovery_time <= 5s"
    (failed,) = judge_entry(WANTED, [run(1, Verdict.FAIL, missed=("data_loss = 0",))], NOW).reasons
    assert failed.text == "r1 came out FAIL: data_loss = 0"


def test_cautions_do_not_hold_back():
    decision = judge_entry(replace(WANTED, covers=()), [run(1, Verdict.ABORTED), run(2, dirty=True)], NOW)
    assert decision.passes
    assert [why.code for why in decision.cautions] == ["no-covers", "unproven-since", "dirty-tree"]


# ---- the command -----------------------------------------------------------------------------------------------------

BUILTIN = Path(__file__).parents[2] / "experiments"
GATE = """
version: 1
kind: gate
name: release
freshness: 9000d
experiments: [../experiments/kill.yaml]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "drills").mkdir()
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/web.yaml").write_text("replicas: 2\n")
    (tmp_path / "drills/release.yaml").write_text(GATE)
    (tmp_path / "experiments/kill.yaml").write_text(
        f"version: 1\nkind: experiment\nextends: {BUILTIN / 'region-kill.yaml'}\nname: kill\n"
        'covers: ["deploy/**"]\nobjectives: ["recovery_time <= 5s"]\n'
    )
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True, timeout=20)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def evidence(project, keep):
    """Keep a run of the project as it is now: `evidence(3, "pass")`."""

    def make(day, kind="pass"):
        plan = make_plan(
            load_experiment(project / "experiments/kill.yaml", catalog=catalog(), builtin=BUILTIN).value, catalog()
        )
        made = keep(day, kind, {"name": "kill", "banners": ()}, comparable=comparable_key(plan))
        made.write(SUBJECT, subject_text(plan))
        made.seal()
        return made

    return make


def gate(*words):
    done = CliRunner().invoke(app, ["gate", *words])
    return done.exit_code, done.stdout


@pytest.mark.slow
def test_the_command_passes_and_says_what_is_stale(project, evidence):
    assert gate()[0] == 1
    assert "no-run: no judged run of it" in gate()[1]
    made = evidence(3)
    code, text = gate()
    assert (code, text.splitlines()[0][:40]) == (0, "ok    kill by 20261103T100002Z-kill-0003")
    (project / "deploy/web.yaml").write_text("replicas: 3\n")
    (project / "deploy/new.yaml").write_text("")
    code, text = gate()
    assert code == 1
    assert text.splitlines() == [
        f"HELD  kill by {made.run_id}",
        f"      covers-changed: files changed since {made.run_id}: deploy/new.yaml (new), deploy/web.yaml",
        "      run: blackstart run experiments/kill.yaml",
    ]
    evidence(4)
    assert gate()[0] == 0
    evidence(5, "fail")
    code, text = gate("release", "--json")
    body = json.loads(text)
    (row,) = body["experiments"]
    assert (code, body["passes"], body["exit_code"], row["verdict"]) == (1, False, 1, "FAIL")
    assert [why["code"] for why in row["reasons"]] == ["failed"]


@pytest.mark.slow
def test_altered_evidence_is_no_evidence(project, evidence):
    made = evidence(3)
    made.result.write_text(made.result.read_text().replace("4.4 s", "3.3 s"))
    code, text = gate()
    assert code == 1
    assert f"altered: {made.run_id} is not as it was sealed: changed: result.json" in text
    (made.path / "manifest.json").unlink()
    assert "missing: manifest.json" in gate()[1]
    assert len(read_evidence(project / "reports", "kill")) == 1
    shutil.rmtree(made.path)
    assert "no-run" in gate()[1]


def test_bad_gates_are_exit_2(project, monkeypatch, capsys):
    (project / "drills/release.yaml").write_text(GATE.replace("kill.yaml", "kil.yaml"))
    monkeypatch.setattr(sys, "argv", ["blackstart", "gate"])
    with pytest.raises(SystemExit) as ended:
        run_command()
    assert ended.value.code == 2
    assert "did you mean 'kill.yaml'?" in capsys.readouterr().err
