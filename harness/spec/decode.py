"""Nodes through pydantic, and pydantic's complaints as problems with a place, in our words. Not here: what values mean together."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.spec.nodes import Entry, MapNode, Plain, ScalarNode, join
from harness.spec.report import At, Report, did_you_mean

__all__ = ["decode", "fields_of", "short", "with_slips_mended"]

M = TypeVar("M", bound=BaseModel)
_SHORT = 60
_ROUNDS = 4
_LIKELY_MS = 100
_HELP = (
    ("a duration", "durations are a number and ns, us, ms, s, m, h or d"),
    ("a rate", 'rates are a number per s, m or h, as in "60/s"'),
    ("a percentage", 'ratios are a number and %, as in "99.9%"'),
    ("a size", "sizes are a number and B, KB, MB, GB, KiB, MiB or GiB"),
)
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "nothing",
    "url_parsing": "a URL",
    "url_scheme": "a URL",
}
_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """One complaint, in our words. `steps` lead through the document to the value, or to the parent of a missing one."""

    steps: tuple[str | int, ...]
    message: str
    remedy: str | None = None
    missing: str | None = None
    extra: bool = False
    expected: str | None = None


def short(value: object) -> str:
    """The value as a message shows it: repr, cut to a readable length."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."


def fields_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys a model reads, as documents write them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def decode(
    at: At,
    model: type[M],
    report: Report,
    *,
    offered: Iterable[str] = (),
    fallback: Mapping[str, Plain] | None = None,
) -> M | None:
    """The model read from the value; None when a required part is missing or wrong. Every problem is reported.

    Optional keys whose values are wrong are reported and left out, so that what depends on the rest can be checked too.
    `offered` are further names that a mistyped key may have meant. `fallback` stands in for top keys that are required and
    missing or wrong, so that the rest is read in any case.
    """
    data = copy.deepcopy(at.value)
    for round_ in range(_ROUNDS):
        try:
            return model.model_validate(data)
        except ValidationError as exc:
            faults = _united([_fault(at, error, model, tuple(offered)) for error in exc.errors(include_url=False)])
            if round_ == 0:
                for fault in faults:
                    if not _mistyped(fault, faults):
                        _tell(at, fault, report)
            mended = [_mend(data, fault, fallback or {}) for fault in faults]
            if not all(mended):
                return None
    return None


def _mistyped(fault: _Fault, faults: Sequence[_Fault]) -> bool:
    """Whether a missing key stands there with a slip in it, which is told already."""
    slips = [str(other.steps[-1]) for other in faults if other.extra and other.steps[:-1] == fault.steps]
    return fault.missing is not None and any(did_you_mean(slip, [fault.missing]) for slip in slips)


def _tell(at: At, fault: _Fault, report: Report) -> None:
    found = at.walk(*fault.steps) or at
    if fault.missing is not None:
        report.add(found.place, "required key is missing", where=join(found.path, fault.missing), remedy=fault.remedy)
        return
    place = found.key if fault.extra and found.key is not None else found.place
    message, remedy = fault.message, fault.remedy
    if isinstance(found.node, ScalarNode) and found.node.secret:
        message = message.replace(repr(found.node.value), repr(found.node.text))
        remedy = f"{remedy}; the value is not shown because it comes from the environment" if remedy else None
    report.error(found, message, remedy=remedy, place=place)


def _mend(data: Any, fault: _Fault, fallback: Mapping[str, Plain]) -> bool:
    if fault.missing is not None and not fault.steps and fault.missing in fallback:
        data[fault.missing] = fallback[fault.missing]
        return True
    return _prune(data, fault)


def _prune(data: Any, fault: _Fault) -> bool:
    """Take the wrong part out of the data, so that the rest can be read; False when nothing is left to take out."""
    steps = fault.steps
    while steps and isinstance(steps[-1], int):
        steps = steps[:-1]
    if not steps:
        return False
    for step in steps[:-1]:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return True  # it went with a part of it that was wrong too
    if isinstance(data, dict):
        data.pop(steps[-1], None)
    return True


def _united(faults: Sequence[_Fault]) -> list[_Fault]:
    """A value that fits no branch of a union gets one complaint for each: one that names all of them instead."""
    united: dict[tuple[str | int, ...], _Fault] = {}
    rest: list[_Fault] = []
    for fault in faults:
        if fault.missing is not None or fault.extra:
            rest.append(fault)
            continue
        known = united.get(fault.steps)
        if known is None or known.expected is None:
            united.setdefault(fault.steps, fault)
        elif fault.expected is not None and fault.expected not in known.expected.split(" or "):
            both = f"{known.expected} or {fault.expected}"
            message = known.message.replace(known.expected, both, 1)
            united[fault.steps] = _Fault(steps=fault.steps, message=message, remedy=known.remedy, expected=both)
    # What is deeper in the same branch explains more than "not a list" above it.
    deeper = (
        {fault.steps[:length] for fault in rest for length in range(len(fault.steps))} if len(faults) > 1 else set()
    )
    return [fault for steps, fault in united.items() if steps not in deeper or fault.expected is None] + rest


def _fault(at: At, error: ErrorDetails, model: type[BaseModel], offered: tuple[str, ...]) -> _Fault:
    kind, given, context = error["type"], error.get("input"), error.get("ctx") or {}
    if kind == "missing":
        steps = _steps(at, error["loc"][:-1])
        return _Fault(steps=steps, message="", missing=str(error["loc"][-1]))
    steps = _steps(at, error["loc"])
    if kind == "extra_forbidden":
        known = (*_known_keys(model, steps[:-1]), *offered)
        remedy = f"known keys: {', '.join(known)}" if known else None
        message = f"unknown key {str(steps[-1])!r}{did_you_mean(str(steps[-1]), known)}"
        return _Fault(steps=steps, message=message, remedy=remedy, extra=True)
    if kind in ("value_error", "assertion_error"):
        return _said(steps, error["msg"], given)
    if kind in _EXPECTED:
        expected = _EXPECTED[kind]
        return _Fault(
            steps=steps,
            message=f"expected {expected}, got {short(given)}",
            remedy=_quote_it(expected, given),
            expected=expected,
        )
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'[^']*'|\d+", str(context.get("expected", "")))
        names = [choice.strip("'") for choice in choices]
        expected = choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
        hint = did_you_mean(given, names) if isinstance(given, str) else ""
        return _Fault(steps=steps, message=f"expected {expected}, got {short(given)}{hint}", expected=expected)
    if kind in _LIMITS:
        word, key = _LIMITS[kind]
        return _Fault(steps=steps, message=f"expected {word} {context.get(key)}, got {short(given)}")
    if kind in ("too_short", "too_long", "string_too_short"):
        return _length(steps, kind, given, context)
    text = error["msg"][:1].lower() + error["msg"][1:]
    return _Fault(steps=steps, message=f"{text.rstrip('.')}, got {short(given)}")


def _length(steps: tuple[str | int, ...], kind: str, given: object, context: Mapping[str, Any]) -> _Fault:
    least, most, actual = (context.get(key) for key in ("min_length", "max_length", "actual_length"))
    match kind:
        case "string_too_short":
            message = f"expected text, got {short(given)}"
        case "too_short":
            message = f"expected at least {least} {'entry' if least == 1 else 'entries'}, got {actual}"
        case _:
            message = f"expected at most {most} {'entry' if most == 1 else 'entries'}, got {actual}"
    return _Fault(steps=steps, message=message)


def _said(steps: tuple[str | int, ...], text: str, given: object) -> _Fault:
    """A validator's own sentence. Examples get double quotes, as documents would write them."""
    text = text.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if ", got " not in text:
        text = f"{text}, got {short(given)}"
    text = re.sub(r"such as '([^']*)'", r'such as "\1"', text)
    remedy = next((sentence for word, sentence in _HELP if f"expected {word}" in text), None)
    if remedy is not None and isinstance(given, int | float) and not isinstance(given, bool):
        unit = {"a duration": "s" if given < _LIKELY_MS else "ms", "a rate": "/s", "a percentage": "%", "a size": "KB"}
        word = next(word for word, _ in _HELP if f"expected {word}" in text)
        remedy = f'{remedy}; did you mean "{given}{unit[word]}"?'
    return _Fault(steps=steps, message=text.rstrip("."), remedy=remedy)


def _quote_it(expected: str, given: object) -> str | None:
    if expected == "text" and isinstance(given, bool | int | float):
        written = str(given).lower() if isinstance(given, bool) else str(given)
        return f'quote it: "{written}"'
    if expected == "a mapping":
        return "a mapping is written {key: value}, or one key to a line"
    return None


def _steps(at: At, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The part of pydantic's path that is in the document: union tags and validator names are not."""
    steps: list[str | int] = []
    here = at
    for step in loc:
        child = here.child(step)
        if child is not None:
            steps.append(step)
            here = child
    return tuple(steps)


def _known_keys(model: type[BaseModel], steps: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that the model at the end of the steps reads; none when that is not a model."""
    here: Any = model
    for step in steps:
        here = _inner(here, step)
    return fields_of(here) if isinstance(here, type) and issubclass(here, BaseModel) else ()


def _inner(annotation: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return annotation  # what is in the list: `_model_in` has found it already
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if step in (name, field.alias):
                return _model_in(field.annotation)
        return None
    return annotation


def _model_in(annotation: Any) -> Any:
    """The first model inside an annotation such as `list[SloDoc] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def with_slips_mended(root: MapNode, model: type[BaseModel], report: Report) -> MapNode:
    """The document with mistyped top keys reported, and then read as the keys they were surely meant to be.

    The document stays refused: this only spares its author an error for every name that the lost section declares.
    """
    known = fields_of(model)
    entries: dict[str, Entry] = {}
    for key, entry in root.entries.items():
        missing = [name for name in known if name not in root.entries and name not in entries]
        close = get_close_matches(key, missing, n=1, cutoff=0.6) if key not in known else []
        if close:
            message = f"unknown key {key!r}; did you mean {close[0]!r}?"
            report.add(entry.key, message, where=key, remedy=f"known keys: {', '.join(known)}")
        entries[close[0] if close else key] = entry
    return MapNode(entries=entries, place=root.place)
