"""docs/coverage.md: what is asked of resilient generative AI, and what here proves it. Pure but for reading the experiments.

A row names experiments and what in them proves it; each is looked up in the experiment, so a proof that is gone is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.cli.documents import load
from harness.reference.mutants import MUTANTS
from harness.registry import catalog

__all__ = ["CHECKS", "DRILLS", "ROWS", "Named", "Row", "document", "proofs_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recommendation. Without a proof it is a hole, and `has` says what exists of it, if anything."""

    asked: str
    has: str = ""
    experiments: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()  # checks and objectives, each to be found in every one of the experiments


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One of the checks C01 to C30, and our name for it; without one it is a hole."""

    what: str
    ours: str = ""
    kind: str = ""  # check, objective, measure, verdict
    note: str = ""


_DATA = ("durable", "exactly-once", "session-order")
ROWS: tuple[Row, ...] = (
    Row(
        asked="Layered redundancy: an outage is short, data whole",
        has="edges, gateways, engines and journals in two or three regions",
        experiments=("region-kill", "region-pause", "cell-kill"),
        proofs=("recovery_time", "durable", "exactly-once", "session-order"),
    ),
    Row(
        asked="Load over independent layers; compute, network and storage as domains of their own",
        has="faults on regions, their links and the provider; one instance per service and region, no storage fault",
        experiments=("region-kill", "split-regions", "provider-refusing"),
        proofs=("recovery_time", "durable"),
    ),
    Row(
        asked="Containers, orchestration, horizontal scale",
        has="`compose-region-kill` kills containers (not in this matrix); engines are scaled while they serve",
        experiments=("rising-load",),
        proofs=("probe.slots-us.max", "data_loss"),
    ),
    Row(
        asked="Models decoupled from hardware, moved between regions",
        has="any OpenAI-compatible URL as engine (`--engine-model`), its gaps named; contract tests, not drilled",
    ),
    Row(
        asked="Versioned artifacts, prompts and configuration, auditable rollback",
        has="records of the replicated log, stamped on every turn; rolled back by record",
        experiments=("bad-config",),
        proofs=("availability", "probe.rolled-back.last"),
    ),
    Row(
        asked="Sized for peak with an outage at once",
        has="admission limit at the gateway, drilled with the standby alone at three times the load",
        experiments=("standby-overload",),
        proofs=("recovery_time", "probe.waiting.max"),
    ),
    Row(
        asked="Regional failover that starts by itself, within seconds",
        has="the edge promotes the hot standby",
        experiments=("region-kill",),
        proofs=("recovery_time", "recovery_time.return"),
    ),
    Row(
        asked="Asynchronous replication with a bounded loss, equal in the end",
        has="`replication: async`; nothing counts once the standby is 2 s behind",
        experiments=("region-kill-async", "lag-then-kill"),
        proofs=("data_loss.span", "converged"),
    ),
    Row(
        asked="A stronger guarantee for what must not be lost",
        has="a turn, and a record of the registry, is acknowledged when the standby has it",
        experiments=("region-kill", "split-regions", "prompt-published"),
        proofs=("durable", "data_loss"),
    ),
    Row(
        asked="More than one cloud, with failure modes of their own",
        has="a second provider and a smaller model; 429 and 529, with and without advice",
        experiments=("provider-throttled", "providers-out"),
        proofs=("availability", "probe.cooling.last"),
    ),
    Row(
        asked="Diverse paths between regions",
        has="the path between the regions can be cut or slowed; there is no second one",
        experiments=("split-regions", "slow-link"),
        proofs=("recovery_time", "durable"),
    ),
    Row(
        asked="Recovery tested under realistic load",
        has="open-loop streamed chat in sessions; `chat-mix`: unlike clients, heavy tails, gamma arrivals",
        experiments=("region-kill", "quiet-mix"),
        proofs=("data_loss",),
    ),
    Row(
        asked="Inference under way survives the switchover: exact, resumed, or an explicit error",
        has="every stream checked against the digest of its answer, and against the oracle",
        experiments=("stream-cut", "stream-faults", "cell-kill"),
        proofs=("resume",),
    ),
    Row(asked="Everything automated, drills in CI", has="`run --json`, exit codes, `--expect`, JUnit; `make truth`"),
    Row(
        asked="Identical environments from code, no drift",
        has="one stack file; what a cell's gateways run with is compared all the time, and nobody switches to one that differs",
        experiments=("drift",),
        proofs=("probe.drift.max", "probe.drift.last"),
    ),
    Row(
        asked="Latency, errors, budgets and backlog observed",
        has="`/metrics` on every process; telemetry that serving never waits for; burn rate and budget of the run",
        experiments=("region-kill",),
        proofs=("budget.availability",),
    ),
    Row(
        asked="A deviation rolls back or escalates by itself",
        has="a configuration is tried on a tenth of the sessions, and taken back when they fail",
        experiments=("bad-config",),
        proofs=("availability", "probe.rolled-back.last"),
    ),
    Row(
        asked="Ephemeral and durable data told apart, restored in order",
        has="a log on disk passes gates in order (keys, registry, ledger, sessions, traffic) before it serves; caches begin"
        " empty, the job queue has no gate",
        experiments=("damaged-log",),
        proofs=("durable", "sealed", "converged", "probe.cut.max"),
    ),
    Row(
        asked="A write-ahead log for what is critical; nothing lost, doubled or out of order",
        has="SQLite WAL with a hash chain, each commit synced before it is acknowledged",
        experiments=("power-loss", "region-kill", "region-pause", "split-regions"),
        proofs=_DATA,
    ),
    Row(
        asked="A log with verifiable timestamps, tamper-evident",
        has="a hash chain; each entry signed by its region, held against the keys of the stack file; each writer's clock runs"
        " forward (no hybrid clock, no skew is injected)",
        experiments=("region-kill", "damaged-log", "forged-frames"),
        proofs=("sealed",),
    ),
    Row(
        asked="Encryption, rotation of credentials, least privilege, abuse probes",
        has="keys by generation and role that overlap and rotate, at the standby too; every role tried at every endpoint of a"
        " gateway; forged, altered, replayed and deposed frames refused; no encryption",
        experiments=("key-rotation", "forged-frames", "role-matrix"),
        proofs=("recovery_time", "data_loss"),
    ),
    Row(
        asked="Replay that resumes exactly where it stopped",
        has="idempotency keys; stored outcomes; streams resumed by token; each turn billed once, and every"
        " charge to a gateway one it asked for",
        experiments=("stream-cut", "provider-brownout", "lost-ack", "charged-twice"),
        proofs=("exactly-once", "session-order"),
    ),
    Row(
        asked="Segmentation and a small blast radius",
        has="cells: a primary and its standby with a log of their own; a tenant is in one",
        experiments=("cell-kill", "bad-config"),
        proofs=("good",),
    ),
    Row(
        asked="A hiccup told from an outage; a lying health endpoint found",
        has="probes of forward progress with hysteresis, and live traffic",
        experiments=("region-pause", "provider-brownout", "region-hiccup"),
        proofs=("recovery_time",),
    ),
    Row(
        asked="DNS failover",
        has="edges look regions up again and again, keep the last good address, and take a new one over once it answers",
        experiments=("names-wrong",),
        proofs=("recovery_time", "availability"),
    ),
    Row(
        asked="Rate limits that match the backup's capacity; shedding by priority",
        has="an admission limit, of which the less urgent classes may use a part; in `rising-load` it follows the engine",
        experiments=("standby-overload",),
        proofs=("good", "probe.waiting.max"),
    ),
    Row(
        asked="Partial degradation, not only outages",
        has="slow links, refusing, late and freezing providers",
        experiments=("slow-link", "provider-brownout", "provider-throttled"),
        proofs=("recovery_time",),
    ),
    Row(
        asked="Feature toggles, degradation ladder, a smaller fallback model",
        has="a smaller model answers when no other provider does, and is disclosed; toggles are records",
        experiments=("providers-out",),
        proofs=("availability", "recovery_time"),
    ),
    Row(
        asked="A cache of recent prompts that never serves stale answers",
        has="a short-lived cache keyed by every revision and the tenant; one asks for many",
        experiments=("cache-stale",),
        proofs=("availability", "probe.herd.max", "probe.cache-hits.last"),
    ),
    Row(
        asked="Sovereignty under failover",
        has="tenants by cell; edges and gateways refuse to spill",
        experiments=("sovereignty",),
        proofs=("probe.foreign-bytes.max",),
    ),
    Row(
        asked="Retries that do not make it worse",
        has="one retry loop with a budget; cooldowns that honour Retry-After",
        experiments=("provider-throttled", "provider-refusing"),
        proofs=("attempts", "recovery_time"),
    ),
    Row(
        asked="A returning region comes back cleanly",
        has="it catches up, its own tail goes to quarantine, then it is standby again",
        experiments=("region-kill", "cell-kill"),
        proofs=("recovery_time.return", "probe.repl-lag.last"),
    ),
    Row(
        asked="Work that waits: drained after an outage, done once, set aside when it keeps failing",
        has="a job queue with leases, a ledger by key and dead letters",
        experiments=("backlog",),
        proofs=("exactly-once", "durable", "probe.dead.last", "probe.oldest.max"),
    ),
    Row(
        asked="Static stability: serving without the control plane",
        has="edges go on with the route they knew; telemetry is dropped, never waited for",
        experiments=("controller-loss",),
        proofs=("recovery_time", "availability"),
    ),
    Row(
        asked="Forecast and elastic scaling; affinity; rebalancing",
        has="capacity is ordered by a forecast, before it is needed; the standby grows with the region it stands by for, and is"
        " prepared for what is published; no affinity",
        experiments=("rising-load", "cold-failover"),
        proofs=("recovery_time",),
    ),
    Row(
        asked="Switching traffic and promoting the standby, practised",
        has="an operator moves the role to a region that lacks nothing, and back; a second operator is refused meanwhile",
        experiments=("switch-over",),
        proofs=("availability", "data_loss", "probe.promotions.max"),
    ),
    Row(
        asked="RTOs written down; runbooks with exact steps; tabletop and full-scale drills",
        has="objectives, runbooks, drill documents; a compound failure",
        experiments=("compound",),
        proofs=("recovery_time", "alert.CellDown.fires"),
    ),
    Row(
        asked="Incident communication and a status page outside the region",
        has="a collector outside all regions: public status, alerts; no words by people",
        experiments=("sovereignty",),
        proofs=("alert.CellDown.fires", "probe.status.last"),
    ),
)

CHECKS: dict[str, Named] = {
    "C01": Named(what="RTO within the objective, sustained", ours="recovery_time", kind="objective"),
    "C02": Named(what="RPO within the class's bound", ours="data_loss.span", kind="objective"),
    "C03": Named(what="no acknowledged write lost", ours="durable", kind="check"),
    "C04": Named(what="effects exactly once", ours="exactly-once", kind="check", note="no bill to compare with"),
    "C05": Named(what="every completed stream is the oracle's", ours="resume", kind="check", note="by the answer's digest"),
    "C06": Named(what="every stream ends honestly", ours="resume", kind="check", note="a hung one is bad at its timeout"),
    "C07": Named(what="turns of a session without gap, in order", ours="session-order", kind="check"),
    "C08": Named(what="replay changes nothing; states converge", ours="converged", kind="check", note="by contents"),
    "C09": Named(what="hash chain, signatures, clocks", ours="sealed", kind="check", note="no skew is injected"),
    "C10": Named(what="one primary; old epochs fenced", ours="durable", kind="check", note="`single-writer` is in no experiment"),
    "C11": Named(what="goodput back after the fault", ours="recovery_time", kind="objective", note="`overload-dip`"),
    "C12": Named(what="amplification, wasted work, Retry-After", ours="attempts", kind="objective", note="waste: `probe.wasted`"),
    "C13": Named(what="the standby inside its capacity", ours="probe.waiting", kind="objective", note="`standby-overload`"),
    "C14": Named(what="shed by priority, with Retry-After", ours="good", kind="objective", note="`standby-overload`, by group"),
    "C15": Named(what="detection in time, no false ejection", ours="probe.promotions", kind="objective", note="`region-hiccup`"),
    "C16": Named(what="no flapping", ours="probe.promotions", kind="objective", note="`region-flap`"),
    "C17": Named(what="revisions and disclosure true", ours="good", kind="objective", note="the oracle of what is declared"),
    "C18": Named(what="no stale or foreign answer from a cache", ours="availability", kind="objective", note="`cache-stale`"),
    "C19": Named(what="backlog drained, jobs once", ours="exactly-once", kind="check", note="`backlog`"),
    "C20": Named(what="error budget within its limit", ours="budget.SLO", kind="objective"),
    "C21": Named(what="static stability", ours="recovery_time", kind="objective", note="`controller-loss`"),
    "C22": Named(what="blast radius as declared", ours="good", kind="objective", note="the other cell"),
    "C23": Named(what="residency", ours="probe.foreign-bytes", kind="objective", note="`sovereignty`"),
    "C24": Named(what="authorisation, secrets, abuse", ours="probe.breaches", kind="objective", note="`role-matrix`"),
    "C25": Named(what="digests equal across regions", ours="probe.drift", kind="objective", note="`drift`"),
    "C26": Named(what="alert and status in time", ours="alert.NAME.fires", kind="objective", note="`sovereignty`"),
    "C27": Named(what="runbook steps in order, timed", ours="drill", kind="verdict"),
    "C28": Named(what="no empty or garbage answer counted good", ours="availability", kind="objective"),
    "C29": Named(what="first token and gaps within limits", ours="ttft.p95", kind="objective"),
    "C30": Named(what="evidence: the fault bit, the load was valid", ours="INCONCLUSIVE", kind="verdict"),
}  # fmt: skip


DRILLS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "D01": ("region kill mid-stream", ("region-kill", "cell-kill"), ""),
    "D02": ("power loss and replay", ("power-loss", "damaged-log"), "a flipped bit; a torn tail in tests alone"),
    "D03": ("failover, surge, metastable overload", ("standby-overload", "overload-dip"), ""),
    "D04": ("lying health", ("region-pause", "region-hiccup", "provider-brownout"), ""),
    "D05": ("partition and split brain", ("split-regions", "region-kill-async", "lag-then-kill"), ""),
    "D06": (
        "stream faults",
        ("stream-cut", "stream-faults", "stream-matrix", "clients-leave"),
        "twelve shapes, four of them at three positions",
    ),
    "D07": (
        "429 storm",
        ("provider-throttled",),
        "Retry-After in seconds and absent; a date and 402 are sent, that they are heard is in tests alone; no preflight",
    ),
    "D08": ("poison configuration", ("bad-config", "drift"), "no oscillation, no delayed poison"),
    "D09": ("version skew", ("prompt-published",), "templates; sessions are not pinned to a release"),
    "D10": (
        "lost acknowledgement",
        ("lost-ack", "charged-twice"),
        "resends carry their key, one at a time; what is billed and charged by nobody is not noticed",
    ),
    "D11": ("failback and flapping", ("region-flap", "switch-over"), "by an operator, at once: no ramp"),
    "D12": ("backlog drain", ("backlog", "rising-load"), "the backlog is apart from interactive load"),
    "D13": ("control plane loss", ("controller-loss",), "controller and collector; no break-glass"),
    "D14": ("DNS failover", ("names-wrong",), "the edges are the resolvers, one class of them"),
    "D15": ("slow brownout", ("providers-out", "slow-link"), "no share that shifts with slowness"),
    "D16": ("cache stampede and staleness", ("cache-stale",), ""),
    "D17": ("cold prefix failover", ("cold-failover",), "one prefix for each template, none for each session"),
    "D18": (
        "credential expiry in failover",
        ("key-rotation", "forged-frames", "role-matrix"),
        "answers to frames are not sealed",
    ),
    "D19": ("sovereignty under failover", ("sovereignty",), ""),
    "D20": (
        "full game day",
        ("compound",),
        "people: `drills/full-game-day.yaml`; two operators are tried in tests alone",
    ),
}
"""Of the twenty drills: what it is about, our experiments (each carries the number as a tag), what of it is missing."""


@cache
def proofs_of(experiment: str) -> frozenset[str]:
    """The checks and objectives that an experiment states, by name."""
    spec = load(experiment, None, None).value
    return frozenset(check.name for check in spec.checks) | frozenset(
        one.predicate.measure.name for one in spec.objectives
    )


@cache
def _tags(experiment: str) -> frozenset[str]:
    return frozenset(load(experiment, None, None).value.tags)


def document(root: Path) -> str:
    """docs/coverage.md. Raises LookupError when a row names a proof that its experiment does not state."""
    lines = [
        "# Coverage",
        "",
        "Generated by `make truth` from `tests/matrix/coverage.py` and the experiments: each proof is stated by every experiment",
        "beside it. What came of the runs is in [truth.md](truth.md). **hole**: nothing proves it.",
        "",
        "| asked of a resilient AI service | what there is | proven by | check or objective |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        for experiment in row.experiments:
            missing = set(row.proofs) - proofs_of(str(root / "experiments" / f"{experiment}.yaml"))
            if missing:
                raise LookupError(f"{row.asked}: {experiment} does not state {', '.join(sorted(missing))}")
        where = ", ".join(f"`{name}`" for name in row.experiments) or "**hole**"
        lines.append(
            f"| {row.asked} | {row.has or 'nothing'} | {where} | {', '.join(f'`{one}`' for one in row.proofs)} |"
        )
    holes = sum(not row.experiments for row in ROWS)
    lines += [
        "",
        f"{len(ROWS) - holes} of {len(ROWS)} are proven at least in part, {holes} are holes.",
        "",
        "## The twenty drills",
        "",
        "| | about | experiments | not in them |",
        "|---|---|---|---|",
    ]
    for number, (about, names, missing) in DRILLS.items():
        for name in names:
            if number not in _tags(str(root / "experiments" / f"{name}.yaml")):
                raise LookupError(f"{name} is not tagged {number}")
        lines.append(f"| {number} | {about} | {', '.join(f'`{name}`' for name in names) or '**hole**'} | {missing} |")
    lines += [
        "",
        "## The thirty deliberate weaknesses",
        "",
        "| | ours | found by |",
        "|---|---|---|",
    ]
    for number in (f"M{one:02}" for one in range(1, 31)):
        kin = [(name, mutant) for name, mutant in sorted(MUTANTS.items()) if number in mutant.kin.split("+")]
        ours = ", ".join(f"`{name}`" for name, _ in kin) or "**hole**"
        found = ", ".join(f"`{mutant.experiment}` → `{mutant.expect.partition(':')[2]}`" for _, mutant in kin)
        lines.append(f"| {number} | {ours} | {found} |")
    lines += [
        "",
        "## The thirty checks, by our names",
        "",
        "| | what | here | kind | |",
        "|---|---|---|---|---|",
    ]
    for number, named in CHECKS.items():
        ours = f"`{named.ours}`" if named.ours else "**hole**"
        lines.append(f"| {number} | {named.what} | {ours} | {named.kind} | {named.note} |")
    known = sorted(catalog().names("check"))
    lines += ["", f"Checks there are: {', '.join(f'`{name}`' for name in known)}.", ""]
    return "\n".join(lines)
