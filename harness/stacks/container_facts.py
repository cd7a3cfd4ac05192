"""What an engine's account of a container means: who runs, where it serves, which networks it is on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import UnsafeError
from harness.model.fields import JsonObject
from harness.model.ports import Attachment, Identity
from harness.stacks.procfs import read_stat

__all__ = ["ContainerFacts", "attachments_of", "fingerprint", "identity_of", "name_of", "place_of"]

_EVERYWHERE = ("", "0.0.0.0", "::")


def name_of(found: JsonObject) -> str:
    """The container's name, without the slash that engines put in front."""
    return str(found["Name"]).lstrip("/")


def identity_of(found: JsonObject) -> Identity | None:
    """Who runs in the container; None while nothing does. A paused one runs."""
    state = found["State"]
    if not state["Running"] or state.get("Restarting") or not state["Pid"]:
        return None
    container, pid = str(found["Id"]), int(state["Pid"])
    stat = read_stat(pid) if _is_of(pid, container) else None
    return Identity(
        pid=pid if stat is not None else None,
        start_ticks=stat.start_ticks if stat is not None else None,
        container=container,
        started=str(state["StartedAt"]),
    )


def _is_of(pid: int, container: str) -> bool:
    """Whether the process of that number on *this* machine belongs to the container: the engine may run elsewhere."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="ascii", errors="replace") as file:
            return container in file.read()
    except OSError:
        return False


def attachments_of(found: JsonObject) -> tuple[Attachment, ...]:
    """The networks that a container is on, by name."""
    networks: Mapping[str, JsonObject] = found["NetworkSettings"]["Networks"]
    return tuple(
        Attachment(
            network=str(there["NetworkID"]),
            name=name,
            pinned="IPv4Address" in (there.get("IPAMConfig") or {}),
            address=there.get("IPAddress") or None,
            address6=there.get("GlobalIPv6Address") or None,
            # The engine adds the short id by itself, each time.
            aliases=tuple(one for one in there.get("Aliases") or () if one != str(found["Id"])[:12]),
            links=tuple(there.get("Links") or ()),
            options=there.get("DriverOpts") or {},
        )
        for name, there in sorted(networks.items())
        if there.get("NetworkID")
    )


def place_of(found: JsonObject, ports: Mapping[str, int]) -> tuple[str, Mapping[str, int]]:
    """Address and port numbers at which this machine reaches the container's named ports.

    A number is the container's own port, or one that it is published on. Published on fixed ports of one address: those.
    Else the container's own address, on its first network and rather a pinned one. Raises UnsafeError when neither can be told.
    """
    published = _published(found)
    places = {name: published.get(number) or _as_published(number, published) for name, number in ports.items()}
    addresses = {place[0] for place in places.values() if place is not None}
    if ports and all(places.values()) and len(addresses) == 1:
        return addresses.pop(), {name: place[1] for name, place in places.items() if place is not None}
    own = _pinned(found) or next((one.address for one in attachments_of(found) if one.address), None)
    if own is not None:
        return own, dict(ports)
    if not ports:
        return "127.0.0.1", {}
    why = "not running" if identity_of(found) is None else "on no network of its own"
    named = ", ".join(f"{name}: {ports[name]}" for name, place in places.items() if place is None) or "its ports"
    raise UnsafeError(
        f"container {name_of(found)} is {why}, so that nothing tells where to reach {named}",
        remedy="start it, publish its ports on fixed ports of one address (127.0.0.1:8080:8080), or say `address:`",
    )


def _published(found: JsonObject) -> dict[int, tuple[str, int]]:
    """Container port -> (address, port) here. Only fixed ones: a port of the engine's choosing is another after a restart."""
    places = {}
    bindings: Mapping[str, list[JsonObject] | None] = found["HostConfig"].get("PortBindings") or {}
    for port, binds in bindings.items():
        number, _, protocol = port.partition("/")
        for bind in binds or ():
            if protocol == "tcp" and bind.get("HostPort") not in (None, "", "0"):
                address = bind.get("HostIp") or ""
                places[int(number)] = ("127.0.0.1" if address in _EVERYWHERE else address, int(bind["HostPort"]))
    return places


def _as_published(number: int, published: Mapping[int, tuple[str, int]]) -> tuple[str, int] | None:
    return next((place for place in published.values() if place[1] == number), None)


def _pinned(found: JsonObject) -> str | None:
    """The address that a container which does not run will have, when that is laid down."""
    networks: Iterable[JsonObject] = found["NetworkSettings"]["Networks"].values()
    return next(
        (pin["IPv4Address"] for one in networks if (pin := one.get("IPAMConfig")) and "IPv4Address" in pin), None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """What a fault on a container may change and must put back. `networks` are (name, address, aliases)."""

    id: str
    name: str
    status: str
    networks: tuple[tuple[str, str | None, tuple[str, ...]], ...]


def fingerprint(inspected: Iterable[JsonObject]) -> tuple[ContainerFacts, ...]:
    """The facts of the containers whose accounts are given, by name, to be compared before and after. Pure."""
    return tuple(
        sorted(
            (
                ContainerFacts(
                    id=str(found["Id"]),
                    name=name_of(found),
                    status=str(found["State"]["Status"]),
                    networks=tuple((one.name, one.address, one.aliases) for one in attachments_of(found)),
                )
                for found in inspected
            ),
            key=lambda facts: facts.name,
        )
    )
