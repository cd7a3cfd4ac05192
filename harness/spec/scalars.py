"""The words of documents: texts, names, spans, rates and shares, each with its form and what is said when it is not kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from harness.model.fields import Duration, Rate, Ratio

__all__ = [
    "Doc",
    "Flow",
    "Free",
    "Listen",
    "Moment",
    "Name",
    "Pick",
    "Port",
    "Ports",
    "Share",
    "Span",
    "Text",
    "Words",
    "by_shape",
    "never",
]

Free = dict[str, Any]
"""A mapping that is read elsewhere: by its kind, or piece by piece."""


class Doc(BaseModel):
    """Base of every mapping in a document: unknown keys refused, nothing converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False, allow_inf_nan=False)


def by_shape(value: object) -> str:
    """What a value looks like, so that a complaint is about the form that was meant: "list", "map" or "one"."""
    if isinstance(value, list | tuple):
        return "list"
    return "map" if isinstance(value, dict | BaseModel) else "one"


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {what}, got {value!r}")
        return value

    return check


def never(expected: str, tag: str) -> Any:
    """The branch of a union for what has the wrong form: it says what was expected, and editors see that nothing fits."""

    def check(value: object) -> object:
        raise ValueError(f"expected {expected}, got {value!r}")

    return Annotated[Any, BeforeValidator(check), WithJsonSchema({"not": {}}), Tag(tag)]


def _above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError("expected more than 0")
    return value


def _rounded(value: float) -> float:
    # 99.9 / 100 is a little more than 0.999.
    return round(value, 12)


def _pick(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and re.fullmatch(_PICK, value):
        return value.replace(" ", "")
    raise ValueError(f'expected all, a count of at least 1, or a share such as "50%", got {value!r}')


_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_MOMENT = r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?"
_LISTEN = r"[^\s:]+:\d{1,5}"
_PICK = r"all|[1-9]\d*|([1-9]\d?(\.\d+)?|0?\.\d*[1-9]\d*|100)\s*%"

Text = Annotated[str, Field(min_length=1)]
Moment = Annotated[
    str,
    AfterValidator(_matching(_MOMENT, 'a day such as "2026-12-15", or an instant such as "2026-12-15T08:00+01:00"')),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT}$"}),
]
"""A day or an instant in ISO 8601; without an offset it is UTC."""
Name = Annotated[
    str,
    AfterValidator(_matching(_NAME, "a name of letters, digits, - and _")),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"}),
]
Listen = Annotated[
    str,
    AfterValidator(_matching(_LISTEN, 'an address and a port such as "127.0.0.1:15432"')),
    WithJsonSchema({"type": "string", "pattern": f"^{_LISTEN}$"}),
]
Span = Annotated[Duration, AfterValidator(_above_zero)]
Flow = Annotated[Rate, AfterValidator(_above_zero)]
Share = Annotated[Ratio, AfterValidator(_rounded)]
Port = Annotated[int, Field(ge=1, le=65535)]
Pick = Annotated[
    str,
    BeforeValidator(_pick),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^({_PICK})$"}]}),
]
if TYPE_CHECKING:
    Words = str | list[str]
    Ports = list[str] | dict[str, int]
else:
    Words = Annotated[
        Annotated[list[Text], Tag("list")] | Annotated[Text, Tag("one")] | never("text or a list of texts", "map"),
        Discriminator(by_shape),
    ]
    Ports = Annotated[
        Annotated[list[Name], Tag("list")]
        | Annotated[dict[str, Port], Tag("map")]
        | never("a list of names or a mapping such as {http: 8080}", "one"),
        Discriminator(by_shape),
    ]
