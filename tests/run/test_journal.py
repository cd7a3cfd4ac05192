from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.model.plan import Target
from harness.model.wiring import Wiring
from harness.run.journal import Closed, Intent, Journal, JournalView, Opened, Reverted


def intent(name: str) -> Intent:
    return Intent(
        id=name,
        fault="down",
        kind="pause",
        params={},
        target=Target(kind="instance", name="gw", region="eu", host="process"),
        state={"pid": 7},
        deadline_ns=9,
    )


def written(tmp_path: Path) -> Path:
    path = tmp_path / "undo.jsonl"
    journal = Journal(path)
    journal.append(
        Opened(
            run_id="r",
            pid=1,
            ticks=2,
            origin_ns=3,
            stack="s",
            wiring=Wiring(ports={"gw": {"http": 80}}),
            hosts={"gw": {"kind": "pid"}},
        )
    )
    journal.append(intent("down@a"))
    journal.append(intent("down@b"))
    journal.append(Reverted(id="down@a", verified=True, by="conductor", what="ok"))
    journal.append(Reverted(id="down@b", verified=False, by="conductor", what="still stopped"))
    journal.close()
    return path


def test_only_a_verified_revert_resolves_an_intent(tmp_path: Path) -> None:
    view = JournalView.read(written(tmp_path))
    assert [unresolved.id for unresolved in view.unresolved] == ["down@b"]
    assert view.opened is not None
    assert view.opened.wiring.ports == {"gw": {"http": 80}}
    assert view.intents[0].target.region == "eu"
    assert not view.closed


def test_intents_are_undone_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "undo.jsonl"
    journal = Journal(path)
    for name in ("one@x", "two@x", "three@x"):
        journal.append(intent(name))
    journal.close()
    assert [unresolved.id for unresolved in JournalView.read(path).unresolved] == ["three@x", "two@x", "one@x"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_an_intent_never_carried_out(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"t":"intent","id":"torn@c","fault":"down","kind":"pause","params":{},"target":'[:cut])
    assert [unresolved.id for unresolved in JournalView.read(path).unresolved] == ["down@b"]


def test_damage_in_the_middle_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"{broken"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(StoreError, match=r"undo\.jsonl:2: damaged undo journal line"):
        JournalView.read(path)


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    journal.append(Closed(by="reaper"))
    journal.close()
    assert JournalView.read(path).closed


def test_what_is_written_after_a_torn_line_is_read_and_the_torn_line_is_not(tmp_path: Path) -> None:
    path = written(tmp_path)
    for piece in (b'{"t":"intent","id":"torn@c","fa', b'\n{"t":"resu'):
        path.write_bytes(path.read_bytes() + piece)
    journal = Journal(path)
    journal.append(Reverted(id="down@b", verified=True, by="reaper", what="ok"))
    journal.append(Closed(by="reaper"))
    journal.close()
    view = JournalView.read(path)
    assert view.unresolved == ()
    assert view.closed
    assert [intent.id for intent in view.intents] == ["down@a", "down@b"]


def test_a_short_write_is_an_error_and_does_not_spoil_the_next_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    with monkeypatch.context() as patch:
        real = os.write
        patch.setattr(os, "write", lambda fd, line: real(fd, line[:20]))
        with pytest.raises(StoreError, match="short write"):
            journal.append(intent("lost@c"))
    journal.append(intent("kept@d"))
    journal.close()
    assert [one.id for one in JournalView.read(path).intents] == ["down@a", "down@b", "kept@d"]


def test_a_whole_last_line_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b"{broken}\n")
    with pytest.raises(StoreError, match="damaged undo journal line"):
        JournalView.read(path)


def test_what_begins_after_the_end_opens_it_again(tmp_path: Path) -> None:
    """A conductor that was stopped, and whose run its reaper has finished, may be continued and go on."""
    path = written(tmp_path)
    mine, reaper = Journal(path), Journal(path)
    assert not mine.disturbed
    reaper.append(Reverted(id="down@b", verified=True, by="reaper", what="ok"))
    reaper.append(Closed(by="reaper"))
    assert mine.disturbed and JournalView.read(path).closed
    assert JournalView.read(path).unresolved == ()
    mine.append(intent("down@b"))
    view = JournalView.read(path)
    assert not view.closed
    assert [unresolved.id for unresolved in view.unresolved] == ["down@b"]
    assert [known.id for known in view.intents] == ["down@a", "down@b"]
    for journal in (mine, reaper):
        journal.close()


def test_ones_own_lines_do_not_disturb(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path))
    journal.append(intent("more@x"))
    assert not journal.disturbed
    journal.close()
