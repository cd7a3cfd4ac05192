"""refuse: a link's listener is closed; its connections are reset, new ones refused."""

from __future__ import annotations

from harness.faults.ladder import climb
from harness.faults.link import GONE, LinkFaultState, connects, link_of
from harness.model.catalog import FaultKind
from harness.model.fields import Params
from harness.model.plan import Target
from harness.model.ports import Evidence, World

__all__ = ["KIND", "Refuse", "RefuseParams"]


class RefuseParams(Params):
    """No parameters."""


class Refuse:
    """Disables the proxy of a link. `apply` is one call: it is closed or it is not."""

    state_type = LinkFaultState

    def __init__(self, params: RefuseParams) -> None:
        self.params = params

    async def prepare(self, target: Target, world: World) -> LinkFaultState:
        state = await link_of(target, world)
        return LinkFaultState(link=state.name, listen=state.listen, was_enabled=True)

    async def apply(self, state: LinkFaultState, world: World) -> None:
        await world.links.set_enabled(state.link, False)

    async def witness(self, state: LinkFaultState, world: World) -> Evidence:
        accepted = await connects(state.listen)
        what = f"{state.listen} {'still accepts' if accepted else 'refuses'} connections"
        return Evidence(present=not accepted, at_ns=world.clock.now_ns(), what=what)

    async def revert(self, state: LinkFaultState, world: World) -> None:
        if not state.was_enabled:
            return
        command = f"curl -X POST {world.links.url}/proxies/{state.link} -d '{{\"enabled\": true}}'"
        await climb(world.links, state.link, lambda: world.links.set_enabled(state.link, True), [command])

    async def verify(self, state: LinkFaultState, world: World) -> Evidence:
        """Open again. Whether it accepts is the target's matter too: a link whose target is down refuses by itself."""
        if await world.links.gone():
            return Evidence(present=False, at_ns=world.clock.now_ns(), what=GONE)
        enabled = (await world.links.get(state.link)).enabled
        return Evidence(
            present=not enabled,
            at_ns=world.clock.now_ns(),
            what=f"link {state.link} is {'open' if enabled else 'still closed'}",
        )


KIND = FaultKind(
    name="refuse",
    doc="a closed door: new connections are refused, open ones reset",
    params=RefuseParams,
    code="harness.faults.refuse:Refuse",
    example="{fault: refuse, on: {link: provider-eu}, for: 10s}",
    targets=frozenset({"link"}),
    holds=("*",),
    what="close the listener of {target}",
    clients_see="open connections are reset at once, new ones refused",
    on_revert="the listener opens again; clients must connect anew",
    witness="a connect is refused",
)
