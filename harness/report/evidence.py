"""The evidence, section by section, built from a cleaned result. Tables hold every number; pictures repeat them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from harness.measure.series import FINE_NS, silence
from harness.model.measured import Instants
from harness.model.result import Result, Series
from harness.report import charts
from harness.report.figures import lanes, stretches, waterfall
from harness.report.frame import NARROW, WIDE, Variant, Words
from harness.report.meaning import parts_words, recovery_words
from harness.report.numbers import number, percent, ratio_text
from harness.report.page import Block, Cell, Column, Figure, Note, Picture, Section, Table
from harness.report.palette import LIGHT, SERIES
from harness.report.scene import Scene
from harness.report.series import chunks, summed, worst
from harness.report.svg import el
from harness.report.text import plural
from harness.units import NS_PER_S, format_duration

__all__ = ["cells", "columns", "impact_section", "recovery_section", "table", "timeline_section"]

ROWS = 40
MOST_EVENTS = 120
PARTLY_SERVED = 0.05
Draw = Callable[[Words, Variant], Markup | None]


def cells(*texts: str | Cell) -> tuple[Cell, ...]:
    """A row."""
    return tuple(text if isinstance(text, Cell) else Cell(text=text) for text in texts)


def columns(*heads: str) -> tuple[Column, ...]:
    """Columns from heads; one that begins with "#" holds numbers."""
    return tuple(Column(head=head.removeprefix("#"), numeric=head.startswith("#")) for head in heads)


def table(caption: str, heads: Sequence[str], rows: Sequence[tuple[Cell, ...]], most: int = 60) -> Table:
    """A table of at most `most` rows, with words for what is left out."""
    rest = len(rows) - most
    more = f"{rest:,} more rows are in result.json" if rest > 0 else ""
    return Table(caption=caption, columns=columns(*heads), rows=tuple(rows[:most]), more=more)


def _swatch(name: str, colour: str, dash: str = "") -> Markup:
    attributes: list[tuple[str, str | float | None]] = [
        ("x1", 0.0),
        ("y1", 6.0),
        ("x2", 22.0),
        ("y2", 6.0),
        ("stroke", LIGHT[colour]),
        ("class", f"k-{colour}"),
        ("stroke-width", 3.0 if not dash else 2.0),
        ("stroke-dasharray", dash or None),
    ]
    size: list[tuple[str, str | float | None]] = [("width", "22"), ("height", "12"), ("aria-hidden", "true")]
    return Markup(el("svg", size, el("title", [], str(escape(name))), el("line", attributes)))


def _picture(draw: Draw, words: Words) -> Picture | None:
    wide, narrow = draw(words, WIDE), draw(words, NARROW)
    return None if wide is None or narrow is None else Picture(wide=wide, narrow=narrow)


def timeline_section(result: Result, scene: Scene) -> Section:
    """Lanes and the table of moments."""
    moments = sorted(
        [(mark.at_ns, mark.kind, mark.text) for mark in result.marks]
        + [(span.start_ns, "phase", f"{span.phase} begins") for span in result.phases]
    )
    rows = [cells(scene.at(at_ns, 2), kind, text) for at_ns, kind, text in moments]
    parts = (plural(len(result.faults), "fault"), plural(len(result.steps), "step"))
    finding = f"{', '.join(parts)}, {plural(len(scene.disruptions), 'disruption')}. {scene.zero_words}."
    words = Words(name="lanes", title="Timeline", finding=finding)
    picture = _picture(lambda w, v: lanes(result, scene, w, v), words)
    events = table("Moments of the run", ("At", "Kind", "What"), rows, MOST_EVENTS)
    blocks: list[Block] = []
    if picture is not None and (result.phases or result.faults):
        blocks.append(
            Figure(anchor="fig-lanes", title="Who did what, when", finding=finding, picture=picture, table=events)
        )
    elif rows:
        blocks.append(events)
    return Section(anchor="timeline", title="Timeline", lead="", blocks=tuple(blocks))


def impact_section(result: Result, scene: Scene) -> Section:
    """Every chart over time."""
    series = result.series
    made = (
        _throughput(result, scene),
        _begun(series, scene),
        _errors(result, scene),
        _percentiles(series, scene, "latency"),
        _percentiles(series, scene, "ttft"),
        _regions(series, scene),
        _prober(series, scene),
    )
    figures = tuple(figure for figure in made if figure is not None)
    lead = (
        f"One bucket is {format_duration(series.bucket_ns)} of intended starts. Shaded: a fault stands. {scene.zero_words}."
        if figures
        else "No load was recorded."
    )
    return Section(anchor="impact", title="What users and probes saw", lead=lead, blocks=(*figures, *_undrawn(series)))


def _undrawn(series: Series) -> tuple[Note, ...]:
    """Why a percentile chart is missing although there was load."""
    lines = (series.latency_p50_ns, series.latency_p99_ns)
    if not sum(series.offered) or any(value is not None for values in lines for value in values):
        return ()
    bucket = format_duration(series.bucket_ns)
    text = f"Latency over time is not drawn: no bucket of {bucket} holds the 20 operations that a percentile needs."
    return (Note(lines=(f"{text} Percentiles by phase are under Latency.",)),)


def _from_column(series: Series, scene: Scene) -> list[str]:
    return [scene.at(series.t_ns[group[0]]) for group in chunks(len(series.t_ns), ROWS)]


def _throughput(result: Result, scene: Scene) -> Figure | None:
    series = result.series
    if not series.t_ns or not series.bucket_ns:
        return None
    per_s = NS_PER_S / series.bucket_ns
    peak = max(series.offered, default=0) * per_s
    low = min((g * per_s for g, o in zip(series.good, series.offered, strict=False) if o), default=0.0)
    finding = (
        f"Up to {number(round(peak, 1))} ops/s were offered; good answers fell to {number(round(low, 1))}/s at worst."
    )
    words = Words(name="throughput", title="Throughput, offered and good", finding=finding)
    picture = _picture(lambda w, v: charts.throughput_chart(scene, series, w, v), words)
    rows = [
        cells(at, f"{offered:,}", f"{good:,}")
        for at, offered, good in zip(
            _from_column(series, scene), summed(series.offered, ROWS), summed(series.good, ROWS), strict=False
        )
    ]
    if picture is None:
        return None
    return Figure(
        anchor="fig-throughput",
        title="Throughput: offered and good, ops per second",
        finding=finding,
        picture=picture,
        legend=(("good", _swatch("good", "good")), ("offered", _swatch("offered", "muted", "4 3"))),
        table=table("Operations offered and good, summed per row", ("From", "#Offered", "#Good"), rows),
    )


def _begun(series: Series, scene: Scene) -> Figure | None:
    """What a closed loop offered, finely: where it asked nothing, nothing could fail."""
    begun = series.begun_per_100ms
    if not begun:
        return None
    empty, place, length = silence(begun)
    finding = f"In {empty:,} of {len(begun):,} spans of 100 ms nothing was asked"
    if length > 1:
        since = scene.at(series.t_ns[0] + place * FINE_NS)
        finding += f", for {format_duration(length * FINE_NS)} on end from {since}"
    finding += ": where nothing was asked nothing could fail, which is not health."
    words = Words(name="begun", title="Requests begun, every 100 ms", finding=finding)
    picture = _picture(lambda w, v: charts.begun_chart(scene, series, w, v), words)
    rows = [
        cells(
            scene.at(series.t_ns[0] + group[0] * FINE_NS),
            *(f"{count:,}" for count in (len(group), *_filled(begun, group))),
        )
        for group in chunks(len(begun), ROWS)
    ]
    if picture is None:
        return None
    heads = ("From", "#Spans of 100 ms", "#Empty", "#Begun")
    return Figure(
        anchor="fig-begun",
        title="Closed loop: requests begun, per second, every 100 ms",
        finding=finding,
        picture=picture,
        legend=(("begun", _swatch("begun", "muted")),),
        table=table("Requests begun in spans of 100 ms, summed per row", heads, rows),
    )


def _filled(begun: Sequence[int], group: range) -> tuple[int, int]:
    return sum(not begun[place] for place in group), sum(begun[place] for place in group)


def _errors(result: Result, scene: Scene) -> Figure | None:
    series = result.series
    layers = charts.top_layers({k: v for k, v in series.errors.items() if sum(v)}, len(SERIES) - 1)
    totals = ", ".join(f"{name} {sum(values):,}" for name, values in layers)
    words = Words(name="errors", title="Bad operations by class", finding=f"Bad operations by class: {totals}.")
    picture = _picture(lambda w, v: charts.errors_chart(scene, series, w, v), words)
    if picture is None:
        return None
    sums = [summed(values, ROWS) for _, values in layers]
    rows = [
        cells(at, *(f"{column[place]:,}" for column in sums))
        for place, at in enumerate(_from_column(series, scene))
        if any(place < len(column) and column[place] for column in sums)
    ]
    return Figure(
        anchor="fig-errors",
        title="Bad operations per second, by class",
        finding=words.finding,
        picture=picture,
        legend=tuple((f"{name} ({sum(v):,})", _swatch(name, c)) for c, (name, v) in zip(SERIES, layers, strict=False)),
        table=table(
            "Bad operations by class, summed per row; rows without any are left out",
            ("From", *(f"#{name}" for name, _ in layers)),
            rows,
        ),
    )


def _percentiles(series: Series, scene: Scene, measure: str) -> Figure | None:
    latency = measure == "latency"
    lines = (
        (("p50", series.latency_p50_ns), ("p99", series.latency_p99_ns))
        if latency
        else (("p50", series.ttft_p50_ns), ("p95", series.ttft_p95_ns))
    )
    title = "Latency" if latency else "Time to first token"
    tops = [max((value for value in values if value is not None), default=None) for _, values in lines]
    peaks = ", ".join(
        f"{name} up to {format_duration(top)}" for (name, _), top in zip(lines, tops, strict=True) if top is not None
    )
    words = Words(name=measure, title=f"{title} over time", finding=f"{title}, from the intended start: {peaks}.")
    picture = _picture(lambda w, v: charts.percentile_chart(scene, series, w, v, lines), words)
    if picture is None:
        return None
    merged = [worst(values, ROWS) for _, values in lines]
    rows = [
        cells(at, *("–" if v is None else format_duration(v) for v in values))
        for at, *values in zip(_from_column(series, scene), *merged, strict=False)
    ]
    return Figure(
        anchor=f"fig-{measure}",
        title=f"{title}, logarithmic; gaps where too few operations stand behind a point",
        finding=words.finding,
        picture=picture,
        legend=tuple((name, _swatch(name, colour)) for (name, _), colour in zip(lines, ("good", "s2"), strict=True)),
        table=table(f"{title}: the worst bucket of each row", ("From", *(f"#{name}" for name, _ in lines)), rows),
    )


def _regions(series: Series, scene: Scene) -> Figure | None:
    layers = charts.top_layers({k: v for k, v in series.regions.items() if sum(v)}, len(SERIES) - 1)
    shares = ", ".join(f"{name} {sum(values):,}" for name, values in layers)
    words = Words(
        name="regions", title="Who served", finding=f"Good operations by the region that served them: {shares}."
    )
    picture = _picture(lambda w, v: charts.share_chart(scene, series, w, v), words)
    if picture is None:
        return None
    sums = [summed(values, ROWS) for _, values in layers]
    rows = [
        cells(at, *(f"{column[place]:,}" for column in sums)) for place, at in enumerate(_from_column(series, scene))
    ]
    return Figure(
        anchor="fig-regions",
        title="Traffic share by region, good operations",
        finding=words.finding,
        picture=picture,
        legend=tuple((f"{name} ({sum(v):,})", _swatch(name, c)) for c, (name, v) in zip(SERIES, layers, strict=False)),
        table=table("Good operations by region, summed per row", ("From", *(f"#{name}" for name, _ in layers)), rows),
    )


def _prober(series: Series, scene: Scene) -> Figure | None:
    good, bad = sum(series.prober_good), sum(series.prober_bad)
    finding = (
        f"The prober was answered well {good:,} times and badly {bad:,} times. It asks every region by its own entry, and one"
        " that stands by refuses until it is promoted."
    )
    words = Words(name="prober", title="Prober", finding=finding)
    picture = _picture(lambda w, v: charts.prober_chart(scene, series, w, v), words)
    if picture is None:
        return None
    rows = [
        cells(at, f"{g:,}", f"{b:,}")
        for at, g, b in zip(
            _from_column(series, scene), summed(series.prober_good, ROWS), summed(series.prober_bad, ROWS), strict=False
        )
    ]
    return Figure(
        anchor="fig-prober",
        title="Prober: good above the line, bad below",
        finding=finding,
        picture=picture,
        legend=(("good", _swatch("good", "good")), ("bad", _swatch("bad", "fail"))),
        table=table("Prober answers, summed per row", ("From", "#Good", "#Bad"), rows),
    )


def _moment(instants: Instants, name: str) -> str:
    """A moment's time, or why there is none."""
    ns: int | None = getattr(instants, f"{name}_ns")
    return instants.why.get(name, "–") if ns is None else format_duration(ns)


def _redundancy(instants: Instants) -> str:
    span = instants.redundancy
    if span is None:
        return instants.why.get("redundancy", "–")
    return f"> {format_duration(span.lo_ns)}" if span.hi_ns is None else f"at most {format_duration(span.hi_ns)}"


def _amplified(instants: Instants) -> tuple[str, str]:
    if instants.retry_amplification is None:
        return instants.why.get("retry_amplification", "–"), "wire attempts per operation, during over before"
    before, during = instants.attempts_before, instants.attempts_during
    if before is None or during is None:
        return number(instants.retry_amplification), "wire attempts per operation, during over before"
    return (
        f"x {instants.retry_amplification:.2f}",
        f"{during:.2f} wire attempts per operation, {before:.2f} before the fault",
    )


def _gap_words(result: Result) -> str:
    """What the longest gap says. Nothing of the outage's length when part of the operations were good all along."""
    hurt = [span for span in result.measures.disruptions if span.edge != "revert" and span.valid]
    served = max(((span.valid - span.bad) / span.valid for span in hurt), default=0.0)
    if served < PARTLY_SERVED:
        return "longest time without any good completion"
    return f"not how long the outage was: {percent(served)} of its operations were good, see the error period"


def recovery_section(result: Result, scene: Scene) -> Section:
    """How long, by whom, made of what."""
    measures, instants = result.measures, result.measures.instants
    rows = [
        cells(
            "Recovery time",
            recovery_words(measures.recovery),
            "effect of the first fault that hurt, to the last disruption's end",
        ),
        cells(
            "Recovery after the return",
            recovery_words(measures.recovery_return),
            "disruption caused by taking faults away",
        ),
        cells(
            "Recovery, seen by the prober",
            recovery_words(measures.recovery_prober),
            "small operations beside the users",
        ),
        cells("Error period", _moment(instants, "error_period"), "from the first to the last bad operation's start"),
        cells("Last error seen", _moment(instants, "last_error_seen"), "later than the period by up to the timeouts"),
        cells("Detection", _moment(instants, "detection"), instants.detection_source or "first authoritative event"),
        cells("Failover", _moment(instants, "failover"), "first operation acknowledged by the new holder"),
        cells("First success", _moment(instants, "first_success"), "first good answer after the effect"),
        cells("Failback", _moment(instants, "failback"), "traffic shares within 5 points of before"),
        cells("Longest gap", _moment(instants, "gap"), _gap_words(result)),
        cells("Backlog drained", _moment(instants, "backlog"), "until no more operations were open than in calm"),
        cells("Full redundancy", _redundancy(instants), "until every instance was ready and every settling rule held"),
        cells("Gray time", _moment(instants, "gray"), "clients suffered while health signals were green"),
        cells("Retry amplification", *_amplified(instants)),
    ]
    blocks: list[Block] = []
    parts = stretches(result)
    text = parts_words(result)
    if text:
        words = Words(
            name="waterfall", title="Recovery, part by part", finding=f"Until service was proven back: {text}."
        )
        picture = _picture(lambda w, v: waterfall(parts, w, v), words)
        if picture is not None:
            blocks.append(
                Figure(anchor="fig-waterfall", title="Recovery, part by part", finding=words.finding, picture=picture)
            )
    blocks.append(table("Clocks, from the effect", ("Clock", "Measured", "Which is"), rows))
    rule = f"Trailing window {format_duration(measures.window_ns)}"
    if measures.smallest_outage_ns is not None:
        rule += f"; the smallest full outage it surely sees is {format_duration(measures.smallest_outage_ns)}"
    if measures.steady_bad_upper_ratio is not None:
        rule += f"; the steady state's bad share is at most {ratio_text(measures.steady_bad_upper_ratio)} (95 %)"
    blocks.append(_disruptions(result, scene))
    return Section(anchor="recovery", title="Recovery", lead=f"{rule}.", blocks=tuple(blocks))


def _disruptions(result: Result, scene: Scene) -> Block:
    spans = result.measures.disruptions
    if not spans:
        return Note(lines=("No disruption: no window was worse than chance allows.",))
    rows = [
        cells(
            scene.at(span.start_ns, 2),
            "not ended" if span.end_ns is None else scene.at(span.end_ns, 2),
            "–" if span.end_ns is None else format_duration(span.end_ns - span.start_ns),
            f"{span.cause} ({span.edge})" if span.cause and span.edge else span.cause or "nothing of ours",
            f"{span.bad:,} of {span.valid:,}",
        )
        for span in spans
    ]
    return table("Disruptions", ("From", "To", "Length", "Cause", "#Bad operations"), rows)
