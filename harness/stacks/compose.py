"""Host `compose`: a service's container, found by the labels that Compose gives it, whoever gave them."""

from __future__ import annotations

from pydantic import Field

from harness.model.catalog import HostKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import HostFactory, HostSettings
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.container import ContainerHost

__all__ = ["FACTORY", "KIND", "ComposeHost", "ComposeParams"]


class ComposeParams(Params):
    """The service, its `project` (only needed where several have a service of that name) and, when scaled, the `number`.

    `engine`: the engine's address when it is not the one of DOCKER_HOST.
    """

    compose: str
    project: str | None = None
    number: int | None = Field(default=None, ge=1)
    engine: str | None = None

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back: its engine can, as it was made."""
        return True


class ComposeHost(ContainerHost):
    """A container host that knows Compose's labels. Attaches; `docker compose up` is the user's own step."""

    kind = "compose"

    def __init__(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> None:
        params = ComposeParams.model_validate(instance.host.params)
        labels = [f"com.docker.compose.service={params.compose}", "com.docker.compose.oneoff=False"]
        if params.project is not None:
            labels.append(f"com.docker.compose.project={params.project}")
        if params.number is not None:
            labels.append(f"com.docker.compose.container-number={params.number}")
        given: JsonObject = {"container": {"label": labels}, "engine": params.engine}
        spec = HostSpec(kind="container", params=given)
        super().__init__(
            Instance(name=instance.name, host=spec, ports=instance.ports, address=instance.address), wiring, settings
        )


FACTORY: HostFactory = ComposeHost

KIND = HostKind(
    name="compose",
    doc="the container of a Compose service, found by its labels; attached to, started when stopped",
    params=ComposeParams,
    code="harness.stacks.compose:ComposeHost",
    example="{compose: db, project: shop}",
    modules=("docker",),
    started_by_run=False,
    located=True,
)
