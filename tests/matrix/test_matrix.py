"""The matrix itself: which cells there are, what is proven, what is written down. Whole runs are not made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.model.verdict import Verdict
from harness.reference.mutants import MUTANTS, Mutant
from tests.matrix import coverage
from tests.matrix.__main__ import DOCS, NIGHTLY, ROOT, drills, named
from tests.matrix.cells import Cell, Proof, cells, chosen, document, latest, parse, source_digest, text_of

TWO = {
    "late": Mutant(what="is late", experiment="b", expect="FAIL:recovery_time", kin="M04"),
    "kind": Mutant(what="does no harm", experiment="b", expect="PASS"),
}
MATRIX = cells(["a"], TWO)
PROOF = Proof(cell="b/late", seed=7, expect="FAIL:recovery_time", as_expected=True, verdict="FAIL", source="s1")


def test_cells_are_the_healthy_drills_and_each_mutant_behind_its_own() -> None:
    assert [(cell.name, cell.expect) for cell in MATRIX] == [
        ("a/healthy", "PASS"),
        ("b/healthy", "PASS"),
        ("b/kind", "PASS"),
        ("b/late", "FAIL:recovery_time"),
    ]


def test_a_drills_number_means_its_experiments() -> None:
    assert named(["D01", "lost-ack/healthy"]) == ["region-kill", "cell-kill", "lost-ack/healthy"]
    nightly = {cell.name for cell in chosen(cells(drills()), named(NIGHTLY))}
    assert {"region-kill/ack-before-replicate", "power-loss/ack-before-fsync", "lost-ack/no-idempotency"} <= nightly
    assert "backlog/healthy" not in nightly


def test_only_takes_a_cell_an_experiment_or_a_mutant() -> None:
    assert chosen(MATRIX, []) == MATRIX
    assert [cell.name for cell in chosen(MATRIX, ["late", "a"])] == ["a/healthy", "b/late"]
    assert [cell.name for cell in chosen(MATRIX, ["b"])] == ["b/healthy", "b/kind", "b/late"]
    assert [cell.name for cell in chosen(MATRIX, ["b/healthy"])] == ["b/healthy"]
    with pytest.raises(ValueError, match="no cell 'c'; there are a/healthy, b/healthy"):
        chosen(MATRIX, ["c"])


def test_a_proof_is_read_back_and_a_torn_line_is_left_out() -> None:
    proof = replace(
        PROOF, causes=("recovery_time", "steady"), commit="c0ffee", run_id="r", at="2026-11-26T00:00:00+00:00"
    )
    text = text_of(proof)
    assert parse(text + text[:20]) == (proof,)
    assert parse("") == ()


def test_only_the_last_proof_of_the_same_files_counts() -> None:
    again = replace(PROOF, as_expected=False)
    other = replace(PROOF, source="s2")
    assert latest([PROOF, again, other], "s1") == {("b/late", 7): again}
    assert latest([PROOF, again, other]) == {("b/late", 7): other}
    assert latest([PROOF], "s2") == {}


def test_the_digest_is_of_code_and_experiments_alone(tmp_path: Path) -> None:
    for name in ("harness/a.py", "experiments/b.yaml", "docs/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    first = source_digest(tmp_path)
    (tmp_path / "docs/c.md").write_text("2")
    assert source_digest(tmp_path) == first
    (tmp_path / "experiments/b.yaml").write_text("2")
    assert source_digest(tmp_path) != first


def test_the_page_tells_held_broken_stale_and_missing_apart() -> None:
    cell = Cell(experiment="region-kill", mutant="no-fencing", expect="FAIL:durable")
    good = Proof(cell=cell.name, seed=7, expect=cell.expect, as_expected=True, verdict="FAIL", source="s1")
    bad = replace(good, seed=8, as_expected=False, verdict="PASS", source="s0")
    page = document([cell], [7, 8, 9], latest([good, bad]), "s1")
    assert "| `region-kill` | `no-fencing` | M13 | FAIL:durable | ok | no*: PASS | – |" in page
    assert f"- `no-fencing`: {MUTANTS['no-fencing'].what}." in page


@pytest.mark.slow  # reads every experiment
def test_every_mutant_is_meant_for_a_drill_that_states_what_must_find_it() -> None:
    assert {"region-kill", "region-pause", "split-regions", "stream-cut", "no-fault"} <= (there := set(drills()))
    for name, mutant in MUTANTS.items():
        verdict, _, cause = mutant.expect.partition(":")
        assert mutant.experiment in there, name
        assert Verdict(verdict) is (Verdict.FAIL if cause else Verdict.PASS), name
        assert not cause or cause.partition("{")[0] in coverage.proofs_of(
            str(ROOT / f"experiments/{mutant.experiment}.yaml")
        ), name


def test_some_mutant_is_benign() -> None:
    assert [name for name, mutant in MUTANTS.items() if mutant.expect == "PASS"] == ["slower-tokens"]


@pytest.mark.slow  # reads every experiment
def test_the_coverage_page_is_what_the_experiments_say() -> None:
    assert list(coverage.CHECKS) == [f"C{number:02}" for number in range(1, 31)]
    assert (DOCS / "coverage.md").read_text() == coverage.document(ROOT)


def test_a_row_that_names_a_proof_its_experiment_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    row = coverage.Row(asked="all", experiments=("slow-link",), proofs=("durable", "resume"))
    monkeypatch.setattr(coverage, "ROWS", (row,))
    with pytest.raises(LookupError, match="all: slow-link does not state resume"):
        coverage.document(ROOT)
