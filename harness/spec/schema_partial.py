"""The JSON Schema of a document that extends another one: what that one says may be left out, null takes it away."""

from __future__ import annotations

from typing import Any

__all__ = ["or_partial"]

Schema = dict[str, Any]

_ALWAYS = ("version", "kind")
_PREFIX = "#/definitions/"
_SUFFIX = ".part"


def or_partial(whole: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema of a document, which is held to `whole` unless it has `extends`; adds the definitions that this needs.

    In one that has, mappings are merged into those of the other document: at any depth a key may be missing, or null to
    remove what is inherited. Lists are replaced, and so are whole.
    """
    keys = whole["properties"]
    said = {key: {"description": body["description"]} if "description" in body else {} for key, body in keys.items()}
    part = _part(whole, definitions)
    part["properties"] |= {key: keys[key] for key in _ALWAYS if key in keys}
    return {
        "type": "object",
        "properties": said,
        "required": [key for key in whole.get("required", ()) if key in _ALWAYS],
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": part,
        "else": {key: value for key, value in whole.items() if key != "description"},
        "definitions": definitions,
    } | ({"description": whole["description"]} if "description" in whole else {})


def _part(node: Any, definitions: dict[str, Schema]) -> Any:
    """A schema with nothing required and null allowed in each of its mappings. `definitions` gains those that are used."""
    if isinstance(node, list):
        return [_part(item, definitions) for item in node]
    if not isinstance(node, dict) or node.get("type") == "array":
        return node
    if "$ref" in node:
        return {**node, "$ref": _PREFIX + _named(node["$ref"].removeprefix(_PREFIX), definitions)}
    made: Schema = {}
    for key, value in node.items():
        if key == "required" or (key == "anyOf" and all(set(form) == {"required"} for form in value)):
            continue
        if key == "properties":
            made[key] = {name: _nullable(_part(body, definitions)) for name, body in value.items()}
        elif key == "additionalProperties" and isinstance(value, dict):
            made[key] = _nullable(_part(value, definitions))
        elif key == "else" and value is False:
            continue  # the key that names the kind may be the other document's
        elif key in ("then", "else", "anyOf", "allOf"):
            made[key] = _part(value, definitions)
        else:
            made[key] = value
    return made


def _named(name: str, definitions: dict[str, Schema]) -> str:
    part = name + _SUFFIX
    if part not in definitions:
        definitions[part] = {}  # one that refers to itself finds its name
        definitions[part] = _part(definitions[name], definitions)
    return part


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict) or not schema:
        return schema
    outside = {key: schema[key] for key in ("description", "default") if key in schema}
    return {"anyOf": [{key: value for key, value in schema.items() if key not in outside}, {"type": "null"}], **outside}
