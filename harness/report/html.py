"""`report.html`: one file that needs no other. The templates place what the view has already said."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.model.result import Result
from harness.report.extras import ReportExtras
from harness.report.page import Sheet
from harness.report.palette import DARK, LIGHT, variables
from harness.report.view import build_page

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_html", "render_sheet", "render_template"]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return files("harness.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    """The style sheet: variables of both schemes, then rules, then one rule pair per colour for the pictures."""
    pictures = "".join(f".f-{name}{{fill:var(--{name})}}.k-{name}{{stroke:var(--{name})}}" for name in LIGHT)
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    sheet = f":root{{color-scheme:light dark;{variables(LIGHT)}}}{dark}\n{_asset('style.css')}\n{pictures}"
    return sheet + "\n@media print{:root{color-scheme:light}}\n"


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def render_html(result: Result, extras: ReportExtras | None = None) -> str:
    """The report page: offline, readable without CSS and JavaScript, the same text for the same input.

    Its own policy forbids every request, and every style and script but the page's own.
    """
    return render_template("report.html.j2", page=build_page(result, extras))


def render_sheet(sheet: Sheet) -> str:
    """A page about several runs, under the same rules as a report."""
    return render_template("sheet.html.j2", sheet=sheet)


def render_template(template_name: str, /, *, forms: bool = False, **values: object) -> str:
    """A page of ours from its template and values, under the same policy: style and script of the report, and nothing else.

    `forms`: a page that is served, whose forms and script may speak with where it came from, and with nobody else.
    """
    style, script = _style(), _asset("board.js" if forms else "page.js")
    own = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    rest = "form-action 'self'; connect-src 'self'" if forms else "form-action 'none'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; {rest}"
    template = _environment().get_template(template_name)
    return template.render(style=Markup(style), script=Markup(script), policy=policy, **values) + "\n"
