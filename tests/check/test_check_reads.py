"""`fresh`, `session-guarantees`, `single-writer`, `counter` on literal histories."""

from __future__ import annotations

from dataclasses import replace

import pytest
from literal import ONE, TWO, S, Script, ops_of

REGISTER = replace(ONE, model="register")
SET = replace(ONE, model="set")
COUNTER = replace(ONE, model="counter")


def run() -> Script:
    """a and b acknowledged at 2 s and 12 s, c uncertain from 13 s on."""
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 15, "info")
    return script


# ---- fresh


def test_reads_that_show_what_was_acknowledged() -> None:
    script = run()
    script.read(["a"], 3)
    script.read(["a", "b"], 13)
    result = script.check("fresh")
    assert (result.verdict, result.counts) == ("valid", {"stale": 0})
    assert result.sentence == "0 of 2 reads missed what was acknowledged before: below 100 % at 95 %"


def test_a_stale_read_and_how_stale_it_is() -> None:
    script = run()
    read = script.read(["a"], 12.5)
    result = script.check("fresh")
    assert (result.verdict, result.counts) == ("invalid", {"stale": 1})
    assert result.sentence == "1 read of 1 missed what was acknowledged up to 500 ms before"
    assert ops_of(result) == [2, read.op]


def test_staleness_may_be_allowed() -> None:
    script = run()
    script.read(["a"], 12.5)
    assert script.check("fresh", within_ns=S).verdict == "valid"
    script.read(["a"], 13.5)
    result = script.check("fresh", within_ns=S)
    assert result.counts == {"stale": 1}
    assert result.sentence.endswith("up to 1.5 s before, 1 s allowed")


def test_what_is_acknowledged_at_the_very_instant_is_not_owed() -> None:
    script = run()
    script.read(["a"], 12)
    assert script.check("fresh").verdict == "valid"


def test_uncertain_writes_are_owed_to_nobody() -> None:
    script = run()
    script.read(["a", "b"], 30)
    script.read(["a", "b", "c"], 31)
    assert script.check("fresh").verdict == "valid"


def test_a_slice_of_stale_reads_by_design() -> None:
    script = run()
    script.read([], 14, region="us-east")
    script.read(["a", "b"], 14, region="eu-west")
    assert script.check("fresh", on={"region": "eu-west"}).verdict == "valid"
    assert script.check("fresh", on={"region": "us-east"}).verdict == "invalid"


def test_a_set_with_a_repeated_value_still_lacks_the_other() -> None:
    script = Script("set")
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.read(["b", "b"], 13)
    result = script.check("fresh", SET)
    assert ops_of(result) == [1, 3]


@pytest.mark.parametrize(("shown", "verdict"), [("b", "valid"), ("a", "invalid"), (None, "invalid"), ("u", "valid")])
def test_a_register_may_not_be_behind(shown: str | None, verdict: str) -> None:
    script = Script("register")
    script.write("a", 1, 2)
    script.write("u", 3, 4, "info")
    script.write("b", 11, 12)
    script.read(shown, 13)
    assert script.check("fresh", REGISTER).verdict == verdict


def test_a_register_with_concurrent_writes_may_show_either() -> None:
    script = Script("register")
    script.write("a", 11, 14)
    script.write("b", 12, 13)
    script.read("a", 15)
    script.read("b", 16)
    assert script.check("fresh", REGISTER).verdict == "valid"


def test_fresh_is_unknown_without_a_read_that_is_owed_anything() -> None:
    script = run()
    script.read([], 0)
    script.finals([])
    result = script.check("fresh")
    assert result.why_unknown == "no read under load began after an acknowledgement"


@pytest.mark.slow
def test_many_stale_reads_take_no_quadratic_time() -> None:
    script = Script("register")
    for n in range(10_000):
        script.write(f"v{n}", n, n + 0.5)
        script.read(None, n + 0.6, n + 0.7)
    assert script.check("fresh", REGISTER).counts == {"stale": 10_000}


# ---- session-guarantees


def test_a_session_that_sees_its_own_and_goes_forward() -> None:
    script = run()
    script.read(["a"], 3)
    script.read(["a", "b"], 13)
    result = script.check("session-guarantees")
    assert result.verdict == "valid"
    assert result.sentence == "2 reads showed all own writes, 1 read all that earlier ones had"


def test_an_own_write_that_is_not_shown() -> None:
    script = run()
    script.read([], 3)
    result = script.check("session-guarantees")
    assert result.counts == {"unread_own": 1, "went_back": 0, "writes_reordered": 0}
    assert result.sentence == "reads of sessions: 1 missed an own acknowledged write"


def test_another_sessions_write_is_not_owed_until_seen() -> None:
    script = run()
    script.read([], 13, session="s2", key="s1")
    assert script.check("session-guarantees").verdict == "unknown"
    script.read(["a", "b"], 14, session="s2", key="s1")
    script.read(["a"], 15, session="s2", key="s1")
    result = script.check("session-guarantees")
    assert result.counts == {"unread_own": 0, "went_back": 1, "writes_reordered": 0}


def test_concurrent_reads_may_be_in_either_order() -> None:
    script = run()
    script.read(["a", "b", "c"], 20, 25)
    script.read(["a", "b"], 21, 24)
    assert script.check("session-guarantees").verdict == "valid"


def test_an_uncertain_write_once_seen_must_stay() -> None:
    script = run()
    script.read(["a", "b", "c"], 20)
    script.read(["a", "b"], 22)
    assert script.check("session-guarantees").counts["went_back"] == 1


def test_own_writes_out_of_order() -> None:
    script = run()
    script.read(["a"], 3)
    script.final(["b", "a"])
    assert script.check("session-guarantees").counts["writes_reordered"] == 1


def test_a_register_of_a_session_goes_forward() -> None:
    script = Script("register")
    script.write("a", 1, 2, session="s2", key="k")
    script.write("b", 11, 12, session="s2", key="k")
    script.read("b", 13, key="k")
    script.read("b", 14, key="k")
    assert script.check("session-guarantees", REGISTER).verdict == "valid"
    script.read("a", 15, key="k")
    assert script.check("session-guarantees", REGISTER).counts["went_back"] == 1


# ---- single-writer


def test_epochs_that_follow_each_other() -> None:
    script = Script()
    script.write("a", 1, 2, epoch=3)
    script.write("b", 10, 13, epoch=3)  # open when the new one began: proves nothing
    script.write("c", 11, 12, epoch=4)
    result = script.check("single-writer")
    assert (result.verdict, result.counts) == ("valid", {"deposed": 0})
    assert result.sentence == "2 epochs, 0 of 3 acknowledgements under a deposed one: below 100 % at 95 %"


def test_the_deposed_holder_still_acknowledges() -> None:
    script = Script()
    script.write("a", 1, 2, epoch=3)
    script.write("b", 11, 12, epoch=4, served_by="gateway-us")
    script.write("c", 13, 14, epoch=3)
    script.write("d", 15, 16.5, epoch=3)
    result = script.check("single-writer")
    assert (result.verdict, result.counts) == ("invalid", {"deposed": 2})
    assert result.sentence == (
        "2 acknowledgements under epoch 3 began after a newer one had acknowledged: two writers for 4.5 s"
    )
    assert ops_of(result) == [2, 3, 4]
    assert result.evidence[1].text.endswith("sent 1 s after a newer epoch had acknowledged")


def test_uncertain_writes_of_the_old_epoch_prove_nothing() -> None:
    script = Script()
    script.write("b", 11, 12, epoch=4)
    script.write("c", 13, 14, "info", epoch=3)
    assert script.check("single-writer").verdict == "valid"


def test_single_writer_is_unknown_without_epochs() -> None:
    script = Script()
    script.write("a", 11, 12)
    script.write("b", 13, 14, epoch=1)
    assert script.check("single-writer").why_unknown == "1 acknowledgement carried no epoch"
    assert "nothing was acknowledged" in str(Script().check("single-writer").why_unknown)


# ---- counter


def counter() -> Script:
    script = Script("counter")
    script.write("2", 1, 2, idem="e1")
    script.write("3", 11, 12, idem="e2")
    script.write("4", 13, 15, "info", idem="e3")
    return script


@pytest.mark.parametrize(
    ("shown", "sent", "verdict"),
    [(2, 3, "valid"), (1, 3, "invalid"), (5, 3, "invalid"), (0, 0, "valid"), (5, 11.5, "valid"), (9, 30, "valid")],
)
def test_a_sum_under_load_is_within_bounds(shown: int, sent: float, verdict: str) -> None:
    script = counter()
    script.read(shown, sent)
    script.final(5)
    assert script.check("counter", COUNTER).verdict == verdict


@pytest.mark.parametrize(("shown", "verdict"), [(4, "invalid"), (5, "valid"), (9, "valid"), (10, "invalid")])
def test_a_final_sum_is_within_bounds(shown: int, verdict: str) -> None:
    script = counter()
    script.finals(shown)
    assert script.check("counter", replace(TWO, model="counter")).verdict == verdict


def test_the_bounds_are_named() -> None:
    script = counter()
    script.final(12)
    result = script.check("counter", COUNTER)
    assert result.counts == {"outside": 1, "doubled": 0, "missing": 0}
    assert result.sentence == "1 of 1 sums outside what was added"
    assert result.evidence[0].text.endswith("shows 12, possible is 5 to 9")


def test_negative_amounts_turn_the_bounds_round() -> None:
    script = Script("counter")
    script.write("5", 11, 12, idem="e1")
    script.write("-2", 13, 15, "info", idem="e2")
    script.final(3)
    assert script.check("counter", COUNTER).verdict == "valid"
    script.final(2, at=61)
    assert script.check("counter", COUNTER).verdict == "invalid"


def test_a_ledger_does_not_let_a_loss_and_a_double_cancel() -> None:
    script = Script("counter")
    script.write("1", 11, 12, idem="e1")
    script.write("1", 13, 14, idem="e2")
    script.final({"value": 2, "events": ["e1", "e1"]})
    result = script.check("counter", COUNTER)
    assert result.counts == {"outside": 0, "doubled": 1, "missing": 1}
    assert sorted(ops_of(result)) == [1, 2]


def test_keys_have_sums_of_their_own() -> None:
    script = counter()
    script.write("7", 11, 12, session="s2", idem="f1")
    script.final(5)
    script.final(7, session="s2")
    assert script.check("counter", COUNTER).verdict == "valid"


def test_a_counter_is_unknown_without_numbers_or_final_reads() -> None:
    script = Script("counter")
    script.write("one", 11, 12)
    script.final(1)
    assert script.check("counter", COUNTER).why_unknown == "1 addition carried no whole number"
    assert "there was no final read" in str(counter().check("counter", COUNTER).why_unknown)
