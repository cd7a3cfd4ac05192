"""A drill's schedule as files that other schedulers read: GitHub Actions, GitLab CI, Kubernetes, systemd, iCalendar."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from harness.drill.schedule import upcoming
from harness.errors import SpecError
from harness.model.drill import Drill, Schedule
from harness.units import format_duration

__all__ = ["Command", "schedule_files"]

_GUARD = "50m"
"""Daylight saving makes two UTC lines of one local hour, and schedulers run late: this tells the right one."""

_EVENTS = 12
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMES = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How the drill is started by machines: its document as seen from the project's folder, and the answers given."""

    document: str
    answers: str | None = None
    image: str = "blackstart:latest"
    program: str = "/usr/bin/env blackstart"
    longest_ns: int = 0
    folder: str | None = None

    @property
    def run(self) -> str:
        """The command line that carries the drill out."""
        answers = "" if self.answers is None else f" --answers {shlex.quote(self.answers)}"
        return f"blackstart drill run {shlex.quote(self.document)} --mode rehearse{answers}"

    @property
    def guard(self) -> str:
        """The command line that ends with 0 only when the drill is due now, outside blackout windows."""
        return f"blackstart drill schedule {shlex.quote(self.document)} --due-within {_GUARD}"

    @property
    def minutes(self) -> int:
        """A bound for the whole drill: twice what its experiments take at most, and half an hour."""
        return 30 + round(self.longest_ns * 2 / 60e9)


def schedule_files(drill: Drill, command: Command, now: datetime) -> Mapping[str, str]:
    """File name to text. Raises SpecError for a drill without a schedule, or one that UTC lines cannot say."""
    if drill.schedule is None:
        raise SpecError(f"{drill.source}: drill {drill.name} has no `schedule:`")
    name = drill.name
    return {
        f"github/{name}.yml": _github(drill, drill.schedule, command, now),
        f"gitlab/{name}.gitlab-ci.yml": _gitlab(drill, drill.schedule, command),
        f"kubernetes/{name}.cronjob.yaml": _kubernetes(drill, drill.schedule, command),
        f"systemd/blackstart-{name}.service": _service(drill, command),
        f"systemd/blackstart-{name}.timer": _timer(drill, drill.schedule),
        f"{name}.ics": _calendar(drill, drill.schedule, command, now),
    }


def _q(text: str) -> str:
    """A text as a YAML value: JSON strings are YAML."""
    return json.dumps(text)


# ---- GitHub, GitLab, Kubernetes --------------------------------------------------------------------------------------


def _utc_lines(schedule: Schedule, now: datetime) -> list[str]:
    """The cron line in UTC, once for each offset that the zone has within a year; the guard picks the right one."""
    zone = ZoneInfo(schedule.timezone)
    minute, hour, *rest = schedule.cron.split()
    days = (now.astimezone(zone) + timedelta(days=day) for day in range(0, 366, 7))
    offsets = sorted({day.utcoffset() or timedelta() for day in days})
    if offsets == [timedelta()]:
        return [schedule.cron]
    if not hour.isdigit() or not minute.isdigit():
        raise SpecError(
            f"schedule.cron {schedule.cron!r} in {schedule.timezone} cannot be said in UTC, which GitHub needs: give one minute"
            " and one hour, or `timezone: UTC`"
        )
    lines = []
    for offset in offsets:
        utc = int(hour) * 60 + int(minute) - int(offset.total_seconds() // 60)
        if not 0 <= utc < 24 * 60:
            raise SpecError(
                f"schedule.cron {schedule.cron!r} in {schedule.timezone} is another day in UTC, which GitHub needs: choose"
                " another hour, or `timezone: UTC`"
            )
        lines.append(" ".join([str(utc % 60), str(utc // 60), *rest]))
    return lines


def _github(drill: Drill, schedule: Schedule, command: Command, now: datetime) -> str:
    crons = "\n".join(f"    - cron: {_q(line)}" for line in _utc_lines(schedule, now))
    return f"""\
# {drill.name}: "{schedule.cron}" in {schedule.timezone}. GitHub reads UTC: the guard step picks the line that is right today.
name: {_q(f"drill {drill.name}")}
on:
  schedule:
{crons}
  workflow_dispatch:
concurrency: {_q(f"drill-{drill.name}")}
permissions:
  contents: read
jobs:
  drill:
    runs-on: ubuntu-latest
    timeout-minutes: {command.minutes}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install blackstart
      - id: due
        run: |
          if {command.guard}; then echo "now=yes" >> "$GITHUB_OUTPUT"; fi
      - if: github.event_name == 'workflow_dispatch' || steps.due.outputs.now == 'yes'
        run: {command.run}
      - if: always()
        run: cat reports/*/summary.md >> "$GITHUB_STEP_SUMMARY" || true
      - if: always()
        uses: actions/upload-artifact@v4
        with:
          name: drill-{drill.name}
          path: reports/
"""


def _gitlab(drill: Drill, schedule: Schedule, command: Command) -> str:
    variable = f'$BLACKSTART_DRILL == "{drill.name}"'
    return f"""\
# {drill.name}: make a pipeline schedule "{schedule.cron}", time zone {schedule.timezone}, with the variable
# BLACKSTART_DRILL = {drill.name} (GitLab keeps schedules outside this file).
drill-{drill.name}:
  image: python:3.12
  timeout: {command.minutes} minutes
  resource_group: drill-{drill.name}
  rules:
    - if: {_q(f'$CI_PIPELINE_SOURCE == "schedule" && {variable}')}
  script:
    - pip install blackstart
    - {_q(f"if {command.guard}; then {command.run}; fi")}
  artifacts:
    when: always
    paths: [reports/]
    reports:
      junit: "reports/*/junit.xml"
"""


def _kubernetes(drill: Drill, schedule: Schedule, command: Command) -> str:
    return f"""\
# {drill.name}: needs an image with Blackstart and this project in it, at its working directory.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {_q(_dns(f"drill-{drill.name}"))}
spec:
  schedule: {_q(schedule.cron)}
  timeZone: {_q(schedule.timezone)}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 1800
  jobTemplate:
    spec:
      backoffLimit: 0
      activeDeadlineSeconds: {command.minutes * 60}
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 300
          containers:
            - name: drill
              image: {_q(command.image)}
              command: ["sh", "-c", {_q(f"if {command.guard}; then exec {command.run}; fi")}]
"""


def _dns(text: str) -> str:
    """A name that Kubernetes takes: at most 52 of a-z, 0-9 and -."""
    return re.sub("[^a-z0-9-]+", "-", text.lower())[:52].strip("-")


# ---- systemd ---------------------------------------------------------------------------------------------------------


def _service(drill: Drill, command: Command) -> str:
    def line(words: str) -> str:
        # systemd reads % and $ itself.
        return _percents(words.replace("blackstart", command.program, 1)).replace("$", "$$")

    return f"""\
[Unit]
Description=Blackstart drill {drill.name}
Documentation=https://github.com/blackstart-drills/blackstart

[Service]
Type=oneshot
{"" if command.folder is None else f"WorkingDirectory={_percents(command.folder)}"}
ExecCondition={line(command.guard)}
ExecStart={line(command.run)}
# The drill is asked to stop and puts everything back; only then is what is left ended. The reaper must outlive the drill.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStartSec={command.minutes * 60}
TimeoutStopSec=300
"""


def _percents(text: str) -> str:
    return text.replace("%", "%%")


def _timer(drill: Drill, schedule: Schedule) -> str:
    lines = "\n".join(f"OnCalendar={line}" for line in _on_calendar(schedule))
    return f"""\
[Unit]
Description=Blackstart drill {drill.name}: "{schedule.cron}" in {schedule.timezone}

[Timer]
{lines}
AccuracySec=1min
Persistent=false

[Install]
WantedBy=timers.target
"""


def _on_calendar(schedule: Schedule) -> list[str]:
    """The cron line for systemd. Where cron names days of month and of week, either counts: that makes two lines."""
    minute, hour, day, month, weekday = schedule.cron.split()
    time = f"{_part(hour)}:{_part(minute)}:00 {schedule.timezone}"
    months = _part(_numbered(month, _MONTHS))
    any_day, any_weekday = day.startswith("*"), weekday.startswith("*")
    last = day.upper() == "L"
    of_month = f"*-{months}~01 {time}" if last else f"*-{months}-{_part(day)} {time}"
    of_week = f"{_weekdays(weekday)} *-{months}-* {time}" if weekday != "*" else ""
    if any_weekday and not of_week:
        return [of_month]
    if any_day or any_weekday:
        return [of_week if day == "*" else f"{_weekdays(weekday)} {of_month}"]
    return [of_month, of_week]


def _part(field: str) -> str:
    """A field: lists stay, "1-5" is "1..5", "*/15" is "0/15" (days and months from 1 have no such step here)."""
    return ",".join(re.sub(r"^\*/", "0/", part).replace("-", "..") for part in field.split(","))


def _numbered(field: str, names: Mapping[str, int]) -> str:
    return re.sub("[A-Za-z]{3}", lambda match: str(names.get(match[0].upper(), match[0])), field)


def _weekdays(field: str) -> str:
    """Days by name, spelled out, since cron's 0 and 7 are both Sunday and ranges may begin there."""
    days: list[str] = []
    for part in _numbered(field, _NAMES).split(","):
        span, _, step = part.partition("/")
        if "#" in part or part.upper().endswith("L"):
            raise SpecError(f"schedule.cron: {field!r} is a day that systemd cannot say; name weekdays alone")
        first, _, last = ("0", "", "6") if span == "*" else span.partition("-")
        numbers = range(int(first), int(last or first) + 1, int(step or 1))
        days += [_DAYS[number] for number in numbers]
    return ",".join(dict.fromkeys(days))


# ---- iCalendar -------------------------------------------------------------------------------------------------------


def _calendar(drill: Drill, schedule: Schedule, command: Command, now: datetime) -> str:
    """The next dozen times, each an event of its own: recurrence rules know no blackout windows."""
    length = timedelta(minutes=command.minutes)
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Blackstart//drill schedule//EN", "CALSCALE:GREGORIAN"]
    takes = format_duration(command.longest_ns)
    about = f"{drill.exercise}, owner {drill.owner}, its experiments take at most {takes}"
    for due in islice(upcoming(schedule, now), _EVENTS):
        lines += [
            "BEGIN:VEVENT",
            f"UID:{_stamp(due)}-{drill.name}@blackstart",
            f"DTSTAMP:{_stamp(now)}",
            f"DTSTART:{_stamp(due)}",
            f"DTEND:{_stamp(due + length)}",
            f"SUMMARY:{_ical(f'[DRILL] {drill.title}')}",
            f"DESCRIPTION:{_ical(about)}",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(f"{_folded(line)}\r\n" for line in lines)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _ical(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return re.sub("[\r\n]+", "\\\\n", escaped)


def _folded(line: str) -> str:
    """The line in pieces of at most 75 octets, none cut inside a character."""
    pieces, piece = [], b""
    for character in line:
        octets = character.encode()
        if len(piece) + len(octets) > 74:
            pieces.append(piece.decode())
            piece = b""
        piece += octets
    return "\r\n ".join([*pieces, piece.decode()])
