"""Files written to aiolocust's `HttpUser.run` contract, on our engine: every request is an op, and none that dies is lost."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.load.profile import load_profile

SHORT = """\
import asyncio
from aiolocust import HttpUser


async def run(user: HttpUser):
    async with user.client.get("/") as resp:
        assert await resp.text() == "hello"
    async with user.client.get("/missing?item=7", name="item"):
        pass
    async with user.client.post("/add", params={"item": "1"}) as resp:
        await resp.text()
        resp.error = "not what was asked"
    async with user.client.get("/") as resp:
        assert "something else" in await resp.text(), "other text"
"""
CLASS = """\
from contextlib import asynccontextmanager
from aiolocust import HttpUser, Runner


class Shopper(HttpUser):
    entered = 0

    @asynccontextmanager
    async def cm(self):
        async with super().cm():
            type(self).entered += 1
            yield

    async def run(self):
        async with self.client.get("/missing", raise_for_status=True):
            raise KeyError("never reached")


if __name__ == "__main__":
    Runner([Shopper], user_count=1).run_test()
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a file; "path.py:NAME" of it."""

    def write(body: str, name: str) -> str:
        path = tmp_path / "aiolocustfile.py"
        path.write_text(body)
        return f"{path}:{name}"

    return write


@pytest.mark.live
@pytest.mark.slow
async def test_the_short_form_makes_an_op_of_every_request(target: Any, bench: Any, written: Any) -> None:
    user = bench.user(load_profile(written(SHORT, "run"), {}), target().url)
    await user.start()
    await bench.arrival(user)
    seen = [(op.f, op.key, op.outcome, op.status, op.wrong, op.error) for op in bench.ops()]
    assert seen == [
        ("get", "/", "ok", 200, False, None),
        ("get", "item", "fail", 404, False, "http 404"),  # and the file goes on, as in aiolocust
        ("post", "/add", "ok", 200, True, "not what was asked"),
        ("get", "/", "ok", 200, True, "other text"),
    ]
    assert [op.later for op in bench.ops()] == [False, True, True, True]
    assert bench.ops()[0].bytes == 5


@pytest.mark.live
@pytest.mark.slow
async def test_a_class_with_cm_whose_requests_raise(target: Any, bench: Any, written: Any) -> None:
    cls = load_profile(written(CLASS, "Shopper"), {})
    user = bench.user(cls, target().url)
    await user.start()
    for number in range(2):
        await bench.arrival(user, str(number))
    assert Counter((op.outcome, op.status) for op in bench.ops()) == {("fail", 404): 2}
    assert cls.entered == 1  # type: ignore[attr-defined]
    await user.stop()
    assert user.running is False  # type: ignore[attr-defined]


async def test_a_write_that_dies_in_flight_is_recorded(serve_raw: Any, bench: Any, written: Any) -> None:
    async def die(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if b"half" in await reader.read(4):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")
            await writer.drain()

    body = 'async def run(user):\n    async with user.client.post("/add", data=b"{}"):\n        pass\n'
    async with serve_raw(die) as url:
        for sent in ("none", "half"):
            user = bench.user(load_profile(written(body.format(sent), "run"), {}), url)
            await bench.arrival(user)
    assert [(op.outcome, op.broken) for op in bench.ops()] == [("info", False), ("info", True)]


async def test_another_origin_is_never_asked(bench: Any, written: Any) -> None:
    body = 'async def run(user):\n    async with user.client.get("http://example.com/a"):\n        pass\n'
    await bench.arrival(bench.user(load_profile(written(body, "run"), {})))
    (op,) = bench.ops()
    assert (op.outcome, op.error) == ("fail", "not the stack's entry: http://example.com")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("from aiolocust import rate_limit", "the load's arrival paces here"),
        ("from aiolocust import WebsocketUser", "it has HttpUser and LocustClientSession"),
        ("from aiolocust import HttpUser\nclass U(HttpUser):\n    def run(self): ...", "expected `async def run"),
        (
            "from aiolocust import HttpUser\nclass U(HttpUser):\n    session_kwargs = {'headers': {}}\n"
            "    async def run(self): ...",
            "session_kwargs: headers is not passed on",
        ),
        (
            "from aiolocust import HttpUser\nclass U(HttpUser):\n    ssl_context = 1\n    async def run(self): ...",
            "ssl_context is not used here",
        ),
    ],
)
def test_what_the_contract_has_not_is_refused_by_name(written: Any, body: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load_profile(written(body + "\n", "U"), {})
    assert "aiolocust" not in sys.modules
