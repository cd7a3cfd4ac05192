"""Text that came from a stack is hostile: what is safe to show of it, and how it is escaped for each kind of output."""

from __future__ import annotations

import re
from typing import Any

from harness.model.result import Result

__all__ = ["clean", "clean_block", "clean_result", "html_free_markdown", "markdown_code", "plural", "workflow_data"]

LONGEST = 2_000
"""Characters of one string that a page shows; the whole is in result.json and logs/."""

# C0 and C1 controls, soft hyphen, bidirectional marks and overrides, line separators, BOM, lone surrogates, non-characters.
# Zero-width joiners stay: scripts need them.
_BREAKS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]+")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_ANSI = re.compile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\-_])")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")
_MENTION = re.compile(r"[@#](?=\w)")


def clean(text: str, limit: int = LONGEST) -> str:
    """One line of `text` that cannot steer a terminal, a browser or a parser; at most about `limit` characters.

    Escape sequences go whole, other control and bidirectional characters singly; line breaks become spaces. What is cut
    is counted in words. Empty stays empty.
    """
    head = text[: 4 * limit]
    shown = _UNSAFE.sub("", _BREAKS.sub(" ", _ANSI.sub("", head))).strip()
    cut = len(text) - limit
    if len(shown) <= limit and len(text) <= 4 * limit:
        return shown
    return f"{shown[:limit].rstrip()} … ({max(cut, 1):,} more characters)"


def clean_block(text: str, limit: int = 8_000, lines: int = 60, *, head: bool = False) -> str:
    """The last `lines` lines of `text` (the first when `head`), each cleaned, line breaks and indents kept.

    At most about `limit` characters; a line that stands for what was left out says so.
    """
    part = text[:limit] if head else text[-limit:]
    every = re.split("\r\n|\r|\n", part)
    kept = [_indented(line) for line in (every[:lines] if head else every[-lines:])]
    if len(text) > limit or len(every) > lines:
        kept.insert(len(kept) if head else 0, "… (the rest is in the run directory)")
    return "\n".join(kept).strip("\n")


def _indented(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return " " * min(indent, 40) + clean(line, 400)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        out: dict[str, Any] = {}
        for key, item in value.items():
            name = clean(str(key), 120) or "?"
            while name in out:
                name += "′"
            out[name] = _cleaned(item)
        return out
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def clean_result(result: Result) -> Result:
    """`result` with every string in it cleaned: the one gate through which all text of a report passes."""
    outputs = {step.id: clean_block(step.output) for step in result.steps}
    dump = result.model_dump(by_alias=True)
    for step in dump["steps"]:
        step["output"] = ""
    cleaned = Result.model_validate(_cleaned(dump))
    steps = tuple(
        shown.model_copy(update={"output": outputs[step.id]})
        for shown, step in zip(cleaned.steps, result.steps, strict=True)
    )
    return cleaned.model_copy(update={"steps": steps})


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 run", "4,812 runs"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def html_free_markdown(text: str) -> str:
    """`text` as Markdown prose that stays text: no HTML, table cell, link, heading, mention or issue reference comes of it."""
    escaped = _MARKDOWN.sub(r"\\\1", text.replace("&", "&amp;"))
    # Hosts look for mentions, references and addresses in the rendered text, so an entity alone would not stop them.
    broken = _MENTION.sub(lambda match: f"{match[0]}&#8203;", escaped)
    return broken.replace("://", ":&#8203;//").replace("www.", "www&#8203;.")


def markdown_code(text: str) -> str:
    """`text` as a Markdown code span, verbatim: fenced by one backtick more than it holds in a row. Not for tables."""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text or not text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def workflow_data(text: str, *, in_property: bool = False) -> str:
    """`text` escaped for a GitHub workflow command; `in_property` for the part before the second "::"."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.replace(":", "%3A").replace(",", "%2C") if in_property else escaped
