"""Pages as tests read them: their structure without a browser, and a headless Chromium spoken to over DevTools, with axe-core."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

__all__ = ["AXE", "Browser", "Reader", "axe_script", "chromium", "open_browser"]

VOID = {"meta", "br", "hr", "img", "input", "link", "rect", "line", "path"}
SERIOUS = ("serious", "critical")
AXE = Path(__file__).parents[1] / ".tools" / "axe-core-4.14.1" / "axe.min.js"


class Reader(HTMLParser):
    """A page's structure: elements with attributes in order, their nesting checked, its text without style and script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.parents: list[tuple[str, ...]] = []
        self.open: list[str] = []
        self.errors: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.parents.append(tuple(self.open))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.parents.append(tuple(self.open))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.errors.append(f"</{tag}> closes {self.open[-1:]}")
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@dataclass
class Browser:
    """One page of a headless Chromium. `requests`, `complaints`: what it asked for, what it complained of, since start."""

    socket: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _next: int = 0
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _events: dict[str, asyncio.Event] = field(default_factory=dict)

    async def listen(self) -> None:
        async for message in self.socket:
            data = json.loads(message.data)
            if "id" in data:
                waiting = self._waiting.pop(data["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(data)
                continue
            method, params = data["method"], data.get("params", {})
            if method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif method == "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled":
                self.complaints.append(str(params["args"]))
            if method in self._events:
                self._events[method].set()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        number = self._next
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        await self.socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(90):
            reply = await waiting
        assert "error" not in reply, reply
        return reply["result"]

    async def open(self, path: Path | str) -> None:
        loaded = self._events["Page.loadEventFired"] = asyncio.Event()
        await self.call("Page.navigate", url=path if isinstance(path, str) else path.as_uri())
        async with asyncio.timeout(60):
            await loaded.wait()

    async def size(self, width: int, height: int = 1400) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def media(self, media: str = "screen", scheme: str = "light") -> None:
        await self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    async def audit(self, script: str) -> list[str]:
        """What axe-core finds wrong with the page as it is shown now: "impact rule: where", serious and critical first."""
        await self.call("Runtime.evaluate", expression=script)
        run = "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations))"
        reply = await self.call("Runtime.evaluate", expression=run, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return [
            f"{one['impact']} {one['id']}: {', '.join(str(node['target']) for node in one['nodes'][:3])}"
            for one in sorted(json.loads(reply["result"]["value"]), key=lambda one: one["impact"] not in SERIOUS)
        ]

    async def serious(self, script: str) -> list[str]:
        """Of what axe-core finds, the serious and the critical."""
        return [line for line in await self.audit(script) if line.split()[0] in SERIOUS]

    async def picture(self, width: int, height: int) -> bytes:
        """The top of the page, whether in view or not, as PNG."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def value(self, expression: str) -> Any:
        reply = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")


def chromium() -> str | None:
    """The browser's path, None when it is not installed."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@contextlib.contextmanager
def running_chromium(program: str, profile: Path) -> Iterator[Path]:
    """A headless browser in a process group of its own, ended with the block. Its port is in the profile."""
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    command = ["timeout", "230", program, *flags, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"TMPDIR": str(profile)},  # killed, it leaves there what it would have removed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield profile / "DevToolsActivePort"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def axe_script() -> str:
    """axe-core's script. Skips where it was not fetched; in CI it must be there."""
    if not AXE.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{AXE} is missing: .ci/run fetches it")
        pytest.skip("needs axe-core in .tools: .ci/run fetches it from the npm registry")
    return AXE.read_text(encoding="utf-8")


@contextlib.asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A fresh page. Skips where there is no Chromium."""
    import aiohttp

    program = chromium()
    if program is None:
        pytest.skip("no chromium on PATH: install Debian's package chromium")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_chromium(program, Path(folder)) as at,
    ):
        async with asyncio.timeout(60):
            while not (at.exists() and at.read_text().count("\n") >= 1):
                await asyncio.sleep(0.05)
        port = at.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as reply:
                pages = await reply.json()
            url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            async with session.ws_connect(url, max_msg_size=64 << 20) as socket:
                page = Browser(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await page.call(f"{domain}.enable")
                yield page
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening
