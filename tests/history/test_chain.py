"""Lines that hold together: recorded, read back, and every kind of tampering named by its first broken line."""

from __future__ import annotations

import json

import pytest

from harness.errors import StoreError
from harness.history.chain import FIRST, Chain, check_chain, digest_of
from harness.history.events import AbortEvent, NoteEvent, PhaseEvent, encode, read_events
from harness.run.reaper import append_event
from harness.run.recorder import Recorder
from harness.store.rundir import RunDir

EVENTS = [
    NoteEvent(at_ns=1, code="steady", text='with "quotes", a \n break and ü', data={"prev": "mine"}),
    PhaseEvent(at_ns=2, phase="inject"),
    PhaseEvent(at_ns=3, phase="heal"),
]


@pytest.fixture
def record(tmp_path):
    recorder = Recorder(tmp_path / "events.jsonl")
    for event in EVENTS:
        recorder.emit(event)
    recorder.seal()
    return tmp_path / "events.jsonl"


def test_each_line_carries_the_digest_of_the_one_before(record):
    lines = record.read_bytes().splitlines()
    assert [json.loads(line)["prev"] for line in lines] == [FIRST, digest_of(lines[0]), digest_of(lines[1])]
    assert check_chain(record) == Chain(lines=3, chained=True)
    assert read_events(record) == tuple(EVENTS), "the digest is no part of the event"


def rewrite(record, change):
    lines = record.read_bytes().splitlines(keepends=True)
    change(lines)
    record.write_bytes(b"".join(lines))
    chain = check_chain(record)
    return chain.broken, chain.why


def edit(lines):
    lines[1] = lines[1].replace(b"inject", b"observe")


def add(lines):
    lines.insert(1, encode(PhaseEvent(at_ns=2, phase="steady")).encode())


@pytest.mark.parametrize(
    ("change", "broken", "why"),
    [
        (edit, 3, "does not follow the line before it"),
        (lambda lines: lines.pop(1), 2, "does not follow the line before it"),
        (lambda lines: lines.pop(0), 1, "does not follow nothing"),
        (lambda lines: lines.reverse(), 1, "does not follow nothing"),
        (add, 2, "carries no digest"),
        (lambda lines: lines.append(lines[0]), 4, "does not follow the line before it"),
        (lambda lines: lines.append(b"not json\n"), 4, "carries no digest"),
    ],
)
def test_tampering_is_named_by_its_first_broken_line(record, change, broken, why):
    assert rewrite(record, change) == (broken, why)


def test_a_torn_last_line_was_never_recorded(record):
    with record.open("ab") as file:
        file.write(b'{"t":"phase","at')
    assert check_chain(record) == Chain(lines=3, chained=True)


def test_the_reapers_line_continues_the_chain_and_so_does_the_conductor_after_it(tmp_path):
    path = tmp_path / "events.jsonl"
    recorder = Recorder(path)
    recorder.emit(EVENTS[0])
    append_event(path, AbortEvent(at_ns=2, by="reaper", reason="silent"))
    recorder.emit(EVENTS[2])
    recorder.seal()
    assert check_chain(path) == Chain(lines=3, chained=True)
    with path.open("ab") as file:
        file.write(b'{"torn')
    append_event(path, AbortEvent(at_ns=4, by="reaper", reason="dead"))
    assert check_chain(path) == Chain(lines=4, chained=True)


def test_records_of_before_there_was_a_chain_still_read(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(map(encode, EVENTS)))
    assert check_chain(path) == Chain(lines=3, chained=False)
    assert read_events(path) == tuple(EVENTS)
    path.write_text("")
    assert check_chain(path) == Chain(lines=0, chained=False)
    with pytest.raises(StoreError, match="cannot be read"):
        check_chain(tmp_path / "none")


def test_verify_names_the_broken_line_even_when_the_manifest_was_made_anew(record):
    run = RunDir(record.parent)
    run.seal()
    assert run.verify() == ()
    rewrite(record, edit)
    run.seal()
    assert run.verify() == ("broken: events.jsonl:3: does not follow the line before it",)
