"""What operators publish: what is refused, how a rollout is judged, and that a record is as durable as a turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reference.database import Sqlite
from harness.reference.journal import Config, Draft, Journal
from harness.reference.mutants import NO_CANARY
from harness.reference.registry import Registry, key_of, problem
from harness.reference.roles import role_of


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("template", "tmpl.r2", None),
        ("template", "tmpl.r0", "template: expected a revision such as tmpl.r2, got 'tmpl.r0'"),
        ("template", None, "template: expected a revision such as tmpl.r2, got None"),
        ("flags", {"cache": False}, None),
        ("flags", {"cash": False}, "flags: expected true or false for some of cache, fallback, got {'cash': False}"),
        ("keys", [1, 2], None),
        ("keys", [], "keys: expected the generations that are accepted, got []"),
        ("keys", [True], "keys: expected the generations that are accepted, got [True]"),
        ("config", {"answer_tokens_max": 8}, None),
        ("config", {"answer_tokens_max": None}, "config.answer_tokens_max: expected a number from 1 to 4096, got None"),
        ("config", {"answer_tokens_max": 4097}, "config.answer_tokens_max: expected a number from 1 to 4096, got 4097"),
        ("config", {"x": 1}, "config.x: there is no such key; known are answer_tokens_max"),
        ("config", {}, "config: expected an object, got {}"),
        ("config", {"x": "y" * 4000}, "config: over 2048 bytes"),
        ("else", 1, "else: nothing is published under this name"),
    ],
)
def test_what_is_invalid_is_named_before_anyone_loads_it(name: str, value: Any, wrong: str | None) -> None:
    assert problem(name, value) == wrong


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(clock: Clock, *mutants: str) -> Registry:
    one = Registry(frozenset(mutants), clock)
    one.take({"config": {"value": {"answer_tokens_max": 100}, "state": "active", "before": {}}})
    one.take({"config": one.published("config", {"answer_tokens_max": 8})})
    return one


def test_a_new_configuration_is_for_a_tenth_of_the_sessions_first() -> None:
    one = trial(Clock())
    got = [one.config(f"s{n}") for n in range(1000)]
    tried = [value for value, on_trial in got if on_trial]
    assert 60 < len(tried) < 150 and all(value == {"answer_tokens_max": 8} for value in tried)
    assert all(value == {"answer_tokens_max": 100} for value, on_trial in got if not on_trial)
    everywhere = trial(Clock(), NO_CANARY)
    assert {(v["answer_tokens_max"], on_trial) for v, on_trial in map(everywhere.config, map(str, range(50)))} == {
        (8, False)
    }


def test_a_rollout_that_harms_is_taken_back_and_one_that_does_not_is_kept() -> None:
    clock = Clock()
    one = trial(clock)
    assert one.rollout is not None and one.concluded() is None
    one.rollout.turns.extend([False, True, False, False])
    concluded = one.concluded()
    assert concluded == {
        "value": {"answer_tokens_max": 100}, "state": "active", "before": {"answer_tokens_max": 100}, "because": "rolled-back"
    }  # fmt: skip
    one.take({"config": concluded})
    assert one.rollout is None and one.config("s")[0] == {"answer_tokens_max": 100}
    one = trial(clock)
    assert one.rollout is not None
    one.rollout.turns.extend([True] * 10)
    assert one.concluded() is None  # too early
    clock.now += 4
    kept = one.concluded()
    assert kept is not None and kept["because"] == "active" and kept["value"] == {"answer_tokens_max": 8}


def test_keys_are_accepted_by_generation() -> None:
    one = Registry()
    assert role_of(one, "root", key_of("root", 1)) == "tenant" and role_of(one, "root", key_of("root", 2)) == "nobody"
    assert role_of(one, "root", "") == role_of(one, "root", key_of("other", 1)) == "nobody"
    one.take({"keys": [2, 3]})
    assert one.newest_key == 3 and role_of(one, "root", key_of("root", 1)) == "nobody"
    assert role_of(one, "root", key_of("root", 2)) == "tenant"


def test_toggles_and_template_stand_as_published_and_the_digest_tells_registries_apart() -> None:
    one, other = Registry(), Registry()
    assert one.flag("cache") and one.template == "tmpl.r1" and one.digest() == other.digest()
    one.take({"flags": {"cache": False}, "template": "tmpl.r2"})
    assert not one.flag("cache") and one.flag("fallback") and one.template == "tmpl.r2"
    assert one.digest() != other.digest()


def test_records_live_in_the_log_and_leave_it_with_a_fenced_tail(tmp_path: Path) -> None:
    config = Config(epoch=1, primary="eu", sync=("eu",), mode="sync")
    eu, us = Journal(Sqlite(tmp_path / "eu"), "eu"), Journal(Sqlite(tmp_path / "us"), "us")
    eu.batch([lambda j: j.set_config(config)])
    eu.batch([lambda j, v=v: j.append(Draft(kind="record", value="template", body={"value": v})) for v in ("a", "b")])
    assert eu.records == {"template": "b"}
    us.batch([lambda j: j.extend((0, "0" * 64), eu.entries(0, 1), 1)])
    assert us.records == {"template": "a"}
    us.batch([lambda j: j.set_config(Config(epoch=2, primary="us", sync=("us",), mode="sync"))])
    us.batch([lambda j: j.append(Draft(kind="epoch", body={}))])
    eu.batch([lambda j: j.extend((1, us.hash_at(1)), us.entries(1, 2), 2)])
    assert eu.records == {"template": "a"} and eu.quarantined == 1
    eu.close()
    again = Journal(Sqlite(tmp_path / "eu"), "eu")
    assert again.records == {"template": "a"}
    again.close()
    us.close()
