"""dns: the resolver that a region's instances were told of says that there is no such name, nothing, an old address, or is slow."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from typing import Literal

from pydantic import Field, IPvAnyAddress, model_validator

from harness.errors import InjectError, RevertError
from harness.faults.dns_wire import AAAA, NXDOMAIN, OK, TXT, A, Answer, ask, parse_answer
from harness.faults.instance import look
from harness.faults.resolver import WHO
from harness.faults.told import forget, is_told, tell
from harness.model.catalog import FaultKind
from harness.model.fields import Duration, JsonObject, Params
from harness.model.plan import Target
from harness.model.ports import Evidence, FaultState, World
from harness.model.stack import Instance

__all__ = ["KIND", "Dns", "DnsParams", "lookup"]

PORT = "dns"
"""The name of the port at which a resolver answers."""
_SECOND_NS = 1_000_000_000
_ANSWER_LIMIT_S = 2.0
_WITNESS_LIMIT_NS = 3 * _SECOND_NS


class DnsParams(Params):
    """`answer`: what is said of every name. `to` is the address that `stale` gives, `delay` how late `slow` answers: up to 5 s."""

    answer: Literal["nxdomain", "empty", "stale", "slow"]
    to: IPvAnyAddress | None = None
    delay: Duration | None = Field(default=None, gt=0, le=5 * _SECOND_NS)

    @model_validator(mode="after")
    def _what_it_needs(self) -> DnsParams:
        for key, answer in (("to", "stale"), ("delay", "slow")):
            if (getattr(self, key) is None) == (self.answer == answer):
                raise ValueError(f"expected `{key}` with `answer: {answer}`, and with that alone")
        return self


class DnsState(FaultState):
    """Where the resolver answers ("host:port"), the file that it obeys, and a name of its own with the right addresses."""

    instance: str
    place: str
    file: str
    name: str
    type: int
    right: tuple[str, ...]


async def lookup(place: str, name: str, type_: int, within_s: float) -> tuple[Answer, float]:
    """What the resolver at that place says of a name, and after how many seconds. Raises InjectError when nothing comes."""
    number = secrets.randbelow(1 << 16)
    host, _, port = place.rpartition(":")
    loop = asyncio.get_running_loop()
    begun = time.monotonic()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            async with asyncio.timeout(within_s):
                await loop.sock_connect(asking, (host, int(port)))
                await loop.sock_sendall(asking, ask(number, name, type_))
                while True:
                    answer = parse_answer(await loop.sock_recv(asking, 4096))
                    if answer.id == number:
                        return answer, time.monotonic() - begun
        except TimeoutError as exc:
            raise InjectError(f"no answer from {place} within {within_s:g} s") from exc
        except (OSError, ValueError) as exc:
            raise InjectError(f"no answer from {place}: {exc}") from exc


class Dns:
    """Writes what the resolver shall say where it reads it. `apply` is one rename: it lies or it does not."""

    state_type = DnsState

    def __init__(self, params: DnsParams) -> None:
        self.params = params

    @property
    def _delay_s(self) -> float:
        return (self.params.delay or 0) / _SECOND_NS

    async def prepare(self, target: Target, world: World) -> DnsState:
        if target.kind != "instance":
            raise InjectError(f"{target.name} is a {target.kind}, expected an instance")
        if PORT not in world.wiring.ports.get(target.name, {}):
            raise InjectError(f"instance {target.name}: it has no port called {PORT!r}, so it is no resolver")
        place = world.wiring.address(target.name, PORT)
        told, _ = await lookup(place, WHO, TXT, _ANSWER_LIMIT_S)
        try:
            file, name = json.loads(told.data[0])
        except (IndexError, ValueError) as exc:
            raise InjectError(
                f"instance {target.name}: what answers at {place} is not `python -m harness.faults.resolver`"
            ) from exc
        if is_told(file):
            raise InjectError(f"instance {target.name}: it is told to lie already, by {file}")
        for type_ in (A, AAAA):
            right, _ = await lookup(place, name, type_, _ANSWER_LIMIT_S)
            if right.data:
                break
        if str(self.params.to) in right.data:
            raise InjectError(
                f"instance {target.name}: {self.params.to} is the right address of {name}, and no stale one"
            )
        return DnsState(instance=target.name, place=place, file=file, name=name, type=type_, right=right.data)

    async def apply(self, state: DnsState, world: World) -> None:
        told = {"answer": self.params.answer, "to": str(self.params.to or ""), "delay_s": self._delay_s}
        try:
            tell(state.file, json.dumps(told))
        except OSError as exc:
            raise InjectError(f"cannot write {state.file!r}: {exc}") from exc

    async def witness(self, state: DnsState, world: World) -> Evidence:
        return await look(lambda: self._lies(state), world, _WITNESS_LIMIT_NS)

    async def _lies(self, state: DnsState) -> tuple[bool, str]:
        try:
            said, took_s = await lookup(state.place, state.name, state.type, self._delay_s + _ANSWER_LIMIT_S)
        except InjectError as exc:
            return False, str(exc)
        what = f"{state.name}: {_said(said)} after {took_s * 1000:.0f} ms"
        match self.params.answer:
            case "nxdomain":
                return said.code == NXDOMAIN, what
            case "empty":
                return said.code == OK and not said.data, what
            case "stale":
                # An address of the other family leaves nothing of the type that was asked for: as wrong, and not what was asked.
                return said.data == (str(self.params.to),), what
            case "slow":
                return said.data == state.right and took_s >= self._delay_s, what

    async def revert(self, state: DnsState, world: World) -> None:
        try:
            forget(state.file)
        except OSError as exc:
            raise RevertError(f"dns: {exc}", commands=(f"rm -f {state.file}",)) from exc

    async def verify(self, state: DnsState, world: World) -> Evidence:
        async def once() -> tuple[bool, str]:
            if is_told(state.file):
                return True, f"{state.file} is still there"
            try:
                said, took_s = await lookup(state.place, state.name, state.type, _ANSWER_LIMIT_S)
            except InjectError as exc:  # it is dead, or busy: nothing makes it lie
                return False, f"nothing tells it to lie; {exc}"
            late = self.params.answer == "slow" and took_s >= self._delay_s
            return late or said.data != state.right, f"{state.name}: {_said(said)} after {took_s * 1000:.0f} ms"

        return await look(once, world, _WITNESS_LIMIT_NS, wanted=False)


def _said(answer: Answer) -> str:
    return "no such name" if answer.code == NXDOMAIN else ", ".join(answer.data) or "no address"


def _lacks(params: JsonObject, instance: Instance) -> str | None:
    """What the stack file must say of an instance that shall lie about names. What listens there is asked at the start."""
    del params
    if PORT in instance.ports:
        return None
    return f"it is no resolver of ours: those have a port called {PORT!r}; see `blackstart faults dns`"


KIND = FaultKind(
    name="dns",
    doc="names that resolve wrongly, at a resolver of the stack: an instance that is `python -m harness.faults.resolver --listen"
    ' ${addr:names.dns} --faults "${dir}/faults.json" NAME=ADDRESS...`, its port called `dns`, which others are told of by'
    " `${addr:names.dns}`",
    params=DnsParams,
    code="harness.faults.dns:Dns",
    example="{fault: dns, answer: nxdomain, on: {instance: names-eu}, for: 20s}",
    targets=frozenset({"instance"}),
    hosts=frozenset({"process", "python"}),
    holds=("answers",),
    lacks=_lacks,
    what="have {target} say of every name: {answer}",
    clients_see="new lookups get it at once, over UDP and TCP (`slow`: late); who keeps an address from before feels nothing",
    on_revert="the next lookup is right (TTL 0: nothing may be kept); who keeps a wrong answer by itself goes on with it",
    witness="a lookup of a name of its own",
)
