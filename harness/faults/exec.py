"""exec: whatever the user's own commands break, witnessed and put back by commands of theirs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pydantic import ConfigDict, Field, field_validator

from harness.errors import InjectError
from harness.faults.command import (
    Ended,
    OuterState,
    bounded_within,
    outer_state,
    patience_ns,
    put_back,
    run_command,
    seen,
    seen_gone,
)
from harness.faults.instance import PROCESS_HOSTS
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Exec", "ExecParams"]


class ExecParams(Params):
    """Three commands, each a list of words, each with `within` to end.

    `apply` and `revert` end with 0. `witness` ends with 0 while the effect is there and with 1 while it is not; anything
    else, as with grep, means that it cannot tell. They run in `cwd` (the document's folder unless given), and find the
    target in the environment: BLACKSTART_TARGET, and for an instance BLACKSTART_PID and BLACKSTART_ADDRESS.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    apply: tuple[str, ...] = Field(min_length=1)
    revert: tuple[str, ...] = Field(min_length=1)
    witness: tuple[str, ...] = Field(min_length=1)
    within: Duration = 5_000_000_000
    cwd: str | None = None

    _bounded = field_validator("within")(bounded_within)


class Exec:
    """Runs the user's commands. What `apply` cut half-way leaves is for the user's `revert` to undo."""

    state_type = OuterState

    def __init__(self, params: ExecParams) -> None:
        self.params = params

    @property
    def patience_ns(self) -> int:
        """How long one call may take."""
        return patience_ns(self.params.within)

    async def prepare(self, target: Target, world: World) -> OuterState:
        return await outer_state(target, world, self.params.cwd)

    async def apply(self, state: OuterState, world: World) -> None:
        await self._done(self.params.apply, state, world)

    async def witness(self, state: OuterState, world: World) -> Evidence:
        return await seen(lambda: self._there(state, world), world, self.params.within)

    async def revert(self, state: OuterState, world: World) -> None:
        await put_back(lambda: self._done(self.params.revert, state, world), self._by_hand(state, world))

    async def verify(self, state: OuterState, world: World) -> Evidence:
        return await seen_gone(lambda: self._there(state, world), world, self._by_hand(state, world))

    async def _done(self, argv: Sequence[str], state: OuterState, world: World) -> None:
        ended = await self._run(argv, state, world)
        if ended.code != 0:
            raise InjectError(f"{argv[0]!r} ended with {ended.code}: {ended.output[-300:]}")

    async def _there(self, state: OuterState, world: World) -> tuple[bool, str]:
        argv = self.params.witness
        ended = await self._run(argv, state, world)
        if ended.code not in (0, 1):
            raise InjectError(
                f"witness {argv[0]!r} cannot tell: it ended with {ended.code} (0: there, 1: not there):"
                f" {ended.output[-300:]}"
            )
        said = f": {ended.output[-200:]}" if ended.output else ""
        return ended.code == 0, f"witness {argv[0]!r} ended with {ended.code}{said}"

    async def _run(self, argv: Sequence[str], state: OuterState, world: World) -> Ended:
        words = self._words(argv, state, world)
        return await run_command(words, within_ns=self.params.within, cwd=state.cwd, env=state.env)

    def _words(self, argv: Sequence[str], state: OuterState, world: World) -> list[str]:
        return [world.wiring.text(word, instance=state.target) for word in argv]

    def _by_hand(self, state: OuterState, world: World) -> str:
        told = " ".join(f"{key}={shlex.quote(value)}" for key, value in state.env.items())
        command = shlex.join(self._words(self.params.revert, state, world))
        return f"cd {shlex.quote(state.cwd)} && {told} {command}"


KIND = FaultKind(
    name="exec",
    doc="commands of your own that break something, prove it, and put it back",
    params=ExecParams,
    code="harness.faults.exec:Exec",
    example="{fault: exec, apply: [./ops/drain, eu], revert: [./ops/undrain, eu], witness: [./ops/is-drained, eu], for: 20s}",
    targets=frozenset({"stack", "instance"}),
    hosts=PROCESS_HOSTS,
    what="run {apply} for {target}",
    clients_see="what your command does to them",
    on_revert="{revert} is run, by the reaper too; it must be legal when nothing was applied",
    witness="the witness command ends with 0 while the effect is there, with 1 when it is not",
)
