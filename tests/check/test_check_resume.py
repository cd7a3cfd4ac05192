"""`resume` on literal histories, and what a profile records for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from literal import ONE, Script, ops_of


def stream(result: Any, outcome: str = "ok", **more: Any) -> Script:
    """A healthy stream, and one under the fault with this record."""
    script = Script()
    healthy = json.dumps({"offsets": [[0, 24]], "length": 24, "exact": True})
    script.write("a", 1, 2, chunks=24, result=healthy)
    recorded = None if result is None else json.dumps(result)
    script.write("b", 11, 12, outcome, chunks=24, result=recorded, **more)
    return script


def record(*offsets: list[int], length: int | None = 24, exact: bool | None = True) -> dict[str, Any]:
    return {"offsets": list(offsets), "length": length, "exact": exact}


def test_a_stream_resumed_at_the_exact_offset() -> None:
    result = stream(record([0, 10], [10, 24]), attempts=2).check("resume")
    assert result.verdict == "valid"
    assert result.counts == {"gaps": 0, "divergent": 0, "short": 0, "overlaps": 0}
    assert result.sentence == "2 streams whole, 1 of them resumed: anything else below 100 % at 95 %"
    assert (result.volume["streams"], result.volume["resumed"]) == (2, 1)


@pytest.mark.parametrize(
    ("result", "count", "words"),
    [
        (record([0, 10], [12, 24]), "gaps", "expected offset 10, got 12"),
        (record([1, 24]), "gaps", "expected offset 0, got 1"),
        (record([0, 10], [8, 24], exact=False), "divergent", "its content is not what was meant"),
        ({"exact": False}, "divergent", "its content is not what was meant"),
        (record([0, 30]), "divergent", "went on to 30, beyond its length 24"),
        (record([0, 23]), "short", "ended at 23 of 24 without an error"),
        (record(), "short", "ended at 0 of 24 without an error"),
    ],
)
def test_what_is_wrong_is_named(result: Any, count: str, words: str) -> None:
    found = stream(result).check("resume")
    assert found.verdict == "invalid"
    assert {name for name, number in found.counts.items() if number} == {count}
    assert ops_of(found) == [2]
    assert found.evidence[0].text == (
        "append 'b' of session 's1', ended 2 s after the effect of eu-down by gateway-eu (eu-west): " + words
    )
    assert found.sentence.startswith("of 2 streams: 1 ")


def test_wrong_content_is_divergent_whatever_the_offsets_say() -> None:
    assert stream(record([0, 24]), wrong=True).check("resume").counts["divergent"] == 1


def test_an_identical_overlap_is_counted_and_harmless() -> None:
    result = stream(record([0, 10], [8, 24])).check("resume")
    assert (result.verdict, result.counts["overlaps"]) == ("valid", 1)
    assert result.sentence.endswith("; 1 identical overlap, harmless")


def test_an_overlap_that_nobody_compared_is_unknown() -> None:
    result = stream(record([0, 10], [8, 24], exact=None)).check("resume")
    assert (result.verdict, result.why_unknown) == ("unknown", "1 overlap whose content was not compared")


@pytest.mark.parametrize("outcome", ["info", "fail"])
def test_a_stream_cut_with_an_error_may_be_short(outcome: str) -> None:
    assert stream(record([0, 7], exact=None), outcome, broken=True).check("resume").verdict == "valid"
    assert stream(None, outcome, broken=True).check("resume").verdict == "valid"


def test_a_stream_cut_with_an_error_must_have_no_gap() -> None:
    assert stream(record([0, 7], [9, 12], exact=None), "info", broken=True).check("resume").verdict == "invalid"


def test_content_alone_is_enough() -> None:
    assert stream({"exact": True}).check("resume").verdict == "valid"


def test_offsets_to_a_declared_length_are_enough() -> None:
    assert stream(record([0, 24], exact=None)).check("resume").verdict == "valid"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "neither offsets nor content were recorded"),
        ({}, "neither offsets nor content were recorded"),
        ({"offsets": [[0, "x"]], "length": 3}, "neither offsets nor content were recorded"),
        ({"offsets": [[3, 1]], "length": 3}, "neither offsets nor content were recorded"),
        (record([0, 24], length=None, exact=None), "neither its length nor its content were recorded"),
        ("text", "its result is no record of a stream"),
    ],
)
def test_a_stream_that_says_too_little_is_unknown(result: Any, why: str) -> None:
    found = stream(result).check("resume")
    assert (found.verdict, found.why_unknown) == ("unknown", f"1 of 2 streams: {why}")


def test_without_streams_nothing_is_known() -> None:
    script = Script()
    script.write("a", 11, 12)
    result = script.check("resume")
    assert (result.verdict, result.why_unknown) == ("unknown", "no stream was seen")


def test_a_stream_must_have_been_open_during_the_fault() -> None:
    script = Script()
    script.write("a", 1, 2, chunks=3, result=json.dumps({"exact": True}))
    script.write("b", 11, 12)  # no stream
    assert script.check("resume").why_unknown == "no operation was open while a fault was in effect"


def test_final_reads_and_mid_run_reads_are_no_streams() -> None:
    script = stream(record([0, 24]))
    script.read(["a"], 12, chunks=4)
    script.final(["a", "b"])
    assert script.check("resume").volume["streams"] == 2


def test_a_slice_has_its_own_streams() -> None:
    script = stream(record([0, 10], [12, 24]), group="bad")
    assert script.check("resume", on={"group": "bad"}).verdict == "invalid"
    assert script.check("resume", on={"group": "good"}).verdict == "unknown"


def test_jobs_have_steps() -> None:
    from dataclasses import replace

    script = Script("jobs")
    script.write("j", 11, 12, result=json.dumps({"offsets": [[0, 3], [3, 5]], "length": 5}))
    assert script.check("resume", replace(ONE, model="jobs")).verdict == "valid"
