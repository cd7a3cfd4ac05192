"""tests/corpus: histories as files whose verdicts are known, each with the reason, judged as `blackstart check` does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.check.judging import judge_calls
from harness.check.linear.wgl import steps
from harness.history.foreign import Reading, read_calls

CORPUS = Path(__file__).parents[1] / "corpus"
KNOWN = json.loads((CORPUS / "verdicts.json").read_text())


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_history_has_its_known_verdict(name: str) -> None:
    model, verdict, anomalies, why = KNOWN[name]
    found = judge_calls(read_calls(CORPUS / name, Reading()), model, steps(1_000_000))
    assert (str(found.verdict), [each.anomaly for each in found.anomalies]) == (verdict, anomalies), (why, found)
    assert all(each.ids for each in found.anomalies)


def test_every_history_is_known_and_explained() -> None:
    assert {path.name for path in CORPUS.glob("*.edn")} == set(KNOWN)
    assert all(why for *_, why in KNOWN.values())
