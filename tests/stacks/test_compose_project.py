"""Which Compose projects are brought up: all of one or nothing, and only what the stack says so of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import RevertError, UnsafeError
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance, Stack
from harness.model.wiring import Wiring
from harness.stacks import compose_project
from harness.stacks.compose import ComposeHost, ComposeParams
from harness.stacks.compose_project import (
    Composed,
    Project,
    absent_projects,
    bring_down,
    bring_project_up,
    compose_program,
    require_compose,
)


class Service:
    """A service of project shop; `there` says whether its container is."""

    def __init__(self, name: str, there: bool, volumes: tuple[str, ...] = ()) -> None:
        self.name, self.there, self.volumes = name, there, volumes
        self.containers: tuple[str, ...] = ()

    @property
    def project(self) -> Project:
        return Project(name="shop", file="/srv/compose.yaml", services=(self.name,), url="unix:///run/e.sock")

    async def exists(self) -> bool:
        return self.there

    async def of_project(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.containers, self.volumes


def hosts(*services: Service) -> dict[str, Any]:
    for one in services:
        one.containers = tuple(f"shop_{each.name}_1" for each in services if each.there)
    return {one.name: one for one in services}


async def test_one_project_is_brought_up_with_all_its_services() -> None:
    (project,) = await absent_projects(hosts(Service("web", False), Service("db", False)))
    assert (project.name, project.services, project.volumes) == ("shop", ("web", "db"), True)


async def test_volumes_that_were_there_before_are_not_to_go() -> None:
    (project,) = await absent_projects(hosts(Service("db", False, ("shop_data",))))
    assert not project.volumes


async def test_what_is_there_is_attached_to_and_what_is_half_there_refused() -> None:
    assert await absent_projects(hosts(Service("web", True), Service("db", True))) == ()
    with pytest.raises(
        UnsafeError, match=r"project shop: db is not there, but shop_web_1 is; bring all of it up, or down: `"
    ):
        await absent_projects(hosts(Service("web", True), Service("db", False)))


def stack(**params: object) -> Stack:
    given = {"compose": "db", "project": "shop", **params}
    return Stack(
        name="s", base_dir="/srv", instances={"db": Instance(name="db", host=HostSpec(kind="compose", params=given))}
    )


def test_a_host_tells_its_project_where_it_has_a_file(tmp_path: Path) -> None:
    settings = HostSettings(run_id="r", state_dir=str(tmp_path), log_dir=str(tmp_path), base_dir="/srv")
    told = ComposeHost(stack(file="ops/compose.yaml").instances["db"], Wiring(), settings)
    assert isinstance(told, Composed)
    assert told.project is not None
    assert (told.project.name, told.project.file, told.project.services) == ("shop", "/srv/ops/compose.yaml", ("db",))
    assert ComposeHost.revive(told.recipe()).project == told.project
    assert ComposeHost(stack().instances["db"], Wiring(), settings).project is None
    with pytest.raises(ValueError, match="`file` needs `project`"):
        ComposeParams.model_validate({"compose": "db", "file": "compose.yaml"})


async def test_without_compose_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_project.shutil, "which", lambda name: None)
    assert compose_program() is None
    require_compose(stack())
    with pytest.raises(
        UnsafeError, match=r"instance db: `file:` lets the run bring it up.*; install the package docker-compose"
    ):
        require_compose(stack(file="compose.yaml"))
    with pytest.raises(RevertError, match="project shop did not go down: there is neither") as told:
        await bring_down(Service("db", True).project)
    assert told.value.commands == ("docker-compose -p shop -f /srv/compose.yaml down --timeout 3 --remove-orphans",)


async def test_what_compose_says_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker-compose"
    program.write_text('#!/bin/sh\necho "$DOCKER_HOST: no such image: $*" >&2\nexit 17\n')
    program.chmod(0o755)
    monkeypatch.setattr(compose_project, "compose_program", lambda: (str(program),))
    said = "did not come up: unix:///run/e.sock: no such image: -p shop -f /srv/compose.yaml up -d db"
    with pytest.raises(UnsafeError, match=said):
        await bring_project_up(Service("db", False).project)
