"""One call of a Chaos Toolkit function, in a process of its own: `python -P -m harness.faults.call`, told and answering in JSON.

Standard input: {"module", "func", "arguments", "configuration": {...}, "secrets": {scope: {...}}, "check": bool}. The last
line of standard output: {"value": ...} or {"error": "..."}. Nothing of the harness is imported.

Source of the semantics: chaostoolkit-lib 1.44, `provider/python.py` (injection of `configuration` and `secrets` by
signature), `configuration.py` and `secret.py` ({type: env, key, default}), `substitute` (a value that is one `${name}` alone
keeps its type; configuration before secrets).
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["answer", "main", "resolved", "substituted"]

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolved(value: Any, environ: Mapping[str, str], what: str) -> Any:
    """A configuration or secret value, looked up when it is {type: env, key, default}. Raises LookupError when it is not set."""
    if not (isinstance(value, dict) and value.get("type") == "env"):
        return value
    found = environ.get(value["key"], value.get("default"))
    if found is None:
        raise LookupError(f"{what}: environment variable {value['key']} is not set")
    return found


def substituted(value: Any, names: Mapping[str, Any]) -> Any:
    """The value with every `${name}` replaced, at any depth; a name that is not known stays as it is."""
    if isinstance(value, dict):
        return {key: substituted(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, names) for item in value]
    if not isinstance(value, str):
        return value
    alone = _NAME.fullmatch(value)
    if alone:
        return names.get(alone[1], value)
    return _NAME.sub(lambda match: str(names.get(match[1], match[0])), value)


def answer(told: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """What the function returned, or what went wrong in one line without secrets in it."""
    hidden: list[str] = []
    try:
        configuration = {
            key: resolved(item, environ, f"configuration.{key}") for key, item in told["configuration"].items()
        }
        secrets = {
            scope: {key: resolved(item, environ, f"secrets.{scope}.{key}") for key, item in items.items()}
            for scope, items in told["secrets"].items()
        }
        hidden = [str(item) for items in secrets.values() for item in items.values() if item]
        value = _call(told, configuration, secrets)
        if not told.get("check"):
            json.dumps(value)
        return {"value": _without(value, hidden)}
    except Exception as exc:
        return {"error": _without(f"{type(exc).__name__}: {exc}", hidden)}


def _call(told: Mapping[str, Any], configuration: dict[str, Any], secrets: dict[str, dict[str, Any]]) -> Any:
    func = getattr(importlib.import_module(told["module"]), told["func"])
    merged: dict[str, Any] = {}
    for scope in secrets.values():
        merged |= scope
    arguments = substituted(told["arguments"], merged | configuration)
    parameters = inspect.signature(func).parameters
    if secrets and "secrets" in parameters:
        arguments["secrets"] = merged
    if "configuration" in parameters:
        arguments["configuration"] = dict(configuration)
    inspect.signature(func).bind(**arguments)
    return None if told.get("check") else func(**arguments)


def _without(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item, hidden) for item in value]
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, "***")
    return value


def main() -> None:
    """Answer on what was standard output; what the function itself prints goes to standard error."""
    told = json.load(sys.stdin)
    out = os.dup(1)
    os.dup2(2, 1)
    sys.path.append(os.getcwd())
    with os.fdopen(out, "w") as said:
        said.write(json.dumps(answer(told, os.environ)) + "\n")


if __name__ == "__main__":
    main()
