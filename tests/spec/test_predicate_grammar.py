"""The predicate grammar: units, slices, and what is said about what makes no sense."""

# ruff: noqa: E501 -- messages are given whole

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.predicate import FAMILIES, Known, parse_predicate

KNOWN = Known(
    slos=("availability", "ttft"),
    probes=("repl-lag",),
    groups=("sticky", "follow", "region:eu"),
    regions=("eu", "us"),
    counts={"exactly-once": ("duplicates",), "durable": ("lost",), "residency": ()},
)


@pytest.mark.parametrize(
    ("text", "name", "op", "value", "unit"),
    [
        ("recovery_time <= 5s", "recovery_time", "<=", 5_000_000_000, "ns"),
        ("recovery_time.return<=1.5s", "recovery_time.return", "<=", 1_500_000_000, "ns"),
        ("recovery_time.prober < 5s", "recovery_time.prober", "<", 5_000_000_000, "ns"),
        ("good >= 99.9%", "good", ">=", 0.999, "ratio"),
        ("bad < 0.1 %", "bad", "<", 0.001, "ratio"),
        ("valid > 100", "valid", ">", 100, "count"),
        ("mid_stream = 0", "mid_stream", "=", 0, "count"),
        ("attempts <= 1.5", "attempts", "<=", 1.5, "number"),
        ("data_loss = 0", "data_loss", "=", 0, "count"),
        ("data_loss.share <= 0.5%", "data_loss.share", "<=", 0.005, "ratio"),
        ("data_loss.span <= 2s", "data_loss.span", "<=", 2_000_000_000, "ns"),
        ("data_loss.until <= 2s", "data_loss.until", "<=", 2_000_000_000, "ns"),
        ("budget.availability > 150%", "budget.availability", ">", 1.5, "ratio"),
        ("burn.ttft < 14.4", "burn.ttft", "<", 14.4, "number"),
        ("latency.p99 <= 2s", "latency.p99", "<=", 2_000_000_000, "ns"),
        ("latency.p99.9.all <= 2s", "latency.p99.9.all", "<=", 2_000_000_000, "ns"),
        ("ttft.p95 <= 800ms", "ttft.p95", "<=", 800_000_000, "ns"),
        ("probe.repl-lag.max = 0", "probe.repl-lag.max", "=", 0, "number"),
        ("probe.repl-lag.mean > -1.5", "probe.repl-lag.mean", ">", -1.5, "number"),
        ("alert.RegionDown.fires <= 60s", "alert.RegionDown.fires", "<=", 60_000_000_000, "ns"),
        ("exactly-once.duplicates != 1", "exactly-once.duplicates", "!=", 1, "count"),
        ("steady_state.after = 0", "steady_state.after", "=", 0, "count"),
        ("failover <= 10s", "failover", "<=", 10_000_000_000, "ns"),
    ],
)
def test_units_follow_the_measure(text: str, name: str, op: str, value: float, unit: str) -> None:
    parsed = parse_predicate(text, KNOWN)
    assert (parsed.measure.name, parsed.op, parsed.value, parsed.unit) == (name, op, value, unit)
    assert (parsed.for_ns, parsed.text) == (None, text)


def test_for_and_slices() -> None:
    parsed = parse_predicate("  good { group = follow, f=append} >= 99%  for 3s ", KNOWN)
    assert parsed.for_ns == 3_000_000_000
    assert parsed.measure.where == {"group": "follow", "f": "append"}
    assert str(parsed.measure) == "good{f=append,group=follow}"
    assert parse_predicate("good{group=region:eu} >= 9%", KNOWN).measure.where == {"group": "region:eu"}
    assert parse_predicate("probe.repl-lag.max{phase=settle} = 0", KNOWN).measure.where == {"phase": "settle"}


def test_999_of_1000_are_99_9_percent() -> None:
    assert parse_predicate("good >= 99.9%").holds(999 / 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected MEASURE OP VALUE [for DURATION] such as \"good >= 99% for 3s\", got ''"),
        ("good", "expected MEASURE OP VALUE [for DURATION] such as \"good >= 99% for 3s\", got 'good'"),
        ("good >= 5s", "good is a share: expected a value such as \"99%\", got '5s'; for how long is said behind it: \"good >= 99% for 5s\""),
        ("good >= 99", "good is a share: expected a value such as \"99%\", got '99'; did you mean \"good >= 99%\"?"),
        ("good >= 120%", "good is a share and never above 100%, got '120%'"),
        ("good == 99%", "expected one equals sign, got 'good == 99%'; did you mean \"good = 99%\"?"),
        ("recovery_time <= 99%", "recovery_time is a duration: expected a value such as \"5s\", got '99%'; durations are a number and ns, us, ms, s, m, h or d"),
        ("recovery_time <= 5", "recovery_time is a duration: expected a value such as \"5s\", got '5'; did you mean \"recovery_time <= 5s\"?"),
        ("recovery_time <= 5s for 3s", "recovery_time is one value of the whole run, got 'for 3s'; leave out the `for`"),
        ("recovery_time.retrn <= 5s", "unknown measure 'recovery_time.retrn'; did you mean 'recovery_time.return'?"),
        ("good >= 99% for three", "expected a duration such as '15s', got 'three'"),
        ("good >= 99% for 0s", "expected a duration above 0 after for, got '0s'"),
        ("data_loss <= 5s", "data_loss is a count: expected a value such as \"0\", got '5s'; the time is \"data_loss.span <= 5s\""),
        ("data_loss <= 1%", "data_loss is a count: expected a value such as \"0\", got '1%'; the share is \"data_loss.share <= 1%\""),
        ("data_loss = 0.5", "data_loss is a count: expected a whole number, got '0.5'"),
        ("budget > 1%", "unknown measure 'budget'; budget is written budget.SLO"),
        ("budget.avail > 1%", "unknown SLO 'avail'; known: availability, ttft"),
        ("latency <= 2s", "unknown measure 'latency'; latency is written latency.pN or latency.pN.all"),
        ("ttft.p95.all <= 2s", "unknown measure 'ttft.p95.all'; ttft is written ttft.pN"),
        ("probe.repl-lag.p99 = 0", "unknown measure 'probe.repl-lag.p99'; probe is written probe.NAME.min or probe.NAME.max or probe.NAME.mean or probe.NAME.last"),
        ("probe.lag.max = 0", "unknown probe 'lag'; known: repl-lag"),
        ("probe.repl-lag.max <= 5s", "probe.repl-lag.max is a plain number: expected a value such as \"1.5\", got '5s'; a probe's value is compared in the probe's own unit"),
        ("exactly-once.dups = 0", "unknown count 'dups' of check 'exactly-once'; known: exactly-once.duplicates"),
        ("residency.rows = 0", "unknown count 'rows' of check 'residency'; known: it has none"),
        ("good{grop=x} >= 1%", "unknown slice 'grop'; did you mean 'group'?; known: group, region, f, phase, served_by"),
        ("good{group=stiky} >= 1%", "unknown group 'stiky'; did you mean 'sticky'?; known: sticky, follow, region:eu"),
        ("good{x} >= 1%", "expected a slice such as {group=follow}, got {x}"),
        ("good{f=a,f=b} >= 1%", "slice 'f' is given twice"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".*") as caught:
        parse_predicate(text, KNOWN)
    assert str(caught.value) == message


def test_an_unknown_measure_lists_all_there_are() -> None:
    with pytest.raises(ValueError, match="unknown measure 'recovry'") as caught:
        parse_predicate("recovry <= 5s", KNOWN)
    for name in (*FAMILIES, "exactly-once.COUNT"):
        assert name in str(caught.value)


def test_without_names_any_check_count_may_be_meant_but_no_slip() -> None:
    assert parse_predicate("exactly-once.duplicates = 0").unit == "count"
    with pytest.raises(ValueError, match="did you mean 'recovery_time'"):
        parse_predicate("recovry_time.return <= 1s")


@given(st.text(max_size=40))
def test_any_text_is_a_predicate_or_a_value_error(text: str) -> None:
    try:
        parsed = parse_predicate(text, KNOWN)
    except ValueError as exc:
        assert str(exc)
    else:
        assert parse_predicate(str(parsed), KNOWN) == parsed


NAMES = sorted(
    {*FAMILIES, "latency.p99", "ttft.p5", "budget.availability", "probe.repl-lag.max", "durable.lost", "x.y"}
)


@given(
    st.sampled_from(NAMES),
    st.sampled_from(["<=", ">=", "<", ">", "=", "!=", "==", "=<"]),
    st.sampled_from(["5s", "99%", "0", "1.5", "-1", "five", ""]),
    st.sampled_from(["", " for 3s", " for", " for x"]),
)
def test_any_combination_is_a_predicate_or_a_value_error(name: str, op: str, value: str, tail: str) -> None:
    try:
        parsed = parse_predicate(f"{name} {op} {value}{tail}", KNOWN)
    except ValueError as exc:
        assert str(exc)
    else:
        assert isinstance(parsed.value, float | int)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("detection{f=turn} <= 1s", "nothing measures detection for f=turn alone; leave out the slice"),
        ("failback{region=eu} <= 1s", "nothing measures failback for region=eu alone; leave out the slice"),
        (
            "recovery_time{phase=settle} <= 1s",
            "nothing measures recovery_time for phase=settle alone; it can be cut by group, region, f, served_by",
        ),
        (
            "recovery_time.prober{group=follow} <= 1s",
            "nothing measures recovery_time.prober for group=follow alone; leave out the slice",
        ),
        ("data_loss{region=eu} = 0", "nothing measures data_loss for region=eu alone; it can be cut by group, f"),
        (
            "probe.repl-lag.max{f=turn} = 0",
            "nothing measures probe.repl-lag.max for f=turn alone; it can be cut by phase",
        ),
        (
            "alert.Down.fires{region=eu} <= 1s",
            "nothing measures alert.Down.fires for region=eu alone; leave out the slice",
        ),
        (
            "steady_state.after{group=follow} = 0",
            "nothing measures steady_state.after for group=follow alone; leave out the slice",
        ),
        ("durable.lost{f=turn} = 0", "nothing measures durable.lost for f=turn alone; leave out the slice"),
    ],
)
def test_a_slice_that_nothing_measures_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_predicate(text, KNOWN)
    assert str(caught.value) == said
