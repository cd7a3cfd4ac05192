"""Experiments as test items: what is collected, and that a run that proves nothing is no green test."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

EXPERIMENT = """
version: 1
kind: experiment
name: mine
title: Nothing that exists
hypothesis: A typo is found before anything runs.
stack: no-such-stack
load: {profile: http, arrival: {rate: 5/s}, timeout: 1s}
recovered_when: "good >= 99% for 3s"
timeline: []
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    folder = pytester.mkdir("experiments")
    (folder / "mine.yaml").write_text(EXPERIMENT)
    (folder / "base.yaml").write_text(EXPERIMENT.replace("timeline: []\n", ""))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (folder / "stack.yaml").write_text("version: 1\nkind: stack\nname: s\n")
    return pytester


def test_experiments_are_collected_only_when_asked(project: pytest.Pytester) -> None:
    assert project.runpytest("--collect-only", "experiments").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    listed = project.runpytest("--collect-only", "-q", "--blackstart", "experiments")
    listed.stdout.fnmatch_lines(["experiments/mine.yaml::mine", "*1 test collected*"])


def test_a_run_that_does_not_pass_is_a_failed_test_that_says_why(project: pytest.Pytester) -> None:
    failed = project.runpytest("--blackstart", "experiments/mine.yaml")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*exit code 2*", "*mine.yaml:7:*no-such-stack*"])
    failed.stdout.no_fnmatch_line("*Traceback*")
