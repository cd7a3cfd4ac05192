"""What every HTTP fault on a link shares: a share of requests, the embedded proxy, the count of those that felt it."""

from __future__ import annotations

from pydantic import Field, field_validator

from harness.errors import InjectError
from harness.faults.link import STREAMS, LinkFaultState, ToxicFault, evidence_of
from harness.model.fields import Params, Ratio
from harness.model.plan import Target
from harness.model.ports import Toxic, World

__all__ = ["HttpFault", "HttpParams", "StreamParams"]


class HttpParams(Params):
    """`ratio` of the requests that are hit, drawn for each from the seed; all of them unless said otherwise."""

    ratio: Ratio = Field(default=1.0)

    @field_validator("ratio")
    @classmethod
    def _some_requests(cls, ratio: float) -> float:
        if ratio <= 0:
            raise ValueError("expected more than '0%': a fault that hits no request cannot be witnessed")
        return ratio


class StreamParams(HttpParams):
    """`after_chunks`: HTTP chunks (for server-sent events as a rule one event each) that pass first; `ratio` as ever."""

    after_chunks: int = Field(default=0, ge=0)


class HttpFault(ToxicFault):
    """Base of faults that hit requests: one toxic on the answers of an HTTP link. `apply` is one call.

    Requests that began before stay as they are. Witnessed on requests of the load: those that the proxy really answered,
    held or changed, which is less than those that it drew.
    """

    params: HttpParams

    def streams(self) -> tuple[str, ...]:
        return STREAMS["in"]

    def toxics(self, state: LinkFaultState, world: World) -> tuple[Toxic, ...]:
        (plain,) = super().toxics(state, world)
        return (Toxic(name=plain.name, type=plain.type, toxicity=self.params.ratio, attributes=plain.attributes),)

    async def prepare(self, target: Target, world: World) -> LinkFaultState:
        state = await super().prepare(target, world)
        if not world.links.embedded or not (await evidence_of(world, state.link))["http"]:
            raise InjectError(f"link {state.link}: {self.kind} needs the embedded fault proxy and `http: true`")
        return state

    async def _touched(self, state: LinkFaultState, world: World) -> tuple[int, str]:
        toxics = (await evidence_of(world, state.link))["toxics"]
        for toxic in toxics:
            if toxic["name"] in state.toxics:
                felt, drawn, met = (int(toxic[count]) for count in ("affected", "drawn", "requests"))
                share = f"{drawn} were drawn for it, asked {self.params.ratio:.0%}"
                return felt, f"{felt} of {met} requests felt it ({share})"
        return 0, "no request felt it"
