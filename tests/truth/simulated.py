"""Scripted outages on a simulated clock, each with its truth, seen through the whole of `measure`. Thousands in minutes.

What happens to an op is decided here, in numpy, by nothing of `harness`. The fault takes effect at 8.001 s, within the
[8.000 s, 8.002 s] that its events say; it is reverted at 16 s; load runs from 1 s to 25 s, Poisson, 200/s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from harness.history.events import Event
from harness.history.history import History
from harness.history.schema import arrow_schema
from harness.history.table import OpTable
from harness.measure.measure import measure
from harness.model.experiment import SLO
from harness.model.measured import Measures, Recovery
from harness.model.plan import Plan
from tests.measure import scene

__all__ = ["SCRIPTS", "Answers", "Script", "Tally", "arrivals", "history_of", "judged", "outage", "plan_of", "tally"]

S, MS = scene.S, scene.MS
START = scene.EFFECT + MS
BACK = scene.REVERT + MS
END = scene.DRAIN
RATE = 200.0
TIMEOUT = S
LIMIT = 200 * MS


@dataclass(frozen=True)
class Answers:
    """Arrivals in order, and what became of each: when it ended, whether well, in how many attempts. `chance` is one draw each."""

    at: np.ndarray
    done: np.ndarray
    ok: np.ndarray
    attempts: np.ndarray
    chance: np.ndarray

    def inside(self, start: int, end: int) -> np.ndarray:
        return (self.at >= start) & (self.at < end)

    def refused(self, where: np.ndarray) -> Answers:
        """Those ended badly after 0.2 ms."""
        return replace(self, done=np.where(where, self.at + MS // 5, self.done), ok=self.ok & ~where)


def arrivals(seed: int, rate: float = RATE, errors: float = 0.0) -> Answers:
    """A healthy server: 5 to 15 ms each, a share fails."""
    chance = np.random.default_rng(seed)
    at = S + np.cumsum(chance.exponential(S / rate, int(rate * 40))).astype(np.int64)
    at = at[at < END]
    done = at + chance.uniform(5 * MS, 15 * MS, len(at)).astype(np.int64)
    ok = chance.random(len(at)) >= errors
    return Answers(at=at, done=done, ok=ok, attempts=np.ones(len(at), dtype=np.int64), chance=chance.random(len(at)))


def outage(start: int, length: int, kind: str = "refuse") -> Callable[[Answers], Answers]:
    """refuse: at once. reset: those in flight too. freeze: all wait for its end, or for the client's 1 s."""

    def happen(seen: Answers) -> Answers:
        end = start + length
        inside = seen.inside(start, end)
        if kind == "refuse":
            return seen.refused(inside)
        touched = inside | ((seen.at < start) & (seen.done > start))
        if kind == "reset":
            done = np.where(touched, np.maximum(seen.at + MS // 5, start), seen.done)
            return replace(seen, done=done, ok=seen.ok & ~touched)
        thawed = end + (1 + 14 * seen.chance) * MS
        late = touched & (thawed - seen.at > TIMEOUT)
        done = np.where(late, seen.at + TIMEOUT, np.where(touched, thawed, seen.done)).astype(np.int64)
        return replace(seen, done=done, ok=seen.ok & ~late)

    return happen


def partly(start: int, length: int, share: Callable[[np.ndarray], np.ndarray]) -> Callable[[Answers], Answers]:
    """Refused with a chance that depends on how long it has lasted."""
    return lambda seen: seen.refused(seen.inside(start, start + length) & (seen.chance < share(seen.at - start)))


def slowed(length: int, by: int, attempts: int = 1) -> Callable[[Answers], Answers]:
    def happen(seen: Answers) -> Answers:
        inside = seen.inside(START, START + length)
        return replace(
            seen,
            done=np.where(inside, seen.done + by, seen.done),
            attempts=np.where(inside, attempts, seen.attempts),
        )

    return happen


def holds(recovery: Recovery, truth: int) -> bool:
    interval = recovery.interval
    return (
        recovery.state == "recovered"
        and interval is not None
        and interval.hi_ns is not None
        and interval.lo_ns <= truth <= interval.hi_ns
    )


@dataclass(frozen=True)
class Script:
    """An outage, and what must be said of it. `needed` is the share of seeds in which that must be so."""

    name: str
    happens: tuple[Callable[[Answers], Answers], ...]
    true: Callable[[Measures], bool]
    needed: float = 1.0
    limit_ns: int | None = None
    faults: bool = True
    errors: float = 0.0


def square(kind: str, length: int, errors: float = 0.0) -> Script:
    def true(m: Measures) -> bool:
        quiet = m.recovery_return.state == "none"
        return holds(m.recovery, length) and m.recovery.recovered_by == "stack" and quiet

    # A freeze that clients wait out without an error is seen through a latency limit alone.
    limit = LIMIT if kind == "freeze" and length <= TIMEOUT else None
    name = f"square {kind} {length / S:g} s"
    if errors:
        # Two strays of the background within 70 ms of the end cannot be told from it: a bound of 1 in 1000 by design.
        name, needed = f"{name}, {errors:.1%} of all fails", 0.995
    else:
        needed = 1.0
    return Script(name, (outage(START, length, kind),), true, needed, limit, errors=errors)


def rises(after: np.ndarray) -> np.ndarray:
    return after / S


def falls(after: np.ndarray) -> np.ndarray:
    return 1 - after / (3 * S)


def almost_back(m: Measures) -> bool:
    """Between nine tenths and all of it back: 2.7 s to 3 s."""
    interval = m.recovery.interval
    return interval is not None and interval.hi_ns is not None and interval.lo_ns <= 3 * S and interval.hi_ns >= 2.7 * S


HEALED = BACK + S // 5 - START
FLAPS = tuple(outage(START + n * S, S // 2) for n in range(4))
SCRIPTS = (
    *(square(kind, int(length * S)) for kind in ("refuse", "reset", "freeze") for length in (0.5, 1, 3)),
    *(square("refuse", int(length * S), 0.001) for length in (0.5, 1, 3)),
    Script(
        "partial, 30 %",
        (partly(START, 3 * S, lambda after: np.full(len(after), 0.3)),),
        lambda m: holds(m.recovery, 3 * S),
        0.95,
    ),
    Script(
        "ramp down, then back at once",
        (partly(START, S, rises), outage(START + S, 2 * S)),
        lambda m: holds(m.recovery, 3 * S),
        0.95,
    ),
    Script("down at once, ramp back", (partly(START, 3 * S, falls),), almost_back, 0.95),
    Script("flapping", FLAPS, lambda m: holds(m.recovery, 3 * S + S // 2) and m.recovery.recovered_by == "stack"),
    Script(
        "never recovers",
        (outage(START, END),),
        lambda m: (
            m.recovery.state == "censored"
            and m.recovery.interval is not None
            and m.recovery.interval.hi_ns is None
            and END - START - 200 * MS <= m.recovery.interval.lo_ns <= END - START
        ),
    ),
    Script(
        "only by heal",
        (outage(START, HEALED),),
        lambda m: holds(m.recovery, HEALED) and m.recovery.recovered_by == "revert",
    ),
    Script(
        "second dip after heal",
        (outage(START, S), outage(BACK, 7 * S // 10)),
        lambda m: holds(m.recovery, S) and holds(m.recovery_return, 7 * S // 10),
    ),
    Script(
        "latency only, no limit",
        (slowed(2 * S, 300 * MS),),
        lambda m: m.recovery.state == "none" and m.recovery.masked and m.disruptions == (),
    ),
    Script(
        "latency only, with a limit", (slowed(2 * S, 300 * MS),), lambda m: holds(m.recovery, 2 * S), limit_ns=LIMIT
    ),
    Script(
        "masked by retries",
        (slowed(2 * S, 12 * MS, attempts=2),),
        lambda m: m.recovery.state == "none" and m.recovery.masked and (m.instants.retry_amplification or 0) > 1,
    ),
    Script("calm, 0.1 % fails", (), lambda m: m.disruptions == (), faults=False, errors=0.001),
)


def history_of(seen: Answers, faults: tuple[Event, ...] | None = None, group: np.ndarray | None = None) -> History:
    """The record of a run in which clients saw this."""
    total = len(seen.at)
    columns: dict[str, object] = {
        "op": np.arange(total),
        "f": ["add"] * total,
        "phase": ["load"] * total,
        "intended_ns": seen.at,
        "sent_ns": seen.at,
        "done_ns": seen.done,
        "outcome": np.where(seen.ok, "ok", "info"),
        "attempts": seen.attempts,
    }
    if group is not None:
        columns["group"] = group
    schema = arrow_schema()
    empty = OpTable.of([scene.Op(op=0, f="add", intended_ns=0, outcome="ok")]).arrow.to_pylist()[0]
    arrays = [pa.array(columns[name]) if name in columns else pa.array([empty[name]] * total) for name in schema.names]
    table = pa.table(dict(zip(schema.names, arrays, strict=True))).cast(schema)
    # No model: these scripts say nothing of data, and to look for lost writes takes most of the time.
    events = scene.events_of([], list(scene.fault_events()) if faults is None else list(faults), model=None)
    return History(ops=OpTable(table), events=events)


def plan_of(script: Script | None = None) -> Plan:
    limit = None if script is None else script.limit_ns
    slos = () if limit is None else (SLO(name="latency", target_ratio=0.99, window_ns=30 * 86400 * S, under_ns=limit),)
    plan = scene.plan_of(slos=slos)
    return plan if script is None or script.faults else replace(plan, faults=())


def judged(script: Script, seed: int, rate: float = RATE) -> Measures:
    """What is measured of a script in one seed."""
    seen = arrivals(seed, rate, script.errors)
    for happen in script.happens:
        seen = happen(seen)
    return measure(history_of(seen, None if script.faults else ()), plan_of(script))


@dataclass(frozen=True)
class Tally:
    """How often the truth was told of a script."""

    script: Script
    told: int
    missed: tuple[int, ...]

    def __str__(self) -> str:
        total = self.told + len(self.missed)
        seeds = f"; not in seeds {', '.join(map(str, self.missed[:8]))}" if self.missed else ""
        return f"{self.told} of {total}: {self.script.name}{seeds}"

    @property
    def holds(self) -> bool:
        return self.told >= self.script.needed * (self.told + len(self.missed))


def tally(script: Script, seeds: range) -> Tally:
    """Every seed of a script."""
    missed = tuple(seed for seed in seeds if not script.true(judged(script, seed)))
    return Tally(script=script, told=len(seeds) - len(missed), missed=missed)
