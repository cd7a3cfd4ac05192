"""The seams: every protocol through which parts that may not import each other meet. Values that cross them live here too.

Instants are ns since the run's origin (`Clock`); wall time is noted once per run. Every call that leaves the process has
a deadline inside the implementation: none of these may hang.
"""

from harness.model.ports.clock import Clock
from harness.model.ports.faults import Deadlined, Evidence, FaultState, Injector, Layered, LoadControl, Patient, World
from harness.model.ports.hosts import (
    Attachment,
    Audited,
    Crashable,
    FollowsLog,
    Host,
    HostFactory,
    HostSettings,
    Identity,
    Located,
    Namespaced,
    Networked,
    Powered,
)
from harness.model.ports.links import LinkControl, LinkCounters, LinkState, Toxic
from harness.model.ports.load import (
    Engine,
    FaultMark,
    LiveBatch,
    LiveOp,
    LoadJob,
    LoadReport,
    Markable,
    Surging,
    WorkerReport,
)
from harness.model.ports.probes import Probe, ProbeSample, Signals, StackSignal
from harness.model.ports.rendering import Renderer

__all__ = [
    "Attachment",
    "Audited",
    "Clock",
    "Crashable",
    "Deadlined",
    "Engine",
    "Evidence",
    "FaultMark",
    "FaultState",
    "FollowsLog",
    "Host",
    "HostFactory",
    "HostSettings",
    "Identity",
    "Injector",
    "Layered",
    "LinkControl",
    "LinkCounters",
    "LinkState",
    "LiveBatch",
    "LiveOp",
    "LoadControl",
    "LoadJob",
    "LoadReport",
    "Located",
    "Markable",
    "Namespaced",
    "Networked",
    "Patient",
    "Powered",
    "Probe",
    "ProbeSample",
    "Renderer",
    "Signals",
    "StackSignal",
    "Surging",
    "Toxic",
    "WorkerReport",
    "World",
]
