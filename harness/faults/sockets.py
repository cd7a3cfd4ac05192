"""The machine's sockets as the kernel lists them, and connections made as somebody: from an address, by a uid.

Linux counts a socket as its maker's file system uid, which a thread may choose for itself: so no process is needed to
connect as a user. Not here: rules (`nft_cut`).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from harness.errors import InjectError

__all__ = ["Identity", "Outcome", "Socket", "inodes", "reach", "sockets", "uid_of"]

LISTEN, TIME_WAIT = "0A", "06"
ANY = ("0.0.0.0", "::")
_TABLES = {"tcp": "tcp", "tcp6": "tcp", "udp": "udp", "udp6": "udp"}
Outcome = Literal["accepted", "refused", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One row. `local` and `remote` are (address, port), IPv4 in IPv6 written as IPv4; `state` is the kernel's hex code."""

    protocol: str
    local: tuple[str, int]
    remote: tuple[str, int]
    state: str
    uid: int
    inode: int

    @property
    def listens(self) -> bool:
        return self.protocol == "tcp" and self.state == LISTEN

    @property
    def connected(self) -> bool:
        """Whether it is one end of a connection, in whatever state of its opening or closing."""
        return self.remote[1] != 0 and not self.listens


def sockets(pid: int) -> tuple[Socket, ...]:
    """The TCP and UDP sockets of the network namespace in which a process lives, but those in TIME_WAIT; none when it is gone."""
    return tuple(row for table, protocol in _TABLES.items() for row in _rows(f"/proc/{pid}/net/{table}", protocol))


def _rows(path: str, protocol: str) -> Iterator[Socket]:
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        if line.split(maxsplit=4)[3] == TIME_WAIT:  # nobody's any more, and after a load there are tens of thousands
            continue
        fields = line.split(maxsplit=10)
        yield Socket(
            protocol=protocol,
            local=_place(fields[1]),
            remote=_place(fields[2]),
            state=fields[3],
            uid=int(fields[7]),
            inode=int(fields[9]),
        )


def _place(text: str) -> tuple[str, int]:
    """(address, port) of "0100007F:1F90"."""
    digits, _, port = text.partition(":")
    return _address(digits), int(port, 16)


@lru_cache(maxsize=1000)
def _address(digits: str) -> str:
    """Each four bytes of an address are written as a number in the machine's order."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def uid_of(pid: int) -> int | None:
    """The file system uid of a process, by which the kernel knows its new sockets; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next((int(line.split()[4]) for line in file if line.startswith("Uid:")), None)
    except OSError:
        return None


def inodes(pid: int) -> frozenset[int]:
    """The sockets (by inode) of a process and of everything in its session, as far as we may look."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if int(name) != pid and os.getsid(int(name)) != pid:
                continue
            for fd in os.listdir(f"/proc/{name}/fd"):
                target = os.readlink(f"/proc/{name}/fd/{fd}")
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
        except OSError:
            continue  # it ended, or is somebody else's: what cannot be seen is not claimed
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As whom to connect: from an address, or as a uid; None: as we are."""

    address: str | None = None
    uid: int | None = None

    def make(self, family: int, kind: int) -> socket.socket:
        """A socket of theirs, not blocking. Raises InjectError when we may not."""
        made = _socket_of(self.uid, family, kind)
        made.setblocking(False)
        try:
            if self.address is not None:
                made.bind((self.address, 0))
        except OSError as exc:
            made.close()
            raise InjectError(f"cannot send from {self.address}: {exc.strerror}") from exc
        return made


def _socket_of(uid: int | None, family: int, kind: int) -> socket.socket:
    if uid is None:
        return socket.socket(family, kind)
    own = os.geteuid()
    libc = ctypes.CDLL(None)
    libc.setfsuid(uid)  # of this thread alone; nothing is awaited before it is set back
    try:
        if libc.setfsuid(-1) != uid:
            raise InjectError(f"cannot act as uid {uid}: only root can")
        return socket.socket(family, kind)
    finally:
        libc.setfsuid(own)


async def reach(who: Identity, address: str, port: int, limit_s: float) -> Outcome:
    """What becomes of a TCP connect; nothing is sent. `silent`: neither accepted nor refused within the limit."""
    made = who.make(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
        except TimeoutError:
            return "accepted" if _connected(made) else "silent"  # it may have come while nobody looked
        except OSError as exc:
            return "silent" if exc.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH) else "refused"
        return "accepted"
    finally:
        made.close()


def _connected(made: socket.socket) -> bool:
    try:
        made.getpeername()
    except OSError:
        return False
    return True
