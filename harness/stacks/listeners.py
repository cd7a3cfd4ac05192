"""Who listens where: is a port free, and if not, whose is it."""

from __future__ import annotations

import errno
import os
import socket

from harness.errors import UnsafeError
from harness.stacks.procfs import all_pids, program

__all__ = ["listener", "require_free"]

_LISTEN = "0A"


def require_free(instance: str, name: str, address: str, port: int) -> None:
    """Return when nobody listens on the port. Raises UnsafeError naming the port and, when it can be known, its owner."""
    place = f"instance {instance}: port {name} = {address}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not matter
        try:
            probe.bind((address, port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise UnsafeError(f"{place} cannot be used: {exc.strerror}", remedy="check address and port") from exc
            owner = listener(port)
            by = f" by pid {owner} ({program(owner)})" if owner is not None else ""
            raise UnsafeError(
                f"{place} is in use{by}", remedy="stop that program, or give another port in the stack file"
            ) from exc


def listener(port: int) -> int | None:
    """The process that listens on the TCP port of any address here; None when it cannot be told (another user's, none)."""
    inodes = {inode for table in ("/proc/net/tcp", "/proc/net/tcp6") for inode in _listening(table, port)}
    if not inodes:
        return None
    for pid in all_pids():
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") in inodes for fd in os.listdir(f"/proc/{pid}/fd")):
                return pid
        except OSError:
            continue
    return None


def _listening(table: str, port: int) -> list[str]:
    try:
        with open(table, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return []
    return [f"socket:[{row[9]}]" for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]
