"""Plans of small literal experiments: targets, instants, refusals, hash."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ConfigDict

from harness.errors import SpecError, UnsafeError
from harness.model.catalog import Catalog, FaultKind, HostKind
from harness.model.experiment import (
    SLO,
    ArrivalSpec,
    At,
    BlastRadius,
    Experiment,
    FaultEntry,
    LoadSpec,
    Repeat,
    Selector,
    StatedPredicate,
    SteadyState,
    StepEntry,
    Traffic,
)
from harness.model.fields import Params
from harness.model.plan import Plan
from harness.model.predicate import MeasureRef, Predicate
from harness.model.stack import HostSpec, Instance, Link, Region, Stack
from harness.plan.make import dump_plan, load_plan, make_plan

S = 1_000_000_000


def fault_kind(name: str, **more: Any) -> FaultKind:
    told = {
        "doc": "",
        "params": Params,
        "code": "x:y",
        "what": f"{name} {{target}}",
        "clients_see": "",
        "on_revert": "",
        "witness": "",
    }
    return FaultKind(name=name, **(told | more))


class AnyParams(Params):
    model_config = ConfigDict(extra="allow")


class AttachedParams(AnyParams):
    start: list[str] | None = None

    @property
    def can_start(self) -> bool:
        return self.start is not None


KINDS = {
    ("fault", "kill"): fault_kind(
        "kill",
        targets=frozenset({"instance"}),
        hosts=frozenset({"process", "pid"}),
        needs_start=True,
        holds=("process",),
    ),
    ("fault", "stop"): fault_kind(
        "stop", targets=frozenset({"instance"}), hosts=frozenset({"process", "pid"}), holds=("process",)
    ),
    ("fault", "restart"): fault_kind(
        "restart",
        targets=frozenset({"instance"}),
        hosts=frozenset({"process", "pid"}),
        holds=("process",),
        instant=True,
        lasts="down",
    ),
    ("fault", "cpu"): fault_kind("cpu", targets=frozenset({"instance"}), hosts=frozenset({"process", "pid"})),
    ("fault", "config"): fault_kind(
        "config",
        targets=frozenset({"instance"}),
        hosts=frozenset({"process", "pid"}),
        holds=("process", "file {file}"),
        layers=True,
    ),
    ("fault", "exec"): fault_kind("exec", targets=frozenset({"stack", "instance"})),
    ("fault", "told"): fault_kind("told", targets=frozenset({"stack"}), what="{run}, {set}, {within}"),
    ("fault", "surge"): fault_kind("surge", targets=frozenset({"load"})),
    ("fault", "partition"): fault_kind("partition", targets=frozenset({"link"}), two_sided=True),
    ("fault", "refuse"): fault_kind("refuse", targets=frozenset({"link"}), holds=("*",)),
    ("host", "process"): HostKind(name="process", doc="", params=AnyParams, code="x:y", started_by_run=True),
    ("host", "pid"): HostKind(name="pid", doc="", params=AttachedParams, code="x:y", started_by_run=False),
    ("host", "external"): HostKind(name="external", doc="", params=AnyParams, code="x:y", started_by_run=False),
}
CATALOG = Catalog(paths={}, _loaded=dict(KINDS))


def instance(name: str, region: str | None, host: str = "process", **params: Any) -> Instance:
    return Instance(
        name=name,
        region=region,
        service=name.split("-")[0],
        host=HostSpec(kind=host, params=params),
        ports={"http": None},
    )


STACK = Stack(
    name="toy",
    base_dir="/somewhere/stacks",
    regions={name: Region(name=name) for name in ("eu", "us")},
    instances={
        each.name: each
        for each in (
            instance("edge", None),
            instance("gw-eu", "eu"),
            instance("db-eu", "eu"),
            instance("gw-us", "us"),
            instance("db-us", "us"),
        )
    },
    links={
        "eu-us": Link(name="eu-us", source="db-eu", to="db-us", to_port="http"),
        "us-eu": Link(name="us-eu", source="db-us", to="db-eu", to_port="http"),
        "edge-eu": Link(name="edge-eu", source="edge", to="gw-eu", to_port="http"),
    },
    drillable=("region:*", "link:*"),
)


def predicate(name: str, op: Any, value: float, unit: Any = "ns", for_ns: int | None = None) -> Predicate:
    return Predicate(
        measure=MeasureRef(name=name), op=op, value=value, unit=unit, for_ns=for_ns, text=f"{name} {op} {value}"
    )


def kill(name: str = "down", **more: Any) -> FaultEntry:
    told = {
        "kind": "kill",
        "params": {},
        "at": At(offset_ns=0),
        "on": Selector(by="region", names=("eu",)),
        "for_ns": 20 * S,
    }
    return FaultEntry(id=name, **(told | more))


def experiment(*timeline: Any, **more: Any) -> Experiment:
    told = {
        "name": "t",
        "title": "t",
        "hypothesis": "h",
        "source": "/somewhere/t.yaml",
        "base_dir": "/somewhere",
        "stack": STACK,
        "seed": 7,
        "load": LoadSpec(profile="http", arrival=ArrivalSpec(rate_per_s=60), timeout_ns=2 * S),
        "steady_state": SteadyState(for_ns=5 * S, require=()),
        "recovered_when": predicate("good", ">=", 0.99, "ratio", 3 * S),
        "timeline": timeline,
    }
    return Experiment(**(told | more))


def planned(*timeline: Any, **more: Any) -> Plan:
    return make_plan(experiment(*timeline, **more), CATALOG)


def names(plan: Plan) -> list[str]:
    return [target.name for target in plan.faults[0].targets]


def test_a_region_is_all_of_its_instances() -> None:
    plan = planned(kill())
    assert names(plan) == ["gw-eu", "db-eu"]
    assert plan.faults[0].what == "kill instance gw-eu, instance db-eu"


def test_the_window_and_the_smallest_outage_are_stated() -> None:
    plan = planned(kill())
    assert plan.window_ns == 3 * S
    assert plan.smallest_outage_ns is not None
    assert plan.smallest_outage_ns <= S // 2, "DESIGN 9: every full outage of 0.5 s at 60/s"


def test_pick_is_drawn_from_the_seed_and_stays_in_stack_order() -> None:
    half = kill(on=Selector(by="service", names=("gw", "db"), pick="50%"))
    wide = BlastRadius(regions=2)
    first = names(planned(half, blast_radius=wide))
    assert len(first) == 2
    assert first == names(planned(half, blast_radius=wide))
    assert {tuple(names(planned(half, blast_radius=wide, seed=seed))) for seed in range(20)} != {tuple(first)}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (kill(on=Selector(by="instance", names=("edge",))), "matches only what is not drillable: edge"),
        (kill(on=Selector(by="service", names=("cache",))), "service cache matches no instance"),
        (kill(on=Selector(by="region", names=("eu", "us"))), "touches 2 regions"),
        (kill(on=Selector(by="region", names=("eu",), pick="3")), "asks for 3 of 2"),
    ],
)
def test_what_may_not_be_touched_is_refused(entry: FaultEntry, message: str) -> None:
    with pytest.raises(UnsafeError, match=message):
        planned(entry)


def test_a_region_with_one_undrillable_instance_is_refused_by_name_or_narrowed() -> None:
    stack = dataclasses.replace(STACK, drillable=("gw-eu",))
    with pytest.raises(UnsafeError, match="contains db-eu, which is not drillable"):
        planned(kill(), stack=stack)
    narrowed = kill(on=Selector(by="region", names=("eu",), only_drillable=True))
    assert names(planned(narrowed, stack=stack)) == ["gw-eu"]


def test_a_share_above_the_cap_is_refused() -> None:
    with pytest.raises(UnsafeError, match=r"touches 2 of 5 instances \(40%\), more than the cap of 30%"):
        planned(kill(), blast_radius=BlastRadius(share_ratio=0.3))


def test_what_nothing_could_bring_back_is_refused() -> None:
    attached = STACK.instances | {"gw-eu": instance("gw-eu", "eu", "pid", pid=7)}
    with pytest.raises(UnsafeError, match="nothing could bring gw-eu back"):
        planned(kill(), stack=dataclasses.replace(STACK, instances=attached))
    startable = STACK.instances | {"gw-eu": instance("gw-eu", "eu", "pid", pid=7, start=["gw"])}
    assert names(planned(kill(), stack=dataclasses.replace(STACK, instances=startable))) == ["gw-eu", "db-eu"]


def between(**params: str) -> FaultEntry:
    sides = ((Selector(by="region", names=("eu",)),), (Selector(by="region", names=("us",)),))
    return FaultEntry(id="cut", kind="partition", params=params, at=At(offset_ns=0), between=sides)


def test_a_partition_cuts_the_links_between_its_sides() -> None:
    assert names(planned(between())) == ["eu-us", "us-eu"]
    assert names(planned(between(direction="out"))) == ["eu-us"]
    assert planned(between()).faults[0].side == ("db-eu", "gw-eu")


def test_times_follow_references_jitter_and_repeats() -> None:
    step = StepEntry(
        id="promote", argv=("true",), cwd="/", at=At(offset_ns=2 * S, entry="down", edge="end"), within_ns=S
    )
    plan = planned(kill(at=At(offset_ns=S), jitter_ns=S), step)
    begin = plan.faults[0].at_ns
    assert S <= begin < 2 * S
    assert plan.steps[0].at_ns == begin + 22 * S
    flaps = planned(kill("flap", for_ns=S, repeat=Repeat(every_ns=3 * S, times=3)))
    assert [(fault.id, fault.at_ns) for fault in flaps.faults] == [("flap#1", 0), ("flap#2", 3 * S), ("flap#3", 6 * S)]


def test_what_only_one_fault_can_hold_is_not_held_by_two_kinds_at_once() -> None:
    with pytest.raises(UnsafeError, match="'down' and 'again' stand on db-eu, gw-eu at the same time"):
        planned(kill(), kill("again", kind="stop", at=At(offset_ns=10 * S)))
    planned(kill(), kill("again", kind="stop", at=At(offset_ns=20 * S)))
    with pytest.raises(UnsafeError, match="at the same time"):
        planned(kill(params={"grace": "1s"}), kill("again", at=At(offset_ns=10 * S)))
    planned(kill(), kill("hot", kind="cpu", at=At(offset_ns=10 * S)))


def test_faults_that_do_the_same_nest_and_so_do_layers() -> None:
    planned(kill(), kill("again", at=At(offset_ns=10 * S)))
    layer = {"kind": "config", "params": {"file": "a", "set": "1"}}
    planned(kill(**layer), kill("again", at=At(offset_ns=S), **(layer | {"params": {"file": "a", "set": "2"}})))


def test_an_instant_fault_is_over_when_what_it_does_is_done() -> None:
    away = {"kind": "restart", "params": {"down": "2s"}, "for_ns": None}
    planned(kill(**away), kill("again", at=At(offset_ns=2 * S), **away))
    with pytest.raises(UnsafeError, match="at the same time"):
        planned(kill(**away), kill("again", at=At(offset_ns=S), **away))
    planned(kill("flap", repeat=Repeat(every_ns=3 * S, times=3), **away))
    with pytest.raises(UnsafeError, match="'flap#1' and 'flap#2'"):
        planned(kill("flap", repeat=Repeat(every_ns=S, times=3), **away))


def test_a_closed_link_is_not_broken_in_other_ways() -> None:
    shut = FaultEntry(
        id="shut", kind="refuse", params={}, at=At(offset_ns=0), for_ns=5 * S, on=Selector(by="link", names=("eu-us",))
    )
    with pytest.raises(UnsafeError, match="stand on eu-us at the same time"):
        planned(between(), shut, blast_radius=BlastRadius(regions=2))
    planned(shut, dataclasses.replace(shut, id="shut-2", at=At(offset_ns=S)))


def test_the_whole_stack_and_the_load_need_no_selector() -> None:
    whole = FaultEntry(id="own", kind="exec", params={}, at=At(offset_ns=0), for_ns=S)
    assert [(t.kind, t.name) for t in planned(whole).faults[0].targets] == [("stack", "stack")]
    assert planned(whole).faults[0].what == "exec the stack"
    worded = dataclasses.replace(
        whole, kind="told", params={"run": ["./a", "b c"], "set": {"x": 1}, "within": "2000000000ns"}
    )
    assert planned(worded).faults[0].what == "./a 'b c', x=1, 2 s"
    surge = dataclasses.replace(whole, kind="surge")
    assert [(t.kind, t.name) for t in planned(surge).faults[0].targets] == [("load", "load")]
    closed = LoadSpec(profile="http", arrival=ArrivalSpec(users=5), timeout_ns=S)
    with pytest.raises(SpecError, match=r"timeline.own: surge multiplies a planned rate, and a closed loop has none"):
        planned(surge, load=closed)


def test_an_observation_shorter_than_the_window_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="shorter than the rule's window of 3 s"):
        planned(kill(), observe_ns=S, settle_ns=S)


def test_a_fault_that_ends_before_its_limit_could_be_judged_is_warned_about() -> None:
    limit = (StatedPredicate(predicate=predicate("recovery_time", "<=", 5 * S)),)
    assert "down: lasts 6 s" in planned(kill(for_ns=6 * S), objectives=limit).warnings[0]
    assert planned(kill(for_ns=20 * S), objectives=limit).warnings == ()


def test_a_limit_beyond_what_is_watched_cannot_be_missed() -> None:
    def warnings(limit_s: int, **more: Any) -> tuple[str, ...]:
        limit = (StatedPredicate(predicate=predicate("recovery_time", "<=", limit_s * S)),)
        return planned(kill(for_ns=None), objectives=limit, observe_ns=10 * S, settle_ns=20 * S, **more).warnings

    assert warnings(29) == ()
    assert warnings(30) == (
        "recovery_time <= 30000000000 cannot be missed: load goes on for at most 30 s after the first fault",
    )
    rule = predicate("good", "<", 0.1, "ratio", for_ns=31 * S)
    assert warnings(5, abort_when=(rule,)) == ("abort rule good < 0.1 never trips: from T0 the run lasts at most 30 s",)


def test_the_forecast_is_the_limit_s_share_of_the_budget() -> None:
    limit = (StatedPredicate(predicate=predicate("recovery_time", "<=", 5 * S)),)
    slo = SLO(name="availability", target_ratio=0.999, window_ns=2_592_000 * S)
    notional = planned(kill(), objectives=limit, slos=(slo,)).forecasts[0]
    assert notional.cost_share_ratio == pytest.approx(5 / 2592)
    assert notional.notional
    real = planned(
        kill(), objectives=limit, slos=(slo,), traffic=Traffic(at_drill_per_s=400, mean_per_s=250, source="x")
    )
    assert real.forecasts[0].cost_share_ratio == pytest.approx(5 / 2592 * 1.6)


def test_a_plan_survives_the_disk_and_notices_tampering() -> None:
    plan = planned(kill(jitter_ns=S), between())
    assert load_plan(dump_plan(plan)) == plan
    with pytest.raises(SpecError, match="the plan was changed after it was made"):
        load_plan(dump_plan(plan).replace('"seed": 7', '"seed": 8'))


def test_the_hash_does_not_depend_on_the_folder() -> None:
    here = planned(kill())
    moved = dataclasses.replace(STACK, base_dir="/elsewhere/stacks")
    there = planned(kill(), stack=moved, source="/elsewhere/t.yaml", base_dir="/elsewhere")
    assert here.hash == there.hash
    assert here.hash != planned(kill(), seed=8).hash
