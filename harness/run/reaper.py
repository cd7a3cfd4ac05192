"""The last line of defence: a process of its own that finishes the run when the conductor cannot.

Started as `python -m harness.run.reaper JOURNAL`, stdin the read end of a pipe whose write end only the conductor holds.
The conductor writes a byte every second, and each is answered on stdout: it must know that it is guarded. End of file: it is
dead, act at once. Stopped for 5 s, or silent for 8 s (`silence`): act, so that nothing stands 10 s after it was last heard
of. A fault past its deadline: revert that fault. The byte `q`: all is well and done, leave. INT, TERM and HUP are
ignored: whoever kills a whole terminal session must not take the cure along with the patient.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.history.chain import last_digest, linked
from harness.history.events import AbortEvent, encode
from harness.model.catalog import Catalog
from harness.registry import BUILT_IN, catalog
from harness.run.aftermath import Aftermath, resolve, revert_intents
from harness.run.holds import Hold, hold_of
from harness.run.journal import Intent, Journal, JournalView
from harness.run.silence import Silence
from harness.run.world import revive_world
from harness.stacks.procfs import read_stat

__all__ = ["READY", "append_event", "main", "overdue_intents"]

READY = b"armed\n"
AGAIN_AFTER_S = (0.5, 2.0, 5.0, 15.0, 30.0)
_POLL_S = 0.1


async def _watch(journal: Path, kinds: Catalog) -> str | None:
    """Why to act, or None when the conductor said that all is done. Listens on while a fault past its deadline is reverted."""
    async with asyncio.TaskGroup() as group:
        overdue = group.create_task(_keep_deadlines(journal, kinds))
        why = await _listen(os.getppid())
        overdue.cancel()
    return why


async def _listen(conductor: int) -> str | None:
    """Answer every beat of the process with that number, our parent, until there is a reason to act or to leave (None)."""
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    silence = Silence(time.monotonic_ns())
    while True:
        try:
            heard = os.read(0, 4096)
        except BlockingIOError:
            heard = None
        if heard == b"":
            return "the conductor died"
        if heard:
            if b"q" in heard:
                return None
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(1, b"." * len(heard))
        stat = read_stat(conductor)
        why = silence.look(time.monotonic_ns(), bool(heard), stat is not None and stat.state == "T")
        if why is not None:
            return why
        await asyncio.sleep(_POLL_S)


async def _keep_deadlines(journal: Path, kinds: Catalog) -> None:
    while True:
        await _revert_overdue(journal, kinds)
        await asyncio.sleep(_POLL_S)


async def _revert_overdue(path: Path, kinds: Catalog) -> None:
    view = JournalView.read(path)
    if view.opened is None or not view.unresolved:
        return
    now_ns = time.monotonic_ns() - view.opened.origin_ns
    overdue = overdue_intents(view.unresolved, now_ns, kinds)
    if overdue:
        own = Journal(path)
        try:
            await revert_intents(overdue, revive_world(view.opened, kinds), kinds, own, "reaper (deadline passed)")
        finally:
            own.close()


def overdue_intents(intents: tuple[Intent, ...], now_ns: int, kinds: Catalog) -> tuple[Intent, ...]:
    """Those past their deadline whose revert would not end another fault, on the same hold, that may stand longer."""

    def hold(intent: Intent) -> Hold | None:
        return hold_of(kinds.fault(intent.kind), intent.params, intent.target)

    in_time = {hold(intent) for intent in intents if now_ns <= intent.deadline_ns} - {None}
    return tuple(intent for intent in intents if now_ns > intent.deadline_ns and hold(intent) not in in_time)


async def _run(journal: Path) -> int:
    kinds = catalog()
    _import_all(journal, kinds)
    os.write(1, READY)
    why = await _watch(journal, kinds)
    if why is None:
        return 0
    outcome = await _resolve(journal, kinds)
    text = f"{why}; the reaper reverted {len(outcome.reverted)} fault(s)"
    if outcome.unresolved:
        text += f", could not revert {', '.join(name for name, _, _ in outcome.unresolved)}"
    view = JournalView.read(journal)
    at_ns = time.monotonic_ns() - view.opened.origin_ns if view.opened else 0
    append_event(journal.parent / "events.jsonl", AbortEvent(at_ns=at_ns, by="reaper", reason=text))
    return 0 if outcome.clean else 7


def _import_all(journal: Path, kinds: Catalog) -> None:
    """Import what a revert may need: it must not wait for that, on a machine that may be in trouble."""
    for name in BUILT_IN["fault"]:
        kinds.fault(name).load()
    opened = JournalView.read(journal).opened if journal.exists() else None
    for name in sorted({str(made["kind"]) for made in opened.hosts.values()}) if opened is not None else ():
        host = kinds.host(name)
        host.load()
        for module in host.modules:
            importlib.import_module(module)


async def _resolve(journal: Path, kinds: Catalog) -> Aftermath:
    """Finish the run; what would not be put back (an engine or proxy in trouble) is tried again, later and later."""
    outcome = await resolve(journal, kinds, by="reaper")
    put_back = outcome.reverted
    for pause_s in AGAIN_AFTER_S:
        if outcome.clean:
            break
        await asyncio.sleep(pause_s)
        outcome = await resolve(journal, kinds, by="reaper")
        put_back += outcome.reverted
    return replace(outcome, reverted=put_back)


def append_event(path: Path, event: AbortEvent) -> None:
    """Add an event to a dead run's record; the torn line it may have died in was never recorded, and goes."""
    with path.open("r+b") as events:
        recorded = events.read()
        events.truncate(recorded.rfind(b"\n") + 1)
        events.seek(0, os.SEEK_END)
        events.write(linked(encode(event), last_digest(recorded)).encode())


def main() -> None:
    """Guard one run's journal until told to leave."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    code = 7
    try:
        code = asyncio.run(_run(Path(sys.argv[1])))
    except* HarnessError as failed:
        sys.stderr.writelines(f"reaper: {exc}\n" for exc in failed.exceptions)
    sys.exit(code)


if __name__ == "__main__":
    main()
