"""`durable` on literal histories: one for every verdict, and one for every reason not to know."""

from __future__ import annotations

from dataclasses import replace

from literal import CALM, ONE, TWO, Script, ops_of

from harness.check.context import FaultSpan


def run(model: str = "log") -> Script:
    """Three turns: one before the kill at 10 s, one acknowledged under it, one uncertain."""
    script = Script(model)
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 15, "info")
    return script


def test_all_acknowledged_turns_are_there() -> None:
    script = run()
    script.finals(["a", "b"])
    result = script.check("durable", TWO)
    assert result.verdict == "valid"
    assert result.sentence == "0 of 2 acknowledged turns lost: below 100 % at 95 %"
    assert result.counts == {"lost": 0, "recoverable": 0, "vanished": 0}
    assert result.volume == {
        "acked": 2,
        "acked_before": 1,
        "acked_during": 1,
        "acked_after": 0,
        "info": 1,
        "reads": 0,
        "final_reads": 2,
        "sessions": 1,
    }


def test_an_uncertain_turn_may_be_there() -> None:
    script = run()
    script.finals(["a", "b", "c"])
    assert script.check("durable", TWO).verdict == "valid"


def test_the_worst_region_counts_and_is_named() -> None:
    script = run()
    lost = script.write("d", 16, 17, served_by="gateway-us", region="us-east", epoch=4)
    script.final(["a", "b", "d"], "eu-west")
    script.final(["a"], "us-east")
    result = script.check("durable", TWO)
    assert result.verdict == "invalid"
    assert result.counts["lost"] == 2
    assert result.sentence == (
        "2 of 3 acknowledged turns are missing in us-east: first acknowledged 2 s after the effect of eu-down,"
        " last 7 s after the effect of eu-down"
    )
    assert ops_of(result) == [2, lost.op]
    assert result.evidence[1].text == (
        "append 'd' of session 's1', acknowledged 7 s after the effect of eu-down by gateway-us (us-east, epoch 4):"
        " missing in us-east"
    )
    assert result.evidence[0].at_ns == 12_000_000_000


def test_other_regions_that_lost_are_named_too() -> None:
    script = run()
    script.final(["b"], "eu-west")
    script.final([], "us-east")
    result = script.check("durable", TWO)
    assert result.counts["lost"] == 2
    assert result.sentence.endswith("; also 1 in eu-west")


def test_an_acknowledgement_before_the_effect_is_told_as_such() -> None:
    script = run()
    script.final(["b"])
    result = script.check("durable")
    assert "missing in eu-west: first acknowledged 8 s before the effect of eu-down" in result.sentence


def test_what_only_an_evidence_region_holds_is_lost_and_recoverable() -> None:
    script = run()
    script.final(["a"], "us-east")
    script.final(["a", "b"], "eu-west")
    result = script.check("durable", replace(TWO, regions=("us-east",), evidence_regions=("eu-west",)))
    assert result.verdict == "invalid"
    assert (result.counts["lost"], result.counts["recoverable"]) == (1, 1)
    assert result.sentence.endswith("; 1 recoverable from eu-west")
    assert result.evidence[0].text.endswith("missing in us-east, held by eu-west")


def test_an_uncertain_turn_that_was_seen_and_is_gone_is_lost() -> None:
    script = run()
    script.read(["a", "b", "c"], 30)
    script.final(["a", "b"])
    result = script.check("durable")
    assert result.verdict == "invalid"
    assert result.counts == {"lost": 1, "recoverable": 0, "vanished": 1}
    assert result.sentence == "1 uncertain turn was shown by a read and missing later in eu-west"
    assert result.evidence[0].text.endswith("seen in a read, then missing in eu-west")


def test_an_uncertain_turn_that_only_the_other_region_shows_is_not_lost() -> None:
    script = run()
    script.final(["a", "b", "c"], "eu-west")
    script.final(["a", "b"], "us-east")
    assert script.check("durable", TWO).verdict == "valid"


def test_the_last_round_of_final_reads_counts() -> None:
    script = run()
    script.final(["a"], at=60)  # not there yet
    script.final(["a", "b"], at=63)
    assert script.check("durable").verdict == "valid"


def test_a_turn_that_went_between_two_rounds_is_lost() -> None:
    script = run()
    script.final(["a", "b"], at=60)
    script.final(["a"], at=63)
    assert script.check("durable").counts["lost"] == 1


def test_evidence_has_the_first_and_the_last_of_many() -> None:
    script = Script()
    for n in range(40):
        script.write(f"v{n}", n, n + 0.5)
    script.final([])
    result = script.check("durable")
    assert ops_of(result) == [1, 2, 3, 4, 5, 6, 35, 36, 37, 38, 39, 40]
    assert result.counts["lost"] == 40


# ---- unknown


def test_without_a_final_read_nothing_is_known() -> None:
    result = run().check("durable")
    assert (result.verdict, result.why_unknown, result.counts) == ("unknown", "there was no final read", {})


def test_nothing_acknowledged() -> None:
    script = Script()
    script.write("a", 11, 12, "info")
    script.final([])
    result = script.check("durable")
    assert result.verdict == "unknown"
    assert result.why_unknown == "nothing was acknowledged"


def test_no_op_open_during_the_fault() -> None:
    script = Script()
    script.write("a", 1, 2)
    script.final(["a"])
    result = script.check("durable")
    assert result.verdict == "unknown"
    assert result.why_unknown == "no operation was open while a fault was in effect"


def test_a_fault_that_was_planned_and_never_came() -> None:
    script = run()
    script.final(["a", "b"])
    result = script.check("durable", replace(CALM, faults_planned=1))
    assert result.verdict == "unknown"
    assert result.why_unknown == "no fault was applied"


def test_a_fault_without_an_end_lasts() -> None:
    script = Script()
    script.write("a", 400, 401)
    script.final(["a"], at=500)
    endless = replace(ONE, faults=(FaultSpan(id="x", effect_lo_ns=1, effect_hi_ns=None),))
    assert script.check("durable", endless).verdict == "valid"


def test_without_faults_in_the_plan_none_is_needed() -> None:
    script = run()
    script.final(["a", "b"])
    assert script.check("durable", CALM).verdict == "valid"


def test_an_unread_session_is_not_lost() -> None:
    script = run()
    script.write("x", 11, 12, session="s2")
    script.final(["a", "b"])
    result = script.check("durable", replace(ONE, unread=("s2@eu-west",)))
    assert result.verdict == "unknown"
    assert result.why_unknown == "1 acknowledged turn was not looked for in eu-west"


def test_an_unread_region_is_not_lost() -> None:
    script = run()
    script.final(["a", "b"], "eu-west")
    result = script.check("durable", TWO)
    assert result.verdict == "unknown"
    assert "not looked for in us-east" in str(result.why_unknown)


def test_a_read_that_never_succeeded_in_the_second_round_makes_it_unknown() -> None:
    script = run()
    script.final(["a", "b"])
    result = script.check("durable", replace(ONE, unread=("s1@eu-west",)))
    assert result.why_unknown == "1 final read never succeeded (s1@eu-west)"


def test_loss_beats_what_is_unread() -> None:
    script = run()
    script.final(["a"], "eu-west")
    assert script.check("durable", TWO).verdict == "invalid"


def test_a_final_read_that_is_no_list_was_not_read() -> None:
    script = run()
    script.final({"error": "warming up"})
    result = script.check("durable")
    assert result.verdict == "unknown"
    assert "returned something else than a model 'log' does" in str(result.why_unknown)


def test_failed_and_cut_final_reads_are_none() -> None:
    script = run()
    script.final(["a", "b"], outcome="fail")
    script.final([], outcome="ok", cut=True)
    assert script.check("durable").why_unknown == "there was no final read"


def test_writes_that_share_a_value_cannot_be_told_apart() -> None:
    script = run()
    script.write("a", 14, 15, idem="k-other")
    script.final(["a", "b"])
    result = script.check("durable")
    assert result.verdict == "unknown"
    assert "written by more than one operation" in str(result.why_unknown)


def test_a_resend_with_the_same_key_is_the_same_write() -> None:
    script = run()
    script.write("c", 16, 17)  # the uncertain one, asked again and acknowledged
    script.final(["a", "b"])
    result = script.check("durable")
    assert result.counts["lost"] == 1
    assert ops_of(result) == [4]


# ---- slices, keys, models


def test_a_slice_judges_its_own_writes_against_all_final_reads() -> None:
    script = Script()
    script.write("a", 11, 12, group="sticky")
    script.write("b", 13, 14, group="follow")
    script.final(["b"])
    assert script.check("durable", on={"group": "follow"}).verdict == "valid"
    assert script.check("durable", on={"group": "sticky"}).verdict == "invalid"
    assert script.check("durable", on={"group": "none"}).why_unknown == (
        "nothing was acknowledged in this slice; no operation was open while a fault was in effect"
    )
    assert script.check("durable", on={"f": "append"}).verdict == "invalid"


def test_a_slice_by_a_column_that_is_no_text_is_unknown() -> None:
    script = run()
    script.final(["a", "b"])
    result = script.check("durable", on={"epoch": "3"})
    assert result.verdict == "unknown"
    assert "KeyError" in str(result.why_unknown) and "epoch" in str(result.why_unknown)


def test_one_read_of_everything_covers_every_key() -> None:
    script = run("set")
    script.write("x", 11, 12, session="s2")
    script.final(["x", "b", "a"], session=None, key=None)
    assert script.check("durable", replace(ONE, model="set")).verdict == "valid"


def test_final_reads_by_session_cover_writes_by_key() -> None:
    script = Script("set")
    script.write("a", 11, 12, key="cart-7")
    script.final(["a"], key=None)
    assert script.check("durable", replace(ONE, model="set")).verdict == "valid"


def test_regions_come_from_the_final_reads_when_the_stack_names_none() -> None:
    script = run()
    script.final(["a", "b"], None)
    assert script.check("durable", replace(ONE, regions=())).verdict == "valid"


def test_numbers_and_objects_are_compared_as_json() -> None:
    script = Script("set")
    script.write("7", 11, 12)
    script.write('{"a":1,"b":2}', 11, 12)
    script.final([7, {"b": 2, "a": 1}])
    assert script.check("durable", replace(ONE, model="set")).verdict == "valid"


REGISTER = replace(ONE, model="register")


def test_a_register_shows_its_last_write() -> None:
    script = Script("register")
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final("b")
    assert script.check("durable", REGISTER).verdict == "valid"


def test_a_register_that_went_back() -> None:
    script = Script("register")
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final("a")
    result = script.check("durable", REGISTER)
    assert (result.verdict, result.counts["lost"], ops_of(result)) == ("invalid", 1, [2])
    assert result.evidence[0].text.endswith("rolled back in eu-west")


def test_concurrent_register_writes_may_end_either_way() -> None:
    script = Script("register")
    script.write("a", 11, 14)
    script.write("b", 12, 13)
    script.final("a")
    assert script.check("durable", REGISTER).verdict == "valid"


def test_an_uncertain_register_write_may_be_the_last() -> None:
    script = Script("register")
    script.write("u", 1, 5, "info")
    script.write("b", 11, 12)
    script.final("u")
    assert script.check("durable", REGISTER).verdict == "valid"


def test_a_register_that_is_empty_lost_all() -> None:
    script = Script("register")
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.final(None)
    assert script.check("durable", REGISTER).counts["lost"] == 2


JOBS = replace(ONE, model="jobs", sink=True)


def test_jobs_without_a_store_are_counted_at_the_sink() -> None:
    script = Script("jobs")
    script.write("j1", 11, 12)
    script.effect("k-j1", 40)
    result = script.check("durable", JOBS)
    assert result.verdict == "valid"
    assert result.sentence == "0 of 1 acknowledged job without an effect at the sink: below 100 % at 95 %"


def test_a_sink_that_misses_an_acknowledged_job_is_blind() -> None:
    script = Script("jobs")
    script.write("j1", 11, 12)
    script.write("j2", 11, 12)
    script.effect("k-j1", 40)
    result = script.check("durable", JOBS)
    assert result.verdict == "unknown"
    assert result.why_unknown == "the sink saw no effect of 1 of 2 acknowledged jobs: it is blind"


def test_job_ids_in_a_final_read_may_be_idempotency_keys() -> None:
    script = Script("jobs")
    script.write("j1", 11, 12)
    script.final(["k-j1"])
    assert script.check("durable", replace(ONE, model="jobs")).verdict == "valid"
