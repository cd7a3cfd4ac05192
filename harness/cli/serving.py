"""`drill serve`: the small runner of one host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.drills import group, is_drill, load_drill_named
from harness.cli.evidence import ReportsOption
from harness.cli.given import duration_of
from harness.cli.output import JsonFlag, say, show_json

if TYPE_CHECKING:
    from harness.drill.plan import DrillPlan
    from harness.errors import HarnessError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this command to the group `drill`."""
    group.command(
        epilog="Examples: blackstart drill serve; blackstart drill serve --port 8042 --start-due --answers drills/answers.yaml"
    )(serve)


def serve(
    port: Annotated[int, typer.Option(help="On loopback; 0 takes a free one.")] = 0,
    start_due: Annotated[bool, typer.Option("--start-due", help="Start drills when their schedule says so.")] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Answers for the human steps; what it leaves open is asked on the page.")
    ] = None,
    wait: Annotated[str, typer.Option(help="How long an answer on the page is waited for.")] = "1h",
    token: Annotated[
        str | None, typer.Option(envvar="BLACKSTART_TOKEN", help="What the page asks for; default: drawn anew.")
    ] = None,
    reports: ReportsOption = Path("reports"),
    json: JsonFlag = False,
) -> None:
    """Serve a local page: next drills, the run under way, human steps, history, approvals, halt. Behind a token.

    Loopback only: a person elsewhere reaches it through `ssh -L`. Drills are started as rehearsals; their human steps are
    asked here, and those of `drill run --ask-on-page`. Ends with Ctrl-C; a drill that it started goes on.
    """
    import asyncio
    import secrets

    from harness.errors import SpecError

    given = token or secrets.token_urlsafe(24)
    if len(given) < 16:
        raise SpecError("--token: at least 16 characters")
    duration_of("--wait", wait)
    if answers is not None and not answers.is_file():
        raise SpecError(f"--answers: no file {str(answers)!r}")
    reports.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_serve(port, given, start_due, (answers, wait), reports, json))
    except KeyboardInterrupt:
        say("ended")


async def _serve(
    port: int, token: str, start_due: bool, asking: tuple[Path | None, str], reports: Path, json: bool
) -> None:
    import asyncio

    from aiohttp import web

    from harness.drill.serve import Project, Runner
    from harness.drill.site import make_app
    from harness.errors import UnsafeError

    def command(name: str) -> list[str]:
        answers, wait = asking
        more = ["--ask-on-page", "--wait", wait, *([] if answers is None else ["--answers", str(answers)])]
        words = ["drill", "run", _path_of(name), "--mode", "rehearse", "--reports", str(reports), *more]
        return [sys.executable, "-m", "harness", *words]

    runner = Runner(
        Project(reports=reports, plans=_plans, command=command), reports / "serve.log", starts_due=start_due
    )
    site_of = web.AppRunner(make_app(runner, token), access_log=None)
    await site_of.setup()
    try:
        site = web.TCPSite(site_of, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as exc:
            raise UnsafeError(f"port {port} on loopback is in use", remedy="another --port, or 0") from exc
        bound = site_of.addresses[0][1]
        url = f"http://127.0.0.1:{bound}/?token={token}"
        if json:
            show_json({"url": url, "port": bound})
        else:
            sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        say("open this address in a browser on this host; Ctrl-C ends the page, not a drill that it started")
        await asyncio.Event().wait()
    finally:
        await site_of.cleanup()


def _drills() -> dict[str, str]:
    """The drills in `drills/`: file name without its ending -> path."""
    return {path.stem: str(path) for path in sorted(Path("drills").glob("*.y*ml")) if is_drill(path)}


def _path_of(name: str) -> str:
    return _drills()[name]


def _plans() -> list[tuple[str, DrillPlan | HarnessError]]:
    """Every drill of the project with its plan as it is now, or why there is none."""
    from harness.drill.plan import make_drill_plan
    from harness.errors import HarnessError
    from harness.registry import catalog

    found: list[tuple[str, DrillPlan | HarnessError]] = []
    for name, path in _drills().items():
        try:
            found.append((name, make_drill_plan(load_drill_named(path, None, None), catalog())))
        except HarnessError as exc:
            found.append((name, exc))
    return found
