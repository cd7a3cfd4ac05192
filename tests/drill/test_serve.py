"""`drill serve`: nothing without its token, no form from elsewhere, approvals of what was shown, one drill at a time."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from harness.drill import serve as module
from harness.drill.answers import Answer, Question
from harness.drill.approvals import approvals_of
from harness.drill.desk import DESK, open_desk
from harness.drill.plan import DrillPlan
from harness.drill.serve import Project, Runner
from harness.drill.site import make_app
from harness.errors import SpecError
from harness.model.drill import Approvals, Ask, Drill, Schedule

TOKEN = "a token of the test's own"
NOW = datetime(2026, 11, 24, 9, 10, tzinfo=UTC)  # ten minutes after it was due


def planned(hash_: str = "ab" * 32) -> DrillPlan:
    drill = Drill(
        name="day", title="Day <b>", owner="sre", source="day.yaml", base_dir="/", exercise="functional", people={},
        approvals=Approvals(required=1), schedule=Schedule(cron="0 10 * * 2", timezone="Europe/Berlin"),
        steps=(Ask(id="page", text="Well?", who="sre"),),
    )  # fmt: skip
    return DrillPlan(drill=drill, runs={}, hash=hash_)


@dataclass
class Page:
    """The application behind a real socket, and a client of it."""

    runner: Runner
    url: str
    client: aiohttp.ClientSession

    async def ask(self, path: str, **more: Any) -> tuple[int, str]:
        async with self.client.get(self.url + path, **more) as reply:
            return reply.status, await reply.text()

    async def send(self, path: str, **form: str) -> tuple[int, str]:
        async with self.client.post(self.url + path, data=form) as reply:
            return reply.status, await reply.text()

    async def key(self) -> str:
        _, text = await self.ask("/")
        return text.split('name="key" value="')[1].split('"')[0]


@pytest.fixture
def plans() -> list[Any]:
    return [("day", planned()), ("broken", SpecError("drills/broken.yaml:1:1: no"))]


@pytest.fixture
def runner(tmp_path: Path, plans: list[Any], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setenv("BLACKSTART_STATE", str(tmp_path / "state"))
    reports = tmp_path / "reports"
    reports.mkdir()
    command = [sys.executable, "-c", "print('rehearsing', flush=True)"]
    project = Project(reports=reports, plans=lambda: plans, command=lambda name: command)
    return Runner(project, reports / "serve.log")


@pytest.fixture
async def page(runner: Runner) -> AsyncIterator[Page]:
    async with TestServer(make_app(runner, TOKEN), host="127.0.0.1") as server:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as client:
            yield Page(runner, str(server.make_url("")).rstrip("/"), client)


async def test_nothing_without_the_token(page: Page) -> None:
    for path in ("/", "/live", "/asked", "/reports/20261124T100000Z-a-0001", "/?token=wrong"):
        status, text = await page.ask(path)
        assert status == 401 and "key" not in text, path
    assert (await page.send("/rehearse", drill="day"))[0] == 401
    assert page.runner.child is None


async def test_with_it_the_page_says_how_things_stand(page: Page) -> None:
    status, text = await page.ask(f"/?token={TOKEN}")
    assert status == 200 and "Nothing is under way." in text
    assert "Day &lt;b&gt;" in text and "Approved by 0 of 1" in text
    assert "cannot be planned" in text and "drills/broken.yaml:1:1: no" in text
    assert TOKEN not in text, "the token is in no page"
    assert "never carried out" in text and "No run is stored yet." in text


async def test_another_name_for_this_machine_is_not_answered(page: Page) -> None:
    status, _ = await page.ask(f"/?token={TOKEN}", headers={"Host": "rebound.example"})
    assert status == 403


async def test_a_form_needs_the_key_of_its_session(page: Page) -> None:
    await page.ask(f"/?token={TOKEN}")
    assert (await page.send("/rehearse", drill="day", key="guessed"))[0] == 403
    assert page.runner.child is None


async def test_an_approval_is_of_the_plan_that_was_shown(page: Page, plans: list[Any]) -> None:
    await page.ask(f"/?token={TOKEN}")
    key = await page.key()
    plans[0] = ("day", replace(planned("cd" * 32)))
    _, text = await page.send("/approve", key=key, drill="day", plan="ab" * 32, by="lead", note="")
    assert "has changed since this page was made" in text
    assert approvals_of(page.runner.project.reports, "day") == ()
    _, text = await page.send("/approve", key=key, drill="day", plan="cd" * 32, by="lead", note="read it")
    assert "approved by lead" in text and "Approved by 1 of 1" in text
    assert [one.note for one in approvals_of(page.runner.project.reports, "day", "cd" * 32)] == ["read it"]
    _, text = await page.send("/approve", key=key, drill="broken", plan="", by="lead", note="")
    assert "nothing was approved" in text


async def test_only_reports_of_runs_are_read_out(page: Page) -> None:
    folder = page.runner.project.reports / "20261124T100000Z-a-0001"
    folder.mkdir()
    (folder / "report.html").write_text("<p>the report")
    (page.runner.project.reports / "report.html").write_text("not a run's")
    await page.ask(f"/?token={TOKEN}")
    assert await page.ask("/reports/20261124T100000Z-a-0001") == (200, "<p>the report")
    for name in ("..%2f..%2freports", "report.html", "20261124T100000Z-none-0001"):
        assert (await page.ask(f"/reports/{name}"))[0] == 404, name


async def test_a_rehearsal_is_started_once(page: Page) -> None:
    await page.ask(f"/?token={TOKEN}")
    key = await page.key()
    assert "there is no drill" in (await page.send("/rehearse", key=key, drill="../x"))[1]
    assert "day: rehearsal started" in (await page.send("/rehearse", key=key, drill="day"))[1]
    child = page.runner.child
    assert child is not None and child.wait(20) == 0
    assert page.runner.log.read_text() == "rehearsing\n"
    assert "not under way" in (await page.send("/halt", key=key, run="20261124T100000Z-a-0001"))[1]


async def test_a_human_step_is_answered_on_the_page(page: Page) -> None:
    await page.ask(f"/?token={TOKEN}")
    key = await page.key()
    with open_desk(page.runner.project.reports / DESK, "day") as desk:
        assert "No step waits for a person." in (await page.ask("/asked"))[1]
        asked = desk.ask(Question(step="page", who="lead", lines=("<b>Well?</b>",), expect_ns=30 * 10**9))
        _, text = await page.ask("/asked")
        assert "day waits for a person" in (await page.ask("/live"))[1]
        assert "lead: page" in text and "&lt;b&gt;Well?" in text and "within 30 s" in text
        form = {"number": asked.number, "by": "ann", "note": "it did", "is": "done"}
        assert (await page.send("/answer", **form))[0] == 403, "without the key"
        for wrong, why in ({"number": "00"}, "not asked any more"), ({"by": " "}, "who"), ({"is": "x"}, "done, failed"):
            _, text = await page.send("/answer", key=key, **form | wrong)
            assert why in text and "nothing was answered" in text
            assert desk.taken(asked) is None
        assert "answered by ann: done" in (await page.send("/answer", key=key, **form))[1]
        assert desk.taken(asked) == Answer(outcome="done", by="ann", note="it did")


async def test_a_drill_between_its_experiments_is_halted(page: Page) -> None:
    asleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
    page.runner.project = replace(page.runner.project, command=lambda name: asleep)
    await page.ask(f"/?token={TOKEN}")
    key = await page.key()
    _, text = await page.send("/rehearse", key=key, drill="day")
    assert "Halt the drill day" in text
    assert "day was asked to stop" in (await page.send("/halt", key=key, run=""))[1]
    child = page.runner.child
    assert child is not None and child.wait(20) == -signal.SIGTERM
    assert "not under way" in (await page.send("/halt", key=key, run=""))[1]


def test_what_is_due_is_started_once_and_never_late(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(Runner, "start", lambda self, name: started.append(name) or "")
    runner.start_what_is_due(NOW + timedelta(hours=1))
    assert started == [], "an hour late is left to a person"
    for minutes in (0, 1, 2):
        runner.start_what_is_due(NOW + timedelta(minutes=minutes))
    assert started == ["day"]
    runner.start_what_is_due(NOW + timedelta(days=7))
    assert started == ["day", "day"]


def test_a_drill_that_was_begun_by_hand_is_not_started_again(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    past = SimpleNamespace(name="day", started_utc="2026-11-24T09:05:00+00:00")
    monkeypatch.setattr(module, "earlier_drills", lambda reports: (past,))
    monkeypatch.setattr(Runner, "start", lambda self, name: pytest.fail("it was begun five minutes ago"))
    runner.start_what_is_due(NOW)
