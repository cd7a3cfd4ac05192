"""What must be there before a stack is: Compose projects and network namespaces that the run makes, and removes with it."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import RevertError
from harness.model.ports import Host
from harness.model.wiring import RegionNetworks
from harness.run.journal import Journal, Raised
from harness.stacks.compose_project import Project, absent_projects, bring_down, bring_project_up
from harness.stacks.netns import make_networks, remove_networks

__all__ = ["Premises"]


class Premises:
    """One run's. Nothing is made before it is journaled: namespaces by the wiring that the journal opens with."""

    def __init__(self) -> None:
        self._absent: tuple[Project, ...] = ()
        self._raised: list[Project] = []
        self._networks: RegionNetworks | None = None

    async def lack(self, hosts: Mapping[str, Host]) -> bool:
        """Whether a project of these hosts must be brought up first. Raises UnsafeError for one that is there in part."""
        self._absent = await absent_projects(hosts)
        return bool(self._absent)

    async def bring_up(self, journal: Journal) -> bool:
        """Bring up what is lacking; whether anything was. Raises UnsafeError when it does not come up."""
        for project in self._absent:
            journal.append(Raised(project=project))
            self._raised.append(project)
            await bring_project_up(project)
        return bool(self._absent)

    async def connect(self, networks: RegionNetworks | None) -> None:
        """Make the network namespaces. Raises UnsafeError."""
        self._networks = networks
        await make_networks(networks)

    async def remove(self) -> list[str]:
        """Remove all of it, once nothing lives there any more; what would not go. Idempotent."""
        left = []
        try:
            await remove_networks(self._networks)
        except RevertError as exc:
            left.append(f"network namespaces: {exc}")
        while self._raised:
            try:
                await bring_down(self._raised.pop())
            except RevertError as exc:
                left.append(str(exc))
        return left
