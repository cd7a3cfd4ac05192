"""The page in a real browser: what page one says, silence on console and network, one printed sheet, a phone's width."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.report.html import render_html

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Printable heights in CSS pixels, margins of 9 mm taken off: Letter is the shorter sheet, A4 the narrower.
SHEETS = {"letter": (733, 987), "a4": (711, 1054)}
ORDINARY = (
    "pass",
    "fail",
    "inconclusive",
    "refused",
    "aborted",
    "dirty",
    "error",
    "censored",
    "calm",
    "empty",
    "long",
    "crowded",
)


@pytest.fixture
def written(samples: ModuleType, tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name, build in samples.SAMPLES.items():
        path = tmp_path / f"{name}.html"
        path.write_text(render_html(build(), samples.extras() if name == "pass" else None), encoding="utf-8")
        paths[name] = path
    return paths


async def test_page_one_says_what_a_manager_asks(browser: Any, written: dict[str, Path]) -> None:
    await browser.open(written["pass"])
    text = await browser.value("document.getElementById('page-one').innerText")
    for words in ("PASS", "4.4 s", "(4.21 to 4.49 s)", "231", "0.16 %", "0\nlost of 4,581", "What users saw"):
        assert words in text or words.replace("\n", " ") in text, words
    shown = await browser.value("getComputedStyle(document.querySelector('.banner')).backgroundColor")
    assert shown == "rgb(237, 247, 240)"  # the page's own style passed its own policy


async def test_no_page_asks_for_anything_or_complains(browser: Any, written: dict[str, Path]) -> None:
    for path in written.values():
        await browser.open(path)
    asked = [url for url in browser.requests if url not in {path.as_uri() for path in written.values()}]
    assert asked == []
    assert browser.complaints == []


async def test_page_one_prints_on_one_sheet(browser: Any, written: dict[str, Path]) -> None:
    await browser.media("print")
    for width, height in SHEETS.values():
        await browser.size(width, height)
        for name in ORDINARY:
            await browser.open(written[name])
            tall = await browser.value("document.getElementById('page-one').getBoundingClientRect().bottom")
            assert tall <= height, (name, tall)


async def test_no_page_is_wider_than_a_phone(browser: Any, written: dict[str, Path]) -> None:
    await browser.size(360, 800)
    for name, path in written.items():
        await browser.open(path)
        assert await browser.value("document.documentElement.scrollWidth") <= 360, name
        assert await browser.value("getComputedStyle(document.querySelector('.banner')).display") == "grid"
    await browser.open(written["pass"])
    assert await browser.value("getComputedStyle(document.querySelector('.ribbon .wide')).display") == "none"
    assert await browser.value("getComputedStyle(document.querySelector('.ribbon .narrow')).display") == "block"


async def test_dark_scheme_reaches_the_pictures(browser: Any, written: dict[str, Path]) -> None:
    await browser.media("screen", "dark")
    await browser.open(written["pass"])
    assert await browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"
    stroke = "getComputedStyle(document.querySelector('.ribbon .k-good')).stroke"
    assert await browser.value(stroke) == "rgb(86, 180, 233)"
    await browser.media("print", "dark")
    assert await browser.value(stroke) == "rgb(0, 114, 178)"


async def test_a_deep_link_opens_what_it_points_into(browser: Any, written: dict[str, Path]) -> None:
    await browser.open(written["pass"])
    await browser.value("location.hash = '#obj-recovery-time-5s'")
    top = "Math.abs(document.getElementById('obj-recovery-time-5s').getBoundingClientRect().top)"
    assert await browser.value(top) < 900
