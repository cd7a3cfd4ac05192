"""What a drill comes to: from its record alone, and from steps carried out with people and runs that are played."""

from __future__ import annotations

import os
import pty
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.drill.answers import Answer, FileAnswers, Nobody, Question, TerminalAnswers
from harness.drill.commands import require_commands
from harness.drill.conduct import DrillConductor, Seams
from harness.drill.judge import Before, judge_drill
from harness.drill.plan import DrillPlan
from harness.drill.record import Record, read_record
from harness.errors import SpecError, UnsafeError
from harness.model.drill import Ask, Command, Drill, DrillStep, ExperimentStep, RunbookAction, RunbookStep, Variant
from harness.model.drill_result import DrillFinding, DrillResult, DrillRun
from harness.model.verdict import Verdict


def experiment(*values: str | None, times: int = 1, expect: str | None = None) -> ExperimentStep:
    stack = SimpleNamespace(name="shop", environment="test", instances={})
    loaded = SimpleNamespace(name="kill", title="It dies", hypothesis="", owner="exp-owner", stack=stack)
    variants = tuple(Variant(value=value, experiment=loaded) for value in values or (None,))  # type: ignore[arg-type]
    sweep = "load.arrival.rate" if values else None
    return ExperimentStep(id="kill", variants=variants, times=times, sweep=sweep, expect=expect)


def action(run: Command | str, *, on_fail: str = "stop", rollback: Command | None = None) -> RunbookStep:
    made = RunbookAction(
        id="act", title="Act", who="op", run=run, verify=None, unverified="no", on_fail=on_fail, rollback=rollback
    )  # type: ignore[arg-type]
    return RunbookStep(id="act", runbook="book", action=made, who="op")


def sh(code: str, folder: Path) -> Command:
    return Command(argv=("sh", "-c", code), cwd=str(folder), within_ns=5 * 10**9)


class Played(DrillConductor):
    """Runs come out as they are told to, in order."""

    verdicts: list[Verdict]

    def _one(self, step, value, plan, follower):  # type: ignore[no-untyped-def]
        verdict = self.verdicts.pop(0)
        wanted = str(verdict) == (step.expect or "PASS")
        return DrillRun(run_id="r", value=value, verdict=verdict, wanted=wanted, sentence="so it went")


def carry_out(
    folder: Path,
    *steps: DrillStep,
    verdicts: str = "",
    answers: dict[str, Answer] | None = None,
    earlier: tuple[DrillFinding, ...] = (),
) -> DrillResult:
    drill = Drill(
        name="day", title="Day", owner="sre", source="day.yaml", base_dir=str(folder), exercise="functional",
        people={"op": "olga"}, findings_due_ns={"high": 7 * 86_400 * 10**9, "medium": 30 * 86_400 * 10**9}, steps=steps,
    )  # fmt: skip
    planned = SimpleNamespace(experiment=SimpleNamespace(title="It dies"), faults=())
    runs = {
        one.id: tuple((planned,) * one.times for _ in one.variants) for one in steps if isinstance(one, ExperimentStep)
    }
    plan = DrillPlan(drill=drill, runs=runs, hash="0" * 64)  # type: ignore[arg-type]
    record = Record(folder / "events.jsonl", frozenset())
    record.add("drill", mode="rehearse", wall_utc="2026-11-25T10:00:00+00:00", version="0")
    people = Nobody() if answers is None else FileAnswers(answers)
    seams = Seams(answers=people, run=None, say=lambda text: None)  # type: ignore[arg-type]
    conductor = Played(plan, "rehearse", folder, record, seams)
    conductor.verdicts = [Verdict[name] for name in verdicts.split()]
    conductor.conduct()
    record.close()
    return judge_drill(plan, record.events, "run-1", Before(findings=earlier))


def test_a_program_that_is_not_there_is_found_before_the_drill_begins(tmp_path: Path) -> None:
    def drill(*commands: Command) -> Drill:
        steps = tuple(replace(action(one), id=f"s{place}") for place, one in enumerate(commands))
        return Drill(
            name="day", title="", owner="", source="", base_dir="", exercise="functional", people={}, steps=steps
        )  # fmt: skip

    there = tmp_path / "there"
    there.write_text("#!/bin/sh\n")
    own = Command(argv=("./there",), cwd=str(tmp_path), within_ns=1)
    with pytest.raises(UnsafeError, match=r"s0 \(run\): \./there; s1 \(run\): no-such-program"):
        require_commands(drill(own, Command(argv=("no-such-program",), cwd="/", within_ns=1)))
    there.chmod(0o755)
    require_commands(drill(own, Command(argv=("sh", "-c", "nothing"), cwd="/", within_ns=1)))


@pytest.mark.parametrize(
    ("times", "verdicts", "verdict", "flaky"),
    [
        (3, "PASS PASS PASS", "PASS", False),
        (2, "FAIL PASS", "FAIL", True),
        (2, "PASS FAIL", "FAIL", True),
        (2, "PASS INCONCLUSIVE", "INCONCLUSIVE", False),
        (3, "FAIL ABORTED", "ABORTED", False),
        (2, "DIRTY", "DIRTY", False),
    ],
)
def test_repeats(tmp_path: Path, times: int, verdicts: str, verdict: str, flaky: bool) -> None:
    result = carry_out(tmp_path, experiment(times=times), verdicts=verdicts)
    assert (str(result.verdict), result.steps[0].flaky) == (verdict, flaky)


@pytest.mark.parametrize(
    ("verdicts", "found", "verdict"),
    [
        ("PASS PASS PASS", "60/s", "PASS"),
        ("PASS FAIL", "20/s", "PASS"),
        ("PASS INCONCLUSIVE", "20/s", "PASS"),
        ("FAIL", None, "FAIL"),
        ("PASS DIRTY", "20/s", "DIRTY"),
    ],
)
def test_a_sweep_finds_the_highest_passing(tmp_path: Path, verdicts: str, found: str | None, verdict: str) -> None:
    step = carry_out(tmp_path, experiment("20/s", "40/s", "60/s"), verdicts=verdicts).steps[0]
    assert (step.found, str(step.verdict)) == (found, verdict)


@pytest.mark.parametrize(("came", "verdict"), [("FAIL", "PASS"), ("PASS", "FAIL"), ("INCONCLUSIVE", "INCONCLUSIVE")])
def test_a_control_must_bite(tmp_path: Path, came: str, verdict: str) -> None:
    assert str(carry_out(tmp_path, experiment(expect="FAIL"), verdicts=came).verdict) == verdict


def test_what_nobody_did_is_no_pass_and_after_a_dirty_run_nothing_is_begun(tmp_path: Path) -> None:
    ask = Ask(id="ask", text="Well?", who="op")
    quiet = carry_out(tmp_path, ask)
    assert (quiet.verdict, quiet.steps[0].outcome) == (Verdict.INCONCLUSIVE, "not-performed")
    (tmp_path / "next").mkdir()
    stopped = carry_out(tmp_path / "next", experiment(), ask, verdicts="DIRTY", answers={"ask": Answer(outcome="done")})
    assert (stopped.verdict, stopped.steps[1].outcome, stopped.exit_code) == (Verdict.DIRTY, "not-begun", 7)


@pytest.mark.parametrize(("on_fail", "after"), [("stop", "not-begun"), ("continue", "done"), ("rollback", "not-begun")])
def test_what_follows_a_failed_command(tmp_path: Path, on_fail: str, after: str) -> None:
    failing = action(sh("echo tried; exit 3", tmp_path), on_fail=on_fail, rollback=sh("touch back", tmp_path))
    result = carry_out(tmp_path, failing, Ask(id="ask", text="?", who="op"), answers={"ask": Answer(outcome="done")})
    first, second = result.steps
    assert (first.outcome, first.note, first.output) == ("failed", "ended with 3, expected 0", "tried")
    assert (second.outcome, result.verdict) == (after, Verdict.FAIL)
    assert (tmp_path / "back").exists() == (on_fail == "rollback")


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    hanging = replace(sh("sleep 60 & sleep 60", tmp_path), within_ns=200_000_000)
    result = carry_out(tmp_path, action(hanging))
    assert (result.steps[0].outcome, result.steps[0].note) == ("failed", "did not end within 0.2 s")


def test_findings_have_owners_and_days_and_follow_until_their_step_passes(tmp_path: Path) -> None:
    ask = Ask(id="ask", text="Did it page?", who="op")
    first = carry_out(
        tmp_path, ask, experiment(), verdicts="FAIL", answers={"ask": Answer(outcome="failed", note="no")}
    )
    told = [(one.number, one.key, one.severity, one.owner, one.due, one.state) for one in first.findings]
    assert told == [
        ("F1", "ask:failed", "high", "olga", "2026-12-02", "open"),
        ("F2", "kill:fail", "high", "exp-owner", "2026-12-02", "open"),
    ]
    old = tuple(one.model_copy(update={"due": "2026-11-20", "first_run": "run-0"}) for one in first.findings)
    (tmp_path / "2").mkdir()
    second = carry_out(tmp_path / "2", ask, experiment(), verdicts="PASS", earlier=old)
    states = {one.key: (one.state, one.overdue, one.first_run) for one in second.findings}
    assert states == {
        "ask:not-performed": ("open", False, "run-1"),
        "ask:failed": ("carried", True, "run-0"),
        "kill:fail": ("retested", False, "run-0"),
    }


def test_answers_of_no_step_and_no_answer_are_told_by_place(tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text("ask: dun\nasq: done\nact: {is: skip, nte: x}\n")
    with pytest.raises(SpecError) as caught:
        FileAnswers.read(path, ["ask", "act"], lambda text: None)
    told = [(one.line, one.message) for one in caught.value.problems]
    assert told == [
        (1, "expected done, failed or skip, got 'dun'"),
        (2, "unknown human step 'asq'; did you mean 'ask'?"),
        (3, "unknown key 'nte'; did you mean 'note'?"),
    ]


def test_a_person_at_the_terminal_answers_in_words_and_silence_is_not_performed() -> None:
    terminal, keyboard = pty.openpty()
    said: list[str] = []
    with os.fdopen(keyboard, "r") as source:
        people = TerminalAnswers(source, said.append, 5 * 10**9)
        os.write(terminal, b"maybe\nskip nobody was on call\n")
        question = Question(step="ask", who="op (olga)", lines=("op is asked: Well?",), expect_ns=30 * 10**9)
        assert people.answer(question) == Answer(outcome="skipped", by="op (olga)", note="nobody was on call")
        quiet = TerminalAnswers(source, said.append, 10**6)
        assert quiet.answer(question).outcome == "not-performed"
    os.close(terminal)
    assert said[:2] == ["op is asked: Well?", "op (olga) (expected within 30 s): done, failed or skip, and a note:"]


def test_a_person_who_stops_the_drill_aborts_it(tmp_path: Path) -> None:
    class Impatient(dict[str, Answer]):
        def get(self, *key: object) -> Answer:  # type: ignore[override]
            raise KeyboardInterrupt

    ask = Ask(id="ask", text="Well?", who="op")
    result = carry_out(tmp_path, ask, Ask(id="next", text="And?", who="op"), answers=Impatient())
    assert (result.verdict, result.exit_code) == (Verdict.ABORTED, 5)
    assert [step.outcome for step in result.steps] == ["not-performed", "not-begun"]


def test_a_record_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    result = carry_out(tmp_path, Ask(id="ask", text="Well?", who="op"), answers={"ask": Answer(outcome="done")})
    events = read_record(tmp_path / "events.jsonl")
    assert result.verdict is Verdict.PASS
    plan = DrillPlan(
        drill=Drill(
            name="day", title="Day", owner="sre", source="d", base_dir=".", exercise="functional", people={}, steps=()
        ),
        runs={},
    )
    assert judge_drill(plan, events[:-1], "run-1").verdict is Verdict.ERROR
