"""Colours of the page in both schemes, and how far apart two of them are. Every pair in use is tested against WCAG 2.2."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "LIGHT", "SERIES", "contrast", "variables"]

LIGHT: Mapping[str, str] = {
    "bg": "#ffffff",
    "surface": "#f6f8fa",
    "line": "#d5dbe1",
    "rule": "#7d8590",
    "text": "#1b1f24",
    "muted": "#57606a",
    "pass": "#116329",
    "warn": "#7d4e00",
    "fail": "#b3261e",
    "info": "#0550ae",
    "pass-bg": "#edf7f0",
    "warn-bg": "#fff5e1",
    "fail-bg": "#fdefee",
    "info-bg": "#edf4fd",
    "good": "#0072b2",
    "good-fill": "#dcebf6",
    "harm-fill": "#f6cdc9",
    "fault-fill": "#e9e5ef",
    "s1": "#0072b2",
    "s2": "#c24e00",
    "s3": "#008060",
    "s4": "#8250df",
    "s5": "#9a6700",
    "s6": "#b0306a",
    "s7": "#57606a",
}
DARK: Mapping[str, str] = {
    "bg": "#0f1419",
    "surface": "#171d24",
    "line": "#323c47",
    "rule": "#7b8794",
    "text": "#e6edf3",
    "muted": "#9ba7b4",
    "pass": "#4ac26b",
    "warn": "#e3b341",
    "fail": "#ff8a80",
    "info": "#79b8ff",
    "pass-bg": "#12251a",
    "warn-bg": "#2a210d",
    "fail-bg": "#311715",
    "info-bg": "#12233a",
    "good": "#56b4e9",
    "good-fill": "#173246",
    "harm-fill": "#6b2a25",
    "fault-fill": "#272433",
    "s1": "#56b4e9",
    "s2": "#ff9f40",
    "s3": "#2fd5a0",
    "s4": "#b392f0",
    "s5": "#e3c04b",
    "s6": "#f08bb8",
    "s7": "#9ba7b4",
}
SERIES = ("s1", "s2", "s3", "s4", "s5", "s6", "s7")


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two "#rrggbb" colours, 1 to 21. Source: WCAG 2.2, "contrast ratio" and "relative luminance"."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def variables(colours: Mapping[str, str]) -> str:
    """CSS custom properties, one per colour, in the mapping's order."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())
