"""Status updates: rendered from the drill's own facts into an outbox, posted where a channel is named. `[DRILL]` in front."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit

from harness.drill.record import DrillEvent, Record
from harness.errors import StoreError, UnsafeError
from harness.model.drill import AUDIENCES, STATUSES, Audience, Channel, CommsSpec, Drill, Status, Template
from harness.model.drill_result import Posted
from harness.model.secrets import masked
from harness.report.text import clean, clean_block
from harness.units import format_duration

if TYPE_CHECKING:
    import jinja2

__all__ = ["MARK", "WORDINGS", "Updates", "facts_of", "require_channels"]

MARK = "[DRILL]"
_POST_S = 5.0
_WAIT_S = 10.0

WORDINGS: Mapping[Status, Template] = {
    "announced": {
        "internal": "{{ text }} Drill: {{ title }}. Owner: {{ owner }}.",
        "customer": "We are rehearsing how we handle failures. You should not notice anything.",
    },
    "investigating": {
        "internal": "{{ what }} We are looking into it. Owner: {{ owner }}. Environment: {{ environment }}.",
        "customer": "Some requests may be slow or fail. We are looking into it.",
    },
    "identified": {
        "internal": "Seen for certain {{ elapsed }} after the first fault: {{ what }}",
        "customer": "We know what is wrong and are working on it.",
    },
    "monitoring": {
        "internal": "Put back {{ elapsed }} after the first fault; we watch whether the service holds. {{ what }}",
        "customer": "The cause is gone. We are watching that everything stays well.",
    },
    "resolved": {
        "internal": "Over: {{ verdict }}. Recovery: {{ recovery }}. Requests harmed: {{ harmed }}. Writes lost: {{ lost }}.",
        "customer": "The service is back to normal.",
    },
}
"""The built-in wording of every status, where the runbook has none."""


def facts_of(drill: Drill, events: Sequence[DrillEvent], now_ns: int) -> dict[str, str]:
    """What templates may name, as known at that moment; "not known yet" where nothing is. Pure."""
    unknown = "not known yet"
    faults = [event for event in events if event.t == "fault"]
    runs = [event.run for event in events if event.t == "run" and event.run is not None]
    last = runs[-1] if runs and (not faults or _settled(events)) else None
    stacks = [step.variants[0].experiment.stack for step in drill.experiments]
    return {
        "drill": drill.name,
        "title": drill.title,
        "owner": drill.owner,
        "stack": ", ".join(sorted({stack.name for stack in stacks})) if stacks else "none",
        "environment": ", ".join(sorted({stack.environment for stack in stacks})) if stacks else "none",
        "elapsed": format_duration(now_ns - faults[-1].at_ns) if faults else unknown,
        "what": faults[-1].text if faults else "nothing is broken yet.",
        "recovery": last.recovery if last else unknown,
        "harmed": unknown if last is None or last.harmed is None else f"{last.harmed:,}",
        "lost": unknown if last is None or last.lost is None else f"{last.lost:,}",
        "verdict": str(last.verdict) if last else unknown,
    }


def _settled(events: Sequence[DrillEvent]) -> bool:
    """Whether the latest fault's run is judged: an earlier run's numbers would be told of the wrong fault."""
    latest = next((event.t for event in reversed(events) if event.t in ("fault", "run")), None)
    return latest == "run"


@dataclass(frozen=True, slots=True)
class _Letter:
    """One wording on its way to one channel."""

    number: int
    channel: Channel
    body: bytes


class Updates:
    """Writes updates down at once, and posts them beside the drill, so that a slow receiver delays no fault.

    `send`: false in a tabletop, where only the outbox is written.
    """

    def __init__(self, drill: Drill, folder: Path, record: Record, *, send: bool) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        spec = drill.comms or CommsSpec()
        self._drill, self._folder, self._record = drill, folder, record
        self._channels = spec.channels if send else ()
        self._follow = spec.follow and drill.comms is not None
        environment = SandboxedEnvironment(undefined=StrictUndefined)
        self._templates: dict[tuple[Status, Audience], jinja2.Template] = {
            (status, audience): environment.from_string(
                spec.templates.get(status, {}).get(audience) or WORDINGS[status][audience]
            )
            for status in STATUSES
            for audience in AUDIENCES
        }
        self._count = 0
        self._queue: queue.Queue[_Letter | None] = queue.Queue()
        self._poster = threading.Thread(target=self._post_all, name="updates", daemon=True)
        self._poster.start()

    def follow(self, status: Status) -> None:
        """An update that the run's own events call for, if the drill wants those."""
        if self._follow:
            self.write(status, "tool")

    def write(self, status: Status, by: str, text: str = "") -> DrillEvent:
        """One update in both wordings: in the outbox when this returns. Raises StoreError when it cannot be written."""
        self._count += 1
        now_ns = self._record.now_ns()
        facts = facts_of(self._drill, self._record.events, now_ns)
        now = _clock(self._record.events, now_ns)
        facts |= {"status": status, "text": text, "now": now}
        files = []
        for audience in AUDIENCES:
            said = self._templates[status, audience].render({key: clean(value) for key, value in facts.items()})
            body = masked(clean_block(said, head=True).strip(), self._drill.origin.secrets)
            subject = f"{MARK} {clean(self._drill.title)}: {status}"
            name = f"outbox/{self._count:03d}-{status}-{audience}.txt"
            self._save(name, f"{subject}\n\n{MARK} {body}\n")
            files.append(name)
            for channel in self._channels:
                if channel.audience == audience:
                    letter = {"drill": self._drill.name, "status": status, "audience": audience, "number": self._count}
                    letter |= {"subject": subject, "text": f"{MARK} {body}", "at_utc": now, "by": by}
                    self._queue.put(_Letter(self._count, channel, json.dumps(letter).encode()))
        return self._record.add("update", number=self._count, text=status, by=by, files=tuple(files))

    def close(self) -> None:
        """Wait, within bounds, until everything is posted; what is not by then is on record as not posted."""
        self._queue.put(None)
        self._poster.join(_WAIT_S)
        while not self._queue.empty():
            letter = self._queue.get_nowait()
            if letter is not None:
                self._note(letter, "not posted before the drill ended")

    def _save(self, name: str, text: str) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise StoreError(f"{path}: cannot write: {exc.strerror}") from exc

    def _post_all(self) -> None:
        while (letter := self._queue.get()) is not None:
            self._note(letter, _post(letter))

    def _note(self, letter: _Letter, error: str) -> None:
        host = _told_address(letter.channel)
        self._record.add("posted", number=letter.number, posted=Posted(host=host, ok=not error, error=error))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A channel is one address: an answer that points elsewhere is no delivery."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def _told_address(channel: Channel) -> str:
    """What is kept of a channel's address: a webhook's host; of apprise the service alone, since the rest may be a token."""
    if channel.apprise is not None:
        return f"apprise {urlsplit(channel.apprise).scheme or '?'}"
    return urlsplit(channel.webhook or "").hostname or "?"


def require_channels(drill: Drill) -> None:
    """Return when every channel could be used. Raises UnsafeError when apprise is needed and absent, or knows no such service."""
    channels = () if drill.comms is None else drill.comms.channels
    for place, channel in enumerate(channels):
        if channel.apprise is None:
            continue
        try:
            import apprise
        except ImportError as exc:
            raise UnsafeError(
                f"comms.channels[{place}] needs apprise, which is not installed",
                remedy="pip install 'blackstart[notify]'",
            ) from exc
        with _quiet():
            known = apprise.Apprise().add(channel.apprise)
        if not known:
            raise UnsafeError(f"comms.channels[{place}]: apprise knows no service for {_told_address(channel)}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Apprise says in its log what it could not read, addresses and all."""
    import logging

    log = logging.getLogger("apprise")
    level, log.level = log.level, logging.CRITICAL + 1
    try:
        yield
    finally:
        log.level = level


def _hand_over(url: str, body: bytes) -> str:
    """Why apprise could not deliver it; empty when it did."""
    import apprise

    letter = json.loads(body)
    with _quiet():
        service = apprise.Apprise()
        service.add(url)
        return "" if service.notify(title=letter["subject"], body=letter["text"]) else "not delivered"


def _post(letter: _Letter) -> str:
    """Why it was not taken; empty when it was (any status below 300)."""
    if letter.channel.apprise is not None:
        try:
            return _hand_over(letter.channel.apprise, letter.body)
        except Exception as exc:  # recorded: a service's own plugin may raise anything, and must not stop the drill
            return f"not delivered: {type(exc).__name__}"
    request = urllib.request.Request(
        letter.channel.webhook or "", letter.body, {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_POST_S) as reply:
            return "" if reply.status < 300 else f"answered {reply.status}"
    except HTTPError as exc:
        return f"answered {exc.code}"
    except (OSError, ValueError) as exc:
        return clean(str(getattr(exc, "reason", "") or exc) or type(exc).__name__, 120)


def _clock(events: Sequence[DrillEvent], now_ns: int) -> str:
    from datetime import datetime, timedelta

    began = next((event.wall_utc for event in events if event.wall_utc), None)
    if began is None:
        return "not known"
    moment = datetime.fromisoformat(began) + timedelta(microseconds=now_ns / 1_000)
    return moment.isoformat(timespec="seconds")
