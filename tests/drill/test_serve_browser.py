"""`drill serve` as a person uses it, in Chromium: a drill is approved, rehearsed, seen under way, halted, and read about."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drill.small_drill import DRILL, Rehearsal
from tests.pages import axe_script
from tests.run.small import BLACKSTART

pytestmark = [pytest.mark.browser, pytest.mark.live, pytest.mark.slow]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Rehearsal, str]]:
    rehearsal = Rehearsal(tmp_path)
    rehearsal.write()
    (tmp_path / "drills").mkdir()
    for name in ("stack.yaml", "experiment.yaml", "profile.py", "again.yaml", "shop.yaml"):
        (tmp_path / name).rename(tmp_path / "drills" / name)
    (tmp_path / "day.yaml").unlink()
    steps = DRILL.replace(', channels: [{webhook: "${env:CHANNEL}"}]', "")
    (tmp_path / "drills" / "day.yaml").write_text(steps)
    command = [BLACKSTART, "drill", "serve", "--json", "--answers", "answers.yaml"]
    env = rehearsal.small.environment
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            lines = ""
            while not lines.rstrip().endswith("}"):
                line = server.stdout.readline()
                assert line, server.stderr.read() if server.stderr else ""
                lines += line
            yield rehearsal, json.loads(lines)["url"]
        finally:
            server.terminate()
            server.wait(20)


async def until(browser: Any, expression: str, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await browser.value(expression):
            await asyncio.sleep(0.2)


async def pressed(browser: Any, script: str, said: str) -> None:
    """What the page says after a form was sent."""
    await browser.value(script)
    await until(browser, f"document.querySelector('[role=status]')?.innerText.includes({said!r}) ?? false")


@pytest.mark.timeout(200)
async def test_a_person_approves_rehearses_and_halts(browser: Any, served: tuple[Rehearsal, str]) -> None:
    rehearsal, url = served
    script = axe_script()
    await browser.open(url)
    assert await browser.value("location.search") == "", "the token does not stay in the address"
    await browser.size(360, 800)
    assert await browser.value("document.documentElement.scrollWidth") <= 360
    assert await browser.serious(script) == []
    await browser.size(1100)
    approve = "let f = document.querySelector('form[action=\"/approve\"]'); f.by.value = 'dora'; f.querySelector('button').click()"
    await pressed(browser, f"(() => {{ {approve} }})()", "approved by dora")
    assert await browser.value("document.body.innerText.includes('Approved by 1 of 1')")
    await pressed(browser, "document.querySelector('form[action=\"/rehearse\"] button').click()", "rehearsal started")
    # The page reads by itself what is under way; no reload from here until the run can be halted.
    await until(browser, "document.querySelector('#live form[action=\"/halt\"] button') !== null")
    await browser.media("screen", "dark")
    assert await browser.serious(script) == []
    await pressed(browser, "document.querySelector('#live form[action=\"/halt\"] button').click()", "was asked to stop")
    await until(browser, "document.querySelector('#live').innerText.includes('Nothing is under way')")
    await browser.open(url)
    assert await browser.value("document.querySelectorAll('table tbody tr').length >= 1")
    drills = sorted((rehearsal.folder / "reports").glob("2*Z-shop-day-*"))
    assert json.loads((drills[-1] / "result.json").read_text())["verdict"] != "PASS", "it was halted"
    links = await browser.value("[...document.querySelectorAll('table a')].map(a => a.href)")
    await browser.open(links[0])
    assert await browser.value("document.querySelector('h1') !== null")
    assert browser.complaints == []
