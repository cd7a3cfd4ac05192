"""Host `python`: a Python function, forked from a zygote that has its imports done, started and ended by the run."""

from __future__ import annotations

import os
from dataclasses import replace

from pydantic import ConfigDict, Field

from harness.model.catalog import HostKind
from harness.model.fields import Params
from harness.model.ports import HostFactory, HostSettings
from harness.model.stack import Instance
from harness.model.wiring import Wiring
from harness.stacks.launch import Launch
from harness.stacks.supervised import SupervisedHost, common_launch

__all__ = ["FACTORY", "KIND", "PythonHost", "PythonParams"]


class PythonParams(Params):
    """The function (`python: "pkg.mod:main"`) is called with the list of `args`, if it takes any, and ends the process as
    `sys.exit` of what it returns would. `preload` modules are imported once for all instances with the same list and folder.

    `env` is set after the preload: what a module reads when it is imported must be set outside.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    python: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    args: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    cwd: str = "."
    env: dict[str, str] = Field(default_factory=dict)

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back."""
        return True


class PythonHost(SupervisedHost):
    """Controls one such process."""

    kind = "python"

    def launch(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> Launch:
        """Its function, arguments, folder and environment with every placeholder resolved."""
        params = PythonParams.model_validate(instance.host.params)

        def resolved(text: str) -> str:
            return wiring.text(text, instance=instance.name)

        return replace(
            common_launch(instance, wiring, settings),
            argv=tuple(map(resolved, params.args)),
            entry=params.python,
            preload=params.preload,
            cwd=os.path.normpath(os.path.join(settings.base_dir, resolved(params.cwd))),
            env={key: resolved(value) for key, value in params.env.items()},
        )


FACTORY: HostFactory = PythonHost

KIND = HostKind(
    name="python",
    doc="a Python function in a process forked from one that has its imports done",
    params=PythonParams,
    code="harness.stacks.python:PythonHost",
    example='{python: "shop.edge:main", args: [--port, "${port:http}"], preload: [aiohttp.web]}',
    started_by_run=True,
)
