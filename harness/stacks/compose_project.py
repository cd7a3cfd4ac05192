"""Brings a Compose project up where nothing of it is there, and down again: by `docker compose`, or Debian's `docker-compose`.

What of a project exists already is somebody's: such a project is attached to, and stays. One of which only a part exists is
refused: to make up the rest would be to change what others run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.errors import RevertError, UnsafeError
from harness.model.ports import Host
from harness.model.stack import Stack

__all__ = [
    "Composed",
    "Project",
    "absent_projects",
    "bring_down",
    "bring_project_up",
    "compose_program",
    "require_compose",
]

_PLUGINS = ("~/.docker/cli-plugins", "/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
            "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins")  # fmt: skip
_UP_LIMIT_S = 300.0
_DOWN_LIMIT_S = 60.0
_GRACE_S = 3
_SAID_MOST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A Compose project to be brought up: `services` of the `file`, an absolute path, on the engine at `url`.

    `volumes`: none of its volumes was there before, so that they go with it.
    """

    name: str
    file: str
    services: tuple[str, ...]
    url: str
    volumes: bool = False


@runtime_checkable
class Composed(Protocol):
    """A host whose instance is a service of a project that the run may bring up."""

    @property
    def project(self) -> Project | None:
        """The project with this one service; None where the run brings nothing up. `volumes` is not told."""
        ...

    async def exists(self) -> bool:
        """Whether its container is there, running or not."""
        ...

    async def of_project(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of all containers and volumes that the engine has of the project."""
        ...


def compose_program() -> tuple[str, ...] | None:
    """How Compose is called here: version 2 as a plugin of docker, else the program of its own; None when neither is here."""
    docker = shutil.which("docker")
    if docker is not None and any(os.path.exists(os.path.expanduser(f"{place}/docker-compose")) for place in _PLUGINS):
        return (docker, "compose")
    own = shutil.which("docker-compose")
    return None if own is None else (own,)


def require_compose(stack: Stack) -> None:
    """Return when what the stack wants brought up could be. Raises UnsafeError where Compose is missing."""
    wanted = [
        name for name, one in stack.instances.items() if one.host.kind == "compose" and one.host.params.get("file")
    ]
    if wanted and compose_program() is None:
        raise UnsafeError(
            f"instance {', '.join(wanted)}: `file:` lets the run bring it up, and there is neither `docker compose` nor"
            " `docker-compose` here",
            remedy="install the package docker-compose, or bring it up yourself and leave `file` out",
        )


async def absent_projects(hosts: Mapping[str, Host]) -> tuple[Project, ...]:
    """The projects of these hosts of which nothing is there. Raises UnsafeError for one of which only a part is."""
    groups: dict[tuple[str, str, str], list[Composed]] = defaultdict(list)
    for host in hosts.values():
        if isinstance(host, Composed) and host.project is not None:
            groups[host.project.name, host.project.file, host.project.url].append(host)
    absent = []
    for (name, file, url), members in groups.items():
        containers, volumes = await members[0].of_project()
        services = tuple(dict.fromkeys(service for one in members if one.project for service in one.project.services))
        if containers:
            missing = [one.project.services[0] for one in members if one.project and not await one.exists()]
            if missing:
                raise UnsafeError(
                    f"Compose project {name}: {', '.join(missing)} is not there, but {', '.join(containers)} is",
                    remedy=f"bring all of it up, or down: `docker-compose -p {name} -f {file} down`",
                )
            continue
        absent.append(Project(name=name, file=file, url=url, services=services, volumes=not volumes))
    return tuple(absent)


async def bring_project_up(project: Project) -> None:
    """Make and start the services, and what they depend on. Raises UnsafeError with what Compose said."""
    code, said = await _compose(project, ("up", "-d", *project.services), _UP_LIMIT_S)
    if code != 0:
        raise UnsafeError(f"Compose project {project.name} did not come up: {said}", remedy=f"see {project.file}")


async def bring_down(project: Project) -> None:
    """Stop and remove all of the project, its networks too. Idempotent. Raises RevertError with the command to type."""
    what = ("down", "--timeout", str(_GRACE_S), "--remove-orphans", *(("--volumes",) if project.volumes else ()))
    try:
        code, said = await _compose(project, what, _DOWN_LIMIT_S)
    except UnsafeError as exc:
        code, said = 1, exc.message
    if code != 0:
        command = f"docker-compose -p {project.name} -f {project.file} {' '.join(what)}"
        raise RevertError(f"Compose project {project.name} did not go down: {said}", commands=(command,))


async def _compose(project: Project, what: tuple[str, ...], limit_s: float) -> tuple[int, str]:
    """(exit code, the end of what it said). Raises UnsafeError when it cannot be run or takes too long."""
    program = compose_program()
    if program is None:
        raise UnsafeError("there is neither `docker compose` nor `docker-compose` here")
    argv = [*program, "-p", project.name, "-f", project.file, *what]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "DOCKER_HOST": project.url},
            start_new_session=True,  # a terminal's Ctrl-C is for us, who bring it down
        )
    except OSError as exc:
        raise UnsafeError(f"cannot run {program[0]}: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(limit_s):
            out, _ = await process.communicate()
    except TimeoutError as exc:
        raise UnsafeError(f"{' '.join(argv)}: not done in {limit_s:g} s") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return int(process.returncode or 0), " ".join(out.decode(errors="replace").split())[-_SAID_MOST:]
