"""Addresses filled into what a document wrote."""

from __future__ import annotations

from harness.model.plan import PlannedStep
from harness.model.wiring import Wiring
from harness.run.timeline import placed

WIRING = Wiring(addresses={"db": "127.0.2.1"}, ports={"db": {"pg": 5433}}, links={"repl": "127.0.0.1:7000"})


def test_options_are_filled_at_any_depth_and_other_values_are_left() -> None:
    options = {"a": "http://${addr:db.pg}", "b": ["${link:repl}", 3], "c": {"d": "$${x}"}, "e": None}
    assert WIRING.filled(options) == {
        "a": "http://127.0.2.1:5433",
        "b": ["127.0.0.1:7000", 3],
        "c": {"d": "${x}"},
        "e": None,
    }


def test_a_step_reaches_what_it_names() -> None:
    step = PlannedStep(id="promote", argv=("psql", "-h", "${addr:db}"), cwd="/ops/$$", at_ns=1, within_ns=2)
    done = placed(step, WIRING)
    assert (done.argv, done.cwd) == (("psql", "-h", "127.0.2.1"), "/ops/$")
    assert (done.id, done.at_ns, done.within_ns) == ("promote", 1, 2)
