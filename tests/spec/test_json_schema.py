"""The published schema: draft 7, accepts what loads, refuses what an editor should underline."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from harness.errors import SpecError
from harness.registry import catalog as real_catalog
from harness.spec.schema import schema_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHIPPED = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.name != "compose.yaml")


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def stack_schema(catalog: Any) -> Draft7Validator:
    return Draft7Validator(schema_of("stack", catalog))


@pytest.fixture(scope="module")
def experiment_schema(catalog: Any) -> Draft7Validator:
    return Draft7Validator(schema_of("experiment", catalog))


def words(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from words(value)
    elif isinstance(node, list):
        for item in node:
            yield from words(item)


@pytest.mark.parametrize("kind", ["stack", "experiment", "drill", "runbook", "gate"])
def test_it_is_draft_7(kind: str, catalog: Any) -> None:
    schema = schema_of(kind, catalog)
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert not {"$defs", "prefixItems", "discriminator", "unevaluatedProperties"} & set(words(schema))
    references = set(json.dumps(schema).split('"#/definitions/')[1:])
    assert {reference.split('"')[0] for reference in references} <= set(schema["definitions"])
    assert all("description" in prop for prop in schema["properties"].values())


def test_what_loads_is_accepted(
    good_texts: Any, stack_schema: Draft7Validator, experiment_schema: Draft7Validator
) -> None:
    assert [error.message for error in stack_schema.iter_errors(yaml(good_texts[0]))] == []
    assert [error.message for error in experiment_schema.iter_errors(yaml(good_texts[1]))] == []


def test_a_document_that_extends_may_leave_out_the_rest(experiment_schema: Draft7Validator) -> None:
    assert experiment_schema.is_valid(yaml("version: 1\nkind: experiment\nextends: base.yaml\n"))
    assert not experiment_schema.is_valid(yaml("version: 1\nkind: experiment\n"))


def test_interpolations_are_accepted(good_texts: Any, experiment_schema: Draft7Validator) -> None:
    text = (
        good_texts[1]
        .replace("timeout: 2s", "timeout: ${env:TIMEOUT}")
        .replace("stack: shop", "stack: shop\nseed: ${env:SEED:-1}")
    )
    assert [error.message for error in experiment_schema.iter_errors(yaml(text))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("timeline:", "timelne:"),
        ("for: 20s", "for: fifteen"),
        ("for: 20s", "for: 20"),
        ("fault: kill", "fault: kil"),
        ("delay: 100ms, ", ""),
        ("delay: 100ms", "dely: 100ms"),
        ("delay: 100ms", "delay: 100"),
        ("    on: {region: eu}\n", ""),
        ("on: {region: eu}", "on: {regio: eu}"),
        ("on: {region: eu}", "on: {region: eu, pick: half}"),
        ("fault: kill", "fault: restart"),
        ("within: 5s}", "within: 5s, for: 3s}"),
        ("shape: poisson", "shape: poison"),
        ("target: 99.9%", "target: 99.9"),
        ("version: 1", "version: 2"),
        ("kind: experiment", "kind: stack"),
        ("title: The primary region dies\n", ""),
        ("checks: [durable,", "checks: [durble,"),
        ("{within: 10s}", "{witin: 10s}"),
        ("{exec: [./verify.py], name: residency}", "{exec: 5, name: residency}"),
        ("objectives:\n  - recovery_time <= 5s", "objectives: recovery_time <= 5s\nx:"),
    ],
)
def test_mutated_experiments_are_refused(
    good_texts: Any, experiment_schema: Draft7Validator, old: str, new: str
) -> None:
    assert old in good_texts[1]
    assert not experiment_schema.is_valid(yaml(good_texts[1].replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{process: [db,", "{proces: [db,"),
        ("cwd: ., env", "cdw: ., env"),
        ("{LOG: info}", "{LOG: 5}"),
        ("needs: [db-eu]", "need: [db-eu]"),
        ("ports: {http: 8081}", "ports: 8081"),
        ("ports: {http: 8081}", "ports: {http: 80810}"),
        ("serves: standby", "serves: stanby"),
        ("within: 20s", "within: 20"),
        ("lag: {exec: [./ops/lag], every: 500ms}", "lag: {every: 500ms}"),
        ('{from: gw-eu, to: "db-eu:pg"', '{frm: gw-eu, to: "db-eu:pg"'),
        ("signals:\n", "signals:\n  alerts: webhok\n"),
        ("{name: us, exec: [", "{exec: ["),
        ("roles: {leader: {exec: [./ops/who-leads]}}", "roles: {leader: {exce: [./ops/who-leads]}}"),
        ("instances:\n", "instance:\n"),
    ],
)
def test_mutated_stacks_are_refused(good_texts: Any, stack_schema: Draft7Validator, old: str, new: str) -> None:
    assert old in good_texts[0]
    assert not stack_schema.is_valid(yaml(good_texts[0].replace(old, new, 1)))


def test_every_parameter_of_every_kind_is_in_it(catalog: Any) -> None:
    text = json.dumps(schema_of("experiment", catalog)) + json.dumps(schema_of("stack", catalog))
    for role in ("fault", "host", "probe", "check"):
        for name in catalog.names(role):
            for key, field in catalog.kind(role, name).params.model_fields.items():
                assert f'"{field.alias or key}"' in text, (role, name, key)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gait", "unknown kind of document 'gait'; did you mean 'gate'?"),
        ("stac", "unknown kind of document 'stac'; did you mean 'stack'?"),
    ],
)
def test_other_kinds_are_refused_by_name(catalog: Any, kind: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        schema_of(kind, catalog)
    assert caught.value.problems[0].message == message
    assert caught.value.problems[0].help == "known kinds: stack, experiment, drill, runbook, gate, controls"


@pytest.fixture(scope="module")
def real_schemas() -> dict[str, Draft7Validator]:
    return {kind: Draft7Validator(schema_of(kind, real_catalog())) for kind in ("stack", "experiment")}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_documents_are_accepted_and_their_mutants_refused(
    path: Path, real_schemas: dict[str, Draft7Validator]
) -> None:
    document = yaml(path.read_text(encoding="utf-8"))
    schema = real_schemas[document["kind"]]
    assert [error.message for error in schema.iter_errors(document)] == []
    for key in document:
        mutant = copy.deepcopy(document)
        mutant[f"{key}x"] = mutant.pop(key)
        assert not schema.is_valid(mutant), key
        mutant = copy.deepcopy(document)
        mutant[key] = {"never": ["this"]}
        assert not schema.is_valid(mutant), key
