"""Field types that documents and kinds share: text as people write it in, exact integers and ratios out, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from harness.units import parse_bytes, parse_duration, parse_rate, parse_ratio

__all__ = ["Duration", "JsonObject", "Params", "Rate", "Ratio", "Size"]

JsonObject = dict[str, Any]
"""A JSON object that its kind has validated; only the kind's own `Params` class gives it meaning."""


def _text(parse: Callable[[str], int | float], example: str, what: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"expected {what} such as {example!r}, got {value!r}")
        return parse(value)

    return check


Duration = Annotated[
    int,
    BeforeValidator(_text(parse_duration, "15s", "a duration")),
    PlainSerializer(lambda ns: f"{ns}ns", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ns|us|ms|s|m|h|d)$", "examples": ["15s", "250ms"]}),
]
"""Nanoseconds, written "250ms"; serialised exactly as "250000000ns"."""

Rate = Annotated[
    float,
    BeforeValidator(_text(parse_rate, "60/s", "a rate")),
    PlainSerializer(lambda per_s: f"{per_s!r}/s", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*/\s*(s|m|h)$", "examples": ["60/s"]}),
]
"""Events per second, written "60/s"."""

Ratio = Annotated[
    float,
    BeforeValidator(_text(parse_ratio, "99.9%", "a percentage")),
    PlainSerializer(lambda ratio: f"{ratio * 100:.12g}%", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$", "examples": ["99.9%"]}),
]
"""A ratio, written "99.9%"."""

Size = Annotated[
    int,
    BeforeValidator(_text(parse_bytes, "64KB", "a size")),
    PlainSerializer(lambda count: f"{count}B", return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|KB|MB|GB|KiB|MiB|GiB)(/s)?$", "examples": ["64KB"]}
    ),
]
"""Bytes (or bytes per second), written "64KB"."""


class Params(BaseModel):
    """Base of every kind's parameters: frozen, unknown keys refused. `model_dump(mode="json")` round-trips exactly."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
