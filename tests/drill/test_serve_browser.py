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
    (tmp_path / "answers.yaml").write_text("announce: done\n")  # what it leaves open is asked on the page
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
    """What the page says after a form was sent; what it said before that does not count."""
    await browser.value("document.querySelector('[role=status]')?.remove()")
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
    run = "document.querySelector('#live input[name=run]:not([value=\"\"])')"  # of a run, not of the drill around it
    await until(browser, f"{run} !== null")
    await browser.media("screen", "dark")
    assert await browser.serious(script) == []
    await pressed(browser, f"{run}.form.querySelector('button').click()", "was asked to stop")
    await until(browser, "document.querySelector('#live')?.innerText.includes('Nothing is under way') ?? false")
    await browser.open(url)
    assert await browser.value("document.querySelectorAll('table tbody tr').length >= 1")
    drills = sorted((rehearsal.folder / "reports").glob("2*Z-shop-day-*"))
    assert json.loads((drills[-1] / "result.json").read_text())["verdict"] != "PASS", "it was halted"
    links = await browser.value("[...document.querySelectorAll('table a')].map(a => a.href)")
    await browser.open(links[0])
    assert await browser.value("document.querySelector('h1') !== null")
    assert browser.complaints == []


@pytest.mark.timeout(200)
async def test_people_answer_on_the_page(browser: Any, served: tuple[Rehearsal, str]) -> None:
    rehearsal, url = served
    script = axe_script()
    await browser.open(url)
    await pressed(browser, "document.querySelector('form[action=\"/rehearse\"] button').click()", "rehearsal started")
    for step, word, note in (("look", "done", "all green"), ("page", "failed", "it reached nobody")):
        await until(browser, f"document.querySelector('#asked h3')?.innerText.endsWith(': {step}') ?? false", 90)
        form = "document.querySelector('#asked form')"
        await browser.value(f"{form}.by.value = 'ann'; {form}.note.value = {note!r}")
        await browser.size(360, 800)
        assert await browser.value("document.documentElement.scrollWidth") <= 360
        assert await browser.serious(script) == []
        await browser.size(1100)
        await asyncio.sleep(2.5)  # the page reads again meanwhile
        assert await browser.value(f"{form}.note.value") == note, "what is typed is left alone"
        assert await browser.value("/Waiting for \\d+ s/.test(document.querySelector('#asked').innerText)")
        await pressed(browser, f"{form}.querySelector('[value={word}]').click()", "answered by ann")
    await until(browser, "document.querySelector('#live')?.innerText.includes('Nothing is under way') ?? false")
    assert await browser.value("document.querySelector('#asked').innerText.includes('No step waits')")
    result = json.loads((rehearsal.newest / "result.json").read_text())
    steps = {step["id"]: step for step in result["steps"]}
    told = [(steps[name]["outcome"], steps[name]["by"], steps[name]["note"]) for name in ("look", "page")]
    assert told == [("done", "ann", "all green"), ("failed", "ann", "it reached nobody")]
    assert steps["announce"]["by"] == "answers file"
    assert steps["look"]["ended_ns"] - steps["look"]["started_ns"] >= 2_500_000_000, "timed"
    assert result["verdict"] == "FAIL"
    assert browser.complaints == []
