"""Runs the user's own checks over a sealed run directory. They read it; what they print is their verdict."""

from __future__ import annotations

import os
import subprocess

from pydantic import TypeAdapter, ValidationError

from harness.check.exec import Answer, ExecCheckParams
from harness.errors import StoreError
from harness.model.experiment import CheckSpec
from harness.model.plan import Plan
from harness.model.result import CheckResult
from harness.model.verdict import CheckVerdict
from harness.model.wiring import Wiring
from harness.store.rundir import RunDir

__all__ = ["verified"]

ANSWERS = "answers.json"
_SAID = 300
_ANSWERS = TypeAdapter(dict[str, CheckResult])


def verified(plan: Plan, run_dir: RunDir) -> dict[str, CheckResult]:
    """Check's name -> result, of every `exec` check of the plan. One that fails, or says no verdict, is unknown, with the reason.

    Each is run in the experiment file's folder with BLACKSTART_RUN, the run directory, in its environment. A verdict is kept
    beside the record (`answers.json`): judging the run again asks no program twice, and comes to the same.
    Raises StoreError when what was kept is damaged, or cannot be kept.
    """
    specs = [spec for spec in plan.experiment.checks if spec.kind == "exec"]
    kept = _kept(run_dir)
    results = {spec.name: kept.get(spec.name) or _run(spec, plan.experiment.base_dir, run_dir) for spec in specs}
    known = {name: result for name, result in results.items() if result.verdict is not CheckVerdict.UNKNOWN}
    if known != kept:
        run_dir.write(ANSWERS, _ANSWERS.dump_json(known, indent=1).decode() + "\n")
    return results


def _kept(run_dir: RunDir) -> dict[str, CheckResult]:
    path = run_dir.path / ANSWERS
    if not path.exists():
        return {}
    try:
        return _ANSWERS.validate_json(path.read_bytes())
    except ValidationError as exc:
        raise StoreError(f"{path}: damaged: {exc.errors()[0]['msg']}") from exc


def _run(spec: CheckSpec, base_dir: str, run_dir: RunDir) -> CheckResult:
    params = ExecCheckParams.model_validate(spec.params)
    wiring = Wiring(run_dir=str(run_dir.path))
    argv = [wiring.text(word) for word in params.argv]
    if "/" in argv[0]:
        argv[0] = os.path.join(base_dir, argv[0])
    try:
        done = subprocess.run(
            argv,
            cwd=base_dir,
            env=os.environ | {"BLACKSTART_RUN": str(run_dir.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=params.timeout / 1e9,
            check=False,
        )
    except OSError as exc:
        return _unknown(spec, f"cannot run {argv[0]!r}: {exc.strerror}")
    except subprocess.TimeoutExpired:
        return _unknown(spec, f"{argv[0]}: not done in {params.timeout / 1e9:g} s")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-_SAID:]
        return _unknown(spec, f"{argv[0]}: ended with {done.returncode}: {said}")
    try:
        answer = Answer.model_validate_json(done.stdout)
    except ValidationError as exc:
        what = exc.errors()[0]
        place = ".".join(map(str, what["loc"])) or "the output"
        return _unknown(spec, f"{argv[0]}: printed no verdict: {place}: {what['msg']}")
    unknown = answer.verdict is CheckVerdict.UNKNOWN
    return CheckResult(
        name=spec.name,
        kind=spec.kind,
        verdict=answer.verdict,
        sentence=answer.sentence,
        counts={} if unknown else answer.counts,
        volume=answer.volume,
        evidence=answer.evidence,
        why_unknown=answer.sentence if unknown else None,
    )


def _unknown(spec: CheckSpec, why: str) -> CheckResult:
    return CheckResult(
        name=spec.name, kind=spec.kind, verdict=CheckVerdict.UNKNOWN, sentence="cannot be told", why_unknown=why
    )
