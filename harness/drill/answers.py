"""Who answers for a human step: a person at the terminal, or a file of answers in a pipeline. Nobody: not performed."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TextIO

from pydantic import Field

from harness.errors import SpecError
from harness.model.drill_result import Outcome
from harness.spec.decode import decode
from harness.spec.report import At, Report
from harness.spec.scalars import Doc, Text
from harness.spec.yaml_text import read
from harness.units import format_duration

__all__ = ["ANSWERS_FILE", "WORDS", "Answer", "Answers", "FileAnswers", "Nobody", "Question", "TerminalAnswers"]

ANSWERS_FILE = "answers file"
"""How the name ends of whoever answered in a file, beforehand: such steps say nothing about how fast people are."""

WORDS: dict[str, Outcome] = {
    "done": "done",
    "d": "done",
    "yes": "done",
    "y": "done",
    "failed": "failed",
    "f": "failed",
    "no": "failed",
    "n": "failed",
    "skip": "skipped",
    "s": "skipped",
    "skipped": "skipped",
}
"""What people may say of a step, and what it comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked about one step. `lines` are read out above it."""

    step: str
    who: str
    lines: tuple[str, ...]
    expect_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of it, who says so, and what should be looked into because of it."""

    outcome: Outcome
    by: str = ""
    note: str = ""
    finding: str = ""
    severity: Literal["high", "medium", "low"] = "medium"


class Answers(Protocol):
    """Where answers come from."""

    def answer(self, question: Question) -> Answer:
        """The answer; outcome `not-performed` when there is none."""


class Nobody:
    """No person and no file: every human step stays undone."""

    def answer(self, question: Question) -> Answer:
        return Answer(outcome="not-performed", note="nobody was there to answer")


class TerminalAnswers:
    """A person at a terminal: `done`, `failed` or `skip`, and a note behind it. Waits `wait_ns` at most."""

    def __init__(self, source: TextIO, say: Callable[[str], None], wait_ns: int) -> None:
        self._source, self._say, self._wait_ns = source, say, wait_ns

    def answer(self, question: Question) -> Answer:
        for line in question.lines:
            self._say(line)
        within = "" if question.expect_ns is None else f" (expected within {format_duration(question.expect_ns)})"
        while True:
            self._say(f"{question.who}{within}: done, failed or skip, and a note:")
            ready, _, _ = select.select([self._source], [], [], self._wait_ns / 1e9)
            text = self._source.readline() if ready else ""
            if not text:
                return Answer(outcome="not-performed", note="no answer came")
            word, _, note = text.strip().partition(" ")
            if word.lower().rstrip(",:") in WORDS:
                return Answer(outcome=WORDS[word.lower().rstrip(",:")], by=question.who, note=note.strip())


class _AnswerDoc(Doc):
    outcome: Literal["done", "failed", "skip"] = Field(alias="is", description="what became of the step")
    by: Text | None = Field(None, description="who says so")
    note: str = Field("", description="a remark")
    finding: str = Field("", description="what should be looked into")
    severity: Literal["high", "medium", "low"] = Field("medium", description="how serious the finding is")


class FileAnswers:
    """Answers written beforehand: `STEP: done`, or `STEP: {is: failed, note: ..., by: ...}`."""

    def __init__(self, answers: dict[str, Answer], say: Callable[[str], None] = lambda text: None) -> None:
        self._answers, self._say = answers, say

    @classmethod
    def read(cls, path: Path, steps: Iterable[str], say: Callable[[str], None]) -> FileAnswers:
        """The answers in a YAML file. Raises SpecError for every problem: not an answer, or no step of that name."""
        known, report = tuple(steps), Report()
        answers: dict[str, Answer] = {}
        for at in At(node=read(path), path="").children():
            name = at.path
            if name not in known:
                report.unknown(at, "human step", known, place=at.key, name=name)
                continue
            if at.text is not None:
                outcome = WORDS.get(at.text.lower())
                if outcome is None:
                    report.error(at, f"expected done, failed or skip, got {at.text!r}")
                else:
                    answers[name] = Answer(outcome=outcome, by=ANSWERS_FILE)
                continue
            doc = decode(at, _AnswerDoc, report)
            if doc is not None:
                answers[name] = Answer(
                    outcome=WORDS[doc.outcome],
                    by=f"{doc.by}, {ANSWERS_FILE}" if doc.by else ANSWERS_FILE,
                    note=doc.note,
                    finding=doc.finding,
                    severity=doc.severity,
                )
        if report.failed:
            raise SpecError(report.ordered("error"))
        return cls(answers, say)

    def answer(self, question: Question) -> Answer:
        for line in question.lines:
            self._say(line)
        given = self._answers.get(question.step)
        return given or Answer(outcome="not-performed", note="the answers file says nothing about it")


def at_terminal() -> bool:
    """Whether a person could answer here."""
    return sys.stdin is not None and sys.stdin.isatty()
