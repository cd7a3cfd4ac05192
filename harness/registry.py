"""The only file that lists kinds. One line a kind; nothing is imported before it is asked for. Reads entry points too."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files

from harness.model.catalog import Catalog, Role

__all__ = ["BUILT_IN", "ENTRY_POINT_GROUPS", "catalog", "proven_cells"]

BUILT_IN: dict[Role, dict[str, str]] = {
    "fault": {
        "kill": "harness.faults.kill:KIND",
        "stop": "harness.faults.stop:KIND",
        "pause": "harness.faults.pause:KIND",
        "restart": "harness.faults.restart:KIND",
        "partition": "harness.faults.partition:KIND",
        "loss": "harness.faults.loss:KIND",
        "refuse": "harness.faults.refuse:KIND",
        "latency": "harness.faults.latency:KIND",
        "bandwidth": "harness.faults.bandwidth:KIND",
        "reset": "harness.faults.reset:KIND",
        "exec": "harness.faults.exec:KIND",
        "action": "harness.faults.action:KIND",
        "cpu": "harness.faults.cpu:KIND",
        "memory": "harness.faults.memory:KIND",
        "disk-fill": "harness.faults.disk_fill:KIND",
        "clock-skew": "harness.faults.clock_skew:KIND",
        "config": "harness.faults.config:KIND",
        "dns": "harness.faults.dns:KIND",
        "load-surge": "harness.faults.load_surge:KIND",
        "slice": "harness.faults.slice:KIND",
        "slow-close": "harness.faults.slow_close:KIND",
        "limit-data": "harness.faults.limit_data:KIND",
        "http-error": "harness.faults.http_error:KIND",
        "slow-first-byte": "harness.faults.slow_first_byte:KIND",
        "stall-stream": "harness.faults.stall_stream:KIND",
        "cut-stream": "harness.faults.cut_stream:KIND",
        "truncate-stream": "harness.faults.truncate_stream:KIND",
        "garble": "harness.faults.garble:KIND",
        "in-band-error": "harness.faults.in_band_error:KIND",
        "empty-reply": "harness.faults.empty_reply:KIND",
    },
    "host": {
        "process": "harness.stacks.process:KIND",
        "python": "harness.stacks.python:KIND",
        "pid": "harness.stacks.pid:KIND",
        "container": "harness.stacks.container:KIND",
        "compose": "harness.stacks.compose:KIND",
        "external": "harness.stacks.external:KIND",
    },
    "probe": {
        "http": "harness.probe.http:KIND",
        "tcp": "harness.probe.tcp:KIND",
        "exec": "harness.probe.exec:KIND",
        "prometheus": "harness.probe.prometheus:KIND",
    },
    "check": {
        "durable": "harness.check.durable:KIND",
        "exactly-once": "harness.check.exactly_once:KIND",
        "session-order": "harness.check.session_order:KIND",
        "resume": "harness.check.resume:KIND",
        "converged": "harness.check.converged:KIND",
        "phantom": "harness.check.phantom:KIND",
        "fresh": "harness.check.fresh:KIND",
        "session-guarantees": "harness.check.session_guarantees:KIND",
        "single-writer": "harness.check.single_writer:KIND",
        "counter": "harness.check.counter:KIND",
        "linearizable": "harness.check.linearizable:KIND",
        "append-order": "harness.check.append_order:KIND",
        "content": "harness.check.content:KIND",
        "cache-sound": "harness.check.cache_sound:KIND",
        "replay": "harness.check.replay:KIND",
        "sealed": "harness.check.sealed:KIND",
        "exec": "harness.check.exec:KIND",
    },
}

ENTRY_POINT_GROUPS: dict[Role, str] = {
    "fault": "blackstart.faults",
    "host": "blackstart.hosts",
    "probe": "blackstart.probes",
    "check": "blackstart.checks",
}
"""Entry points name a Kind value: `my-fault = "my_package.my_fault:KIND"`. A built-in name cannot be taken over."""


@cache
def catalog() -> Catalog:
    """The one catalog: built-in kinds and installed ones."""
    paths: dict[Role, dict[str, str]] = {}
    for role, built_in in BUILT_IN.items():
        installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUPS[role])}
        paths[role] = installed | built_in
    return Catalog(paths=paths)


def proven_cells() -> dict[str, tuple[str, ...]]:
    """Fault -> where a live conformance test applied, witnessed, reverted and verified it (cells.json, made by those tests)."""
    listed = json.loads(files("harness").joinpath("cells.json").read_text())
    return {fault: tuple(places) for fault, places in listed.items()}
