"""The one predicate grammar, `MEASURE[{slice}] OP VALUE [for DURATION]`: names, units, sense. Not: what a run makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import cast

from harness.model.predicate import MeasureRef, Operator, Predicate, Unit
from harness.units import parse_duration, parse_ratio

__all__ = ["FAMILIES", "PHASES", "Family", "Known", "parse_predicate"]

PHASES = ("warmup", "steady", "inject", "observe", "heal", "settle", "drain", "final")
SLICES = ("group", "region", "f", "phase", "served_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Measures of one name. `rests` are what may follow it after a dot ("" for nothing).

    `spanned`: it has a value over any span of time, so `for` makes sense and rules may watch it while a run goes on; else
    it is one value of the whole run. `share`: a ratio that cannot exceed 1. `slices`: what it can be cut by.
    """

    unit: Unit
    rests: tuple[str, ...] = ("",)
    spanned: bool = False
    share: bool = False
    slices: tuple[str, ...] = ()


_OF_OPS = ("group", "region", "f", "served_by")
_WHOLE = Family(unit="ns")
_TIME = Family(unit="ns", slices=_OF_OPS)
_SHARE = Family(unit="ratio", spanned=True, share=True, slices=SLICES)
_LATENCY = Family(unit="ns", rests=("pN",), spanned=True, slices=SLICES)
_COST = Family(unit="ratio", rests=("SLO",), spanned=True, slices=_OF_OPS)
_PROBE = ("NAME.min", "NAME.max", "NAME.mean", "NAME.last")
FAMILIES: Mapping[str, Family] = {
    "good": _SHARE,
    "bad": _SHARE,
    "valid": Family(unit="count", spanned=True, slices=SLICES),
    "availability": _SHARE,
    "mid_stream": Family(unit="count", slices=SLICES),
    "gap": _TIME,
    "first_success": _TIME,
    "last_error_seen": _TIME,
    "detection": _WHOLE,
    "failover": _TIME,
    "failback": _WHOLE,
    "attempts": Family(unit="number", slices=SLICES),
    "recovery_time": Family(unit="ns", rests=("", "return", "prober"), slices=_OF_OPS),
    "data_loss": Family(unit="count", rests=("", "share", "span", "until"), slices=("group", "f")),
    "budget": _COST,
    "burn": replace(_COST, unit="number", spanned=False),
    "latency": replace(_LATENCY, rests=("pN", "pN.all")),
    "ttft": _LATENCY,
    "probe": Family(unit="number", rests=_PROBE, spanned=True, slices=("phase",)),
    "alert": Family(unit="ns", rests=("NAME.fires", "NAME.clears")),
    "steady_state": Family(unit="count", rests=("after",)),
}
"""Every measure but the checks' counts, by the first part of its name."""

_UNITS: Mapping[str, Unit] = {"data_loss.share": "ratio", "data_loss.span": "ns", "data_loss.until": "ns"}
_WORDING: Mapping[Unit, tuple[str, str]] = {
    "ns": ("a duration", '"5s"'),
    "ratio": ("a share", '"99%"'),
    "count": ("a count", '"0"'),
    "number": ("a plain number", '"1.5"'),
}
_MEASURE = r"(?P<measure>[A-Za-z][\w.-]*)\s*(?:\{(?P<where>[^{}]*)\})?"
_PREDICATE = re.compile(rf"{_MEASURE}\s*(?P<op><=|>=|!=|==|=|<|>)\s*(?P<value>.*?)(?:\s+for\s+(?P<for>.*))?", re.DOTALL)
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The names that predicates of one experiment may use; None where that is not known, and not checked.

    `counts` maps each of the experiment's checks to the counts of its kind.
    """

    slos: tuple[str, ...] | None = None
    probes: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    counts: Mapping[str, tuple[str, ...]] | None = None


def parse_predicate(text: str, known: Known | None = None) -> Predicate:
    """The predicate in a text such as "good{group=follow} >= 99% for 3s".

    Durations become ns, percentages ratios (99% is 0.99). Raises ValueError naming what is wrong and what would be right:
    not the grammar, an unknown measure or name, a value in another unit, a limit that makes no sense. With `known` absent
    every SLO, probe, group, region and check is taken to exist.
    """
    known = known or Known()
    match = _PREDICATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'expected MEASURE OP VALUE [for DURATION] such as "good >= 99% for 3s", got {text!r}')
    name = match["measure"]
    family, unit = _family(name, known)
    where = _where(match["where"], known)
    _cut(name, where, family)
    if match["op"] == "==":
        raise ValueError(f'expected one equals sign, got {text!r}; did you mean "{text.strip().replace("==", "=")}"?')
    value = _value(name, match["value"].strip(), unit, match["op"])
    if family.share and value > 1:
        raise ValueError(f"{name} is a share and never above 100%, got {match['value'].strip()!r}")
    for_ns = None if match["for"] is None else _for(name, match["for"].strip(), family)
    return Predicate(
        measure=MeasureRef(name=name, where=where),
        op=cast(Operator, match["op"]),
        value=value,
        unit=unit,
        for_ns=for_ns,
        text=text.strip(),
    )


def _cut(name: str, where: Mapping[str, str], family: Family) -> None:
    """Refuse a slice by which nothing measures this."""
    slices = () if name == "recovery_time.prober" else family.slices
    for key, value in where.items():
        if key not in slices:
            how = f"it can be cut by {', '.join(slices)}" if slices else "leave out the slice"
            raise ValueError(f"nothing measures {name} for {key}={value} alone; {how}")


def _for(name: str, text: str, family: Family) -> int:
    if not family.spanned:
        raise ValueError(f"{name} is one value of the whole run, got 'for {text}'; leave out the `for`")
    for_ns = parse_duration(text)
    if for_ns <= 0:
        raise ValueError(f"expected a duration above 0 after for, got {text!r}")
    return for_ns


def _value(name: str, text: str, unit: Unit, op: str) -> float:
    what, example = _WORDING[unit]
    wrong = f"{name} is {what}: expected a value such as {example}, got {text!r}"
    try:
        match unit:
            case "ns":
                return parse_duration(text)
            case "ratio":
                return parse_ratio(text)
    except ValueError as exc:
        hint = ""
        if _NUMBER.fullmatch(text):
            hint = f'; did you mean "{name} {op} {text}{"s" if unit == "ns" else "%"}"?'
        elif name in ("latency", "recovery_time") or unit == "ns":
            hint = "; durations are a number and ns, us, ms, s, m, h or d"
        elif name == "good" and text.rstrip("smhdnu") != text:
            hint = '; for how long is said behind it: "good >= 99% for 5s"'
        raise ValueError(f"{wrong}{hint}") from exc
    if not _NUMBER.fullmatch(text):
        hint = "; a probe's value is compared in the probe's own unit" if name.startswith("probe.") else ""
        if text.endswith("%") and name == "data_loss":
            hint = f'; the share is "data_loss.share {op} {text}"'
        if name == "data_loss" and text[-1:] in ("s", "m", "h"):
            hint = f'; the time is "data_loss.span {op} {text}"'
        raise ValueError(f"{wrong}{hint}")
    if unit == "count" and (float(text) < 0 or float(text) != int(float(text))):
        raise ValueError(f"{name} is a count: expected a whole number, got {text!r}")
    return float(text)


def _family(name: str, known: Known) -> tuple[Family, Unit]:
    head, _, rest = name.partition(".")
    family = FAMILIES.get(head)
    if family is None or (known.counts is not None and head in known.counts):
        return _count(name, head, rest, known)
    shape = _shape(head, rest)
    if shape not in family.rests:
        raise ValueError(_misshapen(name, head, rest, family))
    if head in ("budget", "burn"):
        _expect("SLO", rest, known.slos)
    if head == "probe":
        _expect("probe", rest.rpartition(".")[0], known.probes)
    return family, _UNITS.get(name, family.unit)


def _shape(head: str, rest: str) -> str:
    """The rest of a name with its argument replaced by what stands for it: "p99.all" is "pN.all"."""
    if head in ("latency", "ttft"):
        first, dot, last = rest.rpartition(".") if rest.endswith(".all") else (rest, "", "")
        return f"pN{dot}{last}" if _PERCENTILE.fullmatch(first) else rest
    if head in ("budget", "burn"):
        return "SLO" if _NAME.fullmatch(rest) else rest
    if head in ("probe", "alert"):
        argument, dot, stat = rest.rpartition(".")
        return f"NAME.{stat}" if dot and _NAME.fullmatch(argument) else rest
    return rest


def _misshapen(name: str, head: str, rest: str, family: Family) -> str:
    forms = [f"{head}.{form}" if form else head for form in family.rests]
    close = get_close_matches(name, forms, n=1, cutoff=0.7)
    hint = f"; did you mean {close[0]!r}?" if close and rest else ""
    if hint == "":
        hint = f"; {head} is written {' or '.join(forms)}"
    return f"unknown measure {name!r}{hint}"


def _count(name: str, head: str, rest: str, known: Known) -> tuple[Family, Unit]:
    family = Family(unit="count")
    measures = (*FAMILIES, *(known.counts or ()))
    close = get_close_matches(head, measures, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if known.counts is None:
        # Without the experiment's checks any "check.count" may be meant, but a slip in a measure's name is none.
        if rest and "." not in rest and not close:
            return family, "count"
        raise ValueError(f"unknown measure {name!r}{hint}; known: {', '.join(FAMILIES)}")
    counts = known.counts.get(head)
    if counts is None:
        listed = ", ".join((*FAMILIES, *(f"{check}.COUNT" for check in known.counts)))
        raise ValueError(f"unknown measure {name!r}{hint}; known: {listed}")
    if rest not in counts:
        listed = ", ".join(f"{head}.{count}" for count in counts) or "it has none"
        raise ValueError(f"unknown count {rest!r} of check {head!r}; known: {listed}")
    return family, "count"


def _where(text: str | None, known: Known) -> dict[str, str]:
    where: dict[str, str] = {}
    for part in () if text is None else text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise ValueError(f"expected a slice such as {{group=follow}}, got {{{text}}}")
        if key not in SLICES:
            close = get_close_matches(key, SLICES, n=1, cutoff=0.6)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown slice {key!r}{hint}; known: {', '.join(SLICES)}")
        if key in where:
            raise ValueError(f"slice {key!r} is given twice")
        names = {"group": known.groups, "region": known.regions, "phase": PHASES}.get(key)
        _expect(key, value, names)
        where[key] = value
    return where


def _expect(what: str, name: str, known: tuple[str, ...] | None) -> None:
    if known is None or name in known:
        return
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown {what} {name!r}{hint}; known: {', '.join(known) or 'none'}")
