"""B25: whatever watches, drives or heals a run may not pass through a link that the run breaks."""

from __future__ import annotations

import dataclasses

import pytest

from harness.errors import UnsafeError
from harness.model.plan import PlannedFault, Target
from harness.model.stack import ExportSpec, HostSpec, Instance, Link, ProbeSpec, Ready, RoleSpec, SignalSpec, Stack
from harness.plan.control_path import refuse_control_path_behind_fault

LISTEN = "127.0.0.1:15432"
STACK = Stack(
    name="toy",
    base_dir="/",
    instances={
        name: Instance(name=name, host=HostSpec(kind="process", params={}), ports={"http": None})
        for name in ("gw", "db")
    },
    links={
        "free": Link(name="free", source="gw", to="db", to_port="http"),
        "fixed": Link(name="fixed", source="gw", to="db", to_port="http", listen=LISTEN),
        "whole": Link(name="whole", source="db", to="gw", to_port="http", listen="127.0.0.1:15433"),
    },
)
FAULT = PlannedFault(
    id="cut",
    entry="cut",
    kind="partition",
    params={},
    targets=(Target(kind="link", name="free"), Target(kind="link", name="fixed")),
    at_ns=0,
    for_ns=None,
    what="",
    clients_see="",
    on_revert="",
)


def probing(text: str) -> ProbeSpec:
    return ProbeSpec(name="lag", kind="http", params={"http": text, "expect": 200})


def ready_through(text: str) -> Stack:
    waits = dataclasses.replace(STACK.instances["gw"], ready=Ready(probe=probing(text), within_ns=1))
    return dataclasses.replace(STACK, instances=STACK.instances | {"gw": waits})


THROUGH = {
    "a probe, by placeholder": (
        dataclasses.replace(STACK, probes={"lag": probing("http://${link:free}/lag")}),
        "probe 'lag' runs through link 'free'",
    ),
    "a probe, by the address where it listens": (
        dataclasses.replace(STACK, probes={"lag": probing(f"http://{LISTEN}/lag")}),
        "probe 'lag' runs through link 'fixed'",
    ),
    "a probe, by another name of this machine": (
        dataclasses.replace(STACK, probes={"lag": probing("http://localhost:15432/lag")}),
        "probe 'lag' runs through link 'fixed'",
    ),
    "a tcp probe": (
        dataclasses.replace(STACK, probes={"up": ProbeSpec(name="up", kind="tcp", params={"tcp": LISTEN})}),
        "probe 'up' runs through link 'fixed'",
    ),
    "readiness": (ready_through("http://${link:free}/readyz"), "`ready` of instance 'gw' runs through link 'free'"),
    "a role": (
        dataclasses.replace(
            STACK, roles={"leader": RoleSpec(name="leader", kind="http", params={"http": "http://${link:free}/"})}
        ),
        "role 'leader' runs through link 'free'",
    ),
    "stack events": (
        dataclasses.replace(STACK, signals=(SignalSpec(kind="http", source=f"http://{LISTEN}/events", event="up"),)),
        "signal source 'http://127.0.0.1:15432/events' runs through link 'fixed'",
    ),
    "an exported journal": (
        dataclasses.replace(STACK, exports=(ExportSpec(name="eu", http=f"http://{LISTEN}/journal"),)),
        "journal 'eu' runs through link 'fixed'",
    ),
    "the control API": (
        dataclasses.replace(STACK, fault_proxy="http://127.0.0.1:15432"),
        "the fault proxy's control API runs through link 'fixed'",
    ),
}


@pytest.mark.parametrize(("stack", "message"), THROUGH.values(), ids=THROUGH)
def test_the_control_path_through_a_faulted_link_is_refused(stack: Stack, message: str) -> None:
    with pytest.raises(UnsafeError) as refused:
        refuse_control_path_behind_fault([FAULT], stack)
    assert refused.value.message.startswith(message)
    assert refused.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "http://${addr:db.http}/lag",
        "http://${link:whole}/lag",
        "http://127.0.0.1:15433/lag",
        "http://127.0.0.1:154321/lag",
        "http://10.0.0.1:15432/lag",
    ],
)
def test_what_runs_beside_it_is_allowed(text: str) -> None:
    refuse_control_path_behind_fault([FAULT], dataclasses.replace(STACK, probes={"lag": probing(text)}))
    refuse_control_path_behind_fault([FAULT], ready_through(text))


def test_without_a_fault_on_it_a_link_may_carry_control_traffic() -> None:
    refuse_control_path_behind_fault([], ready_through("http://${link:free}/readyz"))
