"""`sealed` on literal journals, and on one that the reference stack's own log exports, whole and tampered with."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from literal import CALM, S, judge

from harness.check.context import CheckContext
from harness.history.chain import FIRST, linked
from harness.history.events import NoteEvent, RunEvent
from harness.history.exports import Export
from harness.history.history import History
from harness.history.table import OpTable
from harness.model.result import CheckResult
from harness.reference.database import Sqlite
from harness.reference.journal import Config, Draft, Journal
from harness.reference.seal import Seals

BEGUN = 1_795_600_000 * S
CONTEXT = replace(CALM, exports=("eu",))
RUN = RunEvent(
    at_ns=0,
    run_id="r",
    name="n",
    wall_utc="2026-11-25T09:46:40.000+00:00",
    origin_ns=0,
    seed=1,
    plan_hash="h",
    version="0",
)


def journal(*times: tuple[float, str], prev: str = FIRST) -> list[str]:
    """A journal whose entries say to be written so many seconds after the run began, each by somebody's clock."""
    lines = []
    for number, (at, by) in enumerate(times, start=1):
        at_ns = BEGUN + round(at * S)
        body = json.dumps([number, f"entry {number}", at_ns])
        digest = hashlib.sha256((prev + body).encode()).hexdigest()
        lines.append(json.dumps({"prev": prev, "hash": digest, "body": body, "at_unix_ns": at_ns, "by": by}))
        prev = digest
    return lines


def sealed(lines: list[str] | None, context: CheckContext = CONTEXT, error: str = "", **spec: int) -> CheckResult:
    """What is said of a journal that was exported 60 s after the run began."""
    exports = () if lines is None else (Export(name="eu", lines=tuple(lines)),)
    note = NoteEvent(at_ns=60 * S, code="exported", text="", data={"name": "eu"} | ({"error": error} if error else {}))
    return judge(History(ops=OpTable.of([]), events=(RUN, note), exports=exports), "sealed", context, **spec)


WHOLE = journal((1, "a"), (2, "a"), (1.5, "b"), (3, "a"))


def test_a_whole_journal_holds_and_clocks_of_two_writers_are_not_compared() -> None:
    result = sealed(WHOLE)
    assert (result.verdict, result.counts) == ("valid", {"broken": 0, "forged": 0, "backwards": 0, "ahead": 0})
    assert result.sentence == "4 entries of 1 journal (eu) hold together"


@pytest.mark.parametrize(
    ("harm", "entry", "why"),
    [
        (
            lambda lines: [lines[0], lines[1].replace("entry 2", "entry x"), *lines[2:]],
            2,
            "its hash does not fit what it says",
        ),
        (lambda lines: [lines[0], *lines[2:]], 2, "does not follow the entry before it"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1, "does not follow the entry before it"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3, "does not follow the entry before it"),
        (lambda lines: lines[1:], 1, "does not follow the entry before it"),
        (lambda lines: [*lines[:3], "{"], 4, "is no JSON object"),
        (lambda lines: [*lines[:3], "{}"], 4, "carries no `prev`"),
        (
            lambda lines: [lines[0].replace(f'_ns": {BEGUN + S}', f'_ns": {BEGUN + 1}'), *lines[1:]],
            1,
            "its time is not part",
        ),
    ],
    ids=["altered", "taken out", "swapped", "put in", "beginning cut off", "torn", "not an entry", "time altered"],
)
def test_whatever_was_changed_breaks_the_chain_there(harm, entry: int, why: str) -> None:
    result = sealed(harm(WHOLE))
    assert result.verdict == "invalid" and result.counts["broken"] == 1
    assert result.sentence.startswith(f"the journal eu breaks at entry {entry}: {why}")
    assert result.evidence[0].text.startswith(f"eu, entry {entry}: ")


def test_an_end_that_is_cut_off_is_not_seen_here() -> None:
    assert sealed(WHOLE[:2]).verdict == "valid"


def test_an_entry_older_than_one_before_it_by_the_same_clock_is_found() -> None:
    back = journal((1, "a"), (3, "a"), (2.8, "a"), (4, "a"))
    result = sealed(back)
    assert (result.verdict, result.counts) == ("invalid", {"broken": 0, "forged": 0, "backwards": 1, "ahead": 0})
    assert "200 ms older" in result.sentence
    assert sealed(back, within_ns=200 * S // 1000).verdict == "valid"


def test_an_entry_from_after_its_export_is_found() -> None:
    result = sealed(journal((1, "a"), (62, "a")))
    assert (result.verdict, result.counts["ahead"]) == ("invalid", 1)
    assert sealed(journal((1, "a"), (60.9, "a"))).verdict == "valid"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (None, "the journal eu was not exported: the run never asked for it"),
        ([], "the journal eu is empty"),
        (journal((-50, "a")), "no entry was written during the run"),
        ([linked(json.dumps({"n": 1}), FIRST).strip()], "entries of the journal eu carry no time"),
    ],
)
def test_what_cannot_be_judged_is_unknown(lines: list[str] | None, why: str) -> None:
    result = sealed(lines)
    assert result.verdict == "unknown" and why in str(result.why_unknown)


def test_the_reason_of_a_failed_export_is_told_and_no_journal_is_no_verdict() -> None:
    assert "not exported: answered 503" in str(sealed(None, error="answered 503").why_unknown)
    assert "the stack exports no journal" in str(sealed(None, CALM).why_unknown)


def test_lines_linked_as_our_own_record_is_are_understood() -> None:
    one = linked(json.dumps({"n": 1, "at_unix_ns": BEGUN + S}), FIRST).strip()
    two = linked(json.dumps({"n": 2, "at_unix_ns": BEGUN + 2 * S}), hashlib.sha256(one.encode()).hexdigest()).strip()
    assert sealed([one, two]).verdict == "valid"
    assert sealed([one.replace('"n": 1', '"n": 7'), two]).counts["broken"] == 1


def test_the_log_of_the_reference_stack_verifies_until_somebody_edits_it(tmp_path: Path) -> None:
    log = Journal(Sqlite(tmp_path / "log.sqlite"), "eu")
    log.batch([lambda j: j.set_config(Config(epoch=1, primary="eu", sync=("eu",), mode="sync"))])
    drafts = [Draft(kind="turn", session="s", value=f"v{number}", idem=f"k{number}") for number in range(5)]
    log.batch([lambda j, draft=draft: j.append(draft) for draft in drafts])
    events = (replace(RUN, wall_utc="2020-01-01T00:00:00+00:00"),)

    def said() -> CheckResult:
        lines = tuple("".join(log.exported()).splitlines())
        history = History(ops=OpTable.of([]), events=events, exports=(Export(name="eu", lines=lines),))
        return judge(history, "sealed", CONTEXT)

    assert said().verdict == "valid" and said().volume["entries"] == 5
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        db.execute("UPDATE log SET value = 'forged' WHERE seq = 3")
    assert said().sentence == "the journal eu breaks at entry 3: its hash does not fit what it says"
    log.close()


def test_signatures_are_held_against_the_keys_of_the_stack_file(tmp_path: Path) -> None:
    seals = Seals("root")
    log = Journal(Sqlite(tmp_path / "log.sqlite"), "eu", seals)
    log.batch([lambda j: j.set_config(Config(epoch=1, primary="eu", sync=("eu",), mode="sync"))])
    log.batch([lambda j: j.append(Draft(kind="turn")), lambda j: j.append(Draft(kind="turn"))])
    lines = tuple("".join(log.exported()).splitlines())
    log.close()
    events = (replace(RUN, wall_utc="2020-01-01T00:00:00+00:00"),)

    def said(keys: dict[str, str], *given: str) -> CheckResult:
        history = History(ops=OpTable.of([]), events=events, exports=(Export(name="eu", lines=given),))
        return judge(history, "sealed", replace(CONTEXT, keys={"eu": keys}))

    good, wrong = {"eu": seals.key("eu")}, {"eu": Seals("other").key("eu")}
    unsigned = json.dumps({name: value for name, value in json.loads(lines[1]).items() if name != "sig"})
    assert said(good, *lines).verdict == "valid" and said({}, *lines).verdict == "valid"
    for keys, given, why in (
        (wrong, lines, "forged at entry 1: it is not signed by eu"),  # whatever `key` of the export says
        (good, (lines[0], unsigned), "forged at entry 2: it carries no signature"),
        ({"us": good["eu"]}, lines, "forged at entry 1: it says to be by 'eu', of whom the stack file names no key"),
        (good, (lines[0], lines[1].replace('"sig": "', '"sig": "no hex')), "forged at entry 2: it is not signed by eu"),
    ):
        result = said(keys, *given)
        assert result.sentence == f"the journal eu is {why}" and result.counts["forged"] == 1
