"""`${...}`: what is filled in, what is left for the run, and what must never be shown."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import SpecError
from harness.spec.load import load_experiment, load_stack
from harness.spec.nodes import resolve_plain


def load(project: Any, catalog: Any, text: str, **env: str) -> Any:
    project.write("region-kill.yaml", text)
    return load_experiment(project.folder / "region-kill.yaml", catalog=catalog, env=env)


def test_environment_and_defaults(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "title: The primary region dies", 'title: "In ${env:PLACE} at ${env:HOUR:-noon}, for $$5"'
    )
    text = text.replace("stack: shop", "stack: ${env:STACK:-shop}\nseed: ${env:SEED:-7}\nowner: ${env:OWNER:-}x")
    loaded = load(project, catalog, text, PLACE="the cellar", SEED="11")
    assert loaded.value.title == "In the cellar at noon, for $5"
    assert loaded.value.seed == 11
    assert loaded.value.owner == "x"
    assert loaded.secrets == frozenset({"the cellar", "11"})


def test_an_empty_variable_takes_the_default(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace("stack: shop", "stack: shop\nowner: ${env:OWNER:-nobody}")
    assert load(project, catalog, text, OWNER="").value.owner == "nobody"


def test_a_quoted_number_stays_text(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace("stack: shop", 'stack: shop\nseed: "${env:SEED:-7}"')
    with pytest.raises(SpecError, match="seed: expected a whole number, got '7'"):
        load(project, catalog, text)


def test_the_processs_own_environment_is_used_when_none_is_given(
    project: Any, catalog: Any, good_texts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLACKSTART_TEST_OWNER", "somebody")
    project.write(
        "region-kill.yaml", good_texts[1].replace("stack: shop", "stack: shop\nowner: ${env:BLACKSTART_TEST_OWNER}")
    )
    assert load_experiment(project.folder / "region-kill.yaml", catalog=catalog).value.owner == "somebody"


def test_a_secret_is_not_shown_in_a_problem(project: Any, catalog: Any, good_texts: Any) -> None:
    text = (
        good_texts[1].replace("timeout: 2s", 'timeout: "${env:TOKEN}"').replace("fault: kill", 'fault: "${env:TOKEN}"')
    )
    with pytest.raises(SpecError) as caught:
        load(project, catalog, text, TOKEN="hunter2-hunter2")
    assert "hunter2" not in str(caught.value)
    assert [(p.where, p.message) for p in caught.value.problems] == [
        ("load.timeout", "expected a duration such as \"15s\", got '${env:TOKEN}'"),
        ("timeline[0].fault", "unknown fault '***'"),
    ]


def test_a_secret_in_a_predicate_is_not_shown(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace("data_loss = 0", "data_loss = ${env:TOKEN}")
    with pytest.raises(SpecError) as caught:
        load(project, catalog, text, TOKEN="hunter2-hunter2")
    assert "hunter2" not in str(caught.value)


def test_text_for_the_run_keeps_its_placeholders_and_dollars(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "do: {exec: [./ops/promote, us]}",
        'do: {exec: [promote, "$${x}", "${addr:gw-eu.http}", "${addr:gw-eu}", "${link:db}", "${dir:db-eu}",'
        ' "${run:dir}", "${env:T}"]}',
    )
    step = load(project, catalog, text, T="a$b").value.timeline[2]
    assert step.argv == (
        "promote",
        "$${x}",
        "${addr:gw-eu.http}",
        "${addr:gw-eu}",
        "${link:db}",
        "${dir:db-eu}",
        "${run:dir}",
        "a$$b",
    )


def test_params_reach_the_experiment(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace("do: {exec: [./ops/promote, us]}", 'do: {exec: [promote, "${param:sync}"]}')
    assert load(project, catalog, text).value.timeline[2].argv == ("promote", "on")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("${addr:gw-eu.htp}", "unknown port of gw-eu 'htp'; did you mean 'http'?"),
        ("${addr:gw-eeu.http}", "unknown instance 'gw-eeu'; did you mean 'gw-eu'?"),
        ("${link:bd2}", "unknown link 'bd2'"),
        ("${dir:db}", "unknown instance 'db'"),
        ("${dir}", "${dir} has a meaning only inside an instance"),
        ("${port:http}", "${port:http} has a meaning only inside an instance"),
        ("${run:log}", "unknown interpolation '${run:log}'; did you mean '${run:dir}'?"),
        ("${i}", "${i} is the number of a counted instance, and there is no `count` here"),
        ("${env:}", "expected the name of an environment variable, got ''"),
        ("${env:A B}", "expected the name of an environment variable, got 'A B'"),
        ("${env}", "${env} needs an argument, as in ${env:NAME}"),
        ("${HOME}", "a bare ${HOME} has no meaning"),
        ("${}", "a bare ${} has no meaning"),
        ("${parm:x}", "unknown interpolation '${parm:x}'; did you mean 'param'?"),
        ("${env:X", "'${env:X' has no closing brace"),
    ],
)
def test_what_is_wrong_points_at_the_placeholder(
    project: Any, catalog: Any, good_texts: Any, token: str, message: str
) -> None:
    text = good_texts[1].replace("do: {exec: [./ops/promote, us]}", f'do: {{exec: [promote, "to={token}"]}}')
    with pytest.raises(SpecError) as caught:
        load(project, catalog, text)
    (problem,) = caught.value.problems
    assert (problem.message, problem.where, problem.line) == (message, "timeline[2].do.exec[1]", 19)
    assert problem.source is not None and problem.column is not None
    assert problem.source[problem.column - 1 :].startswith(token)
    assert problem.width == len(token)


def test_a_param_from_the_environment_is_a_secret(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[0].replace('{sync: "on"}', '{sync: "${env:SYNC}"}')
    path = project.write("stacks/shop.yaml", text)
    loaded = load_stack(path, catalog=catalog, env={"SYNC": "sometimes"})
    assert loaded.secrets == frozenset({"sometimes"})
    assert loaded.value.instances["gw-eu"].host.params["args"][-1] == "sometimes"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("12:30:45", "12:30:45"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-3", -3),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("true", True),
        ("True", True),
        ("tRue", "tRue"),
        ("null", None),
        ("", None),
        ("~", None),
        ("60/s", "60/s"),
        ("1_000", "1_000"),
        ("9" * 500, "9" * 500),
    ],
)
def test_what_an_unquoted_value_means(text: str, value: object) -> None:
    assert resolve_plain(text) == value
    assert type(resolve_plain(text)) is type(value)
