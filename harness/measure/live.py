"""The run so far, as steady state, abort rules and settling see it: by completion, over a trailing span, while it happens.

Pure in the sense of the rest: it is told the time. Ops still open beyond their limit count as bad, so that a stack that
answers nothing is not taken for one that is asked nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from harness.model.experiment import SLO
from harness.model.plan import Plan
from harness.model.ports import LiveBatch, LiveOp
from harness.model.predicate import MeasureRef, Predicate

__all__ = ["LiveWindow", "quantile_of"]

LEAST = 20
SECOND_NS = 1_000_000_000


class LiveWindow:
    """What the conductor asks while the run goes on. Feed it every batch and probe sample; it forgets what no rule needs."""

    def __init__(self, plan: Plan) -> None:
        experiment = plan.experiment
        rules = (*experiment.abort_when, *experiment.settled_when, *experiment.steady_state.require)
        longest = max((rule.for_ns or 0 for rule in rules), default=0)
        self._keep_ns = max(longest, experiment.steady_state.for_ns, plan.window_ns, 5 * SECOND_NS) + SECOND_NS
        self._slos = experiment.slos
        self._timeout_ns = experiment.load.timeout_ns
        self._traffic = experiment.traffic
        self._ended: deque[LiveOp] = deque()
        self._open: dict[int, tuple[tuple[str, int], ...]] = {}
        self._probes: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        self._per_second: dict[str, dict[int, list[int]]] = {slo.name: {} for slo in self._slos}
        self._first_ns: int | None = None

    def feed(self, batch: LiveBatch) -> None:
        """Take a worker's report. Prober ops and final reads are in no rule."""
        if self._first_ns is None:
            self._first_ns = batch.at_ns
        for op in batch.ended:
            if op.phase == "load" and op.outcome != "dropped":
                self._ended.append(op)
                self._charge(op)
        self._open[batch.worker] = batch.open
        oldest = batch.at_ns - self._keep_ns
        while self._ended and self._ended[0].done_ns < oldest:
            self._ended.popleft()

    def feed_probe(self, name: str, at_ns: int, value: float | None) -> None:
        """Take a probe sample; a failed one (None) is no sample."""
        samples = self._probes[name]
        if value is not None:
            samples.append((at_ns, value))
        while samples and samples[0][0] < at_ns - self._keep_ns:
            samples.popleft()

    def value(self, measure: MeasureRef, now_ns: int, over_ns: int) -> float | None:
        """A measure over the trailing (now - over, now], ns or ratio or number; None without data or for one that needs the end."""
        name, _, rest = measure.name.partition(".")
        if name in ("good", "bad", "availability", "valid"):
            return self._share(name, measure.where, now_ns, over_ns)
        if name in ("latency", "ttft"):
            return self._percentile(measure, now_ns, over_ns)
        if name == "probe":
            probe, _, statistic = rest.rpartition(".")
            values = [value for at_ns, value in self._probes[probe] if now_ns - over_ns < at_ns <= now_ns]
            return _statistic(values, statistic)
        if name == "budget":
            return self._budget(rest)
        return None

    def observed(self, predicate: Predicate, now_ns: int, over_ns: int) -> float | None:
        """What a rule limits, over its own `for`, else over `over_ns`; None without data, or before so much time was seen."""
        span_ns = predicate.for_ns or over_ns
        if predicate.measure.name.split(".")[0] not in ("probe", "budget") and (
            self._first_ns is None or now_ns - self._first_ns < span_ns - SECOND_NS // 5
        ):
            return None
        if predicate.measure.name in ("good", "bad", "valid") and predicate.unit in ("count", "number"):
            return self._count(predicate.measure, now_ns, span_ns)
        return self.value(predicate.measure, now_ns, span_ns)

    def holds(self, predicate: Predicate, now_ns: int, over_ns: int) -> bool | None:
        """Whether what it limits (see `observed`) is within the limit; None when nothing is known of it."""
        value = self.observed(predicate, now_ns, over_ns)
        return None if value is None else predicate.holds(value)

    def _within(self, where: Mapping[str, str], now_ns: int, over_ns: int) -> Iterable[LiveOp]:
        for op in reversed(self._ended):
            if op.done_ns <= now_ns - over_ns - SECOND_NS:
                return  # batches of several workers interleave by less than a second
            if now_ns - over_ns < op.done_ns <= now_ns and _matches(op, where):
                yield op

    def _overdue(self, where: Mapping[str, str], now_ns: int) -> int:
        """Ops still open beyond their limit. Open ops are known by `f` alone: in other slices they cannot be placed."""
        if set(where) - {"f"}:
            return 0
        return sum(
            now_ns - intended_ns > self._limit_ns(f)
            for batch in self._open.values()
            for f, intended_ns in batch
            if where.get("f", f) == f
        )

    def _limit_ns(self, f: str) -> int:
        limits = [slo.under_ns for slo in self._slos if slo.under_ns is not None and _names_only(slo, f)]
        return min(limits, default=self._timeout_ns)

    def _good(self, op: LiveOp) -> bool:
        if op.outcome != "ok" or op.wrong:
            return False
        return all(
            _slo_latency_ns(op, slo) <= slo.under_ns
            for slo in self._slos
            if slo.under_ns is not None and _matches(op, slo.on)
        )

    def _tally(self, where: Mapping[str, str], now_ns: int, over_ns: int) -> tuple[int, int]:
        ops = list(self._within(where, now_ns, over_ns))
        good = sum(map(self._good, ops))
        return good, len(ops) - good + self._overdue(where, now_ns)

    def _share(self, name: str, where: Mapping[str, str], now_ns: int, over_ns: int) -> float | None:
        good, bad = self._tally(where, now_ns, over_ns)
        if good + bad == 0:
            return None
        share = good / (good + bad)
        return 1 - share if name == "bad" else share

    def _count(self, measure: MeasureRef, now_ns: int, over_ns: int) -> float:
        good, bad = self._tally(measure.where, now_ns, over_ns)
        return {"good": good, "bad": bad, "valid": good + bad}[measure.name]

    def _percentile(self, measure: MeasureRef, now_ns: int, over_ns: int) -> float | None:
        kind, quantile = measure.name.split(".")[:2]
        ops = [op for op in self._within(measure.where, now_ns, over_ns) if op.outcome == "ok"]
        if kind == "ttft":
            values = sorted(op.first_ns - op.intended_ns for op in ops if op.first_ns is not None)
        else:
            values = sorted(op.done_ns - op.intended_ns for op in ops)
        if len(values) < LEAST:
            return None
        return float(values[min(len(values) - 1, math.ceil(quantile_of(quantile) * len(values)) - 1)])

    def _charge(self, op: LiveOp) -> None:
        second = op.intended_ns // SECOND_NS
        for slo in self._slos:
            if not _matches(op, slo.on):
                continue
            bad = (
                op.outcome != "ok" or op.wrong or (slo.under_ns is not None and _slo_latency_ns(op, slo) > slo.under_ns)
            )
            tally = self._per_second[slo.name].setdefault(second, [0, 0])
            tally[0] += 1
            tally[1] += bad

    def _budget(self, name: str) -> float | None:
        slo = next((slo for slo in self._slos if slo.name == name), None)
        if slo is None or slo.target_ratio >= 1 or not self._per_second[name]:
            return None
        outage_s = sum(bad / valid for valid, bad in self._per_second[name].values())
        factor = self._traffic.at_drill_per_s / self._traffic.mean_per_s if self._traffic else 1.0
        return outage_s * factor * SECOND_NS / ((1 - slo.target_ratio) * slo.window_ns)


def quantile_of(name: str) -> float:
    """The quantile in a name such as "p99" or "p99.9" or "p999": 0.99, 0.999, 0.999. Raises ValueError for any other text."""
    digits = name.removeprefix("p")
    if not name.startswith("p") or not digits.replace(".", "", 1).isdigit():
        raise ValueError(f"expected a percentile such as 'p99', got {name!r}")
    percent = float(digits)
    return percent / 100 if percent <= 100 else percent / 10 ** len(digits)


def _slo_latency_ns(op: LiveOp, slo: SLO) -> int:
    end = op.first_ns if slo.name.startswith("ttft") and op.first_ns is not None else op.done_ns
    return end - op.intended_ns


def _names_only(slo: SLO, f: str) -> bool:
    return all(column == "f" and text == f for column, text in slo.on.items()) and not slo.name.startswith("ttft")


def _matches(op: LiveOp, where: Mapping[str, str]) -> bool:
    return all(getattr(op, column, None) == text for column, text in where.items())


def _statistic(values: list[float], name: str) -> float | None:
    if not values:
        return None
    match name:
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "mean":
            return sum(values) / len(values)
        case "last":
            return values[-1]
        case _:
            return None
