"""JSON Schema of the documents, draft-7 subset, for editors: made from the document models and every kind's parameters.

It says what a document may look like; what names refer to, only loading can tell. Not used while loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from harness.errors import Problem, SpecError
from harness.model.catalog import Catalog, Role
from harness.spec.controls import ControlsDoc
from harness.spec.documents import (
    CheckDoc,
    ExperimentDoc,
    FaultDoc,
    InstanceDoc,
    ProbeDoc,
    ReadyDoc,
    StackDoc,
    StepDoc,
)
from harness.spec.drill_documents import STEP_DOCS, DrillDoc, GateDoc, RunbookDoc
from harness.spec.report import did_you_mean
from harness.spec.schema_partial import or_partial

__all__ = ["schema_of"]

Schema = dict[str, Any]

_FILLED_IN = r"\$\{"
_OWN_KEYS = ("title", "discriminator")
_ANY: Schema = {}


def schema_of(kind: str, catalog: Catalog) -> Schema:
    """The JSON Schema (draft 7: `definitions`, no tuples, no `discriminator`) of one kind of document.

    Each of the catalog's kinds brings its parameters. Numbers, flags and texts with a form also take a `${...}`. Raises
    SpecError for a kind of document that does not exist.
    """
    builders: Mapping[str, Callable[[Catalog], Schema]] = {
        "stack": _stack,
        "experiment": _experiment,
        "drill": _drill,
        "runbook": _runbook,
        "gate": _gate,
        "controls": _controls,
    }
    if kind in builders:
        body = builders[kind](catalog)
        return {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"Blackstart {kind}", **body}
    known = f"known kinds: {', '.join(builders)}"
    message = f"unknown kind of document {kind!r}{did_you_mean(kind, builders)}"
    raise SpecError(Problem(file="blackstart", message=message, help=known))


def _stack(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {
        "host": _keyed("host", catalog, None),
        "probe": _keyed("probe", catalog, ProbeDoc),
        "ready": _keyed("probe", catalog, ReadyDoc),
        "role": _keyed("probe", catalog, None),
    }
    instance = _model(InstanceDoc, definitions)
    instance["properties"] |= {"host": _ref("host"), "ready": _ref("ready")}
    definitions["instance"] = instance
    root = _model(StackDoc, definitions)
    for key, name in (("instances", "instance"), ("probes", "probe"), ("roles", "role")):
        root["properties"][key] = {"type": "object", "additionalProperties": _ref(name)} | _described(root, key)
    scalar: Schema = {"type": ["string", "number", "boolean"]}
    root["properties"]["params"] = {"type": "object", "additionalProperties": scalar} | _described(root, "params")
    return _finished(root, definitions)


def _experiment(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {}
    definitions["fault"] = _fault(catalog, definitions)
    definitions["step"] = _model(StepDoc, definitions)
    definitions["check"] = _check(catalog, definitions)
    root = _model(ExperimentDoc, definitions)
    entry: Schema = {
        "type": "object",
        "if": {"required": ["do"]},
        "then": _ref("step"),
        "else": _ref("fault"),
    }
    root["properties"]["timeline"] = {"type": "array", "items": entry} | _described(root, "timeline")
    root["properties"]["checks"] = {"type": "array", "items": _ref("check")} | _described(root, "checks")
    return _finished(root, definitions)


def _drill(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {}
    root = _model(DrillDoc, definitions)
    step: Schema | bool = False
    for key, model in reversed(STEP_DOCS.items()):
        step = {"if": {"required": [key]}, "then": _model(model, definitions), "else": step}
    forms: list[Schema] = [{"required": [key]} for key in STEP_DOCS]
    items: Schema = {"type": "object", "anyOf": forms, "allOf": [step]}
    root["properties"]["steps"] = {"type": "array", "minItems": 1, "items": items} | _described(root, "steps")
    return _finished(root, definitions)


def _runbook(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {}
    root = _model(RunbookDoc, definitions)
    action = definitions["RunbookActionDoc"]
    action["required"] = [*action["required"], "verify"]
    action["if"] = {"properties": {"changes": {"const": False}}, "required": ["changes"]}
    action["then"] = {"not": {"anyOf": [{"required": ["rollback"]}, {"required": ["irreversible"]}]}}
    action["else"] = {"oneOf": [{"required": ["rollback"]}, {"required": ["irreversible"]}]}
    return _finished(root, definitions)


def _gate(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {}
    return _finished(_model(GateDoc, definitions), definitions)


def _controls(catalog: Catalog) -> Schema:
    definitions: dict[str, Schema] = {}
    return _finished(_model(ControlsDoc, definitions), definitions)


def _finished(root: Schema, definitions: dict[str, Schema]) -> Schema:
    finished: Schema = _interpolated(or_partial(root, definitions))
    return finished


def _described(root: Schema, key: str) -> Schema:
    description = root["properties"].get(key, {}).get("description")
    return {} if description is None else {"description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _model(model: type[BaseModel], definitions: dict[str, Schema]) -> Schema:
    """A model's own schema; the models inside it go to the definitions."""
    made: Schema = model.model_json_schema(ref_template="#/definitions/{model}", by_alias=True)
    for name, inner in made.pop("$defs", {}).items():
        definitions.setdefault(name, _cleaned(inner))
    cleaned: Schema = _cleaned(made)
    cleaned.setdefault("properties", {})
    return cleaned


def _cleaned(node: Any, *, names: bool = False) -> Any:
    """The schema without pydantic's titles, which only repeat names, and without what draft 7 does not know.

    `names`: the keys are names of properties, not words of JSON Schema.
    """
    if isinstance(node, list):
        return [_cleaned(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned: Schema = {}
    for key, value in node.items():
        if not names and (key in _OWN_KEYS or (key == "default" and value is None)):
            continue
        if not names and key == "prefixItems":
            cleaned["items"] = {"anyOf": [_cleaned(item) for item in value]} if value else _ANY
            continue
        if not names and key in ("default", "examples", "const", "enum"):
            cleaned[key] = value
            continue
        # The branches of our unions are told apart by form, and `oneOf` would check them all for no gain.
        word = "anyOf" if key == "oneOf" and not names else key
        cleaned[word] = _cleaned(value, names=key in ("properties", "patternProperties", "definitions") and not names)
    return cleaned


def _kind_model(model: type[BaseModel], prefix: str, definitions: dict[str, Schema]) -> Schema:
    """A kind's schema, models inside it named after the kind, so that two kinds cannot mix theirs up."""
    made: Schema = model.model_json_schema(ref_template=f"#/definitions/{prefix}.{{model}}", by_alias=True)
    for name, inner in made.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = _cleaned(inner)
    cleaned: Schema = _cleaned(made)
    properties: Schema = cleaned.setdefault("properties", {})
    for field in _read_before(model):
        body = properties.get(field, {})
        if body.get("type") == "array" and "items" in body:
            # A kind that looks at the value first may take one item for a list of one, as `expect: 200` does.
            properties[field] = {"anyOf": [body, body["items"]]}
    return cleaned


def _read_before(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys whose values the model's own validators see before their type is checked."""
    decorators = model.__pydantic_decorators__.field_validators.values()
    fields = [name for one in decorators if one.info.mode == "before" for name in one.info.fields]
    return tuple(model.model_fields[name].alias or name for name in fields if name in model.model_fields)


def _keyed(role: Role, catalog: Catalog, reserved: type[BaseModel] | None) -> Schema:
    """A mapping in which one key names the kind and the others are its parameters."""
    local: dict[str, Schema] = {}
    common = _model(reserved, local)["properties"] if reserved is not None else {}
    names = catalog.names(role)
    branches: Schema | bool = False
    for name in reversed(names):
        body = _kind_model(catalog.kind(role, name).params, name, local)
        body["properties"] = {**body["properties"], **common}
        body["additionalProperties"] = False
        branches = {"if": {"required": [name]}, "then": body, "else": branches}
    schema: Schema = {"type": "object", "anyOf": [{"required": [name]} for name in names], "allOf": [branches]}
    return _inlined(schema, local)


def _inlined(schema: Schema, local: Mapping[str, Schema]) -> Schema:
    """The schema with references to local models replaced by the models. Kinds' models do not refer to themselves."""

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/definitions/")
        if name in local:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return {**walk(local[name]), **rest}
        return {key: walk(value) for key, value in node.items()}

    walked: Schema = walk(schema)
    return walked


def _fault(catalog: Catalog, definitions: dict[str, Schema]) -> Schema:
    """A fault on the timeline: its reserved keys, and by its kind the kind's parameters."""
    reserved = _model(FaultDoc, definitions)["properties"]
    names = catalog.names("fault")
    cases: list[Schema] = []
    for name in names:
        kind = catalog.fault(name)
        local: dict[str, Schema] = {}
        body = _inlined(_kind_model(kind.params, name, local), local)
        own = {key: value for key, value in body["properties"].items() if key not in reserved}
        given = {key: _ANY for key in reserved if not (key == "for" and kind.instant)}
        then: Schema = {"properties": {**given, **own}, "additionalProperties": False}
        required = [key for key in body.get("required", []) if key not in reserved]
        if required:
            then["required"] = required
        if not kind.targets & {"load", "stack"}:  # what is broken there needs no `on`
            then["anyOf"] = [{"required": [key]} for key in (("on", "between") if kind.two_sided else ("on",))]
        cases.append({"if": {"properties": {"fault": {"const": name}}, "required": ["fault"]}, "then": then})
    properties = {**reserved, "fault": {"enum": list(names), "description": "what is broken"}}
    return {"type": "object", "properties": properties, "required": ["fault"], "allOf": cases}


def _check(catalog: Catalog, definitions: dict[str, Schema]) -> Schema:
    """A data check: its name, or one key that names it with its parameters."""
    common = _model(CheckDoc, definitions)["properties"]
    names = catalog.names("check")
    branches: list[Schema] = [{"type": "string", "enum": list(names)}]
    for name in names:
        local: dict[str, Schema] = {}
        body = _inlined(_kind_model(catalog.check(name).params, name, local), local)
        inner: Schema = {**body, "properties": {**common, **body["properties"]}, "additionalProperties": False}
        inner.setdefault("type", "object")
        shapes = [inner]
        if name in body["properties"]:
            # {exec: [...], name: residency}: the kind's own key holds the kind's own parameter.
            shapes.append(body["properties"][name])
        if not body.get("required"):
            shapes.append({"type": "null"})
        branches.append(
            {
                "type": "object",
                "properties": {name: {"anyOf": shapes}, **common},
                "required": [name],
                "additionalProperties": False,
            }
        )
    return {"anyOf": branches}


_TYPED = ("integer", "number", "boolean")


def _interpolated(node: Any, *, names: bool = False) -> Any:
    """The schema with `${...}` allowed wherever text is held to a form, or no text is expected."""
    if isinstance(node, list):
        return [_interpolated(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _interpolated(value) for key, value in node.items()}
    walked: Schema = {}
    for key, value in node.items():
        if key in ("if", "const", "enum", "default", "examples", "required"):
            walked[key] = value
        else:
            walked[key] = _interpolated(value, names=key in ("properties", "definitions"))
    if walked.get("type") == "string" and "pattern" in walked:
        walked["pattern"] = f"({walked['pattern']})|{_FILLED_IN}"
    elif walked.get("type") in _TYPED:
        return _or_filled_in(walked, ("description", "default", "examples"))
    return walked


def _or_filled_in(schema: Schema, outside: Sequence[str]) -> Schema:
    kept = {key: schema[key] for key in outside if key in schema}
    inner = {key: value for key, value in schema.items() if key not in outside}
    return {"anyOf": [inner, {"type": "string", "pattern": _FILLED_IN}], **kept}
