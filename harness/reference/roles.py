"""Who may do what at a gateway: the one table of endpoints and roles, and the door that keeps to it.

A token is a role's and a generation's, and what only a holder of the root can compute of both. Without a root nobody is asked for
one. Open to everyone is what says how a gateway is and nothing of what it holds.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web

from harness.reference.channel import Wire
from harness.reference.metrics import Metrics
from harness.reference.mutants import FAILS_OPEN
from harness.reference.program import failure
from harness.reference.registry import Registry, key_of

__all__ = ["ROLES", "TABLE", "Door", "role_of"]

ROLES = ("tenant", "operator", "control")
"""Clients; people who publish and repair; the arbiter, who alone makes epochs."""

_ALL = frozenset({*ROLES, "nobody"})
TABLE: Mapping[tuple[str, str], frozenset[str]] = {
    ("POST", "/v1/chat/completions"): frozenset({"tenant"}),
    ("GET", "/v1/sessions/{id}"): frozenset({"tenant"}),
    ("POST", "/v1/registry/{name}"): frozenset({"operator"}),
    ("POST", "/admin/wipe"): frozenset({"operator"}),
    ("POST", "/admin/setup"): frozenset({"operator"}),
    ("GET", "/v1/quarantine"): frozenset({"operator"}),
    ("GET", "/v1/billing"): frozenset({"operator"}),
    ("GET", "/v1/refusals"): frozenset({"operator"}),
    ("GET", "/v1/journal/{op}"): frozenset({"operator", "control"}),
    ("POST", "/internal/config"): frozenset({"control"}),
    ("GET", "/v1/registry"): _ALL,
    ("GET", "/v1/models"): _ALL,
    ("GET", "/v1/about"): _ALL,
    ("GET", "/readyz"): _ALL,  # a lease that comes with it counts for `control` alone
    ("GET", "/livez"): _ALL,
    ("GET", "/metrics"): _ALL,
}
_KEPT = 50
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guarded(Protocol):
    """The gateway behind the door."""

    key_root: str
    registry: Registry
    mutants: frozenset[str]

    def headers(self) -> dict[str, str]:
        """Who answers."""


def role_of(registry: Registry, root: str, token: str) -> str:
    """The role of a bearer token; "nobody" for one of no generation that is accepted now, and for none."""
    said = token.encode(errors="surrogateescape")
    for role in ROLES:
        if any(hmac.compare_digest(said, key_of(root, number, role).encode()) for number in registry.accepted):
            return role
    return "nobody"


class Door:
    """Lets through who may; counts and keeps whom it refused."""

    def __init__(self, gateway: Guarded, metrics: Metrics) -> None:
        self.refusals: deque[Wire] = deque(maxlen=_KEPT)
        self._gateway = gateway
        self._metrics = metrics

    def role(self, request: web.Request) -> str:
        """Whose request it is. Where nobody is asked for a key, anybody may be anything: then it is `control`."""
        if not self._gateway.key_root:
            return "control"
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return role_of(self._gateway.registry, self._gateway.key_root, token)

    def guard(self, app: web.Application) -> None:
        """Stand before every route that the app has. Raises RuntimeError for one that the table does not know."""
        for route in app.router.routes():
            where = route.resource.canonical if route.resource is not None else "?"
            if route.method != "HEAD" and (route.method, where) not in TABLE:
                raise RuntimeError(f"{route.method} {where}: no role is named for it")

        @web.middleware
        async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            return refusal if refusal is not None else await handler(request)

        app.middlewares.append(door)

    def _refusal(self, request: web.Request) -> web.Response | None:
        gateway, resource = self._gateway, request.match_info.route.resource
        if not gateway.key_root or resource is None:  # open, or no such route: aiohttp says so
            return None
        role, where = self.role(request), resource.canonical
        if role in TABLE["GET" if request.method == "HEAD" else request.method, where]:
            return None
        if FAILS_OPEN in gateway.mutants and not self._metrics.value("gw_requests_total"):
            return None
        self._metrics.count("gw_refused_total", role=role, endpoint=where)
        self.refusals.append({"role": role, "method": request.method, "endpoint": where, "peer": request.remote})
        if role == "nobody":
            return failure(401, "unauthorized", "this key is not accepted", gateway.headers())
        return failure(403, "forbidden", f"a key of {role} does not open {request.method} {where}", gateway.headers())
