"""Documents as they are written: one pydantic model for each mapping, field for field. Not here: what names refer to.

Keys that belong to a kind (a fault's parameters, what a host runs) are not in these models: the kind's own model reads
them. Every field has a description, which editors show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
)

from harness.model.fields import Duration, Size
from harness.spec.scalars import (
    Doc,
    Flow,
    Free,
    Listen,
    Moment,
    Name,
    Pick,
    Ports,
    Share,
    Span,
    Text,
    Words,
    by_shape,
    never,
)

__all__ = [
    "ArrivalDoc",
    "BlackoutDoc",
    "BlastRadiusDoc",
    "CheckDoc",
    "ExperimentDoc",
    "FaultDoc",
    "FinalDoc",
    "InstanceDoc",
    "LinkDoc",
    "LoadDoc",
    "ProbeDoc",
    "ProberDoc",
    "ProxyDoc",
    "ReadyDoc",
    "RegionDoc",
    "RepeatDoc",
    "RunsDoc",
    "SelectorDoc",
    "SignalDoc",
    "SignalsDoc",
    "SloDoc",
    "StackDoc",
    "StackRefDoc",
    "StageDoc",
    "SteadyStateDoc",
    "StepDoc",
    "TrafficDoc",
]

# ---- stack -----------------------------------------------------------------------------------------------------------


class RegionDoc(Doc):
    serves: Literal["primary", "standby", "active"] | None = Field(
        None, description="what the region does in calm times"
    )
    entry: Text | None = Field(None, description="URL at which clients and final reads reach this region alone")
    isolation: Literal["netns"] | None = Field(
        None,
        description="netns: what the run starts of it lives in a network namespace of its own, as on a host of its own",
    )


class InstanceDoc(Doc):
    host: Free = Field(description="what it runs on: one key names the host kind, as in {process: [python, -m, shop]}")
    region: Text | None = Field(None, description="the region it belongs to")
    service: Name | None = Field(None, description="the service it is one of")
    ports: Ports | None = Field(None, description="a list: allocate free loopback ports; a mapping: fixed, {pg: 5432}")
    ready: Free | None = Field(None, description="the probe that must succeed before it counts as up, and `within`")
    needs: list[Text] = Field(default=[], description="instances that must be ready before this one starts")
    address: Text = Field("127.0.0.1", description="the address it listens on; one of its own is what partitions match")
    user: Text | None = Field(None, description="the user (name or number) it runs as")
    files: list[Text] = Field(default=[], description="files copied into its own directory, ${dir}")
    prepare: list[Annotated[list[Text], Field(min_length=1)]] = Field(
        default=[], description="commands run once per stack start, before it starts"
    )
    disk: Literal["none"] | Size | None = Field(
        None,
        description="the size of a file system of its own for ${dir} (root); none: it keeps nothing on disk",
    )
    count: int | None = Field(None, ge=1, description="make n-1 to n-COUNT of it; ${i} is the number")


class LinkDoc(Doc):
    source: Text = Field(alias="from", description="the instance that connects; `clients` for the load itself")
    to: Text = Field(
        description='INSTANCE:PORT that it connects to, as in "db-eu:pg"; an external instance has no port'
    )
    listen: Listen | None = Field(
        None, description="host:port where the fault proxy listens for it; absent: a free loopback port"
    )
    http: bool = Field(False, description="the link carries HTTP")


class ProbeDoc(Doc):
    """What is common to probes of every kind; the other keys are the kind's."""

    every: Span = Field(1_000_000_000, description="from the start of one sample to the next")
    timeout: Span = Field(1_000_000_000, description="a sample that takes longer has failed")


class ReadyDoc(Doc):
    within: Span = Field(30_000_000_000, description="how long it may take from its start")
    every: Span = Field(100_000_000, description="from the start of one try to the next")
    timeout: Span = Field(1_000_000_000, description="a try that takes longer has failed")


class SignalDoc(Doc):
    log: Text | None = Field(None, description="the instance whose log is followed")
    http: Text | None = Field(None, description="a URL that lists events")
    match: Text | None = Field(
        None, description="a regular expression for the lines that matter; its named groups are kept"
    )
    event: Name | None = Field(None, description="what such a line says happened")


class JournalDoc(Doc):
    name: Name = Field(description="what it is called in the report, such as its region")
    http: Text | None = Field(None, description="a URL that answers with the whole journal")
    exec: list[Text] | None = Field(None, min_length=1, description="a command that prints the whole journal")
    keys: dict[Name, Text] = Field(
        default={}, description="the Ed25519 public key (hex) of each that writes it; none: signatures are not judged"
    )


class AlertsDoc(Doc):
    webhook: Listen = Field(description="where alerts are taken, for an Alertmanager that runs already")


if TYPE_CHECKING:
    Alerts = Literal["webhook"] | AlertsDoc
else:
    Alerts = Annotated[
        Annotated[Literal["webhook"], Tag("one")]
        | Annotated[AlertsDoc, Tag("map")]
        | never('webhook, or {webhook: "HOST:PORT"}', "list"),
        Discriminator(by_shape),
    ]


class SignalsDoc(Doc):
    events: list[SignalDoc] = Field(default=[], description="authoritative events: a promotion, a change of route")
    effects: list[SignalDoc] = Field(default=[], description="an independent record of what really ran")
    journals: list[JournalDoc] = Field(
        default=[], description="journals that the stack exports as JSON lines, for the check sealed"
    )
    alerts: Alerts | None = Field(
        None, description="alerts are received during runs: webhook (at ${run:alerts}), or {webhook: HOST:PORT}"
    )


class ProxyDoc(Doc):
    toxiproxy: Text = Field(description="URL of a running Toxiproxy server's API")


if TYPE_CHECKING:
    Proxy = Literal["embedded", "toxiproxy"] | ProxyDoc
else:
    Proxy = Annotated[
        Annotated[Literal["embedded", "toxiproxy"], Tag("one")]
        | Annotated[ProxyDoc, Tag("map")]
        | never("embedded, toxiproxy or {toxiproxy: URL}", "list"),
        Discriminator(by_shape),
    ]


class BlackoutDoc(Doc):
    from_: Moment = Field(alias="from", description="its first instant; a day begins at 00:00")
    to: Moment = Field(description="its end; a day counts to its own end")
    why: Text = Field(description="the reason, shown to whoever is refused")


class StackDoc(Doc):
    """A stack document."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["stack"] = Field(description="what this document is")
    name: Name = Field(description="the stack's name")
    extends: Text | None = Field(None, description="another stack document that this one is laid on")
    profiles: dict[str, Free] | None = Field(None, description="changes by name, for --profile NAME")
    environment: Name = Field("local", description="anything but local, test, staging needs --confirm-target NAME")
    params: Free | None = Field(None, description="values for ${param:NAME}, which an experiment may override")
    regions: dict[str, RegionDoc] = Field(default={}, description="the fault domains")
    instances: dict[str, Free] = Field(description="the things that run")
    links: dict[str, LinkDoc] = Field(default={}, description="network paths through the fault proxy")
    drillable: list[Text] = Field(
        default=[], description='what may be broken: "gateway-eu", "region:us-east", "link:*"'
    )
    roles: dict[str, Free] = Field(default={}, description="jobs that one instance holds at a time, and who is asked")
    entry: Text | None = Field(None, description="the URL at which clients reach the stack")
    fault_proxy: Proxy = Field(
        "embedded", description="embedded, toxiproxy (at TOXIPROXY_URL, else a binary on PATH), or {toxiproxy: URL}"
    )
    probes: dict[str, Free] = Field(default={}, description="questions asked again and again during a run")
    signals: SignalsDoc | None = Field(None, description="where the stack itself says what happened")
    blackout: list[BlackoutDoc] = Field(default=[], description="times in which nothing here may be broken")


# ---- experiment ------------------------------------------------------------------------------------------------------


class StackRefDoc(Doc):
    file: Text = Field(description="name or path of the stack document")
    params: Free = Field(default={}, description="values for the stack's params")


class StageDoc(Doc):
    rate: Flow = Field(description="the rate at the end of the stage")
    for_: Span = Field(alias="for", description="how long it takes to get there")


class SineDoc(Doc):
    swing: Share = Field(description="how far the rate goes up and down, as a share of it")
    period: Span = Field(description="from one crest to the next")


class SpikesDoc(Doc):
    rate: Flow = Field(description="the rate during a spike")
    for_: Span = Field(alias="for", description="how long a spike lasts")
    every: Span = Field(description="from the end of one spike to the end of the next")


class ArrivalDoc(Doc):
    rate: Flow | None = Field(None, description="open loop: a constant rate")
    sine: SineDoc | None = Field(None, description="makes the rate swing")
    spikes: SpikesDoc | None = Field(None, description="makes the rate jump, again and again")
    stages: Annotated[list[StageDoc], Field(min_length=1)] | None = Field(
        None, description="open loop: rates over time"
    )
    trace: Text | None = Field(None, description="open loop: a CSV file of seconds")
    users: Annotated[int, Field(ge=1)] | None = Field(None, description="closed loop: so many users, one after another")
    shape: Literal["even", "poisson", "gamma"] = Field("poisson", description="how arrivals scatter around the rate")


class ProberDoc(Doc):
    every: Span = Field(description="from one small op to the next, per region and group")
    timeout: Span = Field(description="when it counts as bad")


class LocustDoc(Doc):
    workers: int = Field(0, ge=0, le=64, description="Locust worker processes on this machine")
    remote: int = Field(0, ge=0, le=1000, description="workers started elsewhere that join by --master-host; awaited")
    bind: Text | None = Field(
        None,
        description="host:port of the master, as in 10.0.0.5:5557; anybody who reaches it can join. Default: loopback",
    )


def _an_engine(given: object) -> object:
    if given == "aiolocust":
        raise ValueError(
            "expected 'asyncio', which runs aiolocust's files (itself it needs Python 3.14: no engine here)"
        )
    return given


class LoadDoc(Doc):
    profile: Text = Field(description="built-in (chat, http, jobs), path.py:ClassName, or a locustfile")
    arrival: ArrivalDoc = Field(description="when ops are due")
    timeout: Span = Field(description="the client's timeout")
    prober: ProberDoc | None = Field(None, description="one small op beside the users, never in an SLI")
    groups: dict[str, Share] = Field(default={}, description="shares of the users, measured apart; they sum to 100%")
    with_: Free = Field(default={}, alias="with", description="options of the profile")
    users: int = Field(1, ge=1, description="users from the start")
    users_max: int | None = Field(None, ge=1, description="users at most; absent: computed from rate and timeout")
    workers: int = Field(1, ge=1, le=64, description="worker processes")
    warmup: Duration = Field(2_000_000_000, description="load before the steady state is judged")
    deadline: Span | None = Field(None, description="how long one arrival may take; absent: 4 x timeout")
    engine: Annotated[Literal["asyncio", "locust"], BeforeValidator(_an_engine)] = Field(
        "asyncio", description="what offers the load; locust runs a locustfile as it is: a closed loop"
    )
    locust: LocustDoc | None = Field(None, description="Locust over a master and workers, where one process is too few")


class SloDoc(Doc):
    name: Name = Field(description="its name, as in budget.NAME")
    target: Share = Field(description='the share that must be good, as in "99.9%"')
    window: Span = Field(2_592_000_000_000_000, description="the window of its error budget")
    under: Span | None = Field(None, description="makes it a latency SLO: good is faster than this")
    on: dict[str, Text] = Field(default={}, description="the slice it is about, as in {f: turn}")
    excludes: list[int] = Field(default=[], description="statuses that do not count against it, as in [429]")


class TrafficDoc(Doc):
    at_drill: Flow = Field(description="production traffic at the hour of the drill")
    mean: Flow = Field(description="mean production traffic")
    source: Text = Field("the experiment file", description="where these numbers come from")


class SteadyStateDoc(Doc):
    for_: Span = Field(5_000_000_000, alias="for", description="how long it must hold before anything is broken")
    require: Annotated[list[Text], Field(min_length=1)] = Field(default=["good >= 99%"], description="what must hold")
    after: bool = Field(True, description="judge it again afterwards, as objective steady_state.after")


class BlastRadiusDoc(Doc):
    regions: int = Field(1, ge=0, description="regions that may be touched, at most")
    share: Share = Field(0.5, description="share of the drillable instances that may be touched, at most")


class SelectorDoc(Doc):
    region: Words | None = Field(None, description="every instance of a region")
    service: Words | None = Field(None, description="every instance of a service")
    instance: Words | None = Field(None, description="instances by name")
    role: Words | None = Field(None, description="whoever holds a role when the fault is applied")
    link: Words | None = Field(None, description="links by name")
    pick: Pick = Field("all", description="all, a count, or a share such as 50%: drawn from the seed")
    only: Literal["drillable"] | None = Field(None, description="leave out what is not drillable instead of refusing")


class RepeatDoc(Doc):
    every: Span = Field(description="from the start of one to the next")
    times: int = Field(ge=1, le=10_000, description="how often in all")


def _not_a_number(given: object) -> object:
    if isinstance(given, int | float) and not isinstance(given, bool):
        raise ValueError("expected a duration such as '5s', or a moment of an entry before")
    return given


At = Annotated[
    str,
    BeforeValidator(_not_a_number),
    Field(description='a moment after T0 such as "5s", or after another entry: "eu-down.start + 2s"'),
]
if TYPE_CHECKING:
    Side = SelectorDoc | list[SelectorDoc]
else:
    Side = Annotated[
        Annotated[SelectorDoc, Tag("map")]
        | Annotated[list[SelectorDoc], Tag("list")]
        | never("a selector such as {region: eu}, or a list of them", "one"),
        Discriminator(by_shape),
    ]


class FaultDoc(Doc):
    """The reserved keys of a fault on the timeline; the other keys are the fault kind's parameters."""

    fault: Text = Field(description="what is broken: a fault kind")
    id: Name | None = Field(None, description="its name in the timeline")
    at: At = "0s"
    jitter: Duration = Field(0, description="adds a uniform part of this, drawn from the seed")
    for_: Span | None = Field(None, alias="for", description="when it is put back; absent: it stands until heal")
    on: SelectorDoc | None = Field(None, description="what is broken")
    between: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = Field(
        None, description="the two sides of a partition, each a selector or a list of them"
    )
    repeat: RepeatDoc | None = Field(None, description="flapping: again and again")
    ends: Literal["itself"] | None = Field(None, description="the fault's own end is part of the hypothesis")
    expect: Literal["no-impact"] | None = Field(None, description="this fault must not be felt")


class ActionDoc(Doc):
    exec: Annotated[list[Text], Field(min_length=1)] = Field(description="the command")
    cwd: Text | None = Field(None, description="where it runs; absent: the folder of this document")


class StepDoc(Doc):
    """A step of the scenario that is not a fault."""

    do: ActionDoc = Field(description="what is done, as in {exec: [./ops/promote, us-east]}")
    id: Name | None = Field(None, description="its name in the timeline")
    at: At = "0s"
    jitter: Duration = Field(0, description="adds a uniform part of this, drawn from the seed")
    within: Span = Field(10_000_000_000, description="how long it may take to end with 0")
    own: bool = Field(False, description="disruptions it causes are its own, not the fault's before it")


class FinalDoc(Doc):
    within: Span = Field(30_000_000_000, description="how long final reads are retried")
    regions: list[Text] | None = Field(None, description="regions read; absent: all that have an entry")
    evidence: list[Text] = Field(
        default=[], description="regions read too; what only they hold is lost, and recoverable"
    )


class CheckDoc(Doc):
    """What is common to checks of every kind; the other keys are the kind's."""

    name: Name | None = Field(None, description="its name; absent: the kind's")
    on: dict[Literal["f", "group", "region", "served_by"], Text] = Field(
        default={}, description="the slice it is about"
    )
    within: Span | None = Field(None, description="the time it may take, where time matters")


class RunsDoc(Doc):
    times: int = Field(1, ge=1, le=10_000, description="how often the experiment runs")
    require: Literal["all", "any"] = Field("all", description="how many of them must pass")


if TYPE_CHECKING:
    StackRef = str | StackRefDoc
else:
    StackRef = Annotated[
        Annotated[Text, Tag("one")]
        | Annotated[StackRefDoc, Tag("map")]
        | never("a name, a path, or {file: ..., params: {...}}", "list"),
        Discriminator(by_shape),
    ]


class ExperimentDoc(Doc):
    """An experiment document."""

    version: Literal[1] = Field(description="the version of the document format")
    kind: Literal["experiment"] = Field(description="what this document is")
    name: Name = Field(description="the experiment's name")
    title: Text = Field(description="what happens, in a few words")
    hypothesis: Text = Field(description="what is expected to hold, in a sentence")
    extends: Text | None = Field(None, description="another experiment document that this one is laid on")
    profiles: dict[str, Free] | None = Field(None, description="changes by name, for --profile NAME")
    owner: Text | None = Field(None, description="who answers for it")
    tags: list[Text] = Field(default=[], description="words to select experiments by")
    stack: StackRef = Field(description="the stack under drill: name, path, or {file: ..., params: {...}}")
    seed: int = Field(1, ge=0, description="every random choice")
    load: LoadDoc = Field(description="the synthetic load")
    slo: list[SloDoc] = Field(default=[], description="service level objectives")
    traffic: TrafficDoc | None = Field(None, description="production traffic, to project the budget's cost")
    budget_left: dict[str, Share] = Field(default={}, description="how much of each SLO's budget is left")
    steady_state: SteadyStateDoc = Field(SteadyStateDoc(), description="what calm looks like")
    blast_radius: BlastRadiusDoc = Field(BlastRadiusDoc(), description="caps on what may be touched")
    timeline: list[Any] = Field(default=[], description="faults and steps")
    recovered_when: Text = Field(description='the rule of recovery, as in "good >= 99% for 3s"')
    recovery_from: Name | None = Field(
        None, description="the fault from which recovery time counts; absent: the first that disrupted service"
    )
    abort_when: list[Text] = Field(default=[], description="stop early and put everything back when one of these holds")
    observe: Duration = Field(10_000_000_000, description="how long after the last timed revert standing faults stay")
    settle: Duration = Field(60_000_000_000, description="how long the stack may take to settle after heal")
    settled_when: list[Text] = Field(default=[], description="what must hold for 3 s for the stack to have settled")
    final: FinalDoc = Field(FinalDoc(), description="the final reads")
    objectives: list[Text] = Field(default=[], description='what must be met, as in "recovery_time <= 5s"')
    checks: list[Any] = Field(default=[], description="data checks")
    runs: RunsDoc = Field(RunsDoc(), description="how often it runs")
    covers: list[Text] = Field(default=[], description="files whose change makes stored evidence stale")
    blackout: list[BlackoutDoc] = Field(default=[], description="times in which this may not run")
