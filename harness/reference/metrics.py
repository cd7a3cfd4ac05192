"""Counters, gauges and histograms in Prometheus text form: as much as seven small programs need."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

__all__ = ["Metrics"]

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_Labels = tuple[tuple[str, str], ...]


def _series(name: str, labels: _Labels, extra: str = "") -> str:
    inner = ",".join([f'{key}="{value}"' for key, value in labels] + ([extra] if extra else []))
    return f"{name}{{{inner}}}" if inner else name


class Metrics:
    """The metrics of one process; every series carries the labels given here."""

    def __init__(self, **labels: str) -> None:
        self._own = tuple(sorted(labels.items()))
        self._counts: defaultdict[str, dict[_Labels, float]] = defaultdict(dict)
        self._gauges: defaultdict[str, dict[_Labels, float]] = defaultdict(dict)
        self._times: dict[str, list[float]] = {}

    def _labels(self, labels: dict[str, str]) -> _Labels:
        return self._own + tuple(sorted(labels.items()))

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter (its name ends in _total)."""
        series = self._counts[name]
        key = self._labels(labels)
        series[key] = series.get(key, 0) + by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[name][self._labels(labels)] = value

    def observe(self, name: str, seconds: float) -> None:
        """Add a duration to a histogram (its name ends in _seconds)."""
        cells = self._times.setdefault(name, [0.0] * (len(_BOUNDS) + 2))  # buckets, +Inf, sum
        cells[bisect_left(_BOUNDS, seconds)] += 1
        cells[-1] += seconds

    def value(self, name: str, **labels: str) -> float:
        """The value of a counter or gauge; 0 when it was never touched."""
        key = self._labels(labels)
        return self._counts[name].get(key, self._gauges[name].get(key, 0.0))

    def render(self) -> str:
        """All series as Prometheus text."""
        lines: list[str] = []
        for kind, families in (("counter", self._counts), ("gauge", self._gauges)):
            for name, series in sorted(families.items()):
                if series:
                    lines.append(f"# TYPE {name} {kind}")
                    lines += [f"{_series(name, labels)} {value:g}" for labels, value in sorted(series.items())]
        for name, cells in sorted(self._times.items()):
            lines.append(f"# TYPE {name} histogram")
            total = 0.0
            for bound, cell in zip((*map(str, _BOUNDS), "+Inf"), cells[:-1], strict=True):
                total += cell
                lines.append(_series(f"{name}_bucket", self._own, f'le="{bound}"') + f" {total:g}")
            lines.append(f"{_series(name + '_sum', self._own)} {cells[-1]:g}")
            lines.append(f"{_series(name + '_count', self._own)} {total:g}")
        return "\n".join(lines) + "\n"
