"""`stack up|down|status`: a stack that stays between runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.documents import BUILTIN, ProfileOption, SetOption
from harness.cli.output import JsonFlag, say, show_json, show_rows
from harness.errors import SpecError, UnsafeError
from harness.model.secrets import masked
from harness.model.verdict import EXIT_CODES, Verdict

if TYPE_CHECKING:
    from harness.history.events import InstanceEvent
    from harness.model.stack import Stack
    from harness.run.hosted import HostedStack
    from harness.spec.load import Loaded

__all__ = ["register"]

StackArgument = Annotated[str, typer.Argument(help="Name or path of the stack document.")]


def register(app: typer.Typer) -> None:
    """Add this group of commands."""
    stack = typer.Typer(
        no_args_is_help=True, help="Host a stack outside runs: up, down, status.", rich_markup_mode=None
    )
    stack.command(epilog="Examples: blackstart stack up genai; blackstart stack up my.yaml --set params.sync=off")(up)
    stack.command(epilog="Example: blackstart stack down genai")(down)
    stack.command(epilog="Examples: blackstart stack status; blackstart stack status genai --json")(status)
    app.add_typer(stack, name="stack")


def up(stack: StackArgument, sets: SetOption = None, profile: ProfileOption = None, json: JsonFlag = False) -> None:
    """Bring a stack up and leave it running: runs attach to it, and its fault proxy stays with it.

    What runs already is attached to. Exit 4 when it is up already or does not come up; then nothing is left running.
    """
    import asyncio

    from harness.registry import catalog
    from harness.run.hosted import take_up
    from harness.run.lock import hold

    path, loaded = _document(stack, sets, profile)
    spec: Stack = loaded.value
    try:
        with hold(spec.name, spec.base_dir, "`stack up`"):
            hosted = asyncio.run(take_up(spec, str(path.resolve()), catalog(), _tell))
    except UnsafeError as exc:  # it quotes the stack's own log
        raise UnsafeError(masked(exc.message, loaded.secrets), remedy=exc.remedy) from exc
    if json:
        show_json(_facts(spec, hosted))
    else:
        show_rows(("what", "address"), _addresses(spec, hosted))
    say(f"stack {spec.name} is up: {len(hosted.started)} started, {len(spec.instances) - len(hosted.started)} attached")
    say(f"   blackstart stack status {stack}; blackstart stack down {stack}")


def _tell(event: InstanceEvent) -> None:
    if event.what in ("found", "ready"):
        say(f"  {event.instance}: {'runs already' if event.what == 'found' else f'ready {event.detail}'}")


def down(stack: StackArgument, json: JsonFlag = False) -> None:
    """End what `stack up` started, the fault proxy with it; what it attached to stays. Exit 7 when something will not go."""
    import asyncio

    from harness.registry import catalog
    from harness.run.hosted import take_down
    from harness.run.lock import hold

    hosted = _hosted(stack)
    ended: tuple[str, ...] = ()
    if hosted is not None:
        with hold(hosted.name, hosted.base_dir, "`stack down`"):
            ended = asyncio.run(take_down(hosted, catalog()))
    if json:
        show_json({"stack": stack, "was_up": hosted is not None, "ended": ended})
    elif hosted is not None:
        sys.stdout.write("".join(f"{name}\n" for name in ended))
    say(
        f"stack {stack} is down: {len(ended)} ended"
        if hosted is not None
        else f"stack {stack} is not up: nothing to end"
    )


def status(
    stack: Annotated[str | None, typer.Argument(help="Name or path; default: every stack that is up.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show what is up: instances, addresses, links, fault proxy. Exit 4 when a part of it no longer runs."""
    import asyncio

    from harness.registry import catalog
    from harness.run.hosted import hosted_stacks

    chosen = hosted_stacks() if stack is None else tuple(one for one in (_hosted(stack),) if one is not None)
    seen = asyncio.run(_looked(chosen, catalog()))
    if json:
        show_json(seen if stack is None else (seen[0] if seen else {"stack": stack, "state": "down"}))
    elif seen:
        rows = [(one["stack"], part["name"], part["state"], part["address"]) for one in seen for part in one["parts"]]
        show_rows(("stack", "part", "state", "address"), rows)
    else:
        say("no stack is up" if stack is None else f"stack {stack} is not up")
    for one in seen:
        say(f"{one['stack']}: {one['state']} since {one['since_utc']}, logs in {one['logs']}")
    if any(one["state"] != "up" for one in seen):
        raise typer.Exit(EXIT_CODES[Verdict.REFUSED])


async def _looked(chosen: tuple[HostedStack, ...], catalog: Any) -> list[dict[str, Any]]:
    return [await _look(hosted, catalog) for hosted in chosen]


async def _look(hosted: HostedStack, catalog: Any) -> dict[str, Any]:
    """Everything about a hosted stack, as it is now."""
    from harness.errors import InjectError
    from harness.proxy.client import revive_links
    from harness.run.hosted import revive_hosts

    parts: list[dict[str, Any]] = []
    for name, host in revive_hosts(hosted, catalog).items():
        found = await host.find()
        ports = hosted.wiring.ports.get(name, {})
        address = ", ".join(f"{port} {hosted.wiring.address(name, port)}" for port in ports)
        state = "gone" if found is None else "started" if name in hosted.started else "attached"
        parts.append({"name": name, "kind": "instance", "state": state, "address": address, "pid": found and found.pid})
    if hosted.links is not None:
        links = revive_links(hosted.links)
        for name, listen in hosted.wiring.links.items():
            try:
                link = await links.get(name)
                state = "open" if link.enabled and not link.toxics else "faulted"
            except InjectError:
                state = "gone"
            parts.append({"name": name, "kind": "link", "state": state, "address": listen, "pid": None})
    whole = hosted.serving and not any(part["state"] == "gone" for part in parts)
    return {
        "stack": hosted.name,
        "state": "up" if whole else "half-way up" if hosted.state == "starting" else "not whole",
        "since_utc": hosted.since_utc,
        "document": hosted.document,
        "logs": hosted.log_dir,
        "fault_proxy": hosted.links["url"] if hosted.links else None,
        "parts": parts,
    }


def _hosted(name: str) -> HostedStack | None:
    """The hosted stack that a person means, by its name or its document; None when there is such a document and it is not up.

    Raises SpecError for a name that nothing has, or that several hosted stacks have.
    """
    from harness.run.hosted import hosted_stacks

    known = hosted_stacks()
    path = str(Path(name).resolve())
    found = [one for one in known if name == one.name or path == one.document]
    if len(found) > 1:
        paths = ", ".join(one.document for one in found)
        raise SpecError(f"{len(found)} stacks named {name!r} are up; say which by its path: {paths}")
    if found:
        return found[0]
    document = str(_find(name).resolve())
    return next((one for one in known if one.document == document), None)


def _find(name: str) -> Path:
    from harness.spec.find import find_document

    return find_document(name, "stack", (Path("."), BUILTIN.parent))


def _document(name: str, sets: list[str] | None, profile: str | None) -> tuple[Path, Loaded[Stack]]:
    from harness.registry import catalog
    from harness.spec.load import load_stack

    path = _find(name)
    loaded = load_stack(path, catalog=catalog(), sets=tuple(sets or ()), profile=profile, builtin=BUILTIN)
    for warning in loaded.warnings:
        say(str(warning))
    return path, loaded


def _addresses(spec: Stack, hosted: HostedStack) -> list[tuple[str, str]]:
    rows = [("entry", hosted.wiring.text(spec.entry))] if spec.entry else []
    rows += [
        (f"entry of {name}", hosted.wiring.text(region.entry)) for name, region in spec.regions.items() if region.entry
    ]
    rows += [(f"link {name}", listen) for name, listen in hosted.wiring.links.items()]
    return [*rows, ("fault proxy", str(hosted.links["url"]))] if hosted.links else rows


def _facts(spec: Stack, hosted: HostedStack) -> dict[str, Any]:
    return {
        "stack": hosted.name,
        "state": hosted.state,
        "since_utc": hosted.since_utc,
        "addresses": dict(_addresses(spec, hosted)),
        "started": hosted.started,
        "logs": hosted.log_dir,
    }
