"""nftables, bounded: a table of ours put in whole, read, counted and dropped, here or in another process's network namespace.

Everything of one fault on one target stands in one table named after the run, so that dropping it heals all at once and
nothing of anybody else's is ever changed. Not here: what the rules of a fault say (`nft_cut`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import InjectError, RevertError, UnsafeError

__all__ = [
    "Chain",
    "Count",
    "Table",
    "count",
    "drop_table",
    "exists",
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
_LIMIT_S = 5.0
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"
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
    words = re.sub(r"[^a-z0-9]+", "_", f"{run_id}_{fault}".lower()).strip("_")[:120]
    return f"{_PREFIX}{words}_{secrets.token_hex(3)}"


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
    if _program() is None:
        raise UnsafeError("there is no nft program here", remedy="install the package nftables")


def _program() -> str | None:
    return shutil.which("nft") or shutil.which("nft", path=_PLACES)


async def load_table(table: Table, netns_pid: int | None = None) -> None:
    """Put the table in place, whole or not at all. Raises InjectError with what nft said."""
    code, _, err = await _nft(["-f", "-"], table_text(table), netns_pid)
    if code != 0:
        raise InjectError(f"nft refused table {table.name}: {err}")


async def drop_table(name: str, netns_pid: int | None = None) -> None:
    """Remove one of our tables. Legal when it, or the namespace, is gone. Raises RevertError with the command to type."""
    try:
        if not await exists(name, netns_pid):
            return
        code, _, err = await _nft(["delete", "table", FAMILY, name], "", netns_pid)
        still = code != 0 and await exists(name, netns_pid)
    except InjectError as exc:
        if _gone(netns_pid):
            return
        raise RevertError(f"table {name}: {exc}", commands=(undo_command(name, netns_pid),)) from exc
    if still:
        raise RevertError(f"table {name} cannot be removed: {err}", commands=(undo_command(name, netns_pid),))


def undo_command(name: str, netns_pid: int | None = None) -> str:
    """What a person types to remove the table."""
    return " ".join([*_inside(netns_pid), "nft", "delete", "table", FAMILY, name])


async def exists(name: str, netns_pid: int | None = None) -> bool:
    """Whether a table of this name stands. False when its namespace is gone. Raises InjectError when nft cannot tell."""
    return name in await ours(netns_pid)


async def ours(netns_pid: int | None = None) -> tuple[str, ...]:
    """Every table of Blackstart's that stands, of any run; none when the namespace is gone. Raises InjectError."""
    code, out, err = await _nft(["-j", "list", "tables"], "", netns_pid)
    if code != 0:
        if _gone(netns_pid):
            return ()
        raise InjectError(f"nft cannot list tables: {err}")
    rows = [row["table"] for row in json.loads(out)["nftables"] if "table" in row]
    return tuple(row["name"] for row in rows if row["family"] == FAMILY and row["name"].startswith(_PREFIX))


async def count(name: str, netns_pid: int | None = None) -> dict[str, Count]:
    """Every named counter of the table; none when the table is gone. Raises InjectError when nft cannot tell."""
    code, out, err = await _nft(["-j", "list", "counters", "table", FAMILY, name], "", netns_pid)
    if code != 0:
        if not await exists(name, netns_pid):
            return {}
        raise InjectError(f"nft cannot read the counters of table {name}: {err}")
    rows = [row["counter"] for row in json.loads(out)["nftables"] if "counter" in row]
    return {row["name"]: Count(packets=int(row["packets"]), size_bytes=int(row["bytes"])) for row in rows}


def _gone(netns_pid: int | None) -> bool:
    return netns_pid is not None and not os.path.exists(f"/proc/{netns_pid}/ns/net")


def _inside(netns_pid: int | None) -> list[str]:
    return [] if netns_pid is None else ["nsenter", "-t", str(netns_pid), "-n"]


async def _nft(args: Sequence[str], text: str, netns_pid: int | None) -> tuple[int, str, str]:
    """(exit code, output, complaint on one line). Raises InjectError when it cannot be run or takes too long."""
    program = _program()
    if program is None:
        raise InjectError("there is no nft program here: install the package nftables")
    argv = [*_inside(netns_pid), program, *args]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as exc:
        raise InjectError(f"cannot run {argv[0]}: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(_LIMIT_S):
            out, err = await process.communicate(text.encode())
    except TimeoutError as exc:
        raise InjectError(f"nft did not answer in {_LIMIT_S:g} s") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return int(process.returncode or 0), out.decode(errors="replace"), " ".join(err.decode(errors="replace").split())
