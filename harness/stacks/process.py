"""Host `process`: a command line, started and ended by the run."""

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
from harness.stacks.supervised import SupervisedHost, argv_at, common_launch

__all__ = ["FACTORY", "KIND", "ProcessHost", "ProcessParams"]


class ProcessParams(Params):
    """The command (`process`), its folder, and additions to its environment. It must stay in the foreground."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    process: tuple[str, ...] = Field(min_length=1)
    cwd: str = "."
    env: dict[str, str] = Field(default_factory=dict)

    @property
    def can_start(self) -> bool:
        """Whether a dead one can be brought back."""
        return True


class ProcessHost(SupervisedHost):
    """Controls one such process."""

    kind = "process"

    def launch(self, instance: Instance, wiring: Wiring, settings: HostSettings) -> Launch:
        """Its command, folder and environment with every placeholder resolved."""
        params = ProcessParams.model_validate(instance.host.params)

        def resolved(text: str) -> str:
            return wiring.text(text, instance=instance.name)

        return replace(
            common_launch(instance, wiring, settings),
            argv=argv_at(settings.base_dir, tuple(map(resolved, params.process))),
            cwd=os.path.normpath(os.path.join(settings.base_dir, resolved(params.cwd))),
            env={key: resolved(value) for key, value in params.env.items()},
        )


FACTORY: HostFactory = ProcessHost

KIND = HostKind(
    name="process",
    doc="a command line, started and ended by the run",
    params=ProcessParams,
    code="harness.stacks.process:ProcessHost",
    example='{process: [python, -m, shop.edge, --port, "${port:http}"], cwd: ., env: {LOG: info}}',
    started_by_run=True,
)
