"""Takes the stack's own journals, as it exports them, into the run directory: what check `sealed` reads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from harness.history.events import NoteEvent
from harness.history.exports import EXPORTED, FOLDER
from harness.model.plan import Plan
from harness.model.ports import Clock
from harness.model.secrets import SHORTEST
from harness.model.stack import ExportSpec
from harness.model.wiring import Wiring
from harness.probe.http_get import HttpError, get
from harness.run.recorder import Recorder

__all__ = ["take_exports"]

LIMIT_S = 20.0
LIMIT_BYTES = 256 * 1024 * 1024


async def take_exports(plan: Plan, wiring: Wiring, run_dir: Path, recorder: Recorder, clock: Clock) -> None:
    """Ask every declared journal once, all at a time, and keep what each answered; a note for each says what came of it.

    One that does not answer within 20 s, answers an error, more than 256 MB, or with a secret of the documents (which cannot
    be taken out without breaking its chain), is noted with the reason and has no file.
    """
    stack, secrets = plan.experiment.stack, plan.experiment.origin.secrets

    async def take(spec: ExportSpec) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                body = await (_asked(spec, wiring) if spec.http else _ran(spec, stack.base_dir, wiring))
        except TimeoutError:
            note(spec, f"no answer in {LIMIT_S:g} s")
        except (HttpError, OSError) as exc:
            note(spec, str(exc))
        else:
            if any(len(secret) >= SHORTEST and secret.encode() in body for secret in secrets):
                note(spec, "it holds a secret of the documents")
                return
            folder = run_dir / FOLDER
            folder.mkdir(exist_ok=True)
            draft = folder / f".{spec.name}.draft"
            draft.write_bytes(body)
            os.replace(draft, folder / f"{spec.name}.jsonl")
            note(spec, None)

    def note(spec: ExportSpec, error: str | None) -> None:
        text = f"journal {spec.name}: {'exported' if error is None else f'not exported: {error}'}"
        data = {"name": spec.name} | ({} if error is None else {"error": error})
        level = "info" if error is None else "warning"
        recorder.emit(NoteEvent(at_ns=clock.now_ns(), code=EXPORTED, text=text, level=level, data=data))  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as group:
        for spec in stack.exports:
            group.create_task(take(spec))


async def _asked(spec: ExportSpec, wiring: Wiring) -> bytes:
    answer = await get(wiring.text(spec.http or ""), LIMIT_S, LIMIT_BYTES)
    if answer.status != 200:
        raise HttpError(f"answered {answer.status}")
    if answer.cut:
        raise HttpError(f"more than {LIMIT_BYTES} bytes")
    return answer.body


async def _ran(spec: ExportSpec, base_dir: str, wiring: Wiring) -> bytes:
    argv = [wiring.text(word) for word in spec.argv]
    if "/" in argv[0]:
        argv[0] = os.path.join(base_dir, argv[0])
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=base_dir,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        body, said = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise HttpError(f"{argv[0]} ended with {process.returncode}: {said[-200:].decode(errors='replace').strip()}")
    if len(body) > LIMIT_BYTES:
        raise HttpError(f"more than {LIMIT_BYTES} bytes")
    return body
