"""The table of faults: what kinds declare, what is listed, and what the docs say are one."""

from __future__ import annotations

import json

import pytest

from harness.registry import BUILT_IN, catalog, proven_cells
from tests.cells import DOCS, LISTED, declared, differences, document


@pytest.mark.parametrize("name", sorted(BUILT_IN["fault"]))
def test_a_kind_works_just_where_a_live_test_proved_it(name: str) -> None:
    missing = declared(catalog().fault(name)) - set(proven_cells().get(name, ()))
    assert not missing, "mark a live test with @pytest.mark.cell, then `make conformance`"


def test_the_docs_are_made_from_the_listed_cells() -> None:
    assert DOCS.read_text() == document(json.loads(LISTED.read_text())), "python -m tests.cells add .cells.json"


def test_differences_are_told_in_both_directions() -> None:
    assert differences({"kill": ["pid"]}, {"kill": ["process"]}) == [
        "kill on pid is listed, but no live test proved it",
        "kill on process was proven, but is not listed",
    ]
    assert differences({"kill": ["pid"]}, {"kill": ["pid"]}) == []
