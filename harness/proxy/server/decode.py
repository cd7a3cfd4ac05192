"""JSON bodies read the way Toxiproxy's clients expect. Here: parsing and typed look-ups. Not here: what keys mean."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

__all__ = ["ApiError", "bad_body", "number", "parse", "read_bool", "read_float", "read_int", "read_object", "read_str"]

_INT64 = 2**63


class ApiError(Exception):
    """A request that is answered with `status` and `{"error": message, "status": status}`."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


def bad_body(detail: str) -> ApiError:
    """The 400 for a body that cannot be used, with the words that Toxiproxy begins with."""
    return ApiError(400, f"bad request body: {detail}")


def _no_constant(text: str) -> object:
    raise ValueError(f"invalid character {text[:1]!r} looking for beginning of value")


def parse(body: bytes) -> object:
    """The first JSON value in `body`; what follows it is ignored, as Go's decoder does. Raises ApiError 400."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise bad_body("EOF")
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text)
    except (ValueError, RecursionError) as exc:
        raise bad_body(str(exc)) from exc
    return value


def _describe(value: object) -> str:
    for kind, name in ((bool, "a bool"), (int, "a number"), (float, "a number"), (str, "a string"), (list, "an array")):
        if isinstance(value, kind):
            return f"{name}, {str(value)[:40]!r}"
    return "an object"


def read_object(value: object, where: str) -> Mapping[str, object]:
    """`value` as an object; null counts as an empty one. Raises ApiError 400 for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_body(f"{where}: expected an object, got {_describe(value)}")
    return value


def _find(values: Mapping[str, object], name: str) -> object:
    """The value under `name`, spelled in any case (the last such key wins); None when absent or null."""
    found: object = None
    for key, value in values.items():
        if key.lower() == name and value is not None:
            found = value
    return found


def read_str(values: Mapping[str, object], name: str, default: str) -> str:
    """The string under `name`, or `default` when it is absent. Raises ApiError 400 for another type."""
    value = _find(values, name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad_body(f"{name}: expected a string, got {_describe(value)}")
    return value


def read_bool(values: Mapping[str, object], name: str, default: bool) -> bool:
    """The truth value under `name`, or `default` when it is absent. Raises ApiError 400 for another type."""
    value = _find(values, name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad_body(f"{name}: expected true or false, got {_describe(value)}")
    return value


def read_int(values: Mapping[str, object], name: str, default: int) -> int:
    """The whole number under `name` (64 bits), or `default` when it is absent. Raises ApiError 400 for another type."""
    value = _find(values, name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise bad_body(f"{name}: expected a whole number of 64 bits, got {_describe(value)}")
    return value


def read_float(values: Mapping[str, object], name: str, default: float) -> float:
    """The number under `name` rounded to 32 bits, or `default` when it is absent. Raises ApiError 400 otherwise."""
    value = _find(values, name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value in (float("inf"), float("-inf")):
        raise bad_body(f"{name}: expected a number, got {_describe(value)}")
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except (OverflowError, struct.error) as exc:
        raise bad_body(f"{name}: expected a number of 32 bits, got {_describe(value)}") from exc


def number(value: float) -> float | int:
    """`value` in the fewest digits that give the same 32-bit number, and without a point when it is whole."""
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", value):
            return short
    return value
