"""What came from the environment is never shown or stored: how it is taken out of a text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["MASK", "SHORTEST", "masked", "masked_value"]

MASK = "***"
SHORTEST = 4
"""A shorter value is taken out only where it is the whole text: inside other texts it would hit half of the words."""


def masked(text: str, secrets: Collection[str]) -> str:
    """The text with MASK in place of every secret."""
    if text and text in secrets:
        return MASK
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST and secret in text:
            text = text.replace(secret, MASK)
    return text


def masked_value(value: Any, secrets: Collection[str]) -> Any:
    """A JSON value with every text in it masked; keys stay."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, Mapping):
        return {key: masked_value(inner, secrets) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked_value(inner, secrets) for inner in value]
    return value
