"""axe-core finds nothing serious in any page that we write, light or dark, on a desk or on a phone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.drill.page import render_drill_html
from harness.report.html import render_html
from tests.drill.drill_samples import failed_drill, passed_drill
from tests.drill.portfolio_samples import full_portfolio
from tests.pages import axe_script

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def pages(samples: ModuleType, tmp_path: Path) -> dict[str, Path]:
    made = {
        name: render_html(samples.SAMPLES[name](), samples.extras() if name == "pass" else None)
        for name in ("pass", "refused", "dirty")
    }
    made |= {"drill": render_drill_html(passed_drill()), "drill-failed": render_drill_html(failed_drill())}
    made["portfolio"] = full_portfolio()
    for name, html in made.items():
        (tmp_path / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: tmp_path / f"{name}.html" for name in made}


@pytest.mark.timeout(240)
async def test_nothing_serious_in_any_page(browser: Any, pages: dict[str, Path]) -> None:
    script = axe_script()
    found = {}
    for width, scheme in ((1100, "light"), (1100, "dark"), (360, "light")):
        await browser.size(width)
        await browser.media("screen", scheme)
        for name, path in pages.items():
            await browser.open(path)
            serious = await browser.serious(script)
            if serious:
                found[name, width, scheme] = serious
    assert found == {}


async def test_the_checker_finds_what_is_wrong(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<html><body><img src='data:,'><p style='color:#ccc;background:#fff'>pale</p></body></html>")
    await browser.open(page)
    said = " ".join(await browser.serious(axe_script()))
    assert "image-alt" in said and "color-contrast" in said and "html-has-lang" in said
