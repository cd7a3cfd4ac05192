"""`disk:` of an instance: a file system of its own, or the word that it keeps nothing; and power cuts, which need either."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import SpecError, UnsafeError
from harness.registry import catalog
from harness.run.able import require_able
from tests.spec.small import planned_on

STACK = """
version: 1
kind: stack
name: s
instances:
  db: {host: {process: [db]}, ports: {http: 8080}, disk: 64MB}
  web: {host: {process: [web]}, ports: {http: 8081}}
  llm: {host: {external: "http://192.0.2.1:80"}}
drillable: [db, web]
entry: "http://${addr:web.http}"
"""
POWER = "{fault: kill, mode: power, on: {instance: db}, for: 8s}"


def planned(folder: Path, stack: str = STACK, fault: str = POWER):
    return planned_on(folder, stack, fault)


def test_the_plan_says_what_a_power_cut_takes(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.experiment.stack.instances["db"].disk_bytes == 64_000_000
    assert plan.experiment.stack.instances["web"].disk_bytes is None
    (fault,) = plan.faults
    assert fault.what == "SIGKILL every process of instance db, and let its disk forget what was not synced"
    assert fault.on_revert.startswith("instance db is started again on what its disk holds")


def test_power_needs_a_disk_or_the_word_that_there_is_none(tmp_path: Path) -> None:
    cut = POWER.replace("instance: db", "instance: web")
    with pytest.raises(UnsafeError, match="kill cannot be had on web") as told:
        planned(tmp_path, fault=cut)
    assert str(told.value.remedy).startswith("give web a file system of its own in the stack file (`disk: 64MB`, root)")
    plan = planned(tmp_path, STACK.replace("{http: 8081}}", "{http: 8081}, disk: none}"), cut)
    assert plan.experiment.stack.instances["web"].disk_bytes == 0


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("64MB", "1MB", "instances.db.disk: expected 16MiB to 16GiB, or none, got '1MB'"),
        ("64MB", "lots", "instances.db.disk: "),
        (
            '0.2.1:80"}',
            '0.2.1:80"}, disk: 64MB',
            "instances.llm.disk: no host of kind external has a directory of its own",
        ),
    ],
)
def test_what_no_disk_can_be_is_said(tmp_path: Path, old: str, new: str, text: str) -> None:
    with pytest.raises(SpecError) as told:
        planned(tmp_path, STACK.replace(old, new, 1))
    assert text in str(told.value)


def test_without_root_it_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsafeError, match="instance db: `disk:` needs root: only root can mount"):
        require_able(plan, catalog())
