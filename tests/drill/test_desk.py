"""The desk: a question waits for its own answer and no other, and what a dead drill asked is asked no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.drill.answers import Answer, FileAnswers, Question
from harness.drill.desk import Asked, Desk, PageAnswers, answer_of, asked_on, give, open_desk
from harness.errors import UnsafeError

QUESTION = Question(step="look", who="operator", lines=("operator: look",), expect_ns=10**10)
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path / "desk", "day") as desk:
        yield desk


def test_a_question_waits_for_its_own_answer(desk: Desk) -> None:
    assert asked_on(desk.folder) is None
    first = desk.ask(QUESTION)
    assert asked_on(desk.folder) == first and first.question == QUESTION and first.drill == "day"
    second = desk.ask(QUESTION)
    assert second.number != first.number
    assert not give(desk.folder, first.number, Answer(outcome="done", by="ann")), "of an older page"
    assert desk.taken(second) is None
    assert give(desk.folder, second.number, Answer(outcome="failed", by="ann", note="red"))
    assert not give(desk.folder, second.number, Answer(outcome="done", by="bob")), "the first answer stands"
    assert desk.taken(second) == Answer(outcome="failed", by="ann", note="red")
    assert desk.taken(first) is None


def test_what_was_not_written_by_the_page_is_no_answer(desk: Desk) -> None:
    asked = desk.ask(QUESTION)
    for text in ("{", "[]", json.dumps({"number": asked.number, "answer": {"outcome": "splendid"}})):
        (desk.folder / "answer.json").write_text(text)
        assert desk.taken(asked) is None, text


def test_one_drill_at_a_time_and_nothing_of_a_dead_one(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    with open_desk(folder, "day") as desk:
        desk.ask(QUESTION)
        left = (folder / "question.json").read_text()
        with pytest.raises(UnsafeError, match="another drill"), open_desk(folder, "other"):
            pass
        assert asked_on(folder) is not None, "the refused one has touched nothing"
    assert asked_on(folder) is None
    (folder / "question.json").write_text(left)  # as after a SIGKILL
    assert asked_on(folder) is None
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_the_page_answers_what_no_file_does(desk: Desk) -> None:
    said: list[str] = []
    file = FileAnswers({"announce": Answer(outcome="done", by="answers file")}, said.append)
    answers = PageAnswers(desk, said.append, HOUR_NS, file)
    assert answers.answer(Question(step="announce", who="comms", lines=())).by == "answers file"

    def person() -> None:
        asked: Asked | None = None
        while asked is None:
            asked = asked_on(desk.folder)
        given = answer_of("skip", "ann", "not today")
        assert given is not None and give(desk.folder, asked.number, given)

    thread = threading.Thread(target=person)
    thread.start()
    assert answers.answer(QUESTION) == Answer(outcome="skipped", by="ann", note="not today")
    thread.join(10)
    assert asked_on(desk.folder) is None
    assert said == ["operator: look", "operator is asked on the page"]


def test_nobody_in_time_is_not_performed(desk: Desk) -> None:
    given = PageAnswers(desk, lambda text: None, 1).answer(QUESTION)
    assert (given.outcome, given.note) == ("not-performed", "no answer came")
    assert answer_of("maybe", "ann", "") is None
