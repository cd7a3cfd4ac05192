"""`content`, `cache-sound`, `replay`: what was answered, from where, and whether it would be again; on literal histories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from literal import CALM, ONE, Script, ops_of

# ---- content


def answered(script: Script, value: str, sent: float, **more: Any) -> int:
    return script.write(value, sent, sent + 1, **({"compared": 1} | more)).op


def test_all_that_was_compared_was_right_and_the_count_is_told() -> None:
    script = Script()
    answered(script, "a", 11)
    answered(script, "b", 13, compared=0)
    result = script.check("content")
    assert (result.verdict, result.counts) == ("valid", {"wrong": 0, "unstable": 0})
    assert result.sentence.startswith("0 of 1 answer compared were wrong, of 2 given: below")
    assert (result.volume["compared"], result.volume["answered"]) == (1, 2)


def test_a_wrong_answer_is_named() -> None:
    script = Script()
    answered(script, "a", 11)
    bad = answered(script, "b", 13, wrong=True)
    result = script.check("content")
    assert (result.verdict, result.counts["wrong"], ops_of(result)) == ("invalid", 1, [bad])
    assert result.sentence == "1 answer of 2 compared not as they had to be"


@pytest.mark.parametrize("compared", [0, None])
def test_nothing_compared_is_unknown_though_nothing_is_wrong(compared: int | None) -> None:
    script = Script()
    answered(script, "a", 11, compared=compared)
    result = script.check("content")
    assert (result.verdict, result.counts) == ("unknown", {})
    assert result.why_unknown == "no answer was compared with anything: the load profile calls no expect()"


def test_compared_only_outside_the_fault_is_unknown() -> None:
    script = Script()
    answered(script, "a", 1)
    answered(script, "b", 11, compared=0)
    result = script.check("content")
    assert result.why_unknown == "no operation was open while a fault was in effect"
    assert script.check("content", CALM).verdict == "valid"


def test_one_key_answered_in_two_ways_is_unstable_unless_its_version_changed() -> None:
    script = Script()
    one = answered(script, "a", 11, idem="k", answer="x", version="1")
    two = answered(script, "b", 13, idem="k", answer="y", version="1")
    answered(script, "c", 15, idem="k", answer="z", version="2")
    answered(script, "d", 17, idem="other", answer="z", version="1")
    result = script.check("content")
    assert (result.verdict, result.counts) == ("invalid", {"wrong": 0, "unstable": 1})
    assert ops_of(result) == [one, two]


def test_a_slice_is_judged_alone() -> None:
    script = Script()
    answered(script, "a", 11, group="sticky", wrong=True)
    answered(script, "b", 11, group="follow")
    assert script.check("content", on={"group": "follow"}).verdict == "valid"
    assert script.check("content", on={"group": "sticky"}).verdict == "invalid"


# ---- cache-sound

S = 1_000_000_000


def asked(script: Script, sent: float, question: str, answer: str | None, **more: Any) -> int:
    number = len(script.ops)
    return script.write(f"v{number}", sent, sent + 0.5, input=question, answer=answer, **more).op


def hit(script: Script, sent: float, question: str, answer: str | None, **more: Any) -> int:
    return asked(script, sent, question, answer, cached=True, **more)


def cache() -> Script:
    """A record that begins long before the fault."""
    script = Script()
    asked(script, 0, "old", "o")
    return script


def sound(script: Script, within: float | None = 5, **spec: Any) -> Any:
    return script.check("cache-sound", within_ns=None if within is None else round(within * S), **spec)


def test_a_hit_that_was_produced_for_its_input_is_sound() -> None:
    script = cache()
    asked(script, 11, "q", "a", version="1")
    hit(script, 13, "q", "a", version="1")
    result = sound(script)
    assert (result.verdict, result.counts) == ("valid", {"unproduced": 0, "stale": 0, "errors": 0})
    assert result.sentence.startswith("1 cached answer, each produced for its own input and version")


@pytest.mark.parametrize(
    ("question", "version", "answer"),
    [("other tenant", "1", "a"), ("q", "0", "a"), ("q", "1", "b")],
    ids=["another input", "another version", "another answer"],
)
def test_a_hit_that_nobody_produced_for_its_input_and_version_is_found(
    question: str, version: str, answer: str
) -> None:
    script = cache()
    asked(script, 11, question, answer, version=version)
    asked(script, 11, "q", "a" if answer == "b" else "c", version="1")
    if answer == "b":
        script.ops[1] = replace(script.ops[1], input="z")  # "b" is of another question
    bad = hit(script, 13, "q", answer, version="1")
    result = sound(script)
    assert (result.verdict, result.counts["unproduced"], ops_of(result)) == ("invalid", 1, [bad])


def test_a_hit_older_than_its_time_to_live_is_stale_and_a_later_production_renews_it() -> None:
    script = cache()
    source = asked(script, 4, "q", "a")
    bad = hit(script, 11, "q", "a")
    asked(script, 12, "q", "a")
    hit(script, 13, "q", "a")
    result = sound(script)
    assert (result.verdict, result.counts["stale"], ops_of(result)) == ("invalid", 1, [source, bad])
    assert sound(script, within=7).verdict == "valid"


def test_an_uncertain_op_may_have_filled_the_cache_at_any_time() -> None:
    script = cache()
    asked(script, 1, "q", "a", outcome="info")
    hit(script, 13, "q", "a")
    assert sound(script).verdict == "valid"


@pytest.mark.parametrize("question", ["q", None])
def test_an_uncertain_op_whose_answer_nobody_heard_may_have_made_any(question: str | None) -> None:
    script = cache()
    script.write("lost", 11, 12, "info", input=question)
    hit(script, 13, "q", "a")
    assert "by an uncertain operation whose answer nobody heard" in str(sound(script).why_unknown)
    bad = hit(script, 5, "q", "b")
    assert ops_of(sound(script)) == [], "it is from before the record, for all anyone knows"
    later = cache()
    bad = hit(later, 11, "q", "a")
    later.write("lost", 13, 14, "info", input=question)
    assert ops_of(sound(later)) == [bad]
    other = cache()
    other.write("lost", 11, 12, "info", input="another")
    bad = hit(other, 13, "q", "a")
    assert ops_of(sound(other)) == [bad]


def test_a_hit_may_be_served_before_its_producer_was_answered() -> None:
    script = cache()
    script.write("slow", 11, 14, input="q", answer="a")
    hit(script, 13, "q", "a")
    assert sound(script).verdict == "valid"


def test_produced_only_after_the_hit_is_not_produced() -> None:
    script = cache()
    bad = hit(script, 11, "q", "a")
    asked(script, 13, "q", "a")
    assert ops_of(sound(script)) == [bad]


def test_an_error_from_a_cache_is_found_whoever_made_it() -> None:
    script = cache()
    broken = asked(script, 11, "q", "half", outcome="fail", broken=True)
    again = hit(script, 13, "q", "half")
    refused = hit(script, 15, "q", None, outcome="fail", status=503)
    wrong = hit(script, 16, "q", "x", wrong=True)
    result = sound(script)
    assert (result.verdict, result.counts) == ("invalid", {"unproduced": 0, "stale": 0, "errors": 3})
    assert set(ops_of(result)) == {again, refused, wrong} and broken not in ops_of(result)


def test_what_may_be_older_than_the_record_is_unknown() -> None:
    script = Script()
    asked(script, 9, "old", "o")
    hit(script, 11, "q", "a")
    result = sound(script)
    assert result.verdict == "unknown" and "before the record began" in str(result.why_unknown)
    late = cache()
    hit(late, 11, "q", "a")
    assert sound(late).verdict == "invalid" and sound(late, within=None).verdict == "unknown"


def test_without_a_hit_or_without_what_it_was_asked_nothing_is_known() -> None:
    script = cache()
    asked(script, 11, "q", "a")
    assert sound(script).why_unknown == "no cached answer was seen"
    hit(script, 13, "q", None)
    assert "recorded no input or no answer" in str(sound(script).why_unknown)


def test_an_answer_to_a_second_attempt_may_be_that_of_the_first() -> None:
    script = cache()
    hit(script, 11, "q", "a", attempts=2)
    assert sound(script).why_unknown == "no cached answer was seen"


# ---- replay


def again(script: Script, value: str, *, region: str = "eu-west", **more: Any) -> int:
    facts = {"phase": "final", "region": region, "compared": 1, "value": value} | more
    return script.read(None, 61, f="replay", **facts).op


def run_again(script: Script, context: Any = ONE, **spec: Any) -> Any:
    return script.check("replay", context, **spec)


def test_what_gives_the_same_again_is_valid() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x", version="r1")
    script.final(["a"])
    again(script, "a", answer="x", version="r1")
    result = run_again(script)
    assert (result.verdict, result.counts) == ("valid", {"differing": 0, "misjournaled": 0})
    assert result.sentence.startswith("1 replay gave what was journaled: others below")


def test_another_answer_than_the_journal_holds_is_found() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x", version="r1")
    bad = again(script, "a", answer="y", version="r1", wrong=True)
    result = run_again(script)
    assert (result.verdict, result.counts, ops_of(result)) == ("invalid", {"differing": 1, "misjournaled": 0}, [bad])


def test_a_journal_that_holds_another_answer_than_the_client_was_given_is_found() -> None:
    script = Script()
    first = script.write("a", 11, 12, answer="x", version="r1").op
    bad = again(script, "a", answer="y", version="r1")
    result = run_again(script)
    assert (result.counts, ops_of(result)) == ({"differing": 0, "misjournaled": 1}, [first, bad])


def test_another_version_proves_nothing() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x", version="r1")
    again(script, "a", answer="y", version="r2", wrong=True)
    why = "nothing journaled was run again under its own version (1 were under another)"
    assert run_again(script).why_unknown == why
    again(script, "a", answer="x", version="r1")
    result = run_again(script)
    assert result.verdict == "valid" and "1 under another version than at first left aside" in result.sentence


def test_an_uncertain_turn_was_promised_to_nobody() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x")
    script.write("b", 11, 12, "info", answer="half")
    again(script, "a", answer="x")
    again(script, "b", answer="whole")
    assert run_again(script).verdict == "valid"


def test_not_run_again_or_not_compared_is_unknown() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x")
    assert run_again(script).why_unknown == "nothing journaled was run again"
    again(script, "a", outcome="fail")
    assert run_again(script).why_unknown == "nothing journaled was run again (1 were tried)"
    again(script, "a", answer="x", compared=0)
    assert "compared nothing with the journal" in str(run_again(script).why_unknown)


def test_a_region_in_which_no_replay_ended_well_is_unknown() -> None:
    script = Script()
    script.write("a", 11, 12, answer="x")
    again(script, "a", answer="x")
    again(script, "a", region="us-east", outcome="info")
    assert run_again(script).why_unknown == "none of the 1 replay tried in us-east ended well"


def test_only_turns_of_calm_times_run_again_say_nothing_of_the_fault() -> None:
    script = Script()
    script.write("a", 1, 2, answer="x")
    script.write("b", 11, 12, answer="y")
    again(script, "a", answer="x")
    assert run_again(script).why_unknown == "no operation was open while a fault was in effect"
