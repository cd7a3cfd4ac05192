"""`durable` and `exactly-once` of queues: what was sent, what was received, and a drain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from literal import ONE, Script, ops_of

from harness.model.result import CheckResult

QUEUE = replace(ONE, model="queue", profile="")


def send(script: Script, value: str, at: float, outcome: str = "ok", **more: Any) -> int:
    return script.write(value, at, at + 0.5, outcome, **({"key": None} | more)).op


def receive(script: Script, got: Any, at: float, **more: Any) -> int:
    return script.read(got, at, at + 0.5, f="receive", **({"key": None} | more)).op


def drain(script: Script, *values: str, **more: Any) -> None:
    """Final receives until there is nothing."""
    for number, value in enumerate((*values, None)):
        receive(script, value, 60 + number, phase="final", region="eu-west", **more)


def said(script: Script, kind: str) -> CheckResult:
    return script.check(kind, QUEUE)


def test_what_was_received_once_by_anyone_is_neither_lost_nor_doubled() -> None:
    script = Script("queue")
    send(script, "a", 11, session="s1")
    send(script, "b", 12, session="s2")
    receive(script, "a", 13, session="s3")
    drain(script, "b")
    assert (said(script, "durable").verdict, said(script, "exactly-once").verdict) == ("valid", "valid")
    assert said(script, "durable").volume["received"] == 2
    assert said(script, "durable").sentence.startswith("0 of 2 acknowledged messages lost in a drained queue: below")


def test_a_message_that_no_receive_returned_is_lost() -> None:
    script = Script("queue")
    lost = send(script, "a", 11)
    send(script, "b", 12)
    drain(script, "b")
    result = said(script, "durable")
    assert (result.verdict, result.counts["lost"], ops_of(result)) == ("invalid", 1, [lost])
    assert result.sentence == "1 of 2 acknowledged messages was never received"
    assert said(script, "exactly-once").verdict == "valid"


def test_a_message_received_twice_is_a_duplicate_and_not_lost() -> None:
    script = Script("queue")
    sent = send(script, "a", 11)
    first = receive(script, "a", 13)
    drain(script, "a")
    result = said(script, "exactly-once")
    assert (result.verdict, result.counts["duplicates"]) == ("invalid", 1)
    assert ops_of(result)[:2] == [sent, first] and len(ops_of(result)) == 3
    assert result.sentence == "1 message was received more than once, of 1 acknowledged"
    assert said(script, "durable").verdict == "valid"


def test_one_key_sent_twice_under_two_values_is_one_message() -> None:
    script = Script("queue")
    send(script, "a", 11, idem="k")
    send(script, "a2", 12, idem="k")
    drain(script, "a", "a2")
    assert said(script, "exactly-once").counts["duplicates"] == 1


def test_an_uncertain_receive_may_have_taken_what_is_missing() -> None:
    script = Script("queue")
    send(script, "a", 11)
    receive(script, None, 13, outcome="info", result=None)
    drain(script)
    result = said(script, "durable")
    assert result.verdict == "unknown" and "1 message may have been taken by receives" in str(result.why_unknown)
    assert said(script, "exactly-once").verdict == "valid"
    send(script, "b", 14)
    result = said(script, "durable")
    assert (result.verdict, result.counts["lost"]) == ("invalid", 1)
    assert result.sentence == "at least 1 of 2 acknowledged messages was never received"


def test_a_queue_that_was_not_drained_is_unknown() -> None:
    script = Script("queue")
    send(script, "a", 11)
    receive(script, "a", 13)
    for kind in ("durable", "exactly-once"):
        assert said(script, kind).why_unknown == "1 of 1 queue not drained: no final receive came back empty"


def test_queues_are_told_apart_by_their_key() -> None:
    script = Script("queue")
    send(script, "a", 11, key="one")
    lost = send(script, "b", 11, key="two")
    receive(script, None, 13, outcome="info", result=None, key="one")
    drain(script, "a", key="one")
    drain(script, key="two")
    assert ops_of(said(script, "durable")) == [lost]


def test_uncertain_and_refused_sends_are_owed_to_nobody() -> None:
    script = Script("queue")
    send(script, "a", 11)
    send(script, "b", 12, "info")
    send(script, "c", 13, "fail")
    drain(script, "a")
    assert said(script, "durable").verdict == "valid"
    drain(script, "b")
    assert (said(script, "durable").verdict, said(script, "exactly-once").verdict) == ("valid", "valid")
