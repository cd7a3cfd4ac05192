"""`session-order` on literal histories."""

from __future__ import annotations

from dataclasses import replace

from literal import ONE, TWO, Script, ops_of


def run() -> Script:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 14)
    return script


def test_in_order() -> None:
    script = run()
    script.read(["a"], 3)
    script.finals(["a", "b", "c"])
    result = script.check("session-order", TWO)
    assert (result.verdict, result.counts) == ("valid", {"reordered": 0, "forks": 0})
    assert result.sentence == "3 acknowledged turns of 1 session are in order, and 3 reads agree"


def test_a_later_turn_before_an_acknowledged_one() -> None:
    script = run()
    script.final(["b", "a", "c"])
    result = script.check("session-order")
    assert (result.verdict, result.counts) == ("invalid", {"reordered": 1, "forks": 0})
    assert result.sentence == "1 turn out of order, among 3 acknowledged in 1 session"
    assert ops_of(result) == [1, 2, 4]
    assert [row.text.split(": ")[-1] for row in result.evidence] == [
        "stands after 'b'",
        "stands before 'a', which was acknowledged before it was sent",
        "shows 'b' before 'a'",
    ]


def test_concurrent_turns_may_stand_either_way() -> None:
    script = Script()
    script.write("a", 11, 14)
    script.write("b", 12, 13)
    script.final(["b", "a"])
    assert script.check("session-order").verdict == "valid"


def test_touching_intervals_are_concurrent() -> None:
    script = Script()
    script.write("a", 11, 12)
    script.write("b", 12, 13)  # sent at the very instant of the acknowledgement
    script.final(["b", "a"])
    assert script.check("session-order").verdict == "valid"


def test_an_uncertain_turn_may_come_late_but_not_early() -> None:
    script = Script()
    script.write("a", 1, 2)
    script.write("u", 11, 13, "info")
    script.write("b", 14, 15, writer="w-2")
    script.final(["a", "b", "u"])
    assert script.check("session-order").verdict == "valid"
    early = Script()
    early.ops = script.ops[:3]
    early.final(["u", "a", "b"], at=61)  # it cannot have been there before it was sent
    assert early.check("session-order").verdict == "invalid"


def test_other_sessions_in_the_same_log_have_their_own_order() -> None:
    script = Script()
    script.write("a", 1, 2, key="shared")
    script.write("b", 11, 12, key="shared", session="s2")
    script.final(["b", "a"], key="shared")
    assert script.check("session-order").verdict == "valid"


def test_without_sessions_the_writers_order_counts() -> None:
    script = Script()
    script.write("a", 1, 2, key="k", session=None, writer="w1")
    script.write("b", 11, 12, key="k", session=None, writer="w1")
    script.write("x", 13, 14, key="k", session=None, writer="w2")
    script.final(["x", "a", "b"], key="k", session=None)
    assert script.check("session-order").verdict == "valid"
    script.final(["b", "a", "x"], key="k", session=None, at=61)
    assert script.check("session-order").counts["reordered"] == 1


def test_two_reads_that_each_hold_what_the_other_does_not() -> None:
    script = run()
    script.read(["a", "b"], 12.5)
    script.finals(["a", "c"], at=60)
    result = script.check("session-order", TWO)
    assert (result.verdict, result.counts) == ("invalid", {"reordered": 0, "forks": 1})
    assert result.sentence.startswith("1 read that does not fit the others, among 3 acknowledged")
    assert result.evidence[-1].text.endswith("from place 2 on: 'b'")


def test_regions_that_went_apart_are_a_fork() -> None:
    script = run()
    script.final(["a", "b"], "eu-west")
    script.final(["a", "c"], "us-east")
    assert script.check("session-order", TWO).counts["forks"] == 1


def test_an_entry_missing_in_the_middle_is_named_as_that() -> None:
    script = run()
    script.read(["a", "b", "c"], 20)
    script.final(["a", "c"])
    result = script.check("session-order")
    assert result.verdict == "invalid"
    assert "with entries missing in the middle" in result.sentence


def test_a_shorter_read_is_stale_and_not_out_of_order() -> None:
    script = run()
    script.read(["a", "b", "c"], 15)
    script.read(["a"], 17)
    script.final(["a", "b"])  # the cut-off tail is durable's to name
    assert script.check("session-order").verdict == "valid"


def test_reads_longer_than_the_final_one_must_agree_among_themselves() -> None:
    script = run()
    script.read(["a", "b"], 15)
    script.read(["a", "c"], 16)
    script.final(["a"])
    assert script.check("session-order").counts["forks"] == 1


def test_repeated_foreign_and_refused_entries_are_looked_through() -> None:
    script = run()
    script.write("f", 15, 16, "fail")
    script.read(["a", "b"], 15)
    script.final(["a", "a", "ghost", "b", "f", "c", "b"])
    assert script.check("session-order").verdict == "valid"


def test_evidence_regions_may_have_gone_their_own_way() -> None:
    script = run()
    script.final(["a", "b", "c"])
    script.final(["a", "c", "b"], "old")
    assert script.check("session-order", replace(ONE, evidence_regions=("old",))).verdict == "valid"


def test_a_slice_judges_its_own_turns() -> None:
    script = Script()
    script.write("a", 1, 2, group="g", session="s1")
    script.write("b", 11, 12, group="g", session="s1")
    script.write("x", 11, 12, group="h", session="s2")
    script.final(["b", "a"])
    script.final(["x"], session="s2")
    assert script.check("session-order", on={"group": "g"}).verdict == "invalid"
    assert script.check("session-order", on={"group": "h"}).verdict == "valid"


def test_unknown_without_a_final_read() -> None:
    assert run().check("session-order").why_unknown == "there was no final read"


def test_unknown_with_an_unread_region() -> None:
    script = run()
    script.final(["a", "b", "c"])
    assert script.check("session-order", TWO).why_unknown == "3 acknowledged turns were not looked for in us-east"


def test_unknown_when_nothing_was_acknowledged_or_nothing_was_open() -> None:
    script = Script()
    script.write("a", 1, 2, "info")
    script.final(["a"])
    result = script.check("session-order")
    assert result.verdict == "unknown"
    assert result.why_unknown == "nothing was acknowledged"  # the uncertain one may have lasted into the fault
