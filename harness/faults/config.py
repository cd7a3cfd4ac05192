"""config: keys in an instance's configuration file have other values for a while, and the instance took them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.command import OuterState, bounded_within, outer_state, patience_ns, run_command
from harness.faults.instance import PROCESS_HOSTS, InstanceFaultState, bring_back, look, seen_back, who_runs
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Config", "ConfigParams", "changed"]

_MOST_BYTES = 256 * 1024
_GRACE_NS = 5_000_000_000
_VERIFY_LIMIT_NS = 1_000_000_000


class ConfigParams(Params):
    """`set` gives keys of `file` other values, `then` makes the instance take them, `read` proves that it did.

    A `.json` file's keys are paths with dots; in any other file a key is the first word of a line, its value what follows
    `=`, `:` or white space. The key must be there. `read` is a command that prints, one a line and in the order of `set`,
    the values that the instance now works with: asked of the instance, not of the file. `file` is absolute, as with
    `${dir:NAME}/app.conf`.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    file: str
    set: dict[str, str] = Field(min_length=1)
    then: Literal["restart", "hup", "nothing"] = "restart"
    read: tuple[str, ...] = Field(min_length=1)
    within: Duration = 5_000_000_000
    cwd: str | None = None

    _bounded = field_validator("within")(bounded_within)


class ConfigState(OuterState):
    """The file's place and text, and what `read` printed, before anything was changed; and which ports accepted.

    `values` is None for a change on top of another that reads something else: what it printed before both is not known.
    """

    path: str
    text: str
    read: tuple[str, ...]
    values: tuple[str, ...] | None = None
    ports: tuple[str, ...] = ()


class Config:
    """Rewrites one file, whole and at once. A cut-short `apply` leaves it changed and not taken, which `revert` undoes."""

    state_type = ConfigState

    def __init__(self, params: ConfigParams) -> None:
        self.params = params

    @property
    def patience_ns(self) -> int:
        """How long one call may take."""
        return patience_ns(self.params.within) + 2 * _GRACE_NS

    async def prepare(self, target: Target, world: World) -> ConfigState:
        outer, runs = await outer_state(target, world, self.params.cwd), await who_runs(target, world)
        if self.params.then == "restart" and target.host == "pid" and not world.host(target.name).recipe().get("start"):
            raise UnsafeError(f"config: nothing could start {target.name} again; give it `start:`, or say `then: hup`")
        path = world.wiring.text(self.params.file, instance=target.name)
        text = _content(path)
        changed(path, text, self.params.set)
        state = ConfigState(**outer.model_dump(), path=path, text=text, read=self.params.read, ports=runs.ports)
        return state.model_copy(update={"values": await self._values(state, world)})

    def over(self, below: ConfigState) -> ConfigState:
        """The same original text; what `read` printed then is known only when it is the same command."""
        values = below.values if below.read == self.params.read else None
        return below.model_copy(update={"read": self.params.read, "values": values})

    async def apply(self, state: ConfigState, world: World) -> None:
        await self.compose(state, [self], world)

    async def compose(self, state: ConfigState, layers: Sequence[Config], world: World) -> None:
        text = state.text
        for layer in layers:
            text = changed(state.path, text, layer.params.set)
        _write(state.path, text)
        await self._take(state, world)

    async def witness(self, state: ConfigState, world: World) -> Evidence:
        wanted = tuple(self.params.set.values())

        async def once() -> tuple[bool, str]:
            values = await self._values(state, world)
            return values == wanted, f"{state.target} works with {self._said(values)}"

        return await look(once, world, self.params.within)

    async def revert(self, state: ConfigState, world: World) -> None:
        """Put the text back, and let the instance take it, unless both are as they were."""
        by_hand = f"restore {state.path} by hand: its text is in undo.jsonl"
        try:
            whole = _content(state.path) == state.text and await self._values(state, world) == state.values
        except InjectError:
            whole = False
        if whole:
            return
        try:
            _write(state.path, state.text)
            await self._take(state, world)
        except InjectError as exc:
            raise RevertError(f"config: {exc}", commands=(by_hand,)) from exc

    async def verify(self, state: ConfigState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            if _content(state.path) != state.text:
                return True, f"{state.path} is not as it was"
            values = await self._values(state, world)
            other = values == tuple(self.params.set.values()) if state.values is None else values != state.values
            return other, f"{state.target} works with {self._said(values)}, its file as it was"

        try:
            return await look(once, world, _VERIFY_LIMIT_NS, wanted=False)
        except InjectError as exc:
            raise RevertError(f"cannot tell what {state.target} works with: {exc}") from exc

    def _said(self, values: Sequence[str]) -> str:
        return ", ".join(f"{key}={value}" for key, value in zip(self.params.set, values, strict=False)) or "no value"

    async def _values(self, state: ConfigState, world: World) -> tuple[str, ...]:
        words = [world.wiring.text(word, instance=state.target) for word in self.params.read]
        ended = await run_command(words, within_ns=self.params.within, cwd=state.cwd, env=state.env)
        if ended.code != 0:
            raise InjectError(f"{words[0]!r} ended with {ended.code}: {ended.output[-300:]}")
        return tuple(line.strip() for line in ended.answer.decode(errors="replace").splitlines() if line.strip())

    async def _take(self, state: ConfigState, world: World) -> None:
        """Make the instance read its file anew."""
        host = world.host(state.target)
        found = await host.find()
        if self.params.then == "restart" or found is None:
            if found is not None:
                await host.stop(_GRACE_NS)
            runs = InstanceFaultState(instance=state.target, pid=None, start_ticks=None, ports=state.ports)
            await bring_back(runs, world)
            back = await seen_back(runs, world)
            if back.present:
                raise InjectError(back.what)
        elif self.params.then == "hup" and found.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGHUP)


def changed(path: str, text: str, to: Mapping[str, str]) -> str:
    """The text with every key of `to` set. Raises InjectError for a key that is not there."""
    if path.endswith(".json"):
        try:
            whole = json.loads(text)
        except ValueError as exc:
            raise InjectError(f"{path}: no JSON: {exc}") from exc
        for key, value in to.items():
            _set(path, whole, key, value)
        return json.dumps(whole, indent=2) + "\n"
    for key, value in to.items():
        line = re.compile(rf"^([ \t]*{re.escape(key)}(?:[ \t]*[=:][ \t]*|[ \t]+)).*$", re.MULTILINE)
        found = line.search(text)
        if found is None:
            raise InjectError(f"{path}: no line sets {key!r}")
        text = text[: found.start()] + found[1] + value + text[found.end() :]
    return text


def _set(path: str, whole: Any, key: str, value: str) -> None:
    """Set one path of a JSON document; a value keeps the type of the one it replaces, where it can."""
    *parents, leaf = key.split(".")
    for name in parents:
        whole = whole.get(name) if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or leaf not in whole:
        raise InjectError(f"{path}: there is no {key!r}")
    try:
        read = json.loads(value)
    except ValueError:
        read = value
    whole[leaf] = value if isinstance(whole[leaf], str) else read


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(_MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as exc:
        raise InjectError(f"cannot read {path!r}: {exc}") from exc
    if len(text) > _MOST_BYTES:
        raise InjectError(f"{path}: larger than {_MOST_BYTES} characters, no configuration file")
    return text


def _write(path: str, text: str) -> None:
    """Replace the file at once, owner and mode as they were."""
    try:
        before = os.stat(path)
        fd, beside = tempfile.mkstemp(prefix=".blackstart-", dir=os.path.dirname(path))
        with open(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            os.fchmod(fd, before.st_mode & 0o7777)
            os.fchown(fd, before.st_uid, before.st_gid)
            file.flush()
            os.fsync(fd)
        os.replace(beside, path)
    except OSError as exc:
        raise InjectError(f"cannot write {path!r}: {exc}") from exc


KIND = FaultKind(
    name="config",
    doc="a wrong configuration: keys of a file have other values, and the instance has taken them",
    params=ConfigParams,
    code="harness.faults.config:Config",
    example='{fault: config, file: "${dir:cache}/redis.conf", set: {maxmemory: 1mb}, then: restart,'
    " read: [./ops/redis-get, maxmemory], on: {instance: cache}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=PROCESS_HOSTS,
    holds=("process", "file {file}"),
    layers=True,
    what="set {set} in {file} and let {target} take it ({then})",
    clients_see="what the values do; with `restart`, open connections end and new ones are refused until it is up again",
    on_revert="the file's text is put back whole and {target} takes it the same way",
    witness="the read command prints the values that were set",
)
