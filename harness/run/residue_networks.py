"""What the residue audit looks at inside the networks of attached instances: rules and queues, where a fault of ours puts some."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import InjectError
from harness.faults.tbf import HANDLE
from harness.model.ports import Host, Namespaced
from harness.run.residue_sources import PLACES, said

__all__ = ["NetworkFacts"]


@dataclass(frozen=True)
class NetworkFacts:
    """nftables tables and root queues in network namespaces of attached instances, which come and go with those.

    Ours: tables that carry the run's id, and queues with the handle that only our faults give.
    """

    hosts: Mapping[str, Host]
    run_id: str
    name: str = "rules and queues of instances"

    async def look(self) -> Mapping[str, str]:
        facts: dict[str, str] = {}
        if os.geteuid() != 0 or shutil.which("nsenter", path=PLACES) is None:
            return facts
        for name, host in self.hosts.items():
            found = await host.find()
            if found is None or not isinstance(host, Namespaced):
                continue
            try:
                netns = host.network_namespace(found)
            except InjectError:
                continue  # it shares ours, or lives on another machine
            if netns is not None:
                try:
                    facts |= {
                        f"{what} in the network of {name}": state for what, state in (await _inside(netns)).items()
                    }
                finally:
                    os.close(netns)
        return facts

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        sort, _, rest = key.partition(" ")
        if sort == "queue":
            return rest.startswith(f"{HANDLE} ")
        words = re.sub(r"[^a-z0-9]+", "_", self.run_id.lower())
        return "blackstart" in key and words in re.sub(r"[^a-z0-9]+", "_", key.lower())


async def _inside(netns: int) -> dict[str, str]:
    """Tables and queues of a namespace; the kernel's own queues have the handle 0: and are nobody's."""
    facts = {}
    enter = ("nsenter", f"--net=/proc/self/fd/{netns}")
    if shutil.which("nft", path=PLACES):
        for line in (await said(*enter, "nft", "list", "tables", keep=(netns,))).splitlines():
            facts[line.strip()] = "there"
    if shutil.which("tc", path=PLACES):
        for line in (await said(*enter, "tc", "qdisc", "show", keep=(netns,))).splitlines():
            seen = re.match(r"qdisc (\S+) (\S+) dev (\S+) root", line)
            if seen and seen[2] != "0:":
                facts[f"queue {seen[2]} of {seen[3]}"] = line.strip()
    return facts
