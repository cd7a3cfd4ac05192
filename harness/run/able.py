"""Whether this machine can do what a plan asks of it. Looks, and touches nothing."""

from __future__ import annotations

from harness.errors import UnsafeError
from harness.model.catalog import Catalog
from harness.model.plan import Plan
from harness.stacks.compose_project import require_compose
from harness.stacks.disk import require_disks
from harness.stacks.netns import require_netns

__all__ = ["require_able"]


def require_able(plan: Plan, catalog: Catalog) -> None:
    """Return when the stack can be started and every fault carried out here.

    Raises UnsafeError naming the region or the fault, what is missing and the remedy.
    """
    stack = plan.experiment.stack
    require_compose(stack)
    disks = [name for name, one in stack.instances.items() if one.disk_bytes]
    if disks:
        try:
            require_disks()
        except UnsafeError as exc:
            raise UnsafeError(f"instance {', '.join(disks)}: {exc.message}", remedy=exc.remedy) from exc
    isolated = [name for name, region in stack.regions.items() if region.isolation is not None]
    if isolated:
        try:
            require_netns()
        except UnsafeError as exc:
            raise UnsafeError(f"region {', '.join(isolated)}: {exc.message}", remedy=exc.remedy) from exc
    for fault in plan.faults:
        able = catalog.fault(fault.kind).able
        if able is None:
            continue
        for target in fault.targets:
            try:
                able(target, fault.params)
            except UnsafeError as exc:
                raise UnsafeError(f"fault {fault.id!r}: {exc.message}", remedy=exc.remedy) from exc
