"""Network namespaces of regions (`isolation: netns`): chosen, made, removed. Each such region is a host of its own.

Every region has an address on one bridge. The bridge lies in a namespace of its own, because a container engine's rules drop
what this machine's own bridges carry; this machine has one end on it, which is the regions' gateway to links and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import random
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import RevertError, UnsafeError
from harness.model.stack import Stack
from harness.model.wiring import RegionNetworks

__all__ = ["choose_networks", "make_networks", "namespace_path", "remove_networks", "require_netns"]

NAMED = "/run/netns"
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_LIMIT_S = 5.0
_TRIES = 200
_MOST = 250


def namespace_path(name: str) -> str:
    """Where a namespace of that name is entered."""
    return os.path.join(NAMED, name)


def require_netns() -> None:
    """Return when namespaces can be made here. Raises UnsafeError when we are not root, or a program is missing."""
    if os.geteuid() != 0:
        raise UnsafeError(
            "`isolation: netns` needs root: only root can make network namespaces",
            remedy="run as root, or leave `isolation` out",
        )
    for name, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(name, path=_PLACES) is None:
            raise UnsafeError(f"`isolation: netns` needs the program {name}", remedy=f"install the package {package}")


def choose_networks(stack: Stack) -> RegionNetworks | None:
    """Names and addresses that nobody here has, for every region that is isolated; None when none is. Makes nothing.

    The subnet is one of 10.128.0.0 to 10.254.255.0 (/24) that no route of this machine overlaps. Raises UnsafeError when
    namespaces cannot be made here, or no subnet is free.
    """
    isolated = {name: region for name in stack.instances if (region := stack.isolated(name)) is not None}
    if not isolated:
        return None
    require_netns()
    regions = list(dict.fromkeys(isolated.values()))
    if len(regions) > _MOST:
        raise UnsafeError(f"{len(regions)} isolated regions, more than {_MOST}", remedy="leave `isolation` out of some")
    token = secrets.token_hex(6)
    subnet = _free_subnet()
    return RegionNetworks(
        mark=f"blackstart-{token}",
        interface=f"bst-{token[:8]}",  # names of interfaces have at most 15 characters
        gateway=str(subnet[1]),
        regions={region: str(subnet[2 + index]) for index, region in enumerate(regions)},
        instances=isolated,
    )


def _free_subnet() -> ipaddress.IPv4Network:
    taken = _routed()
    # Not the run's seed: two runs of one experiment at the same time must not go for the same subnet.
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        subnet = ipaddress.IPv4Network(f"10.{chance.randrange(128, 255)}.{chance.randrange(256)}.0/24")
        if not any(subnet.overlaps(one) for one in taken):
            return subnet
    raise UnsafeError(
        "no free subnet for network namespaces in 10.128.0.0 to 10.254.255.0", remedy="free a route there"
    )


def _routed() -> list[ipaddress.IPv4Network]:
    """What this machine has a route to, its default route apart."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
            # /proc writes addresses in hexadecimal, last byte first.
            to, mask = (int.from_bytes(bytes.fromhex(line.split()[place]), "little") for place in (1, 7))
            if mask:
                found.append(ipaddress.IPv4Network((to, mask.bit_count())))
    return found


async def make_networks(networks: RegionNetworks | None) -> None:
    """Make them all; nothing for None. Raises UnsafeError; what was made by then is for `remove_networks`."""
    if networks is None:
        return
    switch, length = networks.switch, networks.length
    spaces = [networks.namespace(region) for region in networks.regions]
    for name in (switch, *spaces):
        await _ip("netns", "add", name)
    await _ip("link", "add", networks.interface, "type", "veth", "peer", "name", "machine", "netns", switch)
    await _ip("addr", "add", f"{networks.gateway}/{length}", "dev", networks.interface)
    await _ip("link", "set", networks.interface, "up")
    lines = ["link set lo up", "link add br0 type bridge", "link set br0 up", "link set machine master br0 up"]
    for index, space in enumerate(spaces):
        lines.append(f"link add region{index} type veth peer name eth0 netns {space}")
        lines.append(f"link set region{index} master br0 up")
    await _ip("-n", switch, "-batch", "-", text=lines)
    for space, address in zip(spaces, networks.regions.values(), strict=True):
        own = ["link set lo up", f"addr add {address}/{length} dev eth0", "link set eth0 up"]
        await _ip("-n", space, "-batch", "-", text=own)


async def remove_networks(networks: RegionNetworks | None) -> None:
    """Remove them all, and see that they are gone. Idempotent; legal for None, and when nothing or half was made.

    Raises RevertError with the commands to type once every one was tried.
    """
    if networks is None:
        return
    failed: list[tuple[str, str]] = []
    spaces = [networks.namespace(region) for region in networks.regions]
    steps = [(f"/sys/class/net/{networks.interface}", ("link", "del", networks.interface))]
    steps += [(namespace_path(name), ("netns", "del", name)) for name in (*spaces, networks.switch)]
    for place, argv in steps:
        if not _is_there(place):
            continue
        try:
            await _ip(*argv)
        except UnsafeError as exc:
            if _is_there(place):  # else another removed it just now
                failed.append((exc.message, " ".join(("ip", *argv))))
    if failed:
        raise RevertError("; ".join(what for what, _ in failed), commands=tuple(command for _, command in failed))


def _is_there(place: str) -> bool:
    return os.path.exists(place)


async def _ip(*argv: str, text: Sequence[str] = ()) -> None:
    program = shutil.which("ip", path=_PLACES) or "ip"
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        raise UnsafeError(f"cannot run {program}: {exc.strerror}", remedy="install the package iproute2") from exc
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, err = await process.communicate("\n".join([*text, ""]).encode())
    except TimeoutError as exc:
        raise UnsafeError(f"ip {' '.join(argv)}: no answer in {_LIMIT_S:g} s") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise UnsafeError(f"ip {' '.join(argv)}: {' '.join(err.decode(errors='replace').split())[:300]}")
