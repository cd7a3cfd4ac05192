"""The conductor dies, hangs or forgets; the faults go. Real processes, real signals, a real fault proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import InjectError, UnsafeError
from harness.history.events import AbortEvent, NoteEvent, read_events
from harness.proxy.client import PlainLinks
from harness.registry import catalog
from harness.run.journal import JournalView
from harness.run.process import is_alive
from harness.run.reaper import append_event
from harness.run.recorder import Recorder
from harness.run.recover import recover_run

pytestmark = [pytest.mark.live, pytest.mark.slow]

STUB = Path(__file__).with_name("conductor_stub.py")


@contextlib.contextmanager
def standing_faults(tmp_path: Path, deadline_s: float = 60) -> Iterator[SimpleNamespace]:
    """A conductor process with two links broken; everything it started is ended afterwards whatever happens."""
    run_dir = tmp_path / "run-1"
    run_dir.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        command = [sys.executable, str(STUB), str(run_dir), str(upstream.getsockname()[1]), str(deadline_s)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            pids = [process.pid]
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                pids += [told["proxy"], told["reaper"]]
                yield SimpleNamespace(
                    process=process, run_dir=run_dir, links=PlainLinks(told["url"], embedded=True), **told
                )
            finally:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def test_a_conductor_that_goes_on_writes_after_what_the_reaper_added(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "events.jsonl")
    recorder.emit(NoteEvent(at_ns=1, code="a", text="before"))
    append_event(tmp_path / "events.jsonl", AbortEvent(at_ns=2, by="reaper", reason="silent"))
    recorder.emit(NoteEvent(at_ns=3, code="b", text="after"))
    recorder.seal()
    assert [event.at_ns for event in read_events(tmp_path / "events.jsonl")] == [1, 2, 3]


def broken(rig: SimpleNamespace) -> bool:
    """Whether either link is still broken; a fault proxy that is gone holds no fault."""

    async def look() -> bool:
        try:
            states = [await rig.links.get(link) for link in ("a", "b")]
        except InjectError:
            return False
        return any(state.toxics or not state.enabled for state in states)

    return asyncio.run(look())


def seconds_until_whole(rig: SimpleNamespace, limit_s: float) -> float:
    begun = time.monotonic()
    while broken(rig):
        assert time.monotonic() - begun < limit_s, f"a fault still stands after {limit_s} s"
        time.sleep(0.01)
    return time.monotonic() - begun


def gone(pid: int, limit_s: float = 10) -> bool:
    deadline = time.monotonic() + limit_s
    while is_alive(pid, None) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid, None)


def test_a_killed_conductor_leaves_no_fault_for_two_seconds(tmp_path: Path) -> None:
    with standing_faults(tmp_path) as rig:
        assert broken(rig)
        rig.process.kill()
        assert seconds_until_whole(rig, limit_s=2) <= 2
        assert gone(rig.proxy), "the fault proxy that the run started is ended after its links are healed"
        assert gone(rig.reaper)
        view = JournalView.read(rig.run_dir / "undo.jsonl")
        assert view.closed
        assert view.unresolved == ()
        assert {record.by for record in view.reverted} == {"reaper"}
        last = read_events(rig.run_dir / "events.jsonl")[-1]
        assert isinstance(last, AbortEvent)
        assert "the conductor died; the reaper reverted 2 fault(s)" in last.reason


def test_a_stopped_conductor_is_relieved_within_ten_seconds(tmp_path: Path) -> None:
    with standing_faults(tmp_path) as rig:
        os.kill(rig.process.pid, signal.SIGSTOP)
        assert 4 < seconds_until_whole(rig, limit_s=10) <= 10, "and one that is stopped for a moment is not relieved"
        assert gone(rig.reaper)
        last = read_events(rig.run_dir / "events.jsonl")[-1]
        assert isinstance(last, AbortEvent)
        assert "the conductor was stopped for 5 s; the reaper reverted 2 fault(s)" in last.reason


def test_a_fault_past_its_deadline_goes_under_a_living_conductor(tmp_path: Path) -> None:
    with standing_faults(tmp_path, deadline_s=-42) as rig:  # of the slack of 45 s, 3 are left
        assert seconds_until_whole(rig, limit_s=15) > 0
        assert rig.process.poll() is None
        assert is_alive(rig.reaper, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_reaper_outlives_polite_signals(tmp_path: Path, number: signal.Signals) -> None:
    with standing_faults(tmp_path) as rig:
        os.kill(rig.reaper, number)
        rig.process.kill()
        seconds_until_whole(rig, limit_s=10)


def test_recover_alone_finishes_when_the_reaper_died_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKSTART_STATE", str(tmp_path / "home"))
    with standing_faults(tmp_path) as rig:
        with pytest.raises(UnsafeError, match="is under way"):
            asyncio.run(recover_run(rig.run_dir, catalog()))
        os.kill(rig.reaper, signal.SIGKILL)
        rig.process.kill()
        rig.process.wait()
        assert broken(rig)
        first = asyncio.run(recover_run(rig.run_dir, catalog()))
        assert sorted(first.reverted) == ["partition-it@a", "refuse-it@b"]
        assert first.clean
        assert not is_alive(rig.proxy, None)
        again = asyncio.run(recover_run(rig.run_dir, catalog()))
        assert (again.reverted, again.unresolved) == ((), ())


def test_nobody_but_the_conductor_holds_the_pipe(tmp_path: Path) -> None:
    """Were the write end inherited by any child, the conductor's death would go unnoticed as long as that child lives."""
    with standing_faults(tmp_path) as rig:
        pipe = os.readlink(f"/proc/{rig.reaper}/fd/0")
        writers = set()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    for fd in (folder / "fd").iterdir():
                        with contextlib.suppress(OSError):
                            if os.readlink(fd) == pipe:
                                writers.add(int(folder.name))
        assert writers == {rig.process.pid, rig.reaper}
