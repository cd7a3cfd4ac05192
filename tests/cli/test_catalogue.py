"""`blackstart checks`: what it says of a check is what docs/checks.md says and what the check's own code says."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from harness.cli.catalogue import checks
from harness.cli.explained import explained
from harness.errors import SpecError
from harness.registry import catalog

PAGE = (Path(__file__).parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
NAMES = catalog().names("check")


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_a_check_is_told_as_in_the_docs_and_as_its_code_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    checks(name)
    said = capsys.readouterr().out
    kind = catalog().check(name)
    told = explained(name)
    assert told is not None
    own = flat(re.sub(r"Source:.*", "", flat(inspect.getdoc(kind.load()) or "")))
    assert flat(told.definition) == own and own in flat(said)
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert kind.doc in section and flat(kind.doc) in flat(said)
    assert all(count in said and f"`{name}.{count}`" in section for count in kind.counts)
    if name == "exec":  # runs the user's own: it has no formula and no example
        return
    assert told.source and f"Source: {told.source}" in flat(section) and f"Source: {told.source}" in flat(said)
    lines = told.example.splitlines()
    assert lines[-1].startswith("-> invalid: ") and all(line in section and line in said for line in lines)


def test_the_json_has_the_same_and_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    checks("durable", json=True)
    facts = json.loads(capsys.readouterr().out)
    told = explained("durable")
    assert told is not None
    assert (facts["definition"], facts["source"], facts["worked_example"]) == (
        told.definition,
        told.source,
        told.example,
    )
    checks(None, json=True)
    assert tuple(one["name"] for one in json.loads(capsys.readouterr().out)) == NAMES


def test_an_unknown_check_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SpecError, match="unknown check 'durabel'; did you mean durable"):
        checks("durabel")
    assert explained("nobody's") is None
