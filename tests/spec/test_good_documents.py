"""Documents that are right, as model values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.model.experiment import At, CheckSpec, FaultEntry, Repeat, Selector, StepEntry
from harness.model.stack import ExportSpec, Link
from harness.spec.load import Loaded, load_experiment, load_stack

S = 1_000_000_000


def without_entries(stack: str) -> str:
    """The stack, its regions without entries."""
    return re.sub(r', entry: "http://\$\{addr:gw-..\.http\}"', "", stack)


def experiment(project: Any, catalog: Any, text: str | None = None, **more: Any) -> Any:
    if text is not None:
        project.write("region-kill.yaml", text)
    return load_experiment(project.folder / "region-kill.yaml", catalog=catalog, **{"env": {}, **more}).value


def stack(project: Any, catalog: Any, text: str, **more: Any) -> Any:
    path = project.write("stacks/shop.yaml", text)
    return load_stack(path, catalog=catalog, **{"env": {}, **more}).value


def test_the_whole_is_loaded_without_a_warning(project: Any, catalog: Any) -> None:
    loaded = load_experiment(project.folder / "region-kill.yaml", catalog=catalog, env={})
    assert isinstance(loaded, Loaded)
    assert loaded.warnings == ()
    assert loaded.sources == (project.folder / "region-kill.yaml", project.folder / "stacks" / "shop.yaml")
    assert loaded.secrets == frozenset()
    assert loaded.value.name == "region-kill"
    assert loaded.value.source == "experiments/region-kill.yaml"
    assert loaded.value.base_dir == str(project.folder)


def test_the_timeline(project: Any, catalog: Any) -> None:
    first, second, third = experiment(project, catalog).timeline
    assert first == FaultEntry(
        id="eu-down",
        kind="kill",
        params={"mode": "process"},
        at=At(offset_ns=0),
        on=Selector(by="region", names=("eu",)),
        for_ns=20 * S,
        jitter_ns=S,
    )
    assert (second.id, second.at) == ("slow", At(offset_ns=2 * S, entry="eu-down", edge="start"))
    assert second.params == {"delay": "100000000ns", "spread": "0ns"}
    assert third == StepEntry(
        id="step",
        argv=(str(project.folder / "ops/promote"), "us"),
        cwd=str(project.folder),
        at=At(offset_ns=S, entry="slow", edge="end"),
        within_ns=5 * S,
    )


def test_what_is_left_out_has_the_models_defaults(project: Any, catalog: Any) -> None:
    loaded = experiment(project, catalog)
    assert loaded.seed == 1
    assert loaded.steady_state.for_ns == 5 * S
    assert [predicate.text for predicate in loaded.steady_state.require] == ["good >= 99%"]
    assert loaded.steady_state.after is True
    assert (loaded.blast_radius.regions, loaded.blast_radius.share_ratio) == (1, 0.5)
    assert (loaded.observe_ns, loaded.settle_ns) == (10 * S, 60 * S)
    assert (loaded.final.within_ns, loaded.final.regions) == (30 * S, None)
    assert (loaded.runs.times, loaded.runs.require) == (1, "all")
    assert loaded.load.warmup_ns == 2 * S


def test_objectives_know_their_line(project: Any, catalog: Any) -> None:
    stated = experiment(project, catalog).objectives
    assert [(one.predicate.text, one.file, one.line) for one in stated] == [
        ("recovery_time <= 5s", "experiments/region-kill.yaml", 27),
        ("data_loss = 0", "experiments/region-kill.yaml", 28),
        ("exactly-once.duplicates = 0", "experiments/region-kill.yaml", 29),
    ]


def test_objectives_name_their_file_as_the_repository_does(
    project: Any, catalog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder.parent / ".git").mkdir()
    nested = project.folder.parent / "chaos" / "experiments"
    project.folder.rename(project.folder.parent / "moved")
    nested.parent.mkdir()
    (project.folder.parent / "moved").rename(nested)
    monkeypatch.chdir(nested)
    stated = load_experiment(Path("region-kill.yaml"), catalog=catalog, env={}).value.objectives
    assert {one.file for one in stated} == {"chaos/experiments/region-kill.yaml"}


def test_recovery_may_count_from_a_named_fault(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace("recovered_when:", "recovery_from: slow\nrecovered_when:")
    assert experiment(project, catalog, text).recovery_from == "slow"
    assert experiment(project, catalog, good_texts[1]).recovery_from is None


def test_ratios_are_exact(project: Any, catalog: Any) -> None:
    assert experiment(project, catalog).slos[0].target_ratio == 0.999


def test_checks(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "checks: [durable, ",
        "checks: [{durable: {on: {region: us}}, name: durable-us}, {durable: , on: {f: append}}, {fresh: {within: 2s}}, ",
    )
    checks = experiment(project, catalog, text).checks
    assert checks[0] == CheckSpec(name="durable-us", kind="durable", on={"region": "us"})
    assert checks[1] == CheckSpec(name="durable", kind="durable", on={"f": "append"})
    # A kind that declares `within` itself gets it too.
    assert checks[2] == CheckSpec(name="fresh", kind="fresh", params={"within": "2000000000ns"}, within_ns=2 * S)
    assert checks[4] == CheckSpec(name="converged", kind="converged", within_ns=10 * S)
    assert checks[5] == CheckSpec(name="residency", kind="exec", params={"exec": [str(project.folder / "verify.py")]})


def test_partition_between_lists_of_selectors(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "fault: latency, delay: 100ms, on: {link: db}, for: 3s",
        "fault: partition, direction: in, between: [[{region: eu}, {instance: edge}], {service: [gateway, db], pick: 1}],"
        " for: 1s, repeat: {every: 2s, times: 3}, ends: itself, expect: no-impact",
    )
    entry = experiment(project, catalog, text).timeline[1]
    assert entry.between == (
        (Selector(by="region", names=("eu",)), Selector(by="instance", names=("edge",))),
        (Selector(by="service", names=("gateway", "db"), pick="1"),),
    )
    assert entry.on is None
    assert entry.params == {"direction": "in"}
    assert entry.repeat == Repeat(every_ns=2 * S, times=3)
    assert (entry.ends_itself, entry.expect_no_impact) == (True, True)


@pytest.mark.parametrize(("written", "pick"), [("50%", "50%"), ("2", "2"), ("all", "all"), ("12.5 %", "12.5%")])
def test_pick(project: Any, catalog: Any, good_texts: Any, written: str, pick: str) -> None:
    text = good_texts[1].replace("on: {region: eu}", f"on: {{service: gateway, pick: {written}, only: drillable}}")
    assert experiment(project, catalog, text).timeline[0].on == Selector(
        by="service", names=("gateway",), pick=pick, only_drillable=True
    )


def test_ids_that_are_not_written_are_unique(project: Any, catalog: Any, good_texts: Any) -> None:
    text = (
        good_texts[1]
        .replace("  - id: eu-down\n    fault: kill", "  - fault: kill")
        .replace(
            "{id: slow, at: eu-down.start + 2s, fault: latency, delay: 100ms, on: {link: db}, for: 3s}",
            "{at: kill.end, fault: kill, on: {instance: gw-us}, for: 3s}",
        )
    )
    text = text.replace("slow.end", "kill-2.end")
    assert [entry.id for entry in experiment(project, catalog, text).timeline] == ["kill", "kill-2", "step"]


def test_load(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("load/cart.py", "class CartUser:\n    pass\n")
    project.write("load/times.csv", "0.1\n")
    text = (
        good_texts[1]
        .replace("profile: chat", "profile: load/cart.py:CartUser")
        .replace(
            "arrival: {rate: 60/s, shape: poisson}",
            "arrival: {trace: load/times.csv}\n  prober: {every: 100ms, timeout: 300ms}\n  groups: {sticky: 30%, region:eu: 70%}\n"
            "  with: {sessions: 200, stream: true, note: null}\n  users: 4\n  users_max: 8",
        )
    )
    load = experiment(project, catalog, text).load
    assert load.profile == f"{project.folder}/load/cart.py:CartUser"
    assert load.arrival.trace == f"{project.folder}/load/times.csv"
    assert load.arrival.rate_per_s is None
    assert load.prober.every_ns == 100_000_000
    assert load.groups == {"sticky": 0.3, "region:eu": 0.7}
    assert load.options == {"sessions": 200, "stream": True, "note": None}
    assert (load.users, load.users_max) == (4, 8)


def test_a_profile_class_that_the_file_does_not_have(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("load/cart.py", "class CartUser:\n    pass\n")
    with pytest.raises(SpecError, match=r"no class 'CarUser' in cart\.py; did you mean 'CartUser'"):
        experiment(project, catalog, good_texts[1].replace("profile: chat", "profile: load/cart.py:CarUser"))


def test_stages(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1].replace(
        "{rate: 60/s, shape: poisson}", "{stages: [{rate: 20/s, for: 5s}, {rate: 90/m, for: 1m}]}"
    )
    stages = experiment(project, catalog, text).load.arrival.stages
    assert [(stage.rate_per_s, stage.for_ns) for stage in stages] == [(20.0, 5 * S), (1.5, 60 * S)]


def test_stack_values(project: Any, catalog: Any, good_texts: Any) -> None:
    loaded = stack(project, catalog, good_texts[0])
    folder = project.folder / "stacks"
    assert list(loaded.instances) == ["edge", "gw-eu", "gw-us", "db-eu", "llm"]
    assert loaded.instances["edge"].host.params == {
        "process": [f"{folder}/bin/edge", "--port", "${port:http}"],
        "cwd": str(folder),
        "env": {"LOG": "info"},
    }
    assert loaded.instances["edge"].ports == {"http": None}
    assert loaded.instances["gw-us"].ports == {"http": 8081}
    assert loaded.instances["gw-us"].host.params["start"] == [f"{folder}/bin/start-gw"]
    assert loaded.instances["gw-eu"].host.params["args"] == ["--db", "${link:db}", "--sync", "on"]
    assert loaded.instances["db-eu"].files == (f"{folder}/db.conf",)
    assert loaded.instances["db-eu"].prepare == ((f"{folder}/bin/initdb", "${dir}"),)
    ready = loaded.instances["edge"].ready
    assert (ready.within_ns, ready.probe.kind, ready.probe.every_ns) == (20 * S, "http", 100_000_000)
    assert loaded.links == {
        "db": Link(name="db", source="gw-eu", to="db-eu", to_port="pg", listen="127.0.0.1:15432"),
        "llm": Link(name="llm", source="gw-eu", to="llm", http=True),
    }
    assert loaded.probes["lag"].every_ns == 500_000_000
    assert [(one.kind, one.source, one.event) for one in loaded.signals] == [
        ("log", "gw-eu", "promoted"),
        ("effects", "gw-eu", None),
    ]
    assert loaded.exports == (
        ExportSpec(name="eu", http="http://${addr:gw-eu.http}/journal"),
        ExportSpec(name="us", argv=("./ops/export", "us")),
    )
    assert loaded.params == {"sync": "on"}
    assert loaded.base_dir == str(folder)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("embedded", "embedded"),
        ("toxiproxy", "toxiproxy"),
        ('{toxiproxy: "http://127.0.0.1:8474"}', "http://127.0.0.1:8474"),
    ],
)
def test_fault_proxy(project: Any, catalog: Any, good_texts: Any, written: str, value: str) -> None:
    assert stack(project, catalog, f"{good_texts[0]}fault_proxy: {written}\n").fault_proxy == value


@pytest.mark.parametrize(("written", "value"), [("embedded", "embedded"), ("toxiproxy", "http://127.0.0.1:9999")])
def test_toxiproxy_is_the_one_that_the_environment_names(
    project: Any, catalog: Any, good_texts: Any, written: str, value: str
) -> None:
    env = {"TOXIPROXY_URL": "http://127.0.0.1:9999"}
    assert stack(project, catalog, f"{good_texts[0]}fault_proxy: {written}\n", env=env).fault_proxy == value


def test_an_environment_that_names_no_url_is_refused(project: Any, catalog: Any, good_texts: Any) -> None:
    with pytest.raises(SpecError) as caught:
        stack(project, catalog, f"{good_texts[0]}fault_proxy: toxiproxy\n", env={"TOXIPROXY_URL": "localhost:8474"})
    assert caught.value.problems[0].message == (
        "TOXIPROXY_URL: expected a URL such as http://127.0.0.1:8474, got 'localhost:8474'"
    )


def test_a_link_from_clients(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[0].replace("links:\n", "links:\n  front: {from: clients, to: edge}\n")
    assert stack(project, catalog, text).links["front"] == Link(
        name="front", source="clients", to="edge", to_port="http"
    )


def test_counted_instances(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[0].replace(
        "links:\n",
        "  worker:\n    count: 3\n    service: worker\n    ports: [http]\n    address: 127.0.1.${i}\n"
        '    host: {process: [worker, --name, "w-${i}", "$${i}", "${port:http}"]}\nlinks:\n',
    )
    made = stack(project, catalog, text).instances
    assert [name for name in made if name.startswith("worker")] == ["worker-1", "worker-2", "worker-3"]
    assert made["worker-2"].host.params["process"] == ["worker", "--name", "w-2", "$${i}", "${port:http}"]
    assert made["worker-3"].address == "127.0.1.3"


def test_stack_params_are_overridden_by_the_experiment(project: Any, catalog: Any, good_texts: Any) -> None:
    loaded = experiment(
        project, catalog, good_texts[1].replace("stack: shop", "stack: {file: stacks/shop.yaml, params: {sync: off}}")
    )
    assert loaded.stack.params == {"sync": "off"}
    assert loaded.stack.instances["gw-eu"].host.params["args"][-1] == "off"


def test_stacks_are_found_next_to_the_document_then_built_in(
    project: Any, new_project: Any, catalog: Any, good_texts: Any
) -> None:
    built_in = new_project("builtin")
    built_in.write("stacks/other.yaml", good_texts[0].replace("name: shop", "name: other"))
    text = good_texts[1].replace("stack: shop", "stack: other")
    assert experiment(project, catalog, text, builtin=built_in.folder).stack.name == "other"
    project.write("other.yaml", good_texts[0].replace("name: shop", "name: nearest"))
    assert experiment(project, catalog, text, builtin=built_in.folder).stack.name == "nearest"


def warnings(project: Any, catalog: Any, text: str) -> list[tuple[str, str]]:
    project.write("region-kill.yaml", text)
    found = load_experiment(project.folder / "region-kill.yaml", catalog=catalog, env={}).warnings
    assert all(one.severity == "warning" and one.line is not None for one in found)
    return [(one.where, one.message) for one in found]


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        (
            "good < 10% for 15s",
            "good < 0% for 15s",
            "abort_when[0]",
            "'good < 0% for 15s' never holds, so this rule never trips",
        ),
        ("good < 10% for 15s", "bad >= 0%", "abort_when[0]", "'bad >= 0%' always holds, so this rule trips at once"),
        (
            "data_loss = 0",
            "data_loss >= 0",
            "objectives[1]",
            "'data_loss >= 0' always holds: this objective cannot be missed",
        ),
        (
            "data_loss = 0",
            "good <= 100%",
            "objectives[1]",
            "'good <= 100%' always holds: this objective cannot be missed",
        ),
        (
            "data_loss = 0",
            "recovery_time < 0s",
            "objectives[1]",
            "'recovery_time < 0s' never holds: this objective cannot be met",
        ),
    ],
)
def test_warnings(project: Any, catalog: Any, good_texts: Any, old: str, new: str, where: str, message: str) -> None:
    assert warnings(project, catalog, good_texts[1].replace(old, new)) == [(where, message)]


def test_nothing_broken_and_nothing_read(project: Any, catalog: Any, good_texts: Any) -> None:
    text = good_texts[1]
    text = text[: text.index("timeline:")] + text[text.index("slo:") :]
    assert warnings(project, catalog, text) == [
        ("objectives[0]", "nothing is broken in this experiment, so this objective cannot be missed")
    ]
    project.write(
        "stacks/shop.yaml",
        good_texts[0]
        .replace(', entry: "http://${addr:gw-eu.http}"', "")
        .replace(', entry: "http://${addr:gw-us.http}"', ""),
    )
    assert warnings(project, catalog, good_texts[1]) == [
        ("objectives[1]", "no region has an entry, so there are no final reads: data_loss stays unknown")
    ]


def test_a_stack_without_any_entry(project: Any, catalog: Any, good_texts: Any) -> None:
    text = (
        good_texts[0]
        .replace(', entry: "http://${addr:gw-eu.http}"', "")
        .replace(', entry: "http://${addr:gw-us.http}"', "")
    )
    project.write("stacks/shop.yaml", text.replace('entry: "http://${addr:edge.http}"\n', ""))
    with pytest.raises(SpecError, match="stack 'shop' names no entry, so no load could reach it"):
        experiment(project, catalog)


def test_paths_outside_the_working_directory_are_shown_absolute(
    project: Any, catalog: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert experiment(project, catalog).source == str(project.folder / "region-kill.yaml")
