"""Loaded into Locust beside the user's locustfile (`-f locustfile.py,this`): tells each request event to the engine.

One JSON line each over the pipe whose number is in BLACKSTART_LOCUST_FD; instants are CLOCK_MONOTONIC ns, which all processes of
a machine share. It imports nothing of `harness`: Locust's process has gevent's patches. Without that variable it does nothing.
"""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from typing import Any

__all__: list[str] = []

_FD = os.environ.get("BLACKSTART_LOCUST_FD")
_MAX_TEXT = 200


def _tell(message: dict[str, Any]) -> None:
    data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    while data:  # a pipe takes up to 4096 bytes whole; the loop is for what a person's request names may be
        data = data[os.write(int(_FD or -1), data) :]


def _on_request(**seen: Any) -> None:
    now_ns = time.monotonic_ns()
    exception, status = seen.get("exception"), getattr(seen.get("response"), "status_code", None)
    message = {
        "t": "op",
        "done": now_ns,
        "sent": now_ns - round((seen["response_time"] or 0.0) * 1e6),
        "f": str(seen["request_type"]).lower()[:_MAX_TEXT],
        "name": str(seen["name"])[:_MAX_TEXT],
        "status": status if isinstance(status, int) and status > 0 else None,
        "bytes": int(seen.get("response_length") or 0),
        "exc": None if exception is None else [type(exception).__name__, str(exception)[:_MAX_TEXT]],
    }
    _tell(message)


def _on_start(**seen: Any) -> None:
    del seen
    _tell({"t": "start"})


def _on_quitting(**seen: Any) -> None:
    runner = seen["environment"].runner
    _tell({"t": "end", "requests": runner.stats.total.num_requests if runner is not None else 0})


def _on_user_error(user_instance: Any = None, exception: BaseException | None = None, **more: Any) -> None:
    del user_instance, more
    _tell({"t": "stray", "what": f"{type(exception).__name__}: {exception}"[:_MAX_TEXT]})


if _FD is not None:
    events: Any = import_module("locust").events
    events.request.add_listener(_on_request)
    events.user_error.add_listener(_on_user_error)
    events.test_start.add_listener(_on_start)
    events.quitting.add_listener(_on_quitting)
