"""Loaded into Locust beside the user's locustfile (`-f locustfile.py,this`): tells each request event to the engine.

A local runner and a master tell it in JSON lines over the pipe whose number is in BLACKSTART_LOCUST_FD; a worker tells its master
in Locust's own messages, and gets this file from there (`-f -`). Instants are CLOCK_MONOTONIC ns of whoever says them: the master
asks every worker for its clock again and again. It imports nothing of `harness`: Locust's process has gevent's patches, and a
worker's machine may have no Blackstart. In a local runner without that pipe it does nothing.
"""

from __future__ import annotations

import json
import logging
import os
import time
from importlib import import_module
from typing import Any

__all__: list[str] = []

_FD, _ORDERS = os.environ.get("BLACKSTART_LOCUST_FD"), os.environ.get("BLACKSTART_LOCUST_ORDERS")
_NUMBER = os.environ.get("BLACKSTART_LOCUST_WORKER")
_MAX_TEXT = 200
_FLUSH_S, _WATCH_S, _CLOCK_S, _FIRST_CLOCKS = 0.1, 0.2, 1.0, 15


def _pipe(message: dict[str, Any]) -> None:
    data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    while data:  # a pipe takes up to 4096 bytes whole; the loop is for what a person's request names may be
        data = data[os.write(int(_FD or -1), data) :]


def _op(seen: dict[str, Any]) -> dict[str, Any]:
    now_ns = time.monotonic_ns()
    exception, status = seen.get("exception"), getattr(seen.get("response"), "status_code", None)
    return {
        "done": now_ns,
        "sent": now_ns - round((seen["response_time"] or 0.0) * 1e6),
        "f": str(seen["request_type"]).lower()[:_MAX_TEXT],
        "name": str(seen["name"])[:_MAX_TEXT],
        "status": status if isinstance(status, int) and status > 0 else None,
        "bytes": int(seen.get("response_length") or 0),
        "exc": None if exception is None else [type(exception).__name__, str(exception)[:_MAX_TEXT]],
    }


class _Local:
    """Locust in one process."""

    def __init__(self, environment: Any) -> None:
        events = environment.events
        events.request.add_listener(lambda **seen: _pipe({"t": "ops", "w": "", "ops": [_op(seen)]}))
        events.user_error.add_listener(lambda **seen: _pipe({"t": "stray", "w": "", "what": _error(seen)}))
        events.test_start.add_listener(lambda **_: _pipe({"t": "start"}))
        # not at `quitting`: users still run then, and what they do after it is told and not yet counted
        events.quit.add_listener(lambda **_: _pipe({"t": "end", "w": "", "requests": _total(environment.runner)}))
        _pipe({"t": "join", "w": "", "number": "0"})


class _Worker:
    """One worker of a master: what it did goes there every 100 ms, and its last word when its users have stopped."""

    def __init__(self, environment: Any) -> None:
        self._runner = environment.runner
        self._ops: list[dict[str, Any]] = []
        self._counted, self._ended = 0, False
        self._runner.register_message("blackstart_clock", self._clock)
        self._runner.register_message("blackstart_mark", self._mark)
        events = environment.events
        events.request.add_listener(lambda **seen: self._ops.append(_op(seen)))
        events.user_error.add_listener(lambda **seen: self._send("stray", {"what": _error(seen)}))
        events.report_to_master.add_listener(self._reported)
        events.test_stop.add_listener(self._end)
        events.quitting.add_listener(lambda **_: self._flush())
        self._send("join", {"number": _NUMBER})
        self._runner.greenlet.spawn(self._keep_flushing)

    def _send(self, kind: str, told: dict[str, Any]) -> None:
        self._runner.send_message("blackstart", {"t": kind, **told})

    def _keep_flushing(self) -> None:
        while True:
            sleep(_FLUSH_S)
            self._flush()

    def _flush(self) -> None:
        ops, self._ops = self._ops, []
        if ops:
            self._send("ops", {"ops": ops})

    def _clock(self, msg: Any, **_: Any) -> None:
        self._send("clock", {"asked": msg.data["asked"], "here": time.monotonic_ns()})

    def _mark(self, msg: Any, **_: Any) -> None:
        logging.getLogger("blackstart").info("fault %s", msg.data["what"])
        self._send("marked", {"what": msg.data["what"], "here": time.monotonic_ns()})

    def _reported(self, data: dict[str, Any], **_: Any) -> None:
        self._counted += data.get("stats_total", {}).get("num_requests", 0)  # a report empties the statistics

    def _end(self, **_: Any) -> None:
        self._flush()
        self._send("end", {"requests": self._counted + _total(self._runner)})


class _Master:
    """The master of workers: passes on what they tell, asks for their clocks, hands them marks, sees who is gone."""

    def __init__(self, environment: Any) -> None:
        self._runner = environment.runner
        self._alive: set[str] = set()
        self._runner.register_message("blackstart", self._heard)
        environment.events.test_start.add_listener(lambda **_: _pipe({"t": "start"}))
        for work in (self._ask_clocks, self._watch, self._obey):
            self._runner.greenlet.spawn(work)

    def _heard(self, msg: Any, **_: Any) -> None:
        kind = msg.data["t"]
        if kind == "join":
            self._alive.add(msg.node_id)
        elif kind == "end":
            self._alive.discard(msg.node_id)
        _pipe({**msg.data, "w": msg.node_id, "now": time.monotonic_ns()})

    def _ask_clocks(self) -> None:
        for number in range(1 << 62):
            for client in list(self._runner.clients.all):
                self._runner.send_message("blackstart_clock", {"asked": time.monotonic_ns()}, client.id)
            sleep(_WATCH_S if number < _FIRST_CLOCKS else _CLOCK_S)

    def _watch(self) -> None:
        while True:
            sleep(_WATCH_S)
            there = {client.id for client in self._runner.clients.all if client.state != "missing"}
            for gone in self._alive - there:
                _pipe({"t": "gone", "w": gone})
            self._alive &= there

    def _obey(self) -> None:
        nonblocking, read = import_module("gevent.os").make_nonblocking, import_module("gevent.os").nb_read
        orders, rest = int(_ORDERS or -1), b""
        nonblocking(orders)
        while data := read(orders, 4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if order["t"] == "stop":
                    self._runner.greenlet.spawn(self._runner.stop)
                else:
                    self._runner.send_message("blackstart_mark", {"what": order["what"]})


def _error(seen: dict[str, Any]) -> str:
    exception = seen.get("exception")
    return f"{type(exception).__name__}: {exception}"[:_MAX_TEXT]


def _total(runner: Any) -> int:
    return 0 if runner is None else int(runner.stats.total.num_requests)


def _begin(environment: Any, **_: Any) -> None:
    kind = type(environment.runner).__name__
    if kind == "WorkerRunner":
        _Worker(environment)
    elif _FD is not None:
        (_Master if kind == "MasterRunner" else _Local)(environment)


sleep: Any = import_module("gevent").sleep
import_module("locust").events.init.add_listener(_begin)
