"""`run_checks` and the context of a recorded run."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
from literal import CATALOG, NAMES, ONE, S, Script

from harness.check import run
from harness.check.context import CheckContext, FaultSpan
from harness.check.ground import below, listed
from harness.history.events import FaultEvent, LoadEvent
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import (
    ArrivalSpec,
    CheckSpec,
    Experiment,
    FinalSpec,
    LoadSpec,
    SteadyState,
)
from harness.model.plan import Plan, PlannedFault, Target
from harness.model.ports import LoadReport
from harness.model.predicate import MeasureRef, Predicate
from harness.model.stack import Region, SignalSpec, Stack

RULE = Predicate(measure=MeasureRef(name="good"), op=">=", value=0.99, unit="ratio", text="good >= 99%")


def plan(*checks: CheckSpec, evidence: tuple[str, ...] = (), signals: tuple[SignalSpec, ...] = ()) -> Plan:
    regions = {name: Region(name=name, entry=f"http://127.0.0.1/{name}") for name in ("eu-west", "us-east")}
    stack = Stack(
        name="s", base_dir="/", instances={}, regions=regions | {"dark": Region(name="dark")}, signals=signals
    )
    experiment = Experiment(
        name="e",
        title="t",
        hypothesis="h",
        source="e.yaml",
        base_dir="/",
        stack=stack,
        seed=1,
        load=LoadSpec(profile="chat", arrival=ArrivalSpec(rate_per_s=10.0), timeout_ns=S),
        steady_state=SteadyState(for_ns=S, require=(RULE,)),
        recovered_when=RULE,
        final=FinalSpec(evidence=evidence),
        checks=checks,
    )
    fault = PlannedFault(
        id="eu-down",
        entry="eu-down",
        kind="kill",
        params={},
        targets=(Target(kind="instance", name="gw"),),
        at_ns=0,
        for_ns=10 * S,
        what="",
        clients_see="",
        on_revert="",
    )
    return Plan(experiment=experiment, faults=(fault,), window_ns=S, longest_ns=S)


def recorded(model: str | None = "log", unread: tuple[str, ...] = ()) -> Script:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.finals(["a", "b"])
    for stage, at in (("applying", 10), ("witnessed", 10.2), ("reverting", 20), ("reverted", 20.1), ("verified", 21)):
        script.events.append(
            FaultEvent(at_ns=round(at * S), id="eu-down", kind="kill", target="gw", stage=stage)  # type: ignore[arg-type]
        )
    report = LoadReport(engine="asyncio", profile="chat", model=model, closed_loop=False, workers=(), unread=unread)
    script.events.append(LoadEvent(at_ns=62 * S, report=asdict(report)))
    return script


def spec(kind: str, **more: Any) -> CheckSpec:
    return CheckSpec(name=more.pop("name", kind), kind=kind, **more)


def test_the_context_of_a_run() -> None:
    sink = SignalSpec(kind="effects", source="gw", match="x")
    history = recorded(unread=("s9@us-east",)).history()
    context = CheckContext.from_run(history, plan(evidence=("us-east",), signals=(sink,)))
    assert context == CheckContext(
        model="log",
        profile="chat",
        regions=("eu-west",),
        evidence_regions=("us-east",),
        faults=(
            FaultSpan(
                id="eu-down",
                effect_lo_ns=10 * S,
                effect_hi_ns=10 * S + S // 5,
                end_lo_ns=20 * S,
                end_hi_ns=21 * S,
            ),
        ),
        faults_planned=1,
        unread=("s9@us-east",),
        sink=True,
    )


def test_every_check_of_the_document_in_its_order() -> None:
    wanted = (spec("phantom"), spec("durable", name="no loss"), spec("converged", within_ns=10 * S))
    results = run.run_checks(recorded().history(), plan(*wanted), CATALOG)
    assert [(result.name, result.kind, result.verdict) for result in results] == [
        ("phantom", "phantom", "valid"),
        ("no loss", "durable", "valid"),
        ("converged", "converged", "valid"),
    ]
    assert results[1].sentence == "0 of 2 acknowledged turns lost: below 100 % at 95 %"


def test_no_checks_no_results() -> None:
    assert run.run_checks(recorded().history(), plan(), CATALOG) == ()


def test_slices_are_honoured() -> None:
    (result,) = run.run_checks(recorded().history(), plan(spec("durable", on={"session": "s2"})), CATALOG)
    assert "nothing was acknowledged in this slice" in str(result.why_unknown)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (None, "the load profile declares no model: what its operations mean is not known"),
        ("counter", "durable judges the models jobs, log, queue, register, set; the load profile's is counter"),
    ],
)
def test_a_model_that_does_not_fit_is_unknown_by_name(model: str | None, why: str) -> None:
    (result,) = run.run_checks(recorded(model).history(), plan(spec("durable")), CATALOG)
    assert (result.verdict, result.why_unknown) == ("unknown", why)


def test_without_the_loads_account_nothing_is_known() -> None:
    history = recorded().history()
    history = History(ops=history.ops, events=history.events[:-1])
    (result,) = run.run_checks(history, plan(spec("durable")), CATALOG)
    assert result.verdict == "unknown"
    assert result.why_unknown == "the run ended before its load said what its operations mean"


def test_a_check_that_crashes_is_unknown_and_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("harness.check.durable.check", crash)
    results = run.run_checks(recorded().history(), plan(spec("durable"), spec("phantom")), CATALOG)
    assert [result.verdict for result in results] == ["unknown", "valid"]
    assert results[0].why_unknown == "the check crashed: ZeroDivisionError: by zero"
    assert results[0].counts == {}


def test_a_check_that_nobody_knows_is_unknown() -> None:
    (result,) = run.run_checks(recorded().history(), plan(spec("durabel")), CATALOG)
    assert (result.verdict, "UnknownKindError" in str(result.why_unknown)) == ("unknown", True)


def test_a_history_that_cannot_be_understood_makes_all_unknown() -> None:
    broken: Any = SimpleNamespace(ops=None, events=None)
    results = run.run_checks(broken, plan(spec("durable"), spec("phantom")), CATALOG)
    assert [result.verdict for result in results] == ["unknown", "unknown"]
    assert "cannot be understood: TypeError" in str(results[0].why_unknown)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_is_complete(name: str) -> None:
    kind = CATALOG.check(name)
    assert isinstance(kind, CheckKind)
    assert (kind.name, kind.code) == (name, f"harness.check.{name.replace('-', '_')}:check")
    assert kind.doc.endswith(".") and kind.counts and callable(kind.load())
    script = Script()
    script.write("1", 11, 12, epoch=1)
    script.write("1x", 13, 14, idem="k-1x")
    script.finals([])
    found = script.check(name, replace(ONE, model=sorted(kind.models or {"log"})[0]))
    assert set(found.counts) <= set(kind.counts)


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "100 %"), (3, "100 %"), (4, "75 %"), (30, "10 %"), (4581, "0.066 %"), (41_200, "0.0073 %")],
)
def test_the_bound_is_rounded_up(count: int, words: str) -> None:
    assert below(count) == f"below {words} at 95 %"


def test_names_in_words() -> None:
    assert listed([]) == "none"
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more"
