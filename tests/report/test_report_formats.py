"""JUnit, Markdown, annotations, terminal and JSON: right for each verdict, unbroken by hostile text."""

from __future__ import annotations

import re
from types import ModuleType
from xml.etree import ElementTree

import junitparser
import pytest

from harness.errors import HarnessBug
from harness.model.result import Result, StepResult
from harness.report.all import outputs
from harness.report.json_ import dump
from harness.report.junit import render_junit
from harness.report.markdown import render_annotations, render_markdown, sparkline
from harness.report.terminal import render_terminal

NAMES = ("pass", "fail", "inconclusive", "refused", "aborted", "dirty", "error", "censored", "calm", "empty", "hostile")


def tally(text: str) -> dict[str, int]:
    root = ElementTree.fromstring(text)
    cases = root.findall("testsuite/testcase")
    return {
        "cases": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }


@pytest.mark.parametrize(
    ("name", "cases", "failures", "errors"),
    [
        ("pass", 11, 0, 0),
        ("fail", 8, 3, 0),
        ("inconclusive", 10, 0, 2),
        ("refused", 6, 0, 6),
        ("aborted", 5, 1, 4),
        ("dirty", 11, 0, 1),
        ("error", 6, 0, 6),
        ("censored", 5, 2, 3),
        ("calm", 4, 0, 0),
        ("empty", 1, 0, 1),
    ],
)
def test_junit_counts(name: str, cases: int, failures: int, errors: int, samples: ModuleType) -> None:
    text = render_junit(samples.SAMPLES[name]())
    assert tally(text) == {"cases": cases, "failures": failures, "errors": errors, "skipped": 0}
    root = ElementTree.fromstring(text)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == (str(cases), str(failures), str(errors))


@pytest.mark.parametrize("name", NAMES)
def test_junit_is_read_by_a_second_parser(name: str, samples: ModuleType) -> None:
    result: Result = samples.SAMPLES[name]()
    text = render_junit(result)
    read = junitparser.JUnitXml.fromstring(text.encode())
    (suite,) = list(read)
    cases = list(suite)
    assert len(cases) == 1 + len(result.objectives) + len(result.steps)
    assert len({case.name for case in cases}) == len(cases)
    assert all(case.classname.startswith("blackstart.") for case in cases)
    assert suite.failures + suite.errors == (0 if result.exit_code == 0 else sum(not case.is_passed for case in cases))
    assert (result.exit_code == 0) == all(case.is_passed for case in cases)


def test_junit_says_what_was_observed_and_what_proves_it(samples: ModuleType) -> None:
    root = ElementTree.fromstring(render_junit(samples.failing()))
    failure = next(case for case in root.iter("testcase") if case.get("name") == "data_loss = 0").find("failure")
    assert failure is not None
    assert failure.get("type") == "objective"
    assert (failure.get("message") or "").startswith("data_loss = 0: observed 7 of 4,488, limit = 0")
    assert "op 1200: append to session s-000" in (failure.text or "")
    properties = {element.get("name"): element.get("value") for element in root.iter("property")}
    assert properties["recovery.lo_s"] == "2.280"
    assert properties["verdict"] == "FAIL"
    assert properties["data_loss"] == "7"


def test_junit_steps(samples: ModuleType) -> None:
    steps = (
        StepResult(
            id="promote", started_ns=1_000_000_000, ended_ns=1_250_000_000, exit_code=0, output="promoted\nepoch 4"
        ),
        StepResult(id="late", started_ns=1_000_000_000, ended_ns=None, exit_code=None),
        StepResult(id="wrong", started_ns=1, ended_ns=2, exit_code=3),
        StepResult(id="never", started_ns=None, ended_ns=None, exit_code=None),
    )
    root = ElementTree.fromstring(render_junit(samples.passing().model_copy(update={"steps": steps})))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["step promote"].get("time") == "0.250"
    assert cases["step promote"].findtext("system-out") == "promoted\nepoch 4"
    said = {name: cases[f"step {name}"].find("error").get("message") for name in ("late", "wrong", "never")}  # type: ignore[union-attr]
    assert said == {
        "late": "step late did not end in time",
        "wrong": "step wrong ended with 3, expected 0",
        "never": "step never was not started",
    }


@pytest.mark.parametrize("name", NAMES)
def test_markdown_is_short_and_starts_with_the_verdict(name: str, samples: ModuleType) -> None:
    result = samples.SAMPLES[name]()
    text = render_markdown(result)
    lines = text.splitlines()
    assert len(lines) <= 60
    assert lines[0].startswith("### ")
    assert f"{result.verdict.value}:" in lines[0]
    rows = [line for line in lines if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in rows]
    assert set(widths) <= {5, 6}
    assert len(text.encode()) < 60_000
    assert text.count("<details>") == text.count("</details>") == 1


def test_markdown_of_a_failure(samples: ModuleType) -> None:
    text = render_markdown(samples.failing())
    assert "| Acknowledged writes lost | = 0 | 7 of 4,488 | – | ❌ missed |" in text
    assert "**2.3 s** (2.28 to 2.34 s)" in text
    assert "> **Not the healthy stack:** mutant ack-before-replicate" in text


def test_hostile_text_makes_no_markup_of_its_own(samples: ModuleType) -> None:
    text = render_markdown(samples.hostile())
    prose = re.sub(r"(`+) .*? \1(?!`)", "", text)  # code spans are verbatim
    assert not re.search(r"(?<!\\)<(?!/?details>|/?summary>)", prose)
    assert not re.search(r"(?<!\\)\]\(", prose)
    text = prose
    assert "@team" not in text
    assert "\x1b" not in text


def test_annotations_stand_at_the_line_of_the_objective(samples: ModuleType) -> None:
    lines = render_annotations(samples.failing()).splitlines()
    assert lines[0] == (
        "::error file=experiments/region-kill.yaml,line=32,title=data_loss = 0 missed::"
        "observed 7 of 4,488, limit = 0: 7 acknowledged turns are absent from the final reads of us-east"
    )
    assert len(lines) == 2
    assert render_annotations(samples.passing()) == ""
    assert render_annotations(samples.dirty()).startswith("::error title=Blackstart%3A DIRTY::Link eu-db may")
    inconclusive = render_annotations(samples.inconclusive()).splitlines()
    assert [line.split(" ")[0] for line in inconclusive] == ["::error", "::warning"]
    for line in render_annotations(samples.hostile()).splitlines():
        assert re.match("::(error|warning) ", line)
        assert line.count("::") >= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 100])
def test_terminal_block_keeps_its_width(name: str, width: int, samples: ModuleType) -> None:
    result = samples.SAMPLES[name]()
    plain = render_terminal(result, width, False)
    assert "\x1b" not in plain
    assert re.sub("\x1b\\[[0-9;]*m", "", render_terminal(result, width, True)) == plain
    commands = {f"  {command}" for command in result.safety.commands}
    if name != "hostile":  # a command is never cut: half of it would be worse than a long line
        assert all(len(line) <= width for line in plain.splitlines() if line not in commands)
    assert len(plain.splitlines()) <= 50
    assert result.verdict.value in plain.splitlines()[0]


def test_terminal_says_the_numbers(samples: ModuleType) -> None:
    text = render_terminal(samples.passing(), 100, False)
    assert "✓ PASS  region-kill" in text
    assert "  Recovery time      4.4 s (4.21 to 4.49 s)" in text
    assert "recovery_time <= 5s" in text
    assert "blackstart recover 2026" in render_terminal(samples.dirty(), 60, False)


@pytest.mark.parametrize("name", NAMES)
def test_json_comes_back_as_it_went(name: str, samples: ModuleType) -> None:
    result = samples.SAMPLES[name]()
    text = dump(result)
    assert Result.model_validate_json(text) == result
    assert dump(Result.model_validate_json(text)) == text
    assert text.isascii()


def test_json_refuses_what_is_no_number(samples: ModuleType) -> None:
    result = samples.passing()
    broken = result.measures.model_copy(update={"steady_bad_upper_ratio": float("nan")})
    with pytest.raises(HarnessBug, match="not finite"):
        dump(result.model_copy(update={"measures": broken}))


def test_all_outputs_by_file_name(samples: ModuleType) -> None:
    made = outputs(samples.passing(), samples.extras())
    assert sorted(made) == ["junit.xml", "metrics.txt", "report.html", "summary.md"]
    assert all(text.endswith("\n") for text in made.values())


def test_sparkline_shows_the_lowest_of_each_group() -> None:
    assert sparkline((1.0, 0.0, None, None, 0.5, 1.0), 3) == "▁ ▄"
    assert sparkline(()) == ""
