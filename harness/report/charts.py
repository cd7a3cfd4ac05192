"""The time charts: impact ribbon, throughput, errors by class, percentiles, traffic share, prober. Pure, result to SVG.

Each is drawn from `series`; None when there is nothing to draw. Gaps stay gaps: no traffic is not 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10

from markupsafe import Markup

from harness.measure.series import FINE_NS
from harness.model.result import Series
from harness.report.frame import Frame, Variant, Words
from harness.report.palette import SERIES
from harness.report.scene import Scene
from harness.report.series import extremes, peaks, runs
from harness.report.svg import fmt, line, log_ticks, nice_ticks, path, text
from harness.units import NS_PER_S, format_duration

__all__ = [
    "begun_chart",
    "errors_chart",
    "good_shares",
    "percentile_chart",
    "prober_chart",
    "ribbon",
    "share_chart",
    "throughput_chart",
    "top_layers",
]

POINTS = 300
Points = Sequence[tuple[float, float]]


def good_shares(series: Series) -> tuple[float | None, ...]:
    """Good over offered per bucket, None where nothing was offered."""
    return tuple(
        min(good / offered, 1.0) if offered else None
        for good, offered in zip(series.good, series.offered, strict=False)
    )


def _line_d(points: Points) -> str:
    return "".join(f"{'L' if place else 'M'}{fmt(x)} {fmt(y)}" for place, (x, y) in enumerate(points))


def _area_d(points: Points, foot: float) -> str:
    return f"{_line_d(points)}L{fmt(points[-1][0])} {fmt(foot)}L{fmt(points[0][0])} {fmt(foot)}Z"


def _stepped(frame: Frame, series: Series, points: Points) -> Points:
    """Shares by place of bucket as steps, each as wide as its bucket: none leans into what was before it."""
    out: list[tuple[float, float]] = []
    for place, share in points:
        start_ns, y = series.t_ns[int(place)], frame.y(share)
        left, right = (frame.x(start_ns), y), (frame.x(start_ns + series.bucket_ns), y)
        if out and out[-1][1] == y:
            out[-1] = right
        else:
            out += [left, right]
    return out


def _xs(frame: Frame, series: Series) -> list[float]:
    return [frame.x(t + series.bucket_ns / 2) for t in series.t_ns]


def _visible(scene: Scene, series: Series, values: Sequence[float | None]) -> list[float | None]:
    return [
        value if t + series.bucket_ns > scene.start_ns and t < scene.end_ns else None
        for t, value in zip(series.t_ns, values, strict=False)
    ]


def ribbon(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """Good share over time: what users saw, with what they missed filled, faults shaded, moments named."""
    if not series.t_ns:
        return None
    frame = Frame(scene, variant, 96, labels=True)
    body = frame.value_axis([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")])
    places = range(len(series.t_ns))
    for points in runs(places, _visible(scene, series, good_shares(series))):
        drawn = _stepped(frame, series, points)
        body.append(path(_area_d(drawn, frame.plot.bottom), fill="good-fill"))
        if min(y for _, y in points) < 1:
            body.append(path(_area_d(drawn, frame.y(1.0)), fill="harm-fill"))
        body.append(path(_line_d(drawn), stroke="good", width=1.8))
    body += frame.bands()
    below = frame.feet(body)
    body += frame.marker_lines()
    body += frame.time_axis()
    return frame.finish(words, body, below=below)


def throughput_chart(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """Offered against good, ops per second."""
    if not series.t_ns or not series.bucket_ns:
        return None
    per_s = NS_PER_S / series.bucket_ns
    top = nice_ticks(max([*series.offered, *series.good, 0]) * per_s)
    frame = Frame(scene, variant, 130)
    body = frame.value_axis([(tick / top[-1], f"{tick:g}") for tick in top])
    xs = _xs(frame, series)
    layers = ((series.good, "good", 1.8, "", "good-fill"), (series.offered, "muted", 1.1, "4 3", None))
    for values, colour, width, dash, fill in layers:
        rates = [value * per_s / top[-1] for value in values]
        for points in runs(xs, _visible(scene, series, rates)):
            drawn = [(x, frame.y(y)) for x, y in extremes(points, POINTS)]
            if fill:
                body.append(path(_area_d(drawn, frame.plot.bottom), fill=fill))
            body.append(path(_line_d(drawn), stroke=colour, width=width, dash=dash))
    body += frame.bands() + frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)


def begun_chart(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """What a closed loop began, per second, as it was every 100 ms; no empty stretch is averaged away."""
    begun = series.begun_per_100ms
    if not begun:
        return None
    fine = series.model_copy(
        update={"bucket_ns": FINE_NS, "t_ns": tuple(series.t_ns[0] + place * FINE_NS for place in range(len(begun)))}
    )
    top = nice_ticks(max(begun) * NS_PER_S / FINE_NS)
    frame = Frame(scene, variant, 90)
    body = frame.bands() + frame.value_axis([(tick / top[-1], f"{tick:g}") for tick in top])
    rates = [count * NS_PER_S / FINE_NS / top[-1] for count in begun]
    for points in runs(_xs(frame, fine), _visible(scene, fine, rates)):
        drawn = [(x, frame.y(y)) for x, y in extremes(points, POINTS)]
        body.append(path(_area_d(drawn, frame.plot.bottom), fill="good-fill"))
        body.append(path(_line_d(drawn), stroke="muted", width=1))
    body += frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)


def top_layers(layers: Mapping[str, Sequence[int]], keep: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The `keep` layers with the greatest totals, greatest first; what is left over as one, "other"."""
    ranked = sorted(layers.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown = [(name, tuple(values)) for name, values in ranked[:keep]]
    rest = [values for _, values in ranked[keep:]]
    if rest:
        shown.append((f"{len(rest)} other classes", tuple(sum(column) for column in zip(*rest, strict=False))))
    return tuple(shown)


def errors_chart(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """Bad ops per second, stacked by error class."""
    layers = top_layers({k: v for k, v in series.errors.items() if sum(v)}, len(SERIES) - 1)
    if not layers or not series.bucket_ns:
        return None
    return _stacked(scene, series, words, variant, layers)


def _stacked(
    scene: Scene, series: Series, words: Words, variant: Variant, layers: Sequence[tuple[str, tuple[int, ...]]]
) -> Markup:
    per_s = NS_PER_S / series.bucket_ns
    totals = [sum(column) for column in zip(*(values for _, values in layers), strict=False)]
    top = nice_ticks(max(totals, default=0) * per_s)
    frame = Frame(scene, variant, 130)
    body = frame.bands() + frame.value_axis([(tick / top[-1], f"{tick:g}") for tick in top])
    places = [
        place
        for place in peaks([values for _, values in layers], POINTS)
        if scene.start_ns - series.bucket_ns < series.t_ns[place] < scene.end_ns
    ]
    body += _bars(frame, series, layers, places, per_s / top[-1])
    body += frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)


def _bars(
    frame: Frame,
    series: Series,
    layers: Sequence[tuple[str, tuple[int, ...]]],
    places: Sequence[int],
    scale: float,
) -> list[str]:
    """One path per layer, a bar per drawn bucket: steps show what was counted, without inventing slopes."""
    gap = (places[1] - places[0]) if len(places) > 1 else 1
    out: list[str] = []
    foot = [0.0] * len(series.t_ns)
    for colour, (_, values) in zip(SERIES, layers, strict=False):
        d = ""
        for place in places:
            if not values[place]:
                continue
            low, high = foot[place], foot[place] + values[place] * scale
            left = frame.x(series.t_ns[place])
            right = frame.x(series.t_ns[place] + gap * series.bucket_ns)
            d += f"M{fmt(left)} {fmt(frame.y(low))}V{fmt(frame.y(high))}H{fmt(max(right, left + 0.8))}V{fmt(frame.y(low))}Z"
            foot[place] = high
        if d:
            out.append(path(d, fill=colour))
    return out


def percentile_chart(
    scene: Scene, series: Series, words: Words, variant: Variant, lines: Sequence[tuple[str, Sequence[int | None]]]
) -> Markup | None:
    """Percentiles over time on a logarithmic scale; no line where too few ops stand behind it."""
    present = [value for _, values in lines for value in values if value is not None and value > 0]
    if not present:
        return None
    low, high = min(present) / 1.3, max(present) * 1.3
    span = log10(high) - log10(low)
    frame = Frame(scene, variant, 130)
    ticks = [((log10(tick) - log10(low)) / span, format_duration(round(tick))) for tick in log_ticks(low, high)]
    body = frame.bands() + frame.value_axis(ticks)
    xs = _xs(frame, series)
    for colour, dash, (_, values) in zip(("good", "s2", "s4"), ("", "", "5 2"), lines, strict=False):
        shares = [None if value is None or value <= 0 else (log10(value) - log10(low)) / span for value in values]
        for points in runs(xs, _visible(scene, series, shares)):
            drawn = [(x, frame.y(y)) for x, y in extremes(points, POINTS)]
            if len(drawn) == 1:
                drawn = [(drawn[0][0] - 1, drawn[0][1]), (drawn[0][0] + 1, drawn[0][1])]
            body.append(path(_line_d(drawn), stroke=colour, width=1.6, dash=dash))
    body += frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)


def share_chart(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """Who served the good ops, as shares of each moment; blank where nobody did."""
    layers = top_layers({k: v for k, v in series.regions.items() if sum(v)}, len(SERIES) - 1)
    if not layers:
        return None
    frame = Frame(scene, variant, 90)
    totals = [sum(column) for column in zip(*(values for _, values in layers), strict=False)]
    places = [
        place
        for place in peaks([values for _, values in layers], POINTS)
        if totals[place] and scene.start_ns - series.bucket_ns < series.t_ns[place] < scene.end_ns
    ]
    body = frame.value_axis([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")])
    gap = max(1, -(-len(series.t_ns) // POINTS))
    foot = dict.fromkeys(places, 0.0)
    for colour, (_, values) in zip(SERIES, layers, strict=False):
        d = ""
        for place in places:
            low, high = foot[place], foot[place] + values[place] / totals[place]
            foot[place] = high
            if high > low:
                left, right = frame.x(series.t_ns[place]), frame.x(series.t_ns[place] + gap * series.bucket_ns)
                d += f"M{fmt(left)} {fmt(frame.y(low))}V{fmt(frame.y(high))}H{fmt(right)}V{fmt(frame.y(low))}Z"
        if d:
            body.append(path(d, fill=colour))
    body += frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)


def prober_chart(scene: Scene, series: Series, words: Words, variant: Variant) -> Markup | None:
    """The prober's answers: good above the line, bad below, so that shape as well as colour tells them apart."""
    if not sum(series.prober_good) + sum(series.prober_bad):
        return None
    frame = Frame(scene, variant, 60)
    most = max([*series.prober_good, *series.prober_bad, 1])
    middle = frame.y(0.5)
    body = frame.bands()
    for values, colour, side in ((series.prober_good, "good", 0.5), (series.prober_bad, "fail", -0.5)):
        d = ""
        for place in peaks([values], POINTS):
            if values[place] and scene.start_ns <= series.t_ns[place] < scene.end_ns:
                tip = frame.y(0.5 + side * values[place] / most)
                d += f"M{fmt(frame.x(series.t_ns[place] + series.bucket_ns / 2))} {fmt(middle)}V{fmt(tip)}"
        if d:
            body.append(path(d, stroke=colour, width=1.6))
    body.append(line((frame.plot.x, middle), (frame.plot.right, middle), "rule"))
    body.append(text((frame.plot.x - 6, frame.plot.y + 14), "good", anchor="end"))
    body.append(text((frame.plot.x - 6, frame.plot.bottom - 4), "bad", anchor="end"))
    body += frame.quiet_lines() + frame.time_axis()
    return frame.finish(words, body)
