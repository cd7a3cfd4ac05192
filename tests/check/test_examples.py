"""docs/checks.md says what the checks say, and every check but the user's own has an example on which it is invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.registry import catalog
from tests.check.examples import EXAMPLES, judged, page

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_invalid_and_its_evidence_names_ops_of_it(name: str) -> None:
    script, result = judged(name)
    assert result.verdict == "invalid", result
    assert {row.op for row in result.evidence} - {0} <= {op.op for op in script.ops}
    assert result.evidence and sum(result.counts.values()) > 0


def test_every_check_is_in_the_docs_as_it_is() -> None:
    assert set(catalog().names("check")) - set(EXAMPLES) <= {"exec"}
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.check.examples > docs/checks.md`"


def test_every_check_names_its_source() -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    assert [text.split("\n")[0] for text in sections if "Source:" not in text] == ["exec"]
