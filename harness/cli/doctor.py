"""`doctor`: what this machine can do, before anything is broken on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

from harness.cli.output import JsonFlag, show_json, show_rows
from harness.errors import UnsafeError
from harness.model.verdict import EXIT_CODES, Verdict

__all__ = ["register"]

_FILES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: `missing` is needed by every run, `absent` only by what `detail` names."""

    name: str
    state: Literal["ok", "missing", "absent"]
    detail: str


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Examples: blackstart doctor; blackstart doctor --json")(doctor)


def doctor(json: JsonFlag = False) -> None:
    """Show what this machine has for drills, and what each gap costs. Exit 4 when no run could work, 7 when one left something."""
    found = [examine() for examine in _EXAMINED]
    if json:
        show_json([asdict(finding) for finding in found])
    else:
        show_rows(("what", "state", "detail"), [(finding.name, finding.state, finding.detail) for finding in found])
    if any(finding.state == "missing" and finding.name != "earlier runs" for finding in found):
        raise typer.Exit(EXIT_CODES[Verdict.REFUSED])
    if any(finding.state == "missing" for finding in found):
        raise typer.Exit(EXIT_CODES[Verdict.DIRTY])


def _system() -> Finding:
    ok = sys.platform == "linux"
    detail = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return Finding(
        name="system", state="ok" if ok else "missing", detail=detail if ok else f"{detail}: Linux is needed"
    )


def _timer() -> Finding:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.timerfd_create(1, os.O_CLOEXEC)  # 1: CLOCK_MONOTONIC
    if number < 0:
        return Finding(
            name="timer", state="missing", detail=f"no timerfd: {os.strerror(ctypes.get_errno())}; it paces the load"
        )
    os.close(number)
    return Finding(name="timer", state="ok", detail="timerfd on the monotonic clock: paces the load")


def _loopback() -> Finding:
    import socket

    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Finding(name="loopback", state="ok", detail="ports can be opened on 127.0.0.1")
    except OSError as exc:
        return Finding(name="loopback", state="missing", detail=f"no port can be opened on 127.0.0.1: {exc.strerror}")


def _files() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= _FILES:
        return Finding(name="open files", state="ok", detail=f"up to {soft} for each process")
    return Finding(
        name="open files",
        state="absent",
        detail=f"only {soft} (hard limit {hard}): `ulimit -n {_FILES}` for high rates",
    )


def _state() -> Finding:
    from harness.run.lock import state_home

    try:
        home = state_home()
        probe = home / f".doctor-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as exc:
        detail = f"cannot write {exc.filename}: {exc.strerror}; set BLACKSTART_STATE to a folder of yours"
        return Finding(name="state", state="missing", detail=detail)
    return Finding(name="state", state="ok", detail=f"locks and live runs are kept in {home}")


def _earlier() -> Finding:
    from harness.run.recover import unfinished_runs

    try:
        left = [run.run_id for run in unfinished_runs()]
    except OSError as exc:
        return Finding(name="earlier runs", state="absent", detail=f"cannot be read: {exc.strerror}")
    if left:
        return Finding(
            name="earlier runs",
            state="missing",
            detail=f"unfinished: {', '.join(left)}: run `blackstart recover --all`",
        )
    return Finding(name="earlier runs", state="ok", detail="none left anything to undo")


def _toxiproxy() -> Finding:
    url, binary = os.environ.get("TOXIPROXY_URL"), shutil.which("toxiproxy-server")
    if url or binary:
        return Finding(name="toxiproxy", state="ok", detail=url or str(binary))
    return Finding(
        name="toxiproxy",
        state="absent",
        detail="no TOXIPROXY_URL, no toxiproxy-server: the embedded fault proxy serves links",
    )


def _docker() -> Finding:
    path = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    if path.is_socket():
        return Finding(name="docker", state="ok", detail=f"socket {path}")
    return Finding(name="docker", state="absent", detail=f"no engine socket {path}: containers cannot be drilled here")


def _compose() -> Finding:
    from harness.stacks.compose_project import compose_program

    program = compose_program()
    if program is not None:
        return Finding(name="compose", state="ok", detail=" ".join(program))
    detail = "neither `docker compose` nor `docker-compose`: a project with `file:` cannot be brought up"
    return Finding(name="compose", state="absent", detail=detail)


def _kernel() -> Finding:
    from harness.faults.nft import require_nft
    from harness.stacks.netns import require_netns

    try:
        require_nft()
        require_netns()
    except UnsafeError as exc:
        return Finding(name="kernel network", state="absent", detail=str(exc))
    return Finding(
        name="kernel network", state="ok", detail="root, nft, ip and nsenter: cuts by rules, isolated regions"
    )


_EXAMINED: tuple[Callable[[], Finding], ...] = (
    _system,
    _timer,
    _loopback,
    _files,
    _state,
    _earlier,
    _toxiproxy,
    _docker,
    _compose,
    _kernel,
)
