"""`converged` on literal histories."""

from __future__ import annotations

from dataclasses import replace

from literal import ONE, TWO, S, Script, ops_of


def run() -> Script:
    script = Script()
    script.write("a", 1, 2)
    script.write("b", 11, 12)
    script.write("c", 13, 15, "info")
    script.phase("final", 59)
    return script


def test_equal_once() -> None:
    script = run()
    script.finals(["a", "b"])
    result = script.check("converged", TWO)
    assert (result.verdict, result.counts) == ("valid", {"diverged": 0, "late": 0})
    assert result.sentence == (
        "1 key read the same in eu-west and us-east within 1.1 s of the first final read;"
        " whether they stay the same was not looked at"
    )


def test_equal_and_equal_again() -> None:
    script = run()
    script.finals(["a", "b"], 60)
    script.finals(["a", "b"], 62)
    result = script.check("converged", TWO)
    assert result.verdict == "valid"
    assert result.sentence.endswith("within 1.1 s of the first final read, and again 2 s later")


def test_lost_everywhere_is_still_equal() -> None:
    script = run()
    script.finals([])
    assert script.check("converged", TWO).verdict == "valid"


def test_an_uncertain_turn_in_one_region_only() -> None:
    script = run()
    script.final(["a", "b", "c"], "eu-west")
    script.final(["a", "b"], "us-east")
    result = script.check("converged", TWO)
    assert (result.verdict, result.counts["diverged"]) == ("invalid", 1)
    assert result.sentence == "1 key still differs between eu-west and us-east"
    assert ops_of(result) == [4, 5]
    assert result.evidence[0].text.endswith("eu-west holds 3 values, alone or not everywhere: 'c'")
    assert result.evidence[1].text.endswith("us-east holds 2 values, nothing that the others lack")


def test_order_matters_to_a_log_and_not_to_a_set() -> None:
    script = run()
    script.final(["a", "b"], "eu-west")
    script.final(["b", "a"], "us-east")
    assert script.check("converged", TWO).verdict == "invalid"
    as_set = Script("set")
    as_set.write("a", 11, 12)
    as_set.final(["a", "b"], "eu-west")
    as_set.final(["b", "a"], "us-east")
    assert as_set.check("converged", replace(TWO, model="set")).verdict == "valid"


def test_equal_only_in_the_second_round() -> None:
    script = run()
    script.final(["a"], "us-east", at=60)
    script.final(["a", "b"], "eu-west", at=60)
    script.finals(["a", "b"], 62)
    result = script.check("converged", TWO)
    assert result.why_unknown == "1 of 1 key not seen equal a second time in every region"
    assert script.check("converged", TWO, within_ns=3 * S).counts == {"diverged": 0, "late": 1}
    script.finals(["a", "b"], 64)
    result = script.check("converged", TWO, within_ns=4 * S)
    assert result.verdict == "valid"
    assert result.sentence.endswith("within 3.1 s of the first final read, and again 2 s later")


def test_too_late_says_how_late() -> None:
    script = run()
    script.finals(["a", "b"], 70)
    result = script.check("converged", TWO, within_ns=10 * S)
    assert result.verdict == "invalid"
    assert result.sentence == "1 key became equal too late: after 11.1 s, allowed 10 s"


def test_equal_first_and_apart_later() -> None:
    script = run()
    script.finals(["a", "b"], 60)
    script.final(["a", "b", "c"], "eu-west", at=62)
    script.final(["a", "b"], "us-east", at=62)
    assert script.check("converged", TWO).counts["diverged"] == 1


def test_registers_and_counters() -> None:
    register = Script("register")
    register.write("a", 11, 12)
    register.finals("a")
    assert register.check("converged", replace(TWO, model="register")).verdict == "valid"
    counter = Script("counter")
    counter.write("1", 11, 12)
    counter.final(1, "eu-west")
    counter.final(2, "us-east")
    assert counter.check("converged", replace(TWO, model="counter")).verdict == "invalid"


def test_evidence_regions_are_left_aside() -> None:
    script = run()
    script.finals(["a", "b"])
    script.final(["a"], "old")
    assert script.check("converged", replace(TWO, evidence_regions=("old",))).verdict == "valid"


def test_one_region_has_nothing_to_be_compared_with() -> None:
    script = run()
    script.final(["a", "b"])
    result = script.check("converged", ONE)
    assert result.why_unknown == "fewer than two regions were asked: there is nothing to compare"


def test_a_key_that_one_region_never_answered_for() -> None:
    script = run()
    script.final(["a", "b"], "eu-west")
    result = script.check("converged", TWO)
    assert result.verdict == "unknown"
    assert "1 key could not be read in every region" in str(result.why_unknown)


def test_a_second_round_that_left_a_key_out() -> None:
    script = run()
    script.write("x", 11, 12, session="s2")
    script.finals(["a", "b"], 60)
    script.finals(["x"], 60, session="s2")
    script.finals(["a", "b"], 62)
    result = script.check("converged", TWO)
    assert result.why_unknown == "1 of 2 keys not seen equal a second time in every region"


def test_unknown_without_final_reads_or_acknowledgements() -> None:
    assert run().check("converged", TWO).why_unknown == "there was no final read"
    script = Script()
    script.finals([])
    assert "nothing was acknowledged" in str(script.check("converged", TWO).why_unknown)
