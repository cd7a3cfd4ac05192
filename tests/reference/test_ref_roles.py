"""Each role opens what the table says, and nothing else; what the table does not know is not served at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from harness.reference.metrics import Metrics
from harness.reference.mutants import FAILS_OPEN
from harness.reference.registry import Registry, key_of
from harness.reference.roles import ROLES, TABLE, Door, role_of

Make = Callable[..., Awaitable[Any]]
PATHS = {where: where.replace("{id}", "s1").replace("{name}", "flags").replace("{op}", "digest") for _, where in TABLE}


class Gateway:
    def __init__(self, root: str, mutants: frozenset[str] = frozenset()) -> None:
        self.key_root, self.registry, self.mutants, self.metrics = root, Registry(), mutants, Metrics()
        self.door = Door(self, self.metrics)

    def headers(self) -> dict[str, str]:
        return {"x-served-by": "gateway"}

    def app(self) -> web.Application:
        async def serve(request: web.Request) -> web.Response:
            return web.Response(text=self.door.role(request))

        app = web.Application()
        for method, where in TABLE:
            app.router.add_route(method, where, serve)
        self.door.guard(app)
        return app


async def asked(gateway: Gateway) -> dict[tuple[str, str, str], int]:
    """The status of every endpoint for every role."""
    found = {}
    async with TestClient(TestServer(gateway.app())) as client:
        for role in (*ROLES, "nobody"):
            token = {} if role == "nobody" else {"authorization": f"Bearer {key_of('root', 1, role)}"}
            for method, where in TABLE:
                async with client.request(method, PATHS[where], headers=token) as reply:
                    found[role, method, where] = reply.status
    return found


async def test_every_role_opens_what_the_table_says() -> None:
    gateway = Gateway("root")
    for (role, method, where), status in (await asked(gateway)).items():
        refused = 401 if role == "nobody" else 403
        assert status == (200 if role in TABLE[method, where] else refused), (role, method, where)
    assert gateway.metrics.value("gw_refused_total", role="tenant", endpoint="/admin/setup") == 1
    assert len(gateway.door.refusals) <= 50 and gateway.door.refusals[-1]["role"] == "nobody"


async def test_without_a_root_nobody_is_asked() -> None:
    assert set((await asked(Gateway(""))).values()) == {200}


async def test_the_mutant_is_open_until_it_serves() -> None:
    gateway = Gateway("root", frozenset({FAILS_OPEN}))
    assert set((await asked(gateway)).values()) == {200}
    gateway.metrics.count("gw_requests_total")
    assert 401 in (await asked(gateway)).values()


async def test_a_route_that_no_role_is_named_for_ends_the_program() -> None:
    async def serve(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/admin/new", serve)
    with pytest.raises(RuntimeError, match=r"POST /admin/new: no role"):
        Gateway("root").door.guard(app)


def test_a_key_is_of_one_role_and_one_generation() -> None:
    one = Registry()
    one.take({"keys": [2]})
    assert [role_of(one, "root", key_of("root", 2, role)) for role in ROLES] == list(ROLES)
    stranger = key_of("root", 2, "operator").replace("operator", "control")
    assert {role_of(one, "root", token) for token in (stranger, key_of("root", 1), "", "2.", "é")} == {"nobody"}


@pytest.mark.live
@pytest.mark.slow
async def test_a_lease_counts_only_from_who_makes_epochs(make_stack: Make) -> None:
    keys = ["--key-root", "root"]
    stack = await make_stack(extra={"edge": keys, "gateway-eu": keys, "gateway-us": keys})
    await stack.until(stack.url("edge") + "/v1/replication", lambda _, body: body["behind"] == 0)
    status, body = await stack.get(stack.url("gateway-us") + "/v1/quarantine")
    assert (status, body["error"]["code"]) == (401, "unauthorized")
    refused = await stack.turn("s", "v1")
    assert refused.status == 401
