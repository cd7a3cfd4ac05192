"""nftables: a table of ours put in whole, read, counted and dropped, here or in another network namespace.

Everything of one fault on one target stands in one table named after the run, so that dropping it heals all at once and
nothing of anybody else's is ever changed. `netns` is a descriptor of the namespace, None is our own (`inside`). Not here:
what the rules of a fault say (`nft_cut`, `netns_rules`).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import InjectError, RevertError, UnsafeError
from harness.faults.inside import program, run

__all__ = [
    "Chain",
    "Count",
    "Table",
    "count",
    "drop_table",
    "exists",
    "foreign",
    "load_table",
    "ours",
    "own_table",
    "require_nft",
    "table_text",
    "undo_command",
]

FAMILY = "inet"
PRIORITY = -300
"""Before connection tracking and everybody's own filters: what is cut is cut whatever they accept."""
_STANDARD = frozenset({"nat", "filter", "mangle", "raw", "security"})
"""Tables that `iptables` makes, a container engine's own among them: nobody's experiment."""
_PREFIX = "blackstart_"
_NAME = re.compile(_PREFIX + r"[a-z0-9_]{1,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Rules in order. With a `hook` (input, output, forward, prerouting): a base chain of filter type, where what no rule
    decides passes; without: one that rules jump to.
    """

    name: str
    rules: tuple[str, ...]
    hook: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of ours: named counters, sets (name -> body lines) and chains. Rules name a counter as `counter name NAME`."""

    name: str
    chains: tuple[Chain, ...]
    counters: tuple[str, ...] = ()
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one named counter has seen so far."""

    packets: int
    size_bytes: int


def own_table(run_id: str, fault: str) -> str:
    """A name for a table that is this run's and this fault's alone."""
    return f"{_PREFIX}{_words(f'{run_id}_{fault}')[:120]}_{secrets.token_hex(3)}"


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def table_text(table: Table) -> str:
    """The table as `nft -f` reads it: in one transaction, and replacing what is left of a table of this name.

    Raises ValueError for a name that nft would read as something else.
    """
    if not _NAME.fullmatch(table.name):
        raise ValueError(f"expected a table name of {_PREFIX} and letters, digits and _, got {table.name!r}")
    lines = [
        f"add table {FAMILY} {table.name}",
        f"delete table {FAMILY} {table.name}",
        f"table {FAMILY} {table.name} {{",
    ]
    lines += [f"  counter {name} {{\n  }}" for name in table.counters]
    for name, body in table.sets.items():
        lines += [f"  set {name} {{", *(f"    {line}" for line in body), "  }"]
    for chain in table.chains:
        base = f"type filter hook {chain.hook} priority {PRIORITY}; policy accept;"
        rules = chain.rules if chain.hook is None else (base, *chain.rules)
        lines += [f"  chain {chain.name} {{", *(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}", ""])


def require_nft() -> None:
    """Return when rules can be set here. Raises UnsafeError when we are not root, or there is no nft."""
    if os.geteuid() != 0:
        raise UnsafeError("kernel rules need root", remedy="run as root, or break the path through a link instead")
    if program("nft") is None:
        raise UnsafeError("there is no nft program here", remedy="install the package nftables")


async def load_table(table: Table, netns: int | None = None) -> None:
    """Put the table in place, whole or not at all. Raises InjectError with what nft said."""
    code, _, err = await run(["nft", "-f", "-"], table_text(table), netns)
    if code != 0:
        raise InjectError(f"nft refused table {table.name}: {err}")


async def drop_table(name: str, netns: int | None = None, inside: str = "") -> None:
    """Remove one of our tables. Legal when it is gone. Raises RevertError with the command to type (see `undo_command`)."""
    try:
        if not await exists(name, netns):
            return
        code, _, err = await run(["nft", "delete", "table", FAMILY, name], "", netns)
        still = code != 0 and await exists(name, netns)
    except InjectError as exc:
        raise RevertError(f"table {name}: {exc}", commands=(undo_command(name, inside),)) from exc
    if still:
        raise RevertError(f"table {name} cannot be removed: {err}", commands=(undo_command(name, inside),))


def undo_command(name: str, inside: str = "") -> str:
    """What a person types to remove the table; `inside` is what enters its namespace, such as "nsenter -t 7 -n"."""
    return " ".join([*inside.split(), "nft", "delete", "table", FAMILY, name])


async def exists(name: str, netns: int | None = None) -> bool:
    """Whether a table of this name stands. Raises InjectError when nft cannot tell."""
    return name in await ours(netns)


async def ours(netns: int | None = None) -> tuple[str, ...]:
    """Every table of Blackstart's that stands, of any run. Raises InjectError when nft cannot tell."""
    return tuple(name for family, name in await _tables(netns) if family == FAMILY and name.startswith(_PREFIX))


async def foreign(run_id: str, netns: int) -> tuple[str, ...]:
    """Tables in a namespace that are neither this run's nor `iptables`' own: somebody else is at work there. Raises InjectError."""
    own = f"{_PREFIX}{_words(run_id)}_"
    return tuple(
        f"{family} {name}"
        for family, name in await _tables(netns)
        if name not in _STANDARD and not (family == FAMILY and name.startswith(own))
    )


async def _tables(netns: int | None) -> list[tuple[str, str]]:
    code, out, err = await run(["nft", "-j", "list", "tables"], "", netns)
    if code != 0:
        raise InjectError(f"nft cannot list tables: {err}")
    rows = [row["table"] for row in json.loads(out)["nftables"] if "table" in row]
    return [(str(row["family"]), str(row["name"])) for row in rows]


async def count(name: str, netns: int | None = None) -> dict[str, Count]:
    """Every named counter of the table; none when the table is gone. Raises InjectError when nft cannot tell."""
    code, out, err = await run(["nft", "-j", "list", "counters", "table", FAMILY, name], "", netns)
    if code != 0:
        if not await exists(name, netns):
            return {}
        raise InjectError(f"nft cannot read the counters of table {name}: {err}")
    rows = [row["counter"] for row in json.loads(out)["nftables"] if "counter" in row]
    return {row["name"]: Count(packets=int(row["packets"]), size_bytes=int(row["bytes"])) for row in rows}
