"""action: a function of any Chaos Toolkit extension, called in a process of its own, witnessed and put back by others."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any, Literal

from pydantic import Field, field_validator

from harness.errors import InjectError
from harness.faults.command import (
    OuterState,
    bounded_within,
    outer_state,
    patience_ns,
    put_back,
    run_command,
    seen,
    seen_gone,
)
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, JsonObject, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Action", "ActionParams"]

_DOTTED = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_NAME = r"^[A-Za-z_]\w*$"


class FromEnvironment(Params):
    """A value that the environment holds, as Chaos Toolkit writes it."""

    type: Literal["env"]
    key: str
    default: str | None = None


class Call(Params):
    """A function of a module, with its arguments by name."""

    module: str = Field(pattern=_DOTTED)
    func: str = Field(pattern=_NAME)
    arguments: JsonObject = Field(default_factory=dict)


class WitnessCall(Call):
    """A probe. The effect is there while it returns `expect`, or, without `expect`, anything that is true."""

    expect: Any = None


class ActionParams(Call):
    """An action, the action that undoes it, and the probe that sees its effect, each with `within` to return.

    `configuration` and the values of every scope of `secrets` are given as Chaos Toolkit gives them: to a function that has
    a parameter of that name, and to arguments that say `$${name}`. Secret values come from the environment alone:
    {type: env, key: NAME}.
    """

    revert: Call
    witness: WitnessCall
    configuration: JsonObject = Field(default_factory=dict)
    secrets: dict[str, dict[str, FromEnvironment]] = Field(default_factory=dict)
    within: Duration = 10_000_000_000
    cwd: str | None = None

    _bounded = field_validator("within")(bounded_within)


class Action:
    """Calls the functions. What a cut-short action leaves is for the `revert` function to undo."""

    state_type = OuterState

    def __init__(self, params: ActionParams) -> None:
        self.params = params

    @property
    def patience_ns(self) -> int:
        """How long one call may take."""
        return patience_ns(self.params.within)

    async def prepare(self, target: Target, world: World) -> OuterState:
        """Nothing is called yet, but every function must be there and take its arguments."""
        state = await outer_state(target, world, self.params.cwd)
        for call in (self.params, self.params.revert, self.params.witness):
            await self._call(call, state, world, check=True)
        return state

    async def apply(self, state: OuterState, world: World) -> None:
        await self._call(self.params, state, world)

    async def witness(self, state: OuterState, world: World) -> Evidence:
        return await seen(lambda: self._there(state, world), world, self.params.within)

    async def revert(self, state: OuterState, world: World) -> None:
        await put_back(lambda: self._call(self.params.revert, state, world), self._by_hand(state, world))

    async def verify(self, state: OuterState, world: World) -> Evidence:
        return await seen_gone(lambda: self._there(state, world), world, self._by_hand(state, world))

    async def _there(self, state: OuterState, world: World) -> tuple[bool, str]:
        probe = self.params.witness
        value = await self._call(probe, state, world)
        there = bool(value) if probe.expect is None else value == probe.expect
        return there, f"{probe.module}.{probe.func} returned {str(value)[:200]}"

    async def _call(self, call: Call, state: OuterState, world: World, *, check: bool = False) -> Any:
        ended = await run_command(
            [sys.executable, "-P", "-m", "harness.faults.call"],
            within_ns=self.params.within,
            cwd=state.cwd,
            env=state.env,
            given=json.dumps(self._told(call, state, world) | {"check": check}).encode(),
        )
        name = f"{call.module}.{call.func}"
        try:
            answer = json.loads(ended.answer.splitlines()[-1])
        except (ValueError, IndexError) as exc:
            raise InjectError(f"{name}: died with {ended.code}: {ended.output[-300:]}") from exc
        if "error" in answer:
            raise InjectError(f"{name}: {answer['error']}")
        return answer["value"]

    def _told(self, call: Call, state: OuterState, world: World) -> JsonObject:
        def wired(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: wired(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [wired(item) for item in value]
            return world.wiring.text(value, instance=state.target) if isinstance(value, str) else value

        secrets = {
            scope: {key: item.model_dump() for key, item in items.items()}
            for scope, items in self.params.secrets.items()
        }
        return {
            "module": call.module,
            "func": call.func,
            "arguments": wired(call.arguments),
            "configuration": wired(self.params.configuration),
            "secrets": secrets,
        }

    def _by_hand(self, state: OuterState, world: World) -> str:
        told = json.dumps(self._told(self.params.revert, state, world))
        command = f"{shlex.quote(sys.executable)} -P -m harness.faults.call"
        return f"cd {shlex.quote(state.cwd)} && echo {shlex.quote(told)} | {command}"


KIND = FaultKind(
    name="action",
    doc="a function of any Chaos Toolkit extension, with the functions that prove it and undo it",
    params=ActionParams,
    code="harness.faults.action:Action",
    example="{fault: action, module: chaostoxi.proxy.actions, func: disable_proxy, arguments: {proxy_name: db},"
    " configuration: {toxiproxy_url: 'http://127.0.0.1:8474'},"
    " revert: {module: chaostoxi.proxy.actions, func: enable_proxy, arguments: {proxy_name: db}},"
    " witness: {module: chaostoxi.proxy.probes, func: get_proxy_attribute,"
    " arguments: {proxy_name: db, attribute: enabled}, expect: false}, for: 20s}",
    targets=frozenset({"stack"}),
    what="call {func} of {module}",
    clients_see="what the function does to them",
    on_revert="the `revert` function is called, by the reaper too; it must be legal when nothing was applied",
    witness="the `witness` function returns what is expected",
)
