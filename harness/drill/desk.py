"""Human steps answered on the page of `drill serve`: a question lies on a desk, a folder, until somebody there answers it.

The drill and the page are processes of their own, and either may outlive the other: what is asked is a file, and so is its answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from pydantic import TypeAdapter, ValidationError

from harness.drill.answers import WORDS, Answer, Answers, Question
from harness.errors import StoreError, UnsafeError
from harness.store.whole import write_whole

__all__ = ["DESK", "Asked", "Desk", "PageAnswers", "answer_of", "asked_on", "give", "open_desk"]

DESK = "desk"
"""The folder's name among the reports."""
_QUESTION, _ANSWER, _LOCK = "question.json", "answer.json", "lock"
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that waits on the desk. `number` is drawn anew for each: an answer to another is none to this one."""

    number: str
    drill: str
    asked_utc: str
    question: Question


_ASKED, _GIVEN = TypeAdapter(Asked), TypeAdapter(Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The desk of one drill, as long as it holds it."""

    folder: Path
    drill: str

    def ask(self, question: Question) -> Asked:
        """Lay a question down. Raises StoreError."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        asked = Asked(number=secrets.token_hex(8), drill=self.drill, asked_utc=now, question=question)
        self.clear()
        told = {"number": asked.number, "asked": _ASKED.dump_python(asked, mode="json")}
        write_whole(self.folder / _QUESTION, json.dumps(told))
        return asked

    def taken(self, asked: Asked) -> Answer | None:
        """What was answered to it; None as long as nobody has."""
        found = _read(self.folder / _ANSWER)
        if found is None or found.get("number") != asked.number:
            return None
        try:
            return _GIVEN.validate_python(found.get("answer"))
        except ValidationError:
            return None  # not written by the page

    def clear(self) -> None:
        """Nothing is asked any more."""
        for name in (_QUESTION, _ANSWER):
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def open_desk(folder: Path, drill: str) -> Iterator[Desk]:
    """Hold the desk for one drill; it is empty before and after. Raises UnsafeError when another drill holds it, StoreError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
    except OSError as exc:
        raise StoreError(f"{folder}: cannot write: {exc.strerror}") from exc
    with lock:
        if not _hold(lock, tries=5):  # a page that looks holds it for a moment
            raise UnsafeError("another drill asks its human steps on the page", remedy="wait for its end, or halt it")
        desk = Desk(folder=folder, drill=drill)
        desk.clear()
        try:
            yield desk
        finally:
            desk.clear()


def asked_on(folder: Path) -> Asked | None:
    """What a drill that is alive asks now; None when nothing is asked, or whoever asked it has died."""
    found = _read(folder / _QUESTION)
    if found is None:
        return None
    try:
        with (folder / _LOCK).open("a") as lock:
            if _hold(lock):
                return None  # nobody held it
        return _ASKED.validate_python(found.get("asked"))
    except (OSError, ValidationError):
        return None


def give(folder: Path, number: str, answer: Answer) -> bool:
    """Answer the question of that number; False when it is not asked any more. Raises StoreError."""
    asked = asked_on(folder)
    if asked is None or asked.number != number or (folder / _ANSWER).exists():
        return False
    told = {"number": number, "answer": _GIVEN.dump_python(answer, mode="json")}
    write_whole(folder / _ANSWER, json.dumps(told))
    return True


class PageAnswers:
    """People at the page. Waits `wait_ns` at most for each answer; what `before` answers is not asked there."""

    def __init__(self, desk: Desk, say: Callable[[str], None], wait_ns: int, before: Answers | None = None) -> None:
        self._desk, self._say, self._wait_ns, self._before = desk, say, wait_ns, before

    def answer(self, question: Question) -> Answer:
        if self._before is not None:
            known = self._before.answer(question)
            if known.outcome != "not-performed":
                return known
        else:
            for line in question.lines:
                self._say(line)
        self._say(f"{question.who} is asked on the page")
        asked, until = self._desk.ask(question), time.monotonic() + self._wait_ns / 1e9
        try:
            while time.monotonic() < until:
                given = self._desk.taken(asked)
                if given is not None:
                    return given
                time.sleep(_LOOK_S)
            return Answer(outcome="not-performed", note="no answer came")
        finally:
            self._desk.clear()


def answer_of(word: str, by: str, note: str) -> Answer | None:
    """The answer that a form gives; None when it is none of done, failed and skip."""
    outcome = WORDS.get(word)
    return None if outcome is None else Answer(outcome=outcome, by=by, note=note)


def _hold(lock: TextIO, tries: int = 1) -> bool:
    for left in reversed(range(tries)):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if left:
            time.sleep(_LOOK_S)
    return False


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
