"""`phantom` on literal histories."""

from __future__ import annotations

from dataclasses import replace

import pytest
from literal import ONE, TWO, Script, ops_of


def run() -> Script:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 15, "info")
    script.write("f", 16, 17, "fail")
    script.write("d", 18, 18, "dropped")
    return script


def test_all_that_was_read_was_written() -> None:
    script = run()
    script.finals(["a", "b", "c"])
    result = script.check("phantom", TWO)
    assert (result.verdict, result.counts) == ("valid", {"phantoms": 0, "aborted": 0, "early": 0})
    assert result.sentence == "all 6 values read were written: others below 50 % at 95 %"


def test_a_value_that_nobody_wrote() -> None:
    script = run()
    script.finals(["a", "ghost", "b"])
    result = script.check("phantom", TWO)
    assert (result.verdict, result.counts["phantoms"]) == ("invalid", 1)
    assert result.sentence == "reads show 1 value that nobody wrote"
    assert ops_of(result) == [7]
    assert result.evidence[0].text.endswith("shows 'ghost', which nobody wrote")


@pytest.mark.parametrize(("value", "fate"), [("f", "refused"), ("d", "never sent")])
def test_a_value_that_surely_failed(value: str, fate: str) -> None:
    script = run()
    script.final(["a", "b", value])
    result = script.check("phantom")
    assert (result.verdict, result.counts["aborted"]) == ("invalid", 1)
    assert result.sentence == "reads show 1 value whose write was surely refused"
    assert fate in result.evidence[0].text


def test_a_refused_write_that_was_asked_again_is_no_ghost() -> None:
    script = run()
    script.write("f", 19, 20)
    script.final(["a", "b", "f"])
    assert script.check("phantom").verdict == "valid"


def test_a_read_under_load_counts() -> None:
    script = run()
    script.read(["ghost"], 20)
    script.final(["a", "b"])
    assert script.check("phantom").counts["phantoms"] == 1


def test_a_value_from_the_future() -> None:
    script = run()
    script.read(["a", "b"], 5, 6)
    script.final(["a", "b"])
    result = script.check("phantom")
    assert (result.verdict, result.counts["early"]) == ("invalid", 1)
    assert result.sentence == "reads show 1 value read before they were sent"


def test_the_probers_writes_are_known() -> None:
    script = run()
    script.write("p", 14, 14.1, phase="probe", session="probe")
    script.final(["a", "b", "p"])
    assert script.check("phantom").verdict == "valid"


def test_registers_may_be_empty() -> None:
    script = Script("register")
    script.write("a", 11, 12)
    register = replace(ONE, model="register")
    script.read(None, 1)
    script.final("a")
    assert script.check("phantom", register).verdict == "valid"
    script.final("x", at=61)
    assert script.check("phantom", register).verdict == "invalid"


def test_a_queue_needs_no_final_read() -> None:
    queue = replace(ONE, model="queue")
    script = Script("queue")
    script.write("m", 11, 12)
    assert script.check("phantom", queue).why_unknown == "nothing was received"
    script.read("m", 13, f="receive")
    script.read(None, 14, f="receive")
    assert script.check("phantom", queue).verdict == "valid"
    script.read(["n"], 15, f="receive")
    assert script.check("phantom", queue).verdict == "invalid"


def test_a_counters_sum_names_nothing() -> None:
    counter = replace(ONE, model="counter")
    script = Script("counter")
    script.write("1", 11, 12, idem="e1")
    script.final(1)
    assert "no ledger of events" in str(script.check("phantom", counter).why_unknown)
    script.final({"value": 1, "events": ["e9"]}, at=61)
    assert script.check("phantom", counter).verdict == "invalid"


def test_evidence_regions_are_left_aside() -> None:
    script = run()
    script.final(["a", "b"])
    script.final(["f"], "old")
    assert script.check("phantom", replace(ONE, evidence_regions=("old",))).verdict == "valid"


def test_hostile_text_is_quoted_and_cut() -> None:
    script = run()
    script.final(["a", "b", "\x1b[31m" + "x" * 500])
    text = script.check("phantom").evidence[0].text
    assert "\x1b" not in text and len(text) < 220


def test_unknown_without_a_final_read_or_an_acknowledgement() -> None:
    script = run()
    script.read(["a"], 20)
    assert script.check("phantom").why_unknown == "there was no final read"
    empty = Script()
    empty.final([])
    assert "nothing was acknowledged" in str(empty.check("phantom").why_unknown)
