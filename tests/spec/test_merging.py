"""`extends`, `profiles`, `--set`: what comes out, and that problems still point at what was written."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import SpecError
from harness.spec.load import load_experiment, load_stack

S = 1_000_000_000


def load(project: Any, catalog: Any, name: str = "region-kill.yaml", **more: Any) -> Any:
    return load_experiment(project.folder / name, catalog=catalog, **{"env": {}, **more})


def problems(project: Any, catalog: Any, name: str = "region-kill.yaml", **more: Any) -> list[tuple[Any, ...]]:
    with pytest.raises(SpecError) as caught:
        load(project, catalog, name, **more)
    return [(p.file, p.line, p.column, p.where, p.message) for p in caught.value.problems]


CHILD = """\
version: 1
kind: experiment
extends: region-kill.yaml
name: child
load:
  timeout: 3s
objectives: [recovery_time <= 9s]
abort_when: null
"""


def test_extends_merges_deeply_and_replaces_lists(project: Any, catalog: Any) -> None:
    project.write("child.yaml", CHILD)
    loaded = load(project, catalog, "child.yaml")
    assert loaded.value.name == "child"
    assert loaded.value.load.timeout_ns == 3 * S
    assert loaded.value.load.arrival.rate_per_s == 60
    assert [one.predicate.text for one in loaded.value.objectives] == ["recovery_time <= 9s"]
    assert loaded.value.abort_when == ()
    assert [path.name for path in loaded.sources] == ["child.yaml", "region-kill.yaml", "shop.yaml"]


def test_a_problem_points_at_the_document_that_wrote_it(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("child.yaml", CHILD.replace("timeout: 3s", "timeout: 3"))
    project.write("region-kill.yaml", good_texts[1].replace("for: 20s", "for: fifteen"))
    assert [found[:4] for found in problems(project, catalog, "child.yaml")] == [
        ("experiments/child.yaml", 6, 12, "load.timeout"),
        ("experiments/region-kill.yaml", 14, 10, "timeline[0].for"),
    ]


def test_paths_are_relative_to_the_document_that_wrote_them(project: Any, catalog: Any) -> None:
    project.write("more/child.yaml", CHILD.replace("region-kill.yaml", "../region-kill.yaml"))
    loaded = load(project, catalog, "more/child.yaml").value
    assert loaded.timeline[2].argv[0] == str(project.folder / "ops/promote")
    assert loaded.timeline[2].cwd == str(project.folder)
    assert loaded.base_dir == str(project.folder / "more")
    assert loaded.stack.name == "shop"


def test_documents_in_a_circle(project: Any, catalog: Any) -> None:
    project.write("one.yaml", "version: 1\nextends: two.yaml\n")
    project.write("two.yaml", "version: 1\nextends: one.yaml\n")
    assert problems(project, catalog, "one.yaml") == [
        (
            "experiments/two.yaml",
            2,
            10,
            "extends",
            "documents extend each other in a circle: experiments/one.yaml -> experiments/two.yaml -> experiments/one.yaml",
        )
    ]
    project.write("self.yaml", "version: 1\nextends: self.yaml\n")
    assert (
        "in a circle: experiments/self.yaml -> experiments/self.yaml" in problems(project, catalog, "self.yaml")[0][4]
    )


def test_a_base_that_is_not_there(project: Any, catalog: Any) -> None:
    project.write("child.yaml", CHILD.replace("region-kill.yaml", "region-kil.yaml"))
    message = "no document 'region-kil.yaml' next to experiments/child.yaml; did you mean 'region-kill.yaml'?"
    assert problems(project, catalog, "child.yaml") == [("experiments/child.yaml", 3, 10, "extends", message)]


PROFILES = """\
profiles:
  ci:
    load: {arrival: {rate: 20/s}}
    slo: null
    abort_when: null
  prod:
    load: {timeout: 5s}
    stack: {file: shop, params: {sync: "${env:PROD_SYNC}"}}
"""


def test_a_profile(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("region-kill.yaml", good_texts[1] + PROFILES)
    plain = load(project, catalog).value
    assert (plain.profile, plain.load.arrival.rate_per_s, len(plain.slos)) == (None, 60, 2)
    ci = load(project, catalog, profile="ci").value
    assert (ci.profile, ci.load.arrival.rate_per_s, ci.slos, ci.abort_when) == ("ci", 20, (), ())
    prod = load(project, catalog, profile="prod", env={"PROD_SYNC": "off"}).value
    assert (prod.load.timeout_ns, prod.stack.params) == (5 * S, {"sync": "off"})


def test_an_unknown_profile(project: Any, catalog: Any, good_texts: Any) -> None:
    assert problems(project, catalog, profile="ci")[0][:2] == ("--profile ci", None)
    project.write("region-kill.yaml", good_texts[1] + PROFILES)
    found = problems(project, catalog, profile="prd")
    assert found == [("experiments/region-kill.yaml", 31, 1, "profiles", "unknown profile 'prd'; did you mean 'prod'?")]


def test_a_slip_in_a_profile_that_is_not_chosen(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("region-kill.yaml", good_texts[1] + PROFILES.replace("timeout: 5s", "timeot: 5s"))
    message = "unknown key 'timeot'; did you mean 'timeout'? (with profile 'prod')"
    assert problems(project, catalog) == [("experiments/region-kill.yaml", 37, 12, "load.timeot", message)]


def test_a_profile_of_the_stack_alone(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("stacks/shop.yaml", good_texts[0] + "profiles:\n  ci: {environment: test}\n")
    assert load(project, catalog).value.stack.environment == "staging"
    assert load(project, catalog, profile="ci").value.stack.environment == "test"


def test_set(project: Any, catalog: Any) -> None:
    sets = [
        "load.arrival.rate=120/s",
        "timeline[0].for=3s",
        "seed=9",
        "load.prober.every=50ms",
        "load.prober.timeout = 100ms",
        "abort_when=null",
        'objectives=["recovery_time <= 1s"]',
        "stack.params.sync=off",
    ]
    loaded = load(project, catalog, sets=sets).value
    assert loaded.load.arrival.rate_per_s == 120
    assert loaded.timeline[0].for_ns == 3 * S
    assert loaded.seed == 9
    assert (loaded.load.prober.every_ns, loaded.load.prober.timeout_ns) == (50_000_000, 100_000_000)
    assert loaded.abort_when == ()
    assert [(one.predicate.text, one.file, one.line) for one in loaded.objectives] == [
        ("recovery_time <= 1s", None, None)
    ]
    assert loaded.stack.params == {"sync": "off"}


@pytest.mark.parametrize(
    ("assignment", "where", "message"),
    [
        ("seed", "", "expected path=value, got 'seed'"),
        ("=5", "", "expected path=value, got '=5'"),
        ("load..rate=5", "", "expected path=value, got 'load..rate=5'"),
        ("load.=5", "", "expected path=value, got 'load.=5'"),
        ("timeline[x].for=5s", "", "expected path=value, got 'timeline[x].for=5s'"),
        ("timeline[9].for=3s", "timeline", "there is no entry [9] to set: its last is [2]"),
        ("load[0]=3s", "load", "there is no entry [0] to set: load is not a list"),
        (
            "timeline.for=3s",
            "timeline",
            "there is no key 'for' to set: timeline is a list; name an entry by its number, as in [0]",
        ),
        ("seeed[0]=3s", "", "there is no list 'seeed'"),
        ("load.arival=null", "load", "there is no key 'arival' to remove; did you mean 'arrival'?"),
        ("title.x=3s", "title", "there is no key 'x' to set: title is 'The primary region dies'"),
        ("seed=[1", "seed", "a quote or bracket is never closed"),
        ("timeline[0].for=fifteen", "timeline[0].for", "expected a duration such as \"15s\", got 'fifteen'"),
        ("load.arival.rate=5/s", "load.arival", "unknown key 'arival'; did you mean 'arrival'?"),
        ("seed=-1", "seed", "expected at least 0, got -1"),
    ],
)
def test_a_set_that_is_wrong(project: Any, catalog: Any, assignment: str, where: str, message: str) -> None:
    found = problems(project, catalog, sets=[assignment])
    assert found[0] == (f"--set {assignment}", None, None, where, message)


def test_a_wrong_set_is_printed_with_its_name(project: Any, catalog: Any) -> None:
    with pytest.raises(SpecError) as caught:
        load(project, catalog, sets=["load.timeout=2"])
    assert str(caught.value) == (
        '--set load.timeout=2: error: load.timeout: expected a duration such as "15s", got 2\n'
        '   help: durations are a number and ns, us, ms, s, m, h or d; did you mean "2s"?'
    )


def test_set_on_a_stack(project: Any, catalog: Any) -> None:
    path = project.folder / "stacks/shop.yaml"
    loaded = load_stack(path, catalog=catalog, sets=["environment=test", "params.sync=off"], env={})
    assert (loaded.value.environment, loaded.value.params) == ("test", {"sync": "off"})


def test_anchors_and_merge_keys(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "  - {id: slow, at: eu-down.start + 2s, fault: latency, delay: 100ms, on: {link: db}, for: 3s}",
        "  - &slow {id: slow, at: eu-down.start + 2s, fault: latency, delay: 100ms, on: {link: db}, for: 3s}\n"
        "  - {<<: *slow, id: slower, delay: 1s, on: {link: llm}}",
    )
    project.write("region-kill.yaml", text)
    slower = load(project, catalog).value.timeline[2]
    assert (slower.id, slower.params["delay"], slower.for_ns, slower.on.names) == ("slower", f"{S}ns", 3 * S, ("llm",))
