"""When a drill is due, and the files that other schedulers read, each tried by its own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import icalendar
import kubernetes_validate
import pytest

from harness.drill.rundir import PastDrill
from harness.drill.schedule import due_of, due_since, upcoming
from harness.drill.schedule_files import Command, schedule_files
from harness.errors import SpecError
from harness.model.drill import Drill, Schedule
from harness.model.stack import Blackout
from harness.spec.nodes import Source, plain
from harness.spec.yaml_text import parse

TUESDAYS = Schedule(cron="0 10 * * 2", timezone="Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def drill(schedule: Schedule | None, exercise: str = "functional") -> Drill:
    return Drill(
        name="day",
        title="A day, with ; and , in it",
        owner="sre",
        source="day.yaml",
        base_dir="/project",
        exercise=exercise,  # type: ignore[arg-type]
        people={},
        schedule=schedule,
        steps=(),
    )


def past(started: str, verdict: str = "PASS", mode: str = "rehearse") -> PastDrill:
    return PastDrill(run_id="r", name="day", mode=mode, started_utc=started, verdict=verdict, findings=())  # type: ignore[arg-type]


def test_it_is_due_at_the_local_hour_in_summer_and_winter() -> None:
    times = [due.astimezone(UTC).isoformat() for due in islice(upcoming(TUESDAYS, at("2026-10-19T12:00+00:00")), 2)]
    assert times == ["2026-10-20T08:00:00+00:00", "2026-10-27T09:00:00+00:00"]


def test_blackout_windows_are_left_out_both_ways() -> None:
    window = Blackout(from_utc="2026-12-15T00:00:00+00:00", until_utc="2027-01-06T00:00:00+00:00", why="freeze")
    frozen = Schedule(cron=TUESDAYS.cron, timezone=TUESDAYS.timezone, blackouts=(window,))
    assert next(upcoming(frozen, at("2026-12-08T12:00+00:00"))) == at("2027-01-12T09:00+00:00")
    assert due_since(frozen, at("2027-01-06T12:00+00:00")) == at("2026-12-08T09:00+00:00")


@pytest.mark.parametrize(
    ("now", "since"),
    [
        ("2026-11-24T08:59:59+00:00", "2026-11-17T09:00+00:00"),
        ("2026-11-24T09:00:00+00:00", "2026-11-24T09:00+00:00"),
        ("2026-11-24T09:00:59+00:00", "2026-11-24T09:00+00:00"),
        ("2026-11-24T09:01:00+00:00", "2026-11-24T09:00+00:00"),
    ],
)
def test_since_when_it_is_due(now: str, since: str) -> None:
    assert due_since(TUESDAYS, at(now)) == at(since)


@pytest.mark.parametrize(
    ("exercise", "runs", "state"),
    [
        ("functional", [], "never"),
        ("functional", [past("2026-11-24T09:00:01+00:00")], "on time"),
        ("functional", [past("2026-11-24T09:00:01+00:00", "FAIL")], "on time"),
        ("functional", [past("2026-11-24T08:59:00+00:00")], "overdue"),
        ("functional", [past("2026-11-17T10:00:00+00:00"), past("2026-11-24T10:00:00+00:00", "REFUSED")], "overdue"),
        ("functional", [past("2026-11-24T10:00:00+00:00", "INCONCLUSIVE")], "never"),
        ("functional", [past("2026-11-24T10:00:00+00:00", mode="tabletop")], "never"),
        ("tabletop", [past("2026-11-24T10:00:00+00:00", mode="tabletop")], "on time"),
    ],
)
def test_how_a_drill_stands(exercise: str, runs: list[PastDrill], state: str) -> None:
    due = due_of(drill(TUESDAYS, exercise), runs, at("2026-11-25T12:00+00:00"))
    assert (due.state, due.next) == (state, at("2026-12-01T09:00+00:00"))
    assert due_of(drill(None), runs, at("2026-11-25T12:00+00:00")).state == "unscheduled"


COMMAND = Command(document="drills/my day.yaml", answers="drills/a.yaml", longest_ns=60 * 10**9, folder="/srv/100%")
NOW = at("2026-11-25T12:00:00+00:00")


def files(schedule: Schedule = TUESDAYS) -> dict[str, str]:
    return dict(schedule_files(drill(schedule), COMMAND, NOW))


def values(text: str) -> object:
    node = parse(text, Source(name="text", base=Path(), lines=tuple(text.split("\n"))))
    assert node is not None
    return plain(node)


def test_github_runs_it_at_both_offsets_behind_a_guard() -> None:
    workflow = values(files()["github/day.yml"])
    assert isinstance(workflow, dict)
    assert workflow["on"]["schedule"] == [{"cron": "0 9 * * 2"}, {"cron": "0 8 * * 2"}]  # type: ignore[index, call-overload]
    steps = workflow["jobs"]["drill"]["steps"]  # type: ignore[index, call-overload]
    assert "drill schedule 'drills/my day.yaml' --due-within 50m" in steps[3]["run"]
    assert steps[4]["run"] == "blackstart drill run 'drills/my day.yaml' --mode rehearse --answers drills/a.yaml"


@pytest.mark.parametrize(("cron", "zone"), [("0 0 * * 2", "Europe/Berlin"), ("0 */2 * * *", "Asia/Kolkata")])
def test_what_utc_cannot_say_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(SpecError, match="UTC, which GitHub needs"):
        files(Schedule(cron=cron, timezone=zone))


def test_gitlab_and_kubernetes_are_documents_with_the_schedule_in_them() -> None:
    made = files()
    job = values(made["gitlab/day.gitlab-ci.yml"])
    assert job["drill-day"]["artifacts"]["reports"] == {"junit": "reports/*/junit.xml"}  # type: ignore[index, call-overload]
    spec = values(made["kubernetes/day.cronjob.yaml"])["spec"]  # type: ignore[index, call-overload]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 10 * * 2", "Europe/Berlin", "Forbid")
    container = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    for line in (container["command"][2], job["drill-day"]["script"][1]):  # type: ignore[index, call-overload]
        assert subprocess.run(["sh", "-n", "-c", line], check=False).returncode == 0, line


def test_the_calendar_is_read_back_and_folded() -> None:
    text = files()["day.ics"]
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    events = icalendar.Calendar.from_ical(text).walk("VEVENT")
    assert len(events) == 12
    assert events[0].decoded("DTSTART") == at("2026-12-01T09:00+00:00")
    assert str(events[0]["SUMMARY"]) == "[DRILL] A day, with ; and , in it"
    assert len({str(event["UID"]) for event in events}) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "schema"),
    [("github/day.yml", "vendor.github-workflows"), ("gitlab/day.gitlab-ci.yml", "vendor.gitlab-ci")],
)
def test_the_hosts_own_schemas_take_them(name: str, schema: str, tmp_path: Path) -> None:
    path = tmp_path / "made.yml"
    path.write_text(files()[name])
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_kubernetes_own_schema_takes_the_cron_job() -> None:
    made = values(files()["kubernetes/day.cronjob.yaml"])
    kubernetes_validate.validate(made, "1.31", strict=True)
    made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartpolicy"] = "Never"  # type: ignore[index, call-overload]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(made, "1.31", strict=True)


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@needs_systemd
@pytest.mark.slow
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    made = {Path(name).name: text for name, text in files().items() if name.startswith("systemd/")}
    made["blackstart-day.service"] = made["blackstart-day.service"].replace("/srv/100%%", str(tmp_path))
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in made)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "KillMode=mixed" in made["blackstart-day.service"]


@needs_systemd
@pytest.mark.slow
@pytest.mark.parametrize(
    "cron",
    ["0 10 * * 2", "*/15 3 * * *", "30 2 1 1,7 *", "0 8-18/2 * * 1-5", "5 4 1,15 * FRI", "0 0 * * 0,6", "0 6 L * *", "0 9 * MAR *"],
)  # fmt: skip
def test_systemd_and_cron_mean_the_same_instants(cron: str) -> None:
    schedule = Schedule(cron=cron, timezone="Europe/Berlin")
    timer = schedule_files(drill(Schedule(cron=cron, timezone="UTC")), COMMAND, NOW)["systemd/blackstart-day.timer"]
    lines = [line.replace("UTC", schedule.timezone) for line in re.findall("OnCalendar=(.*)", timer)]
    said = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=6", "--base-time=2026-11-25 12:00:00 UTC", *lines],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
    found = re.findall(r"\(in UTC\): \w+ (\S+ \S+) UTC|(?:elapse|Iter\. #\d+): \w+ (\S+ \S+) UTC", said.stdout)
    theirs = sorted({at(f"{(one or other).replace(' ', 'T')}+00:00") for one, other in found})[:6]
    assert theirs == [due.astimezone(UTC) for due in islice(upcoming(schedule, NOW), 6)], (lines, said.stdout)
