"""`python -m tests.matrix [--only CELL ...] [--nightly] [--seeds N] [--again] [--list]`: every drill and every mutant, live.

In CI only when NIGHTLY is set, and then the drills of `--nightly`.

A cell that came out as it must for this very state of harness/ and experiments/ is not run again, so a run that was cut off
goes on where it was. Keeps what came in docs/truth.jsonl, and writes docs/truth.md and docs/coverage.md from it.
Exit 1 unless all that was asked for came out as it must.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.cli.documents import load
from harness.run.subject import git_state
from tests.matrix import coverage
from tests.matrix.cells import (
    FIRST_SEED,
    Cell,
    Proof,
    cells,
    chosen,
    document,
    latest,
    parse,
    source_digest,
    text_of,
)

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports" / "truth"
DOCS = ROOT / "docs"
PROOFS = DOCS / "truth.jsonl"  # kept with the code: what was proven where cannot be asked of a fresh clone otherwise
STACKS = ("genai", "genai-billed", "genai-disks", "genai-jobs", "genai-roles", "genai-scaled", "genai-small")
NIGHTLY = ("D01", "D02", "D04", "D05", "D06", "D10")
_RUN_S, _UNDO_S = 300, 60


def drills() -> list[str]:
    """The experiments on the reference stack, by name: those with a timeline or a wait of their own on one of its sizes."""
    files = sorted((ROOT / "experiments").glob("*.yaml"))
    return [
        path.stem
        for path in files
        if path.stem not in ("base", "small") and load(str(path), None, None).value.stack.name in STACKS
    ]


def named(only: Sequence[str]) -> list[str]:
    """The names, with a drill's experiments in the place of its number."""
    return [name for one in only for name in (coverage.DRILLS[one][1] if one in coverage.DRILLS else (one,))]


def run(cell: Cell, seed: int, source: str) -> Proof:
    """Run a cell, for five minutes at most, and say what came."""
    program = Path(sys.executable).with_name("blackstart")
    argv = [str(program), "run", cell.experiment, "--set", f"seed={seed}", "--reports", str(REPORTS)]
    argv += ["--expect", cell.expect, "--json"]
    if cell.mutant:
        argv += ["--set", f"stack.params.mutant={cell.mutant}"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            out, talk = child.communicate(timeout=_RUN_S)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)  # puts everything back first
            try:
                out, talk = child.communicate(timeout=_UNDO_S)
            except subprocess.TimeoutExpired:
                child.kill()  # the run's reaper puts back what is left
                out, talk = child.communicate()
        code = child.returncode
    try:
        result: dict[str, Any] = json.loads(out)
    except ValueError:
        sys.stderr.write(talk)
        result = {"verdict": f"exit {code}"}
    return Proof(
        cell=cell.name,
        seed=seed,
        expect=cell.expect,
        as_expected=code == 0,
        verdict=str(result["verdict"]).upper(),
        causes=_causes(result),
        source=source,
        commit=git_state(ROOT).commit,
        run_id=str(result.get("run", {}).get("run_id", "")),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _causes(result: dict[str, Any]) -> tuple[str, ...]:
    reasons = [str(one["code"]) for one in result.get("reasons", ()) if one["verdict"] == result["verdict"]]
    invalid = [str(one["name"]) for one in result.get("checks", ()) if one["verdict"] == "invalid"]
    return tuple(dict.fromkeys([*invalid, *reasons]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="CELL", help="experiment/mutant, either, or D01 to D20"
    )
    parser.add_argument("--nightly", action="store_true", help=f"the cells of {', '.join(NIGHTLY)}")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each cell, each with a seed of its own")
    parser.add_argument("--again", action="store_true", help="also what is proven already")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    parser.add_argument("--write", action="store_true", help="write the documents from what is proven, run nothing")
    given = parser.parse_args()
    matrix = cells(drills())
    try:
        wanted = chosen(matrix, named([*given.only, *(NIGHTLY if given.nightly else ())]))
    except ValueError as exc:
        parser.error(str(exc))
    if given.list:
        sys.stdout.writelines(f"{cell.name}: {cell.expect}\n" for cell in wanted)
        return 0
    source = source_digest(ROOT)
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    bad = 0
    for cell, seed in [] if given.write else [(cell, seed) for seed in seeds for cell in wanted]:
        proof = latest(_proofs(), source).get((cell.name, seed))
        if given.again or proof is None or not proof.as_expected or proof.expect != cell.expect:
            proof = run(cell, seed, source)
            with PROOFS.open("a") as file:
                file.write(text_of(proof))
        bad += not proof.as_expected
        said = f"{'ok  ' if proof.as_expected else 'NOT '} {cell.name}, seed {seed}: expected {cell.expect}, got"
        sys.stdout.write(f"{said} {proof.verdict} {', '.join(proof.causes)} {proof.run_id}\n")
        sys.stdout.flush()
    found = latest(_proofs())
    shown = sorted({*seeds, *(seed for _, seed in found)})
    (DOCS / "truth.md").write_text(document(matrix, shown, found, source))
    (DOCS / "coverage.md").write_text(coverage.document(ROOT))
    return int(bad > 0)


def _proofs() -> tuple[Proof, ...]:
    return parse(PROOFS.read_text()) if PROOFS.exists() else ()


if __name__ == "__main__":
    sys.exit(main())
