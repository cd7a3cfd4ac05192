"""The mapping to controls is data, and no page claims more than its record supports."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from harness.report.controls import controls, controls_part, evidence_of, evidence_words
from harness.report.html import render_html


def test_the_mapping_is_whole() -> None:
    words = evidence_words()
    assert {one.framework for one in controls()} == {"DORA", "ISO 22301", "SOC 2", "NIST"}
    assert all(one.by and set(one.by) <= set(words) and one.edition for one in controls())
    assert set(words) == {kind for one in controls() for kind in one.by}, "no sort of evidence that nothing asks for"
    assert len({(one.framework, one.control) for one in controls()}) == len(controls())


def test_what_proves_nothing_is_evidence_of_nothing(samples: ModuleType) -> None:
    for name in ("inconclusive", "refused", "aborted", "dirty", "error", "empty"):
        assert evidence_of(samples.SAMPLES[name]()) == (), name
        assert 'id="controls"' not in render_html(samples.SAMPLES[name]())
    assert controls_part(()) is None


def test_a_pass_supports_evidence_and_claims_no_compliance(samples: ModuleType, read: type[Any]) -> None:
    found = evidence_of(samples.passing())
    assert {"disruption", "recovery", "data", "put-back", "report"} <= set(found)
    assert not {"people", "communication", "findings"} & set(found), "a run alone has no people in it"
    text = read(render_html(samples.passing())).text
    assert "Supports evidence for" in text
    assert "It does not show compliance with any of them" in text
    assert "SOC 2 A1.3" in text
    assert "compliant" not in text
