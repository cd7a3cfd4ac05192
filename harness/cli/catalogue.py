"""What there is: `faults`, `checks`, `schema`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from harness.cli.explained import Explained, explained
from harness.cli.output import JsonFlag, show_json, show_rows
from harness.errors import SpecError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(epilog="Examples: blackstart faults; blackstart faults partition; blackstart faults --json")(faults)
    app.command(epilog="Examples: blackstart checks; blackstart checks durable")(checks)
    app.command(epilog="Examples: blackstart schema experiment; blackstart schema result > result.schema.json")(schema)


def faults(
    kind: Annotated[str | None, typer.Argument(help="One fault, in full.")] = None, json: JsonFlag = False
) -> None:
    """List the faults, or explain one: parameters, targets, what clients see, how its effect is witnessed."""
    from harness.registry import proven_cells

    _kinds("fault", kind, json, proven_cells())


def checks(
    name: Annotated[str | None, typer.Argument(help="One check, in full.")] = None, json: JsonFlag = False
) -> None:
    """List the data checks, or explain one: definition, source, and a history on which it is invalid (as docs/checks.md)."""
    _kinds("check", name, json, {})


def _kinds(role: Any, name: str | None, json: bool, proven: Mapping[str, tuple[str, ...]]) -> None:
    from harness.model.catalog import UnknownKindError
    from harness.registry import catalog

    known = catalog()
    if name is None:
        kinds = [known.kind(role, each) for each in known.names(role)]
        if json:
            show_json([_facts(kind, proven) for kind in kinds])
        elif proven:
            rows = [(kind.name, ", ".join(proven.get(kind.name, ())) or "–", kind.doc) for kind in kinds]
            show_rows((role, "proven on", "what it is"), rows)
        else:
            show_rows((role, "what it is"), [(kind.name, kind.doc) for kind in kinds])
        return
    try:
        facts = _facts(known.kind(role, name), proven)
    except UnknownKindError as exc:
        hint = f"; did you mean {' or '.join(exc.close)}?" if exc.close else ""
        raise SpecError(f"unknown {role} {name!r}{hint}; known: {', '.join(exc.known)}") from exc
    told = explained(name) if role == "check" else None
    if json:
        show_json(
            facts
            | ({"definition": told.definition, "source": told.source, "worked_example": told.example} if told else {})
        )
    else:
        for key, value in facts.items():
            if key != "parameters" and value:
                sys.stdout.write(
                    f"{key.replace('_', ' '):12} {', '.join(value) if isinstance(value, list) else value}\n"
                )
        for parameter, shape in facts["parameters"].get("properties", {}).items():
            default = f" (default {shape['default']})" if "default" in shape else " (required)"
            sys.stdout.write(f"parameter    {parameter}{default}\n")
        if told is not None:
            _tell(told)


def _tell(told: Explained) -> None:
    for part in (told.definition, f"Source: {told.source}" if told.source else ""):
        if part:
            sys.stdout.write("\n" + textwrap.fill(part, 100, break_long_words=False, break_on_hyphens=False) + "\n")
    if told.example:
        sys.stdout.write(f"\nWorked example, a fault from 10 s to 20 s:\n{textwrap.indent(told.example, '  ')}\n")


def _facts(kind: Any, proven: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": kind.name, "doc": kind.doc, "example": kind.example}
    for key in ("targets", "hosts", "ends", "models", "counts", "what", "clients_see", "on_revert", "witness"):
        value = getattr(kind, key, None)
        if value:
            facts[key] = value if isinstance(value, str) else sorted(value)
    if kind.name in proven:
        facts["proven_on"] = list(proven[kind.name])
    facts["parameters"] = kind.params.model_json_schema()
    return facts


def schema(
    kind: Annotated[str, typer.Argument(help="stack, experiment, drill, runbook, gate, controls or result")],
    json: Annotated[bool, typer.Option("--json", help="As always: a schema is JSON.")] = True,
) -> None:
    """Print the JSON Schema of a document or of result.json."""
    if kind == "result":
        from harness.model.result import Result

        show_json(Result.model_json_schema(by_alias=True))
        return
    from harness.registry import catalog
    from harness.spec.schema import schema_of

    show_json(schema_of(kind, catalog()))
