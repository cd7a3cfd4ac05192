"""Check `exec`: a program of the user's own. What it is given and must say stands here; `run/verifying.py` runs it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness.check.context import CheckContext
from harness.history.history import History
from harness.model.catalog import CheckKind
from harness.model.experiment import CheckSpec
from harness.model.fields import Duration, Params
from harness.model.result import CheckResult, EvidenceRow
from harness.model.verdict import CheckVerdict

__all__ = ["KIND", "Answer", "ExecCheckParams", "check"]


class ExecCheckParams(Params):
    """`exec`: the command; a first word with a slash is relative to the experiment's file. `timeout`: 60 s unless given."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    argv: tuple[str, ...] = Field(alias="exec", min_length=1)
    timeout: Duration = 60_000_000_000


class Answer(BaseModel):
    """What the program prints on stdout, as one JSON document."""

    model_config = ConfigDict(extra="forbid")

    verdict: CheckVerdict
    sentence: str = Field(min_length=1, max_length=500)
    counts: dict[str, int] = Field(default_factory=dict)
    volume: dict[str, int] = Field(default_factory=dict)
    evidence: tuple[EvidenceRow, ...] = ()


KIND = CheckKind(
    name="exec",
    doc="The user's own: reads the run directory, prints one verdict as JSON.",
    params=ExecCheckParams,
    code="harness.check.exec:check",
    example='checks: [{exec: [./verify.py, "${run:dir}"], name: residency}]',
)


def check(history: History, spec: CheckSpec, context: CheckContext) -> CheckResult:
    """Unknown: nobody ran the program. A run does so before it judges, and hands in what came of it."""
    return CheckResult(
        name=spec.name,
        kind=spec.kind,
        verdict=CheckVerdict.UNKNOWN,
        sentence="cannot be told",
        why_unknown="the program was not run",
    )
