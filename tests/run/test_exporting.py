"""The stack's own journals, taken at the end of a run: from a URL, from a command, or not, with the reason."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.history.events import NoteEvent
from harness.history.exports import Export, read_exports
from harness.model.stack import ExportSpec
from harness.model.wiring import Wiring
from harness.run import exporting
from harness.run.clock import MonotonicClock

LINE = b'{"prev": "0", "n": 1}\n'


async def take(folder: Path, *specs: ExportSpec, secrets: tuple[str, ...] = ()) -> list[NoteEvent]:
    stack = SimpleNamespace(exports=specs, base_dir=str(folder))
    plan: Any = SimpleNamespace(experiment=SimpleNamespace(stack=stack, origin=SimpleNamespace(secrets=secrets)))
    notes: list[NoteEvent] = []
    recorder: Any = SimpleNamespace(emit=notes.append)
    await exporting.take_exports(plan, Wiring(), folder, recorder, MonotonicClock())
    return sorted(notes, key=lambda note: str(note.data["name"]))


def errors(notes: list[NoteEvent]) -> list[str | None]:
    return [note.data.get("error") for note in notes]


async def answer(status: str, body: bytes) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/journal"


async def test_what_a_url_and_a_command_hand_out_is_kept_byte_for_byte(tmp_path: Path) -> None:
    server, url = await answer("200 OK", LINE * 2)
    (tmp_path / "export").write_text('#!/bin/sh\nprintf \'{"of": "%s"}\\n\' "$1"\n')
    (tmp_path / "export").chmod(0o755)
    async with server:
        notes = await take(tmp_path, ExportSpec(name="a", http=url), ExportSpec(name="b", argv=("./export", "us")))
    assert errors(notes) == [None, None] and {note.code for note in notes} == {"exported"}
    assert (tmp_path / "exports" / "a.jsonl").read_bytes() == LINE * 2
    text = LINE.decode().strip()
    assert read_exports(tmp_path) == (Export(name="a", lines=(text, text)), Export(name="b", lines=('{"of": "us"}',)))


async def test_one_that_fails_keeps_no_other_from_being_taken(tmp_path: Path) -> None:
    busy, url = await answer("503 Busy", b"")
    async with busy:
        notes = await take(
            tmp_path,
            ExportSpec(name="a", http=url),
            ExportSpec(name="b", http="http://127.0.0.1:1/"),
            ExportSpec(name="c", argv=("sh", "-c", "echo no >&2; exit 3")),
            ExportSpec(name="d", argv=("./nowhere",)),
            ExportSpec(name="e", argv=("echo", "{}")),
        )
    said = errors(notes)
    assert said[0] == "answered 503" and "connect" in str(said[1]).lower() and said[2] == "sh ended with 3: no"
    assert "No such file" in str(said[3]) and said[4] is None
    assert [export.name for export in read_exports(tmp_path)] == ["e"]


async def test_an_endless_one_is_ended_and_a_secret_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LIMIT_S", 0.05)
    notes = await take(tmp_path, ExportSpec(name="a", argv=("sleep", "60")))
    assert errors(notes) == ["no answer in 0.05 s"]
    monkeypatch.setattr(exporting, "LIMIT_S", 10)
    notes = await take(
        tmp_path, ExportSpec(name="b", argv=("echo", "key hunter2-hunter2")), secrets=("hunter2-hunter2",)
    )
    assert errors(notes) == ["it holds a secret of the documents"] and read_exports(tmp_path) == ()
