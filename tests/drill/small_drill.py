"""A drill of the small shop: two experiments, people's steps, a command, comms to a loopback channel. Whole runs of it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.run.small import BLACKSTART, EXPERIMENT, PROFILE, STACK, Small

__all__ = ["ANSWERS", "DRILL", "Rehearsal", "channel"]

SECOND = """\
version: 1
kind: experiment
extends: experiment.yaml
name: again
title: The shop's link resets
timeline:
  - {id: resets, at: 0s, fault: reset, on: {link: a}, for: 500ms, ends: itself}
"""
RUNBOOK = """\
version: 1
kind: runbook
name: shop
title: The shop does not answer
owner: shop-sre
reviewed: 2026-11-20
review_every: 3650d
recovery_objective: 60s
people: {operator: the shop's operator}
steps:
  - {id: look, title: See who answers, who: operator, run: Look at the screen., verify: It is green., changes: false, expect: 10s}
  - id: note
    title: Write the outage down
    who: operator
    run: {exec: [sh, -c, "echo noted; touch written"]}
    verify: {exec: [test, -e, written]}
    rollback: {exec: [rm, -f, written]}
    expect: 5s
comms:
  resolved: {internal: "over: {{ verdict }}, recovery {{ recovery }}, {{ lost }} lost"}
"""
DRILL = """\
version: 1
kind: drill
name: shop-day
title: The shop loses its link twice
owner: shop-sre
exercise: functional
objectives: ["recovery_time <= 20s", "data_loss = 0"]
people: {commander: oncall, operator: serving, comms: support}
approvals: {required: 1}
comms: {first_update: 30s, cadence: 60s, channels: [{webhook: "${env:CHANNEL}"}], templates: shop.yaml}
steps:
  - {id: announce, say: We begin., who: comms, template: announced}
  - {experiment: experiment.yaml}
  - {runbook: "shop.yaml#look"}
  - {runbook: "shop.yaml#note"}
  - {experiment: again.yaml}
  - {id: page, ask: Did the page reach the right person?, who: commander}
"""
ANSWERS = "announce: done\nlook: {is: done, by: serving, note: all green}\npage: done\n"


@dataclass
class Rehearsal:
    """A folder with the drill and all it cites; each may be changed before it is run."""

    folder: Path
    channel: str = "http://127.0.0.1:9/nobody"
    drill: str = DRILL
    answers: str = ANSWERS
    runbook: str = RUNBOOK
    small: Small = field(init=False)

    def __post_init__(self) -> None:
        self.small = Small(self.folder)

    def write(self) -> None:
        self.folder.mkdir(exist_ok=True)
        files = {
            "stack.yaml": STACK,
            "experiment.yaml": EXPERIMENT,
            "profile.py": PROFILE,
            "again.yaml": SECOND,
            "shop.yaml": self.runbook,
            "day.yaml": self.drill,
            "answers.yaml": self.answers,
        }
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def blackstart(self, *words: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        self.write()
        env = self.small.environment | {"CHANNEL": self.channel}
        return subprocess.run(
            [BLACKSTART, *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.blackstart("drill", "run", "day.yaml", "--answers", "answers.yaml", "--json", *words)

    @property
    def newest(self) -> Path:
        """The directory of the newest drill."""
        return sorted((self.folder / "reports").glob("2*Z-shop-day-*"))[-1]

    def result(self) -> dict[str, Any]:
        return json.loads((self.newest / "result.json").read_text())  # type: ignore[no-any-return]


@contextmanager
def channel(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A loopback receiver: its URL, and the updates that it got."""
    got: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook-of-the-shop", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
