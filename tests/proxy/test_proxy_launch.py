"""Starting the embedded server and putting a stack's links on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

import pytest

from harness.errors import UnsafeError
from harness.model.stack import HostSpec, Instance, Link, Stack
from harness.model.wiring import Wiring
from harness.proxy.launch import create_links, start_embedded, start_toxiproxy

pytestmark = pytest.mark.live


def stack(**links: Link) -> Stack:
    instance = Instance(name="db", host=HostSpec(kind="external", params={}))
    return Stack(name="s", base_dir="/", instances={"db": instance}, links=links)


async def test_links_are_made_where_the_wiring_says_and_mirror_refusal(tmp_path, tools):
    proxy = await start_embedded(7, tmp_path / "proxy.log")
    try:
        made = stack(
            plain=Link(name="plain", source="a", to="db"), spoken=Link(name="spoken", source="a", to="db", http=True)
        )
        wiring = Wiring(links={"plain": "127.0.0.1:0", "spoken": "127.0.0.1:0"})
        upstreams = {"plain": "127.0.0.1:1", "spoken": "127.0.0.1:2"}
        where = await create_links(proxy.links, made, wiring, upstreams)
        assert list(where) == ["plain", "spoken"]
        for name, listen in where.items():
            state = await proxy.links.get(name)
            assert (state.listen, state.upstream, state.enabled) == (listen, upstreams[name], True)
        raw = await proxy.links._plain("GET", "/proxies")
        assert raw["plain"]["blackstart"] == {"http": False, "mirror_refusal": True, "tls": False}
        assert raw["spoken"]["blackstart"] == {"http": True, "mirror_refusal": True, "tls": False}
        taken = Wiring(links={"third": where["plain"]})
        with pytest.raises(UnsafeError, match="address already in use"):
            await create_links(
                proxy.links, stack(third=Link(name="third", source="a", to="db")), taken, {"third": "x:1"}
            )
    finally:
        proxy.process.terminate()
        assert await proxy.process.wait() == 0
    assert (tmp_path / "proxy.log").read_text() == ""


async def test_a_server_that_does_not_come_up_is_refused(tmp_path, monkeypatch):
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no proxy today >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(UnsafeError, match=r"did not come up; see .*proxy\.log"):
        await start_embedded(7, tmp_path / "proxy.log")
    assert (tmp_path / "proxy.log").read_text() == "no proxy today\n"


async def test_a_start_that_is_cut_leaves_nothing_running(tmp_path, monkeypatch, tools):
    program = tmp_path / "slow"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    start = asyncio.ensure_future(start_embedded(7, tmp_path / "proxy.log"))
    pid_file = tmp_path / "pid"
    async with asyncio.timeout(10):
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(0.005)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_shopifys_server_is_started_from_the_path(tmp_path):
    if shutil.which("toxiproxy-server") is None:
        pytest.skip("needs Shopify's toxiproxy-server on PATH")
    proxy = await start_toxiproxy(tmp_path / "proxy.log")
    try:
        assert await proxy.links.version()
        assert not proxy.links.embedded
        made = stack(db=Link(name="db", source="a", to="db"))
        where = await create_links(proxy.links, made, Wiring(links={"db": "127.0.0.1:0"}), {"db": "127.0.0.1:1"})
        assert (await proxy.links.get("db")).listen == where["db"]
    finally:
        proxy.process.terminate()
        await proxy.process.wait()


async def test_a_missing_toxiproxy_is_refused_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UnsafeError, match=r"none on PATH; install it, name a running one in TOXIPROXY_URL or as \{toxiproxy: URL\}"
    ):
        await start_toxiproxy(tmp_path / "proxy.log")


async def test_a_toxiproxy_that_ends_at_once_is_refused(tmp_path, monkeypatch):
    program = tmp_path / "toxiproxy-server"
    program.write_text("#!/bin/sh\necho no toxics today >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsafeError, match=r"ended with code 3; see .*proxy\.log"):
        await start_toxiproxy(tmp_path / "proxy.log")
    assert (tmp_path / "proxy.log").read_text() == "no toxics today\n"
