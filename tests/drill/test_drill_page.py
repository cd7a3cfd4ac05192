"""A drill's page and its other outputs: what page one says, structure, offline, harmless with hostile text, same bytes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from junitparser import JUnitXml

from harness.drill.outputs import outputs_of
from harness.drill.page import render_drill_html
from tests.drill.drill_samples import failed_drill, hostile_drill, passed_drill


@pytest.mark.parametrize("make", [passed_drill, failed_drill, hostile_drill])
def test_structure_and_silence(make: Any, read: type[Any]) -> None:
    html = render_drill_html(make())
    page = read(html)
    assert (page.errors, page.open) == ([], [])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        href = attributes["href"]
        assert href[1:] in ids if href.startswith("#") else re.fullmatch(r"\.\./[\w-]+/report\.html", href), href
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert not {tag for tag, _ in page.elements} & {"link", "img", "iframe", "form", "object", "use"}
    assert html.count("<script>") == 1 and len(html.encode()) < 1_000_000
    assert html == render_drill_html(make())


def test_page_one_of_a_pass(read: type[Any]) -> None:
    text = read(render_drill_html(passed_drill())).text
    for words in (
        "✓ PASS The primary region is lost All 2 steps were carried out as they should be.",
        "Steps of people 1 of 1 done",
        "Worst recovery ✓ met 4.2 to 4.4 s 88 % of its limit (≤ 5 s)",
        "Writes lost ✓ met 0 231 requests harmed in all",
        "Findings to act on 1 None of high severity",
        "region-kill ✓ PASS 4.2 to 4.4 s ≤ 5 s 231 availability 0.16 % of 30 d, notional 0",
        "kill not tested ✓ PASS today, 88 % of the limit not tested",
        "pause not tested not tested ✕ FAIL 24 days ago, 120 % of the limit",
        "SOC 2 A1.3",
        "slower than expected: page.",
        "Steps on one clock",
    ):
        assert words in text, words


def test_what_was_not_carried_out_is_no_evidence(read: type[Any]) -> None:
    text = read(render_drill_html(failed_drill())).text
    assert "? INCONCLUSIVE" in text and "Steps of people 0 of 1 done page: not-performed" in text
    assert "Findings to act on 1 1 overdue 1 of high severity" in text
    assert "Supports evidence for" not in text
    assert "No experiment was run" in text


def test_hostile_text_is_harmless_in_every_output(read: type[Any]) -> None:
    made = outputs_of(hostile_drill())
    control = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
    for name, text in made.items():
        text.encode("utf-8")
        if name.endswith(".json"):
            json.loads(text)
            assert not control.search(text), f"{name}: JSON escapes it"
            continue
        assert not control.search(text), name
        raw = text.replace("\\<", "") if name.endswith(".md") else text
        assert "<script>alert" not in raw and "<img" not in raw, name
    assert "alert(1)" in read(made["report.html"]).text, "shown, not run"
    assert "{{ 7*7 }}" in read(made["report.html"]).text
    ours = ET.fromstring(made["junit.xml"])
    theirs = next(iter(JUnitXml.fromstring(made["junit.xml"])))
    assert theirs.tests == len(ours.findall(".//testcase")) == 4
    assert not any(line.lstrip().startswith("::") for line in made["summary.md"].split("\n")), "no command to GitHub"
    assert len(made["summary.md"]) < 65_536
