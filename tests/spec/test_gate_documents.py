"""Gates: what loads, and every slip with its place and remedy in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.registry import catalog
from harness.spec.load_drill import load_gate

BUILTIN = Path(__file__).parents[2] / "experiments"
DAY_NS = 86_400_000_000_000
GATE = """\
version: 1
kind: gate
name: release
freshness: 30d
experiments:
  - region-kill
  - {experiment: slow-link, freshness: 7d, passes: 3, set: [load.arrival.rate=20/s]}
"""


def load(folder: Path, text: str) -> Any:
    path = folder / "gate.yaml"
    path.write_text(text)
    return load_gate(path, catalog=catalog(), env={}, builtin=BUILTIN)


def test_a_gate_embeds_its_experiments(tmp_path: Path) -> None:
    gate = load(tmp_path, GATE).value
    first, second = gate.entries
    assert (gate.name, gate.title, gate.flaky, gate.regression) == ("release", "release", "block", "off")
    assert (first.experiment.name, first.freshness_ns, first.passes, first.line) == ("region-kill", 30 * DAY_NS, 1, 6)
    assert (second.freshness_ns, second.passes, second.line) == (7 * DAY_NS, 3, 7)
    assert second.experiment.load.arrival.rate_per_s == 20


@pytest.mark.parametrize(
    ("was", "now", "problem"),
    [
        (
            "- region-kill",
            "- region-kil",
            "experiments[0]: unknown experiment 'region-kil'; did you mean 'region-kill'?",
        ),
        ("- region-kill", "- ./region-kill.yaml", "experiments[0]: no experiment file './region-kill.yaml'"),
        ("freshness: 30d", "freshness: 30", 'freshness: expected a duration such as "15s", got 30'),
        ("passes: 3", "passes: 0", "experiments[1].passes: expected at least 1, got 0"),
        ("freshness: 7d", "fresh: 7d", "experiments[1].fresh: unknown key 'fresh'; did you mean 'freshness'?"),
        ("slow-link, f", "region-kill, f", None),
        ("kind: gate", "kind: drill", "kind: expected 'gate', got 'drill'"),
        ("name: release", "name: release\nflaky: maybe", "flaky: expected 'block' or 'allow', got 'maybe'"),
    ],
)
def test_slips_have_a_place_and_a_remedy(was: str, now: str, problem: str | None, tmp_path: Path) -> None:
    text = GATE.replace(was, now)
    assert text != GATE
    if problem is None:  # the same experiment with other settings is another experiment
        assert len(load(tmp_path, text).value.entries) == 2
        return
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    assert problem in str(caught.value)
    assert caught.value.problems[0].line is not None


def test_the_same_experiment_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="experiment 'region-kill' is there twice"):
        load(
            tmp_path,
            GATE.replace(
                "- {experiment: slow-link, freshness: 7d, passes: 3, set", "- {experiment: region-kill, set"
            ).replace("load.arrival.rate=20/s", ""),
        )


def test_an_experiment_without_covers_is_warned_of(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text(f"version: 1\nkind: experiment\nextends: {BUILTIN / 'region-kill.yaml'}\nname: bare\ncovers: []\n")
    (warning,) = load(tmp_path, GATE.replace("- region-kill", "- ./bare.yaml")).warnings
    assert (warning.line, warning.message) == (6, "experiment 'bare' has no `covers:`")
