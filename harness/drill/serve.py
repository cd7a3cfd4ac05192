"""What `drill serve` does: starts drills as commands, halts runs, takes approvals, gathers what its page shows."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from harness.drill.approvals import approvals_of, approve, now_utc
from harness.drill.board import Board, DrillLine, Live
from harness.drill.desk import DESK, answer_of, asked_on, give
from harness.drill.plan import DrillPlan, plan_lines
from harness.drill.rundir import PastDrill, earlier_drills
from harness.drill.schedule import due_of, due_since
from harness.errors import HarnessError
from harness.model.drill_result import Approval
from harness.run.lock import live_runs
from harness.store.index import index_runs

__all__ = ["Project", "Runner"]

_LATE = timedelta(minutes=50)
"""As the guard of written schedules: a drill that was due longer ago is left for a person to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where the runner works. `plans` gives each drill's name with its plan now, or why it has none; `command` starts one."""

    reports: Path
    plans: Callable[[], Sequence[tuple[str, DrillPlan | HarnessError]]]
    command: Callable[[str], Sequence[str]]


@dataclass(slots=True)
class Runner:
    """What it started itself, one drill at a time, and what it was asked to halt."""

    project: Project
    log: Path
    starts_due: bool = False
    child: subprocess.Popen[bytes] | None = None
    name: str = ""
    halted: set[str] = field(default_factory=set)
    begun: dict[str, datetime] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether the drill that it started goes on."""
        return self.child is not None and self.child.poll() is None

    def start(self, name: str) -> str:
        """Start a rehearsal of the drill, as a command of its own; what to tell a person."""
        if self.busy:
            return f"{self.name} is under way: one drill at a time"
        if any(one.alive for one in live_runs()):
            return "a run is under way on this host: nothing was started"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                list(self.project.command(name)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # what ends the runner does not end a drill half-way
            )
        self.name = name
        return f"{name}: rehearsal started"

    def halt(self, run_id: str) -> str:
        """Ask a live run to stop, as its own Ctrl-C would. Empty: the drill that was started here, between its experiments."""
        if not run_id and self.busy and self.child is not None:
            self.child.send_signal(signal.SIGTERM)
            return f"{self.name} was asked to stop"
        chosen = next((one for one in live_runs() if one.run_id == run_id and one.alive), None)
        if chosen is None:
            return "that run is not under way"
        os.kill(chosen.pid, signal.SIGINT)
        self.halted.add(run_id)
        return f"{run_id} was asked to stop; it puts everything back first"

    def approve(self, name: str, plan_hash: str, words: tuple[str, str], now: datetime) -> str:
        """Record an approval of the plan that was shown; `words`: who, and a remark. A plan that changed since is not approved."""
        by, note = words
        plan = next((plan for known, plan in self.project.plans() if known == name), None)
        if not isinstance(plan, DrillPlan):
            return f"{name} cannot be planned: nothing was approved"
        if plan.hash != plan_hash:
            return f"the plan of {name} has changed since this page was made: read it again. Nothing was approved"
        if not by.strip():
            return "say who approves: nothing was approved"
        given = Approval(by=by.strip()[:80], at_utc=now_utc(now), plan_hash=plan_hash, note=note.strip()[:200])
        approve(self.project.reports, plan.drill.name, given)
        return f"{name}: plan {plan_hash[:12]} approved by {given.by}"

    def answer(self, number: str, word: str, words: tuple[str, str]) -> str:
        """Answer the human step that is asked now, by its number; `words`: who, and a note."""
        by, note = words
        if not by.strip():
            return "say who answers: nothing was answered"
        answer = answer_of(word, by.strip()[:80], note.strip()[:400])
        if answer is None:
            return "answer done, failed or skip: nothing was answered"
        if not give(self.project.reports / DESK, number, answer):
            return "that step is not asked any more: nothing was answered"
        return f"answered by {answer.by}: {answer.outcome}"

    def start_what_is_due(self, now: datetime) -> None:
        """Start a drill whose hour has come within the last 50 minutes, and that was not begun since."""
        if self.busy or any(one.alive for one in live_runs()):
            return
        past = earlier_drills(self.project.reports)
        for name, plan in self.project.plans():
            if not isinstance(plan, DrillPlan) or plan.drill.schedule is None:
                continue
            since = due_since(plan.drill.schedule, now)
            done = [datetime.fromisoformat(one.started_utc) for one in past if one.name == plan.drill.name]
            done += [self.begun[name]] if name in self.begun else []
            if since is not None and now - since <= _LATE and not any(began >= since for began in done):
                self.start(name)
                self.begun[name] = now
                return

    def glance(self, key: str, now: datetime) -> Board:
        """What is under way and what is asked, now: cheap enough to be looked at every two seconds."""
        return Board(now=now, key=key, live=self._live(), asked=asked_on(self.project.reports / DESK))

    def board(self, key: str, now: datetime, said: str = "") -> Board:
        """All that the page shows, now: plans every drill and reads the index of runs."""
        past = earlier_drills(self.project.reports)
        return replace(
            self.glance(key, now),
            drills=tuple(self._drill(name, plan, past, now) for name, plan in self.project.plans()),
            rows=index_runs(self.project.reports, kind=None),
            starts_due=self.starts_due,
            said=said,
        )

    def _live(self) -> tuple[Live, ...]:
        found = [
            Live(
                name=one.run_id,
                run_id=one.run_id,
                state=f"stack {one.stack}, pid {one.pid}",
                halting=one.run_id in self.halted,
            )
            for one in live_runs()
            if one.alive
        ]
        if not self.busy:
            return tuple(found)
        lines = tuple(self.log.read_text(errors="replace").splitlines()[-12:])
        if len(found) == 1:
            return (replace(found[0], state=f"{self.name}; {found[0].state}", lines=lines),)
        return (*found, Live(name=self.name, run_id=None, state="between its experiments", lines=lines))

    def _drill(self, name: str, plan: DrillPlan | HarnessError, past: Sequence[PastDrill], now: datetime) -> DrillLine:
        if not isinstance(plan, DrillPlan):
            return DrillLine(name=name, title="", problem=str(plan))
        return DrillLine(
            name=name,
            title=plan.drill.title,
            due=due_of(plan.drill, past, now),
            plan_hash=plan.hash,
            plan="\n".join(plan_lines(plan)),
            required=plan.drill.approvals.required,
            approvals=approvals_of(self.project.reports, plan.drill.name, plan.hash),
        )
