"""Receives alerts during a run, as Alertmanager's webhooks (and Grafana's) send them. When one fires is when we are told.

What the sender says of time (`startsAt`) only tells one firing from the next: its clock is not ours.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from harness.errors import UnsafeError
from harness.model.ports import Clock, StackSignal
from harness.probe.text import clean

__all__ = ["SOURCE", "AlertReceiver"]

SOURCE = "alerts"
"""The `source` of the events that alerts become."""

_BODY_LIMIT = 1_048_576
_LABELS_LIMIT = 32
_KEPT_LIMIT = 10_000
_CLOSE_S = 1.0


class AlertReceiver:
    """An HTTP server at `url` ("http://HOST:PORT/alerts") that takes POSTs from `open` to `close`.

    Each change of an alert becomes an event named after it, with `status` firing or resolved, `fingerprint`, `starts_at` and
    its labels as `label.NAME`; Alertmanager's repetitions are counted only. At most 10,000 events are kept. A post in
    another form is answered 400 with the reason, and counted.
    """

    def __init__(self, url: str, clock: Clock, sink: Callable[[StackSignal], None]) -> None:
        self._url = url
        self._clock = clock
        self._sink = sink
        self._runner: web.AppRunner | None = None
        self._stands: dict[str, tuple[str, str]] = {}
        self.posts = 0
        self.refused = 0
        self.kept = 0
        self.left_out = 0

    async def open(self) -> None:
        """Listen. Raises UnsafeError when the address is taken or is not this machine's."""
        parts = urlsplit(self._url)
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_post("/{anywhere:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, parts.hostname, parts.port).start()
        except OSError as exc:
            await self.close()
            raise UnsafeError(
                f"signals.alerts: cannot listen at {parts.netloc}: {exc.strerror or exc}",
                remedy="end what listens there, or name another place",
            ) from exc

    async def close(self) -> None:
        """Take no more. Legal at any time."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at_ns = self._clock.now_ns()
        self.posts += 1
        try:
            # A large post takes milliseconds to parse: off the loop that paces everything else.
            alerts = _alerts(json.loads(body) if len(body) < 65_536 else await asyncio.to_thread(json.loads, body))
        except ValueError as exc:
            self.refused += 1
            return web.Response(status=400, text=f"not an Alertmanager webhook: {exc}\n")
        for fields in alerts:
            self._note(at_ns, fields)
        return web.Response(text="ok\n")

    def _note(self, at_ns: int, fields: Mapping[str, str]) -> None:
        state = (fields["status"], fields["starts_at"])
        if self._stands.get(fields["fingerprint"]) == state:
            return
        if self.kept >= _KEPT_LIMIT:
            self.left_out += 1
            return
        self._stands[fields["fingerprint"]] = state
        self.kept += 1
        self._sink(StackSignal(at_ns=at_ns, source=SOURCE, event=fields["alertname"], fields=fields))


def _alerts(document: Any) -> list[dict[str, str]]:
    """The fields of each alert in a post. Raises ValueError for another form."""
    listed = document.get("alerts") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("expected an object with a list `alerts`")
    return [_alert(one) for one in listed]


def _alert(alert: Any) -> dict[str, str]:
    labels = alert.get("labels") if isinstance(alert, dict) else None
    if not isinstance(labels, dict) or not isinstance(labels.get("alertname"), str):
        raise ValueError("expected every alert to have `labels` with an `alertname`")
    status = alert.get("status")
    if status not in ("firing", "resolved"):
        raise ValueError(f"expected status firing or resolved, got {status!r}")
    own = {clean(str(name)): clean(str(value)) for name, value in sorted(labels.items())}
    fingerprint = alert.get("fingerprint")
    fields = {
        "alertname": own["alertname"],
        "status": status,
        "fingerprint": clean(fingerprint) if isinstance(fingerprint, str) and fingerprint else json.dumps(own),
        "starts_at": clean(str(alert.get("startsAt", ""))),
    }
    kept = [name for name in own if name != "alertname"][:_LABELS_LIMIT]
    return fields | {f"label.{name}": own[name] for name in kept}
