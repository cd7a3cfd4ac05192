"""Time series made drawable: fewer points that keep every extreme, and few table rows that keep every total."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["chunks", "extremes", "peaks", "runs", "summed", "worst"]

Point = tuple[float, float]


def chunks(count: int, limit: int) -> tuple[range, ...]:
    """Index ranges that part `count` places into at most `limit` groups of equal size (the last may be shorter)."""
    size = max(1, -(-count // max(limit, 1)))
    return tuple(range(start, min(start + size, count)) for start in range(0, count, size))


def runs(xs: Sequence[float], ys: Sequence[float | None]) -> tuple[tuple[Point, ...], ...]:
    """The stretches without a gap (None) as points."""
    out: list[tuple[Point, ...]] = []
    current: list[Point] = []
    for x, y in zip(xs, ys, strict=False):
        if y is not None:
            current.append((x, y))
        elif current:
            out.append(tuple(current))
            current = []
    return (*out, tuple(current)) if current else tuple(out)


def extremes(points: Sequence[Point], limit: int) -> tuple[Point, ...]:
    """At most about `limit` points: of each group its lowest and its highest, in their order. No spike is averaged away."""
    if len(points) <= limit:
        return tuple(points)
    out: list[Point] = []
    for group in chunks(len(points), limit // 2):
        low = min(group, key=lambda place: points[place][1])
        high = max(group, key=lambda place: points[place][1])
        out += [points[place] for place in sorted({low, high})]
    return tuple(out)


def peaks(stacks: Sequence[Sequence[float]], limit: int) -> tuple[int, ...]:
    """Indices to draw of a stacked series: of each group the place with the greatest total. All when few enough."""
    count = min((len(layer) for layer in stacks), default=0)
    totals = [sum(layer[place] for layer in stacks) for place in range(count)]
    return tuple(max(group, key=lambda place: (totals[place], -place)) for group in chunks(count, limit))


def summed(values: Sequence[int], limit: int) -> tuple[int, ...]:
    """Totals per group, at most `limit`."""
    return tuple(sum(values[place] for place in group) for group in chunks(len(values), limit))


def worst(values: Sequence[int | None], limit: int) -> tuple[int | None, ...]:
    """The greatest present value per group, None where a group has none."""
    return tuple(
        max((value for place in group if (value := values[place]) is not None), default=None)
        for group in chunks(len(values), limit)
    )
