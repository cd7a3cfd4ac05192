"""Pure decisions: given what the edge sees of both regions, which configuration comes next, if any."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.reference.health import DOWN, UP
from harness.reference.journal import Config

__all__ = ["JournalView", "Limits", "RegionView", "Route", "Step", "decide", "handed_over"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the decisions, in ns."""

    peer_silent_ns: int = 1_000_000_000  # sync: the standby leaves the replica set after so long
    peer_silent_async_ns: int = 10_000_000_000  # async: the same; nobody waits for it, so there is no hurry
    lease_ns: int = 1_400_000_000
    fresh_ns: int = 700_000_000  # older views decide nothing but a promotion
    join_lag: int = 256  # entries


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalView:
    """What a region's journal last said of itself."""

    config: Config | None
    joined: bool
    peer_silent_ns: int | None
    peer_lag: int | None
    config_age_ns: int
    damaged: bool = False  # it had to be cut, and does not hold again what was behind the cut


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionView:
    """What the edge knows of a region; `heard_ns` is when its journal last answered (or when the edge began)."""

    region: str
    state: str
    heard_ns: int
    journal: JournalView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The edge's decision: the configuration, and who may be promoted under it without losing what was acknowledged."""

    config: Config
    promotable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A new route and the word for how it came about."""

    event: str  # bootstrapped, adopted, promoted, standby-removed, standby-joining, standby-joined
    route: Route
    reason: str


def decide(
    route: Route | None, views: tuple[RegionView, RegionView], now_ns: int, limits: Limits, mode: str
) -> Step | None:
    """The next step, or None when all is as it should be or nothing can safely be done.

    `views` begins with the region that is primary when no one is yet.
    """
    if route is None:
        return _first(views, mode)
    config = route.config
    primary, standby = views if views[0].region == config.primary else (views[1], views[0])
    if primary.state == DOWN or _damaged(primary):
        return _promotion(route, primary, standby, (now_ns, limits))
    journal = primary.journal
    if journal is None or journal.config != config or now_ns - primary.heard_ns > limits.fresh_ns:
        return None
    return _membership(route, journal, standby, limits)


def _damaged(view: RegionView) -> bool:
    return view.journal is not None and view.journal.damaged


def handed_over(route: Route | None, region: str, reason: str) -> Step | None:
    """The step that gives the role to a region, where nothing would be lost by it; None where it would, or it has it."""
    if route is None or route.config.primary == region or region not in route.promotable:
        return None
    alone = (region,)
    changed = replace(route.config, epoch=route.config.epoch + 1, primary=region, sync=alone)
    return Step(event="promoted", route=Route(config=changed, promotable=alone), reason=reason)


def _first(views: tuple[RegionView, RegionView], mode: str) -> Step | None:
    journals = [view.journal for view in views]
    if any(journal is None for journal in journals):
        return None  # the one that is silent may know a later epoch
    known = [journal for journal in journals if journal is not None and journal.config is not None]
    if not known:
        regions = tuple(view.region for view in views)
        config = Config(epoch=1, primary=regions[0], sync=regions, mode=mode)
        return Step(event="bootstrapped", route=Route(config=config, promotable=regions), reason="both logs are empty")
    latest = max(known, key=lambda journal: journal.config.epoch if journal.config else 0)
    assert latest.config is not None
    if latest.damaged:
        return None  # what counted in its epoch may be nowhere else
    # Nothing is known of who may be promoted: begin a new epoch in which the standby has to join first.
    alone = (latest.config.primary,)
    config = Config(epoch=latest.config.epoch + 1, primary=alone[0], sync=alone, mode=mode)
    return Step(event="adopted", route=Route(config=config, promotable=alone), reason="no state of its own")


def _promotion(route: Route, primary: RegionView, standby: RegionView, clock: tuple[int, Limits]) -> Step | None:
    now_ns, limits = clock
    config = route.config
    damaged = _damaged(primary)
    if standby.state != UP or standby.region not in route.promotable or _damaged(standby):
        return None
    if config.mode == "async" and not damaged and now_ns - primary.heard_ns < limits.lease_ns:
        return None
    alone = (standby.region,)
    changed = Config(epoch=config.epoch + 1, primary=standby.region, sync=alone, mode=config.mode)
    reason = f"{primary.region} is {'damaged' if damaged else primary.state}"
    return Step(event="promoted", route=Route(config=changed, promotable=alone), reason=reason)


def _membership(route: Route, journal: JournalView, standby: RegionView, limits: Limits) -> Step | None:
    config = route.config
    alone = (config.primary,)
    both = (config.primary, standby.region)
    if standby.region in config.sync:
        limit = limits.peer_silent_ns if config.mode == "sync" else limits.peer_silent_async_ns
        silent = journal.config_age_ns
        if journal.peer_silent_ns is not None:
            silent = min(silent, journal.peer_silent_ns)
        if silent > limit:
            changed = replace(config, epoch=config.epoch + 1, sync=alone)
            reason = f"{standby.region} has not answered {config.primary} for {silent // 1_000_000} ms"
            return Step(event="standby-removed", route=Route(config=changed, promotable=alone), reason=reason)
        if standby.region not in route.promotable and journal.joined:
            return Step(event="standby-joined", route=Route(config=config, promotable=both), reason="holds everything")
        return None
    caught_up = journal.peer_lag is not None and journal.peer_lag <= limits.join_lag
    if standby.state == UP and caught_up and (journal.peer_silent_ns or 0) < limits.peer_silent_ns // 2:
        changed = replace(config, epoch=config.epoch + 1, sync=both)
        return Step(event="standby-joining", route=Route(config=changed, promotable=alone), reason="has caught up")
    return None
