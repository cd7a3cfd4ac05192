"""`exactly-once` on literal histories."""

from __future__ import annotations

from dataclasses import replace

from literal import ONE, TWO, Script, ops_of

from harness.history.events import SignalEvent

SINK = replace(ONE, sink=True)


def run() -> Script:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 15, "info")
    return script


def test_once_in_each_region_is_once() -> None:
    script = run()
    script.finals(["a", "b", "c"])
    result = script.check("exactly-once", TWO)
    assert (result.verdict, result.counts) == ("valid", {"duplicates": 0})
    assert result.sentence == "0 of 2 acknowledged turns twice in any read: below 100 % at 95 %"


def test_twice_in_a_final_read() -> None:
    script = run()
    script.final(["a", "b", "a"])
    result = script.check("exactly-once")
    assert (result.verdict, result.counts) == ("invalid", {"duplicates": 1})
    assert result.sentence == "1 turn has taken effect more than once, of 2 acknowledged"
    assert ops_of(result) == [1, 4]
    assert result.evidence[1].text.endswith("holds 'a' at places 1 and 3 in eu-west")


def test_an_uncertain_turn_twice_is_a_double_too() -> None:
    script = run()
    script.final(["a", "b", "c", "c"])
    assert script.check("exactly-once").counts == {"duplicates": 1}


def test_twice_in_a_read_under_load_only() -> None:
    script = run()
    script.read(["a", "a"], 30)
    script.final(["a", "b"])
    assert script.check("exactly-once").verdict == "invalid"


def test_two_values_of_one_idempotency_key_are_one_write() -> None:
    script = run()
    script.write("a2", 16, 17, idem="k-a")  # the client asked again under the same key with another body
    script.final(["a", "b", "a2"])
    result = script.check("exactly-once")
    assert result.verdict == "invalid"
    assert result.counts == {"duplicates": 1}


def test_a_double_in_an_evidence_region_is_none_of_ours() -> None:
    script = run()
    script.final(["a", "b"])
    script.final(["a", "a"], "old")
    assert script.check("exactly-once", replace(ONE, evidence_regions=("old",))).verdict == "valid"


def test_foreign_values_twice_are_left_to_phantom() -> None:
    script = run()
    script.final(["a", "b", "z", "z"])
    assert script.check("exactly-once").verdict == "valid"


def test_a_slice_judges_its_own_writes() -> None:
    script = Script()
    script.write("a", 11, 12, group="sticky")
    script.write("b", 11, 12, group="follow")
    script.final(["a", "a", "b"])
    assert script.check("exactly-once", on={"group": "sticky"}).verdict == "invalid"
    assert script.check("exactly-once", on={"group": "follow"}).verdict == "valid"


# ---- the sink


def test_the_sink_sees_what_the_journal_does_not() -> None:
    script = run()
    script.finals(["a", "b"])
    for idem, at in (("k-a", 2), ("k-b", 12), ("k-b", 13)):
        script.effect(idem, at)
    result = script.check("exactly-once", SINK)
    assert (result.verdict, result.counts) == ("invalid", {"duplicates": 1})
    assert result.evidence[0].text == (
        "append 'b' of session 's1', acknowledged 2 s after the effect of eu-down by gateway-eu (eu-west):"
        " the sink saw 2 effects"
    )


def test_one_effect_each_and_none_for_the_uncertain() -> None:
    script = run()
    script.final(["a", "b"])
    script.effect("k-a", 2)
    script.effect("k-b", 12)
    script.effect("of somebody else", 12)
    script.effect("of somebody else", 13)
    result = script.check("exactly-once", SINK)
    assert result.verdict == "valid"
    assert result.volume["effects"] == 2
    assert result.sentence.startswith("0 of 2 acknowledged turns twice in any read and at the sink")


def test_a_sink_that_misses_an_acknowledged_effect_is_blind() -> None:
    script = run()
    script.final(["a", "b"])
    script.effect("k-a", 2)
    result = script.check("exactly-once", SINK)
    assert result.verdict == "unknown"
    assert result.why_unknown == "the sink saw no effect of 1 of 2 acknowledged turns: it is blind"


def test_a_sink_stands_for_the_final_reads() -> None:
    script = Script("jobs")
    script.write("j", 11, 12)
    script.effect("k-j", 30)
    jobs = replace(SINK, model="jobs")
    assert script.check("exactly-once", jobs).verdict == "valid"
    script.effect("k-j", 50)  # a frozen upstream runs its backlog after the heal
    assert script.check("exactly-once", jobs).counts == {"duplicates": 1}


def test_effects_under_the_name_that_stacks_use() -> None:
    script = run()
    script.final(["a", "b"])
    script.effect("k-a", 2)
    script.events += [SignalEvent(at_ns=at, source="engine", event="executed", fields={"idem": "k-b"}) for at in (3, 4)]
    assert script.check("exactly-once", SINK).counts == {"duplicates": 1}


# ---- unknown


def test_no_final_read_and_no_sink() -> None:
    result = run().check("exactly-once")
    assert (result.verdict, result.why_unknown) == ("unknown", "there was no final read")


def test_an_unread_region() -> None:
    script = run()
    script.final(["a", "b"])
    assert "not looked for in us-east" in str(script.check("exactly-once", TWO).why_unknown)


def test_values_that_are_not_unique_prove_nothing() -> None:
    script = Script()
    script.write("hello", 11, 12, idem="k-1")
    script.write("hello", 13, 14, idem="k-2")
    script.final(["hello"])
    result = script.check("exactly-once")
    assert result.verdict == "unknown"
    assert result.why_unknown == "1 value was written by more than one operation"


def test_writes_without_a_value_prove_nothing() -> None:
    script = run()
    script.write(None, 11, 12)
    script.final(["a", "b"])
    assert script.check("exactly-once").why_unknown == "1 acknowledged write carried no value of its own"


def test_nothing_acknowledged() -> None:
    script = Script()
    script.write("a", 11, 12, "info")
    script.final(["a"])
    assert script.check("exactly-once").why_unknown == "nothing was acknowledged"


def test_no_op_open_during_the_fault() -> None:
    script = Script()
    script.write("a", 1, 2)
    script.final(["a"])
    assert script.check("exactly-once").why_unknown == "no operation was open while a fault was in effect"


# ---- counters

COUNTER = replace(ONE, model="counter")


def counter() -> Script:
    script = Script("counter")
    script.write("1", 1, 2, idem="e1")
    script.write("1", 11, 12, idem="e2")
    script.write("1", 13, 15, "info", idem="e3")
    return script


def test_a_ledger_shows_a_double_that_a_loss_hides_in_the_sum() -> None:
    script = counter()
    script.final({"value": 2, "events": ["e1", "e1"]})
    result = script.check("exactly-once", COUNTER)
    assert (result.verdict, result.counts) == ("invalid", {"duplicates": 1})


def test_a_ledger_with_each_event_once() -> None:
    script = counter()
    script.final({"value": 3, "events": ["e1", "e2", "e3"]})
    assert script.check("exactly-once", COUNTER).verdict == "valid"


def test_a_sum_above_everything_asked_for() -> None:
    script = counter()
    script.final(4)
    result = script.check("exactly-once", COUNTER)
    assert result.verdict == "invalid"
    assert result.sentence == "1 final sum shows more than every acknowledged and uncertain addition can explain"
    assert result.evidence[0].text.endswith("shows 4, at most 3 was asked for")


def test_a_sum_within_bounds_proves_nothing() -> None:
    script = counter()
    script.final(2)
    result = script.check("exactly-once", COUNTER)
    assert result.verdict == "unknown"
    assert "a sum cannot show a doubled addition" in str(result.why_unknown)


def test_amounts_that_are_no_numbers() -> None:
    script = Script("counter")
    script.write("one", 11, 12)
    script.final(9)
    assert "1 additions carried no whole number" in str(script.check("exactly-once", COUNTER).why_unknown)
