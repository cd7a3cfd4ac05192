"""What docs/checks.md says of a check: its definition, its source, and a history on which it is invalid. One source for both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Explained", "explained"]

_PACKAGE = Path(__file__).parents[1]
_PAGES = (_PACKAGE / "builtin" / "checks.md", _PACKAGE.parent / "docs" / "checks.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A section of the page. `example`: operations, one a line, and what the check says of them; empty for `exec`."""

    definition: str
    source: str
    example: str


def explained(name: str) -> Explained | None:
    """What the page says of a check; None for one that an installed package brought, which has no section."""
    page = next((path for path in _PAGES if path.is_file()), None)
    if page is None:
        return None
    sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    section = next((text for text in sections if text.split("\n", 1)[0] == name), None)
    if section is None:
        return None
    prose, _, rest = section.partition("```text\n")
    # The title, the one sentence, the models; then how it is decided, and with what the example is judged.
    definition = "\n\n".join(part.strip() for part in prose.split("\n\n")[3:] if part.strip())
    said, _, source = definition.partition("Source: ")
    source, _, judged_with = source.partition("\n\n")
    example = rest.partition("```")[0].strip()
    return Explained(
        definition=said.strip(),
        source=source.strip(),
        example=f"{judged_with}\n{example}" if judged_with else example,
    )
