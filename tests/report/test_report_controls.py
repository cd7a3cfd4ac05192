"""The mapping to controls is data, and no page claims more than its record supports."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from harness.errors import SpecError
from harness.model.control import Controls, Evidence
from harness.report.controls import controls, controls_part, evidence_of, evidence_words, merged
from harness.report.extras import ReportExtras
from harness.report.html import render_html
from harness.spec.controls import load_controls

OWN = """\
version: 1
kind: controls
controls:
  - {framework: House, edition: "3 <b>", control: R-7, asks: prove each year that a site may be lost, by: [disruption, people]}
  - {framework: SOC 2, edition: our own reading, control: A1.3, asks: as our auditor put it, by: [data]}
"""


def own(folder: Path, text: str = OWN) -> Controls:
    path = folder / "controls.yaml"
    path.write_text(text)
    return load_controls(path)


def test_the_mapping_is_whole() -> None:
    words = evidence_words()
    assert {one.framework for one in controls()} == {"DORA", "ISO 22301", "SOC 2", "NIST"}
    assert all(one.by and set(one.by) <= set(words) and one.edition for one in controls())
    assert set(words) == {kind for one in controls() for kind in one.by}, "no sort of evidence that nothing asks for"
    assert set(words) == set(get_args(Evidence)), "what a project may name is what there is"
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


def test_a_project_adds_its_own_and_words_a_shipped_one_anew(
    tmp_path: Path, samples: ModuleType, read: type[Any]
) -> None:
    mapping = own(tmp_path)
    assert len(merged(mapping)) == len(controls()) + 1
    text = read(render_html(samples.passing(), ReportExtras(controls=mapping))).text
    assert "House R-7 3 <b> prove each year that a site may be lost" in text
    assert "SOC 2 A1.3 our own reading as our auditor put it" in text and "DORA" in text
    alone = own(tmp_path, OWN.replace("kind: controls\n", "kind: controls\nshipped: false\n"))
    assert [one.framework for one in merged(alone)] == ["House", "SOC 2"]
    part = controls_part(("disruption",), alone)
    assert part is not None and "House" in str(part) and "SOC 2" not in str(part), "no evidence, no row"


def test_every_problem_of_a_mapping_is_told(tmp_path: Path) -> None:
    wrong = OWN.replace("[disruption, people]", "[magic]").replace("edition: our own reading, ", "")
    with pytest.raises(SpecError) as caught:
        own(tmp_path, wrong)
    told = str(caught.value)
    assert "controls.yaml:4" in told and "magic" in told and "controls.yaml:5" in told and "edition" in told
    twice = OWN + OWN.splitlines()[-1] + "\n"
    with pytest.raises(SpecError, match=r"SOC 2 A1\.3 is there twice"):
        own(tmp_path, twice)
