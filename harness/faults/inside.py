"""The system's own programs, run bounded: here, or inside another network namespace. Not here: what they are told (`nft`, `tbf`).

A namespace is entered by `nsenter` in a process of its own, through a descriptor that is passed on: no thread of ours ever
leaves its own, and a number that another process got meanwhile cannot lead astray.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from harness.errors import InjectError, UnsafeError
from harness.model.ports import Identity, Namespaced, World

__all__ = ["namespace_of", "program", "require_programs", "run", "where"]

LIMIT_S = 5.0
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_PACKAGES = {"nft": "nftables", "tc": "iproute2", "ip": "iproute2", "nsenter": "util-linux"}


def program(name: str) -> str | None:
    """Where the program is, also in folders that only root's PATH has; None when it is nowhere."""
    return shutil.which(name) or shutil.which(name, path=_PLACES)


def require_programs(*names: str) -> None:
    """Return when all of them are here. Raises UnsafeError naming the first that is not, and its package."""
    for name in names:
        if program(name) is None:
            raise UnsafeError(
                f"there is no {name} program here", remedy=f"install the package {_PACKAGES.get(name, name)}"
            )


async def run(argv: Sequence[str], text: str = "", netns: int | None = None) -> tuple[int, str, str]:
    """(exit code, output, complaint on one line) of a program, in the namespace of that descriptor; None: in ours.

    Raises InjectError when it cannot be run or takes longer than 5 s; it is killed then.
    """
    inside = [] if netns is None else [program("nsenter") or "nsenter", f"--net=/proc/self/fd/{netns}"]
    command = [*inside, program(argv[0]) or argv[0], *argv[1:]]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=() if netns is None else (netns,),
        )
    except OSError as exc:
        raise InjectError(f"cannot run {command[0]}: {exc.strerror}") from exc
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate(text.encode())
    except TimeoutError as exc:
        raise InjectError(f"{argv[0]} did not answer in {LIMIT_S:g} s") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return int(process.returncode or 0), out.decode(errors="replace"), " ".join(err.decode(errors="replace").split())


@contextlib.contextmanager
def namespace_of(world: World, instance: str, identity: Identity) -> Iterator[int | None]:
    """A descriptor of the instance's network namespace while the block lasts; None when it is gone with who `identity` was.

    Raises InjectError when the instance has none of its own, or we may not enter it.
    """
    host = world.host(instance)
    if not isinstance(host, Namespaced):
        raise InjectError(f"instance {instance} has no network of its own")
    netns = host.network_namespace(identity)
    try:
        yield netns
    finally:
        if netns is not None:
            os.close(netns)


def where(identity: Identity) -> str:
    """How a person enters the network of a process: the beginning of a command line."""
    return f"nsenter -t {identity.pid} -n"
