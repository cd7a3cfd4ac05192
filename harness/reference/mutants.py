"""Deliberate defects, one switch each. A drill that cannot tell a mutant from the healthy stack proves nothing.

Each names the experiment meant for it and what that must come to: `python -m tests.matrix` holds them to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "ACK_BEFORE_FSYNC",
    "ACK_BEFORE_REPLICATE",
    "ASKS_EACH_TIME",
    "BILLS_EACH_ATTEMPT",
    "BLIND_TO_DRIFT",
    "COLD_STANDBY",
    "EAGER_FAILBACK",
    "EMPTY_IS_FINE",
    "FAILS_OPEN",
    "FAKE_DONE",
    "HAIR_TRIGGER",
    "IGNORES_RETRY_AFTER",
    "LAG_UNBOUNDED",
    "LOCAL_REGISTRY",
    "LOOSE_CACHE_KEY",
    "MERGED_TAIL",
    "METASTABLE",
    "MUTANTS",
    "MUTE",
    "NEVER_HALF_OPENS",
    "NEVER_READMITS",
    "NO_ADMISSION",
    "NO_CANARY",
    "NO_FENCING",
    "NO_IDEMPOTENCY",
    "NO_LEDGER_KEY",
    "NO_SINGLE_FLIGHT",
    "NO_STALL_TIMEOUT",
    "RESUME_FROM_ZERO",
    "RESUME_GAP",
    "RETRY_STORM",
    "SCALES_LATE",
    "SCALES_TO_AND_FRO",
    "SHALLOW_HEALTH",
    "SHEDS_BLINDLY",
    "SILENT_FALLBACK",
    "SLOWER_TOKENS",
    "SPILLS_ANYWHERE",
    "STALE_CREDENTIALS",
    "STALE_ROUTE",
    "SYNCHRONOUS_TELEMETRY",
    "TAKES_ANY_FRAME",
    "TRUSTS_ITS_DISK",
    "TRUSTS_NAMES",
    "ZOMBIES",
    "Mutant",
    "parse_mutants",
]

ACK_BEFORE_FSYNC = "ack-before-fsync"
ACK_BEFORE_REPLICATE = "ack-before-replicate"
ASKS_EACH_TIME = "asks-each-time"
BILLS_EACH_ATTEMPT = "bills-each-attempt"
EAGER_FAILBACK = "eager-failback"
FAKE_DONE = "fake-done"
HAIR_TRIGGER = "hair-trigger"
LAG_UNBOUNDED = "lag-unbounded"
MERGED_TAIL = "merged-tail"
NEVER_READMITS = "never-readmits"
NO_FENCING = "no-fencing"
NO_IDEMPOTENCY = "no-idempotency"
NO_STALL_TIMEOUT = "no-stall-timeout"
RESUME_FROM_ZERO = "resume-from-zero"
RESUME_GAP = "resume-gap"
SHALLOW_HEALTH = "shallow-health"
SLOWER_TOKENS = "slower-tokens"
STALE_ROUTE = "stale-route"
IGNORES_RETRY_AFTER = "ignores-retry-after"
NEVER_HALF_OPENS = "never-half-opens"
NO_ADMISSION = "no-admission"
RETRY_STORM = "retry-storm"
SHEDS_BLINDLY = "sheds-blindly"
SILENT_FALLBACK = "silent-fallback"
SPILLS_ANYWHERE = "spills-anywhere"
ZOMBIES = "zombies"
LOCAL_REGISTRY = "local-registry"
NO_CANARY = "no-canary"
STALE_CREDENTIALS = "stale-credentials"
EMPTY_IS_FINE = "empty-is-fine"
LOOSE_CACHE_KEY = "loose-cache-key"
NO_SINGLE_FLIGHT = "no-single-flight"
METASTABLE = "metastable"
MUTE = "mute"
SYNCHRONOUS_TELEMETRY = "synchronous-telemetry"
NO_LEDGER_KEY = "no-ledger-key"
TRUSTS_NAMES = "trusts-names"
COLD_STANDBY = "cold-standby"
SCALES_LATE = "scales-late"
SCALES_TO_AND_FRO = "scales-to-and-fro"
FAILS_OPEN = "fails-open"
BLIND_TO_DRIFT = "blind-to-drift"
TAKES_ANY_FRAME = "takes-any-frame"
TRUSTS_ITS_DISK = "trusts-its-disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One defect, and the run that must find it."""

    what: str
    experiment: str  # its name in experiments/
    expect: str  # as for `run --expect`: the verdict and the check or objective that must bring it about
    parts: tuple[str, ...] = ()  # the mutants that it consists of, switched on together
    kin: str = ""  # the weakness of the catalogue of thirty (M01 to M30) that it is, or is a form of


MUTANTS: dict[str, Mutant] = {
    ACK_BEFORE_REPLICATE: Mutant(
        what="acknowledges a turn before the standby has it, and ships 400 ms late",
        experiment="region-kill",
        expect="FAIL:durable",
        kin="M02",
    ),
    ACK_BEFORE_FSYNC: Mutant(
        what="acknowledges a turn before its log is synced to disk",
        experiment="power-loss",
        expect="FAIL:durable",
        kin="M01",
    ),
    NO_IDEMPOTENCY: Mutant(
        what="ignores idempotency keys, so a turn resent through a failover is appended twice",
        experiment="lost-ack",
        expect="FAIL:exactly-once",
        kin="M03",
    ),
    SHALLOW_HEALTH: Mutant(
        what="calls a region healthy while its port accepts a connection",
        experiment="region-pause",
        expect="FAIL:recovery_time",
        kin="M04",
    ),
    RESUME_FROM_ZERO: Mutant(
        what="resumes a broken stream at its first token, behind what the client already has",
        experiment="stream-cut",
        expect="FAIL:resume",
        kin="M10",
    ),
    RESUME_GAP: Mutant(
        what="resumes a broken stream one event too late, so that its tokens are missing",
        experiment="stream-cut",
        expect="FAIL:resume",
        kin="M10",
    ),
    FAKE_DONE: Mutant(
        what="ends a broken stream with a finish_reason and [DONE], as if it were whole",
        experiment="stream-cut",
        expect="FAIL:resume",
        kin="M11",
    ),
    NO_STALL_TIMEOUT: Mutant(
        what="waits for ever for the next event of a stream, at the gateway and at the edge",
        experiment="provider-brownout",
        expect="FAIL:recovery_time",
        kin="M12",
    ),
    NO_FENCING: Mutant(
        what="lets a deposed primary go on as one: it takes no one's word that a later epoch began",
        experiment="region-pause",
        expect="FAIL:durable",
        kin="M13",
    ),
    ASKS_EACH_TIME: Mutant(
        what="serves nothing without a fresh word of the controller, as if it asked for each request",
        experiment="controller-loss",
        expect="FAIL:recovery_time",
        kin="M17",
    ),
    EAGER_FAILBACK: Mutant(
        what="gives the role back to the first region the moment that one has joined again, as often as it likes",
        experiment="region-flap",
        expect="FAIL:probe.promotions.max",
        kin="M14",
    ),
    HAIR_TRIGGER: Mutant(
        what="takes one missed probe for an outage",
        experiment="region-hiccup",
        expect="FAIL:probe.promotions.max",
        kin="M15",
    ),
    LAG_UNBOUNDED: Mutant(
        what="acknowledges asynchronously however far behind the standby is",
        experiment="lag-then-kill",
        expect="FAIL:data_loss.span",
        kin="M25",
    ),
    IGNORES_RETRY_AFTER: Mutant(
        what="asks a provider that refused again at once, whatever its Retry-After said",
        experiment="provider-throttled",
        expect="FAIL:probe.promotions.max",
        kin="M07",
    ),
    NEVER_HALF_OPENS: Mutant(
        what="never asks a provider again that has once refused",
        experiment="provider-throttled",
        expect="FAIL:probe.cooling.last",
        kin="M26",
    ),
    NO_ADMISSION: Mutant(
        what="lets every turn in, however many are under way",
        experiment="standby-overload",
        expect="FAIL:probe.waiting.max",
        kin="M05",
    ),
    RETRY_STORM: Mutant(
        what="tries three times at the gateway and without a budget at the edge, at once and always at the same provider",
        experiment="provider-throttled",
        expect="FAIL:attempts",
        kin="M06",
    ),
    SHEDS_BLINDLY: Mutant(
        what="refuses whoever comes when it is full, urgent or not",
        experiment="standby-overload",
        expect="FAIL:good{group=us-interactive}",
        kin="M05",
    ),
    SILENT_FALLBACK: Mutant(
        what="answers with the smaller model and says that it was the large one",
        experiment="providers-out",
        expect="FAIL:availability",
        kin="M20",
    ),
    SPILLS_ANYWHERE: Mutant(
        what="sends a tenant's requests to whichever cell still serves",
        experiment="sovereignty",
        expect="FAIL:probe.foreign-bytes.max",
        kin="M22",
    ),
    ZOMBIES: Mutant(
        what="goes on generating for clients that have gone",
        experiment="clients-leave",
        expect="FAIL:probe.wasted.max",
        kin="M29",
    ),
    LOCAL_REGISTRY: Mutant(
        what="acknowledges what is published before any other region has it",
        experiment="prompt-published",
        expect="FAIL:probe.template.last",
        kin="M19",
    ),
    NO_CANARY: Mutant(
        what="puts a new configuration in force everywhere at once, and leaves it",
        experiment="bad-config",
        expect="FAIL:availability",
        kin="M16",
    ),
    STALE_CREDENTIALS: Mutant(
        what="goes on with the keys it knew when it started",
        experiment="key-rotation",
        expect="FAIL:recovery_time",
        kin="M21",
    ),
    EMPTY_IS_FINE: Mutant(
        what="takes a 200 without a word for an answer",
        experiment="stream-faults",
        expect="FAIL:availability",
        kin="M28",
    ),
    LOOSE_CACHE_KEY: Mutant(
        what="keeps answers by what was asked alone, whoever asked and whatever the revisions",
        experiment="cache-stale",
        expect="FAIL:availability",
        kin="M08",
    ),
    NO_SINGLE_FLIGHT: Mutant(
        what="lets everyone ask the provider for what is not in the cache",
        experiment="cache-stale",
        expect="FAIL:probe.herd.max",
        kin="M09",
    ),
    METASTABLE: Mutant(
        what="the pair no-admission and retry-storm, with zombies and shallow health, which would mask it",
        experiment="overload-dip",
        expect="FAIL:recovery_time",
        kin="M05+M06",
        parts=(NO_ADMISSION, RETRY_STORM, ZOMBIES, SHALLOW_HEALTH),
    ),
    MUTE: Mutant(
        what="never says to anyone that it is down",
        experiment="sovereignty",
        expect="FAIL:probe.status.max",
    ),
    SYNCHRONOUS_TELEMETRY: Mutant(
        what="lets each request wait until the collector has heard of it",
        experiment="controller-loss",
        expect="FAIL:recovery_time",
        kin="M27",
    ),
    NO_LEDGER_KEY: Mutant(
        what="does a job's effect again when the worker died before it could say that it was done",
        experiment="backlog",
        expect="FAIL:exactly-once",
        kin="M24",
    ),
    TRUSTS_NAMES: Mutant(
        what="takes whatever the name server says for true: nothing, or an address where no one is",
        experiment="names-wrong",
        expect="FAIL:recovery_time",
        kin="M18",
    ),
    COLD_STANDBY: Mutant(
        what="never prepares the standby's engine for the template in force",
        experiment="cold-failover",
        expect="FAIL:probe.met-cold.max",
        kin="M30",
    ),
    BILLS_EACH_ATTEMPT: Mutant(
        what="bills a turn once for each time a provider was asked for it",
        experiment="charged-twice",
        expect="FAIL:probe.overbilled.last",
    ),
    FAILS_OPEN: Mutant(
        what="asks nobody for a key at a gateway that has not served yet",
        experiment="role-matrix",
        expect="FAIL:probe.breaches.max",
    ),
    SCALES_LATE: Mutant(
        what="orders capacity once work waits for it, and none for the standby before it serves",
        experiment="rising-load",
        expect="FAIL:probe.waiting-us.max",
    ),
    SCALES_TO_AND_FRO: Mutant(
        what="gives capacity back the moment that less is needed",
        experiment="rising-load",
        expect="FAIL:probe.scale-flips.max",
    ),
    BLIND_TO_DRIFT: Mutant(
        what="never compares what the standby runs with to what the primary does",
        experiment="drift",
        expect="FAIL:probe.drift.max",
    ),
    TAKES_ANY_FRAME: Mutant(
        what="takes whatever is pushed to its journal for its peer's, signed or not",
        experiment="forged-frames",
        expect="FAIL:phantom",
    ),
    TRUSTS_ITS_DISK: Mutant(
        what="serves the log that it finds on its disk without verifying it",
        experiment="damaged-log",
        expect="FAIL:sealed",
        kin="M23",
    ),
    STALE_ROUTE: Mutant(
        what="sends requests to the old primary for 8 s after another was promoted, as a long TTL would",
        experiment="region-kill",
        expect="FAIL:recovery_time",
        kin="M18",
    ),
    MERGED_TAIL: Mutant(
        what="shows the quarantined tail of a returned region in its sessions, as if it had been merged",
        experiment="region-kill-async",
        expect="FAIL:converged",
        kin="M23",
    ),
    NEVER_READMITS: Mutant(
        what="never takes a returned region back into the replica set",
        experiment="region-kill",
        expect="FAIL:probe.repl-lag.last",
        kin="M26",
    ),
    SLOWER_TOKENS: Mutant(
        what="benign: every token takes 20 % longer, well inside the SLOs",
        experiment="region-kill",
        expect="PASS",
    ),
}


def parse_mutants(flags: Sequence[str]) -> frozenset[str]:
    """The mutants named by the flags (each may hold several, comma separated) and by GENAI_MUTANT; empty names are none.

    Raises ValueError on an unknown name.
    """
    names = {name.strip() for flag in (*flags, os.environ.get("GENAI_MUTANT", "")) for name in flag.split(",")} - {""}
    for name in sorted(names):
        if name not in MUTANTS:
            raise ValueError(f"--mutant: unknown name {name!r}; known are {', '.join(sorted(MUTANTS))}")
    return frozenset(names).union(*(MUTANTS[name].parts for name in names))
