"""load-surge: more arrivals while it stands, the planned ones where they were, and no more once it is reverted."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import InjectError
from harness.model.arrivals import arrival_json, arrivals, surge_arrivals
from harness.model.experiment import ArrivalSpec, Stage
from harness.model.plan import PlannedFault, Target
from harness.registry import catalog
from harness.run.clock import MonotonicClock
from harness.run.offered import OfferedLoad, surge_factor
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeWorld

S = 1_000_000_000
LOAD = Target(kind="load", name="load")


def surge(factor: float) -> Any:
    kind = catalog().fault("load-surge")
    return kind.load()(kind.params(factor=factor))


def within(instants: Any, begin_ns: int, end_ns: int) -> list[int]:
    found = []
    for at_ns in instants:
        if at_ns >= end_ns:
            return found
        if at_ns >= begin_ns:
            found.append(at_ns)
    return found


@pytest.mark.parametrize("shape", ["even", "poisson", "gamma"])
@pytest.mark.parametrize("factor", [1.5, 3, 10])
def test_a_surge_adds_what_its_factor_says(shape: Any, factor: float) -> None:
    spec = ArrivalSpec(rate_per_s=200, shape=shape)
    added = within(surge_arrivals(spec, factor, 7, 0), 0, 20 * S)
    expected = 200 * (factor - 1) * 20
    assert len(added) == pytest.approx(expected, rel=0.01 if shape == "even" else 0.2)
    assert added == within(surge_arrivals(spec, factor, 7, 0), 0, 20 * S)
    assert added != within(surge_arrivals(spec, factor, 8, 0), 0, 20 * S) or shape == "even"


def test_a_surge_follows_the_stages() -> None:
    spec = ArrivalSpec(shape="even", stages=(Stage(rate_per_s=10, for_ns=10 * S), Stage(rate_per_s=0, for_ns=0)))
    assert len(within(surge_arrivals(spec, 3, 7, 0), 0, 100 * S)) == 200


@pytest.mark.parametrize(
    ("spec", "factor"),
    [(ArrivalSpec(users=3), 2.0), (ArrivalSpec(trace="x.csv"), 2.0), (ArrivalSpec(rate_per_s=1), 1.0)],
)
def test_what_cannot_surge_says_so(spec: ArrivalSpec, factor: float) -> None:
    with pytest.raises(ValueError, match="planned"):
        surge_arrivals(spec, factor, 7, 0)


def test_users_are_made_for_the_largest_surge() -> None:
    def planned(name: str, kind: str, target: Target, **params: Any) -> PlannedFault:
        return PlannedFault(
            id=name,
            entry=name,
            kind=kind,
            params=params,
            targets=(target,),
            at_ns=0,
            for_ns=1,
            what="",
            clients_see="",
            on_revert="",
        )

    kill = planned("k", "kill", Target(kind="instance", name="load"))
    faults = [kill, planned("a", "load-surge", LOAD, factor=2), planned("b", "load-surge", LOAD, factor=5)]
    assert surge_factor([kill]) == 1.0
    assert surge_factor(faults) == 5.0


async def test_an_engine_that_cannot_surge_and_a_load_that_is_not_there() -> None:
    clock = MonotonicClock()
    offered = OfferedLoad(object(), ArrivalSpec(rate_per_s=10), clock)  # type: ignore[arg-type]
    with pytest.raises(InjectError, match="cannot offer more than was planned"):
        await offered.surge("x", 2, S)
    with pytest.raises(InjectError, match="no load is offered"):
        await surge(2).prepare(LOAD, FakeWorld())
    state = surge(2).state_type(name="x", offered_per_s=1, planned_per_s=1, deadline_ns=S)
    await surge(2).revert(state, FakeWorld())
    assert (await surge(2).verify(state, FakeWorld())).what == "no load is offered"


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.cell("load-surge", "load")
@pytest.mark.parametrize("workers", [2])
async def test_a_surge_is_offered_and_ends(target: Any, runner: Any, workers: int) -> None:
    spec = ArrivalSpec(rate_per_s=40, shape="even")
    one = runner(target().url, arrival=arrival_json(spec), workers=workers, surge_factor=4.0)
    clock = MonotonicClock(one.job.origin_ns)
    offered = OfferedLoad(one.engine, spec, clock)
    one.batches = Both(one.batches, offered)
    await one.start()
    started_ns = clock.now_ns()
    offered.began(started_ns)
    await one.until(lambda: clock.now_ns() > started_ns + 3 * S)
    injector, world = surge(4), FakeWorld(load_control=offered, clock=clock)
    begun_ns = clock.now_ns()
    await check_injector(injector, LOAD, world)
    ended_ns = clock.now_ns()
    state = injector.with_deadline(await injector.prepare(LOAD, world), clock.now_ns() + S)
    await injector.apply(state, world)
    await one.until(lambda: clock.now_ns() > state.deadline_ns + S)
    await one.engine.stop_arrivals()
    await one.engine.drain(2 * S)
    report = await one.close()
    assert sum(worker.dropped_count for worker in report.workers) == 0
    intended = sorted(op.intended_ns for op in one.ops())
    assert len(intended) == sum(worker.started_count for worker in report.workers)
    assert max(intended, default=0) > state.deadline_ns
    first_ns = intended[0]
    base = set(within(arrivals(spec, 7, first_ns), 0, intended[-1] + 1))
    assert base <= set(intended), "the planned arrivals stay where they were"
    added = [at_ns for at_ns in intended if at_ns not in base]
    assert min(added) >= begun_ns
    assert not [at_ns for at_ns in added if at_ns > state.deadline_ns], "none is due after its deadline"
    assert len(added) > 60 * (state.deadline_ns - ended_ns) / S, "three more for each planned one"


class Both(list):  # type: ignore[type-arg]
    """A list of batches that tells the load too."""

    def __init__(self, kept: list[Any], offered: OfferedLoad) -> None:
        super().__init__(kept)
        self._offered = offered

    def append(self, batch: Any) -> None:
        super().append(batch)
        self._offered.feed(batch)
