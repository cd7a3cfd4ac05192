"""Host `compose`: a service's container, found by the labels that Compose gives it; with `file:`, brought up where it is absent."""

from __future__ import annotations

import os
from typing import Any, Self

from pydantic import Field, model_validator

from harness.model.catalog import HostKind
from harness.model.fields import JsonObject, Params
from harness.model.ports import HostFactory, HostSettings
from harness.model.stack import HostSpec, Instance
from harness.model.wiring import Wiring
from harness.stacks.compose_project import Project
from harness.stacks.container import ContainerHost

__all__ = ["FACTORY", "KIND", "ComposeHost", "ComposeParams"]


class ComposeParams(Params):
    """The service, its `project` (only needed where several have a service of that name) and, when scaled, the `number`.

    `file` is its Compose file: where nothing of the project is there, the run brings it up, and down at its end. `engine`: the
    engine's address when it is not the one of DOCKER_HOST.
    """

    compose: str
    project: str | None = None
    number: int | None = Field(default=None, ge=1)
    file: str | None = None
    engine: str | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.file is not None and self.project is None:
            raise ValueError("`file` needs `project`, by which all that is brought up is found again")
        return self

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back: its engine can, as it was made."""
        return True


class ComposeHost(ContainerHost):
    """A container host that knows Compose's labels. Attaches; who brings an absent project up asks `project` for it."""

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
        file = params.file and os.path.normpath(os.path.join(settings.base_dir, wiring.text(params.file)))
        self._recipe |= {"service": params.compose, "project": params.project, "file": file or None}

    @property
    def project(self) -> Project | None:
        """The project with this one service; None where the run brings nothing up."""
        recipe = self._recipe
        if recipe.get("file") is None:
            return None
        return Project(
            name=recipe["project"], file=recipe["file"], services=(recipe["service"],), url=recipe["engine"]["url"]
        )

    async def exists(self) -> bool:
        """Whether its container is there, running or not."""
        return await self._inspect() is not None

    async def of_project(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of all containers and volumes that the engine has of the project."""
        mine = {"label": [f"com.docker.compose.project={self._recipe['project']}"]}

        def ask(client: Any) -> tuple[list[Any], list[Any]]:
            return client.containers(all=True, filters=mine), client.volumes(filters=mine)["Volumes"] or []

        containers, volumes = await self._engine.call(f"list project {self._recipe['project']}", ask)
        return (
            tuple(sorted(one["Names"][0].lstrip("/") for one in containers)),
            tuple(sorted(one["Name"] for one in volumes)),
        )


FACTORY: HostFactory = ComposeHost

KIND = HostKind(
    name="compose",
    doc="the container of a Compose service, found by its labels; attached to, started when stopped, with `file` brought up",
    params=ComposeParams,
    code="harness.stacks.compose:ComposeHost",
    example="{compose: db, project: shop}",
    modules=("docker",),
    started_by_run=False,
    located=True,
)
