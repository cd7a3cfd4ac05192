"""Baselines as files, sets of runs by name, and both through the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.drill.baselines import MOST, accept, read_baseline, select
from harness.errors import SpecError
from harness.model.verdict import Verdict


def test_accepted_runs_are_kept_in_order_and_once(sample, tmp_path):
    accept([sample(3)], tmp_path)
    done = accept([sample(1), sample(3)], tmp_path)
    assert done.path == tmp_path / "region-kill.json"
    assert [one.run_id[:8] for one in read_baseline(done.path)] == ["20261101", "20261103"]
    assert read_baseline(done.path)[1] == sample(3)


def test_only_the_newest_twenty_stay(sample, tmp_path):
    done = accept([sample(day) for day in range(1, 24)], tmp_path)
    assert len(done.runs) == MOST
    assert done.runs[0] == sample(4).run_id
    again = accept([sample(24)], tmp_path)
    assert (again.dropped, again.why) == ((sample(4).run_id,), "only the newest 20 are kept")


def test_another_key_begins_a_new_baseline(sample, tmp_path):
    accept([sample(1)], tmp_path)
    done = accept([sample(2, key="b" * 64)], tmp_path)
    assert done.runs == (sample(2).run_id,)
    assert (done.dropped, done.why) == (
        (sample(1).run_id,),
        "another plan, stack or load than the runs accepted now",
    )


def test_only_a_pass_can_be_a_baseline(sample, tmp_path):
    with pytest.raises(SpecError, match="came out FAIL: only a PASS can be a baseline"):
        accept([sample(1, verdict=Verdict.FAIL)], tmp_path)
    with pytest.raises(SpecError, match="runs of one experiment, stack and load"):
        accept([sample(1), sample(2, key="b" * 64)], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected version 1, kind baseline"),
        ("{", "not a baseline: Expecting"),
        ('{"version": 1, "kind": "baseline"}', "'runs'"),
        ('{"version": 1, "kind": "baseline", "runs": [{"run_id": 3}]}', "run_id: not a baseline: Input should be"),
    ],
)
def test_a_file_that_is_no_baseline_is_said(text, said, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_baseline(path)
    assert said in str(caught.value)
    with pytest.raises(SpecError, match="no baseline"):
        read_baseline(tmp_path / "none.json")


def test_sets_of_runs_are_named(keep, tmp_path):
    for day in range(1, 7):
        keep(day, commit=("aaaa" if day < 4 else "bbbb") + "0" * 36)
    reports = tmp_path / "reports"
    days = lambda text: [one.run_id[6:8] for one in select(text, reports, tmp_path)]  # noqa: E731
    assert days("region-kill") == ["01", "02", "03", "04", "05", "06"]
    assert days("region-kill@aaaa") == ["01", "02", "03"]
    assert days("region-kill#2") == ["05", "06"]
    assert days("region-kill@aaaa#1") == ["03"]
    assert days("last") == ["06"]
    assert days("0001,0004") == ["01", "04"]
    with pytest.raises(SpecError, match="is of commit cccc"):
        select("region-kill@cccc", reports, tmp_path)
    with pytest.raises(SpecError, match="no run 'nope'"):
        select("nope", reports, tmp_path)


def test_the_commands_together(keep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for day in range(1, 7):
        keep(day)
    keep(7, "fail")
    run = CliRunner().invoke
    ids = [f"{day:04x}" for day in range(1, 7)]
    done = run(app, ["baseline", "accept", *ids, "--json"])
    assert (done.exit_code, len(json.loads(done.stdout)["runs"])) == (0, 6)
    shown = run(app, ["baseline", "show", "region-kill"])
    assert shown.stdout.splitlines()[1].split() == ["20261101T100002Z-region-kill-0001", "4f2a9c100000", "4.35", "s"]
    failed = run(app, ["compare", "baseline:region-kill", "last", "--json"])
    body = json.loads(failed.stdout)
    assert (failed.exit_code, body["verdict"], body["missed"]) == (1, "FAIL", ["data_loss = 0", "durable"])
    loss = next(one for one in body["measures"] if one["measure"] == "data_loss")
    assert (loss["finding"], loss["new"]) == ("suspected", [7.0])
    same = run(app, ["compare", "0001", "0002"])
    assert same.exit_code == 0
    assert "recovery_time" in same.stdout
    assert "not enough runs to compare (have 1 old and 1 new, need 5 and 3)" in same.stdout
    assert run(app, ["baseline", "accept", "last"]).exit_code != 0
