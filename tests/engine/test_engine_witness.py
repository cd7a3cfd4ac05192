"""What a run states of a container, beside what its engine told another program of it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.run.small import Small
from tests.run.watched import EXPERIMENT, STACK, origin_ns

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(120)]

HTTPD = """
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
signal.alarm(240)
class Ok(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *said): pass
ThreadingHTTPServer(("0.0.0.0", 8080), Ok).serve_forever()
"""


def test_the_engine_told_of_the_death_and_the_return_that_are_stated(yard: Any, tmp_path: Path) -> None:
    port = free_port()
    name = yard.make(entrypoint=["python3", "-c", HTTPD], publish={8080: ("127.0.0.1", port)})
    bystander = yard.make(entrypoint=["python3", "-c", HTTPD])
    start = STACK.index("    host:")
    stack = (
        STACK[:start]
        + f"    host: {{container: {name}}}\n"
        + STACK[STACK.index("    ports:") :].replace("PORT", "8080")
    )
    small = Small(
        tmp_path / "shop", stack=stack, experiment=EXPERIMENT.replace("fault: kill,", "fault: kill, via: engine,")
    )
    command = ["docker", "events", "--filter", f"label=blackstart.test={yard.mark}", "--format", "{{json .}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        try:
            code, _, talk = small.run()
            wall_ns = time.time_ns() - time.monotonic_ns()
        finally:
            events.terminate()
            said, _ = events.communicate(timeout=10)
    assert code in (0, 3), talk
    told = [json.loads(line) for line in said.splitlines()]
    assert {one["Actor"]["Attributes"]["name"] for one in told if one["Type"] == "container"} == {name}, (
        f"not {bystander}"
    )
    zero = origin_ns(small.runs[0]) + wall_ns
    at = {one["Action"]: one["timeNano"] - zero for one in told if one["Type"] == "container"}
    (fault,) = small.result()["faults"]
    slack_ns = 20_000_000  # the two clocks are compared once, after the run
    assert fault["effect"]["lo_ns"] - slack_ns <= at["die"] <= fault["effect"]["hi_ns"] + slack_ns
    assert fault["end"]["lo_ns"] - slack_ns <= at["start"] <= fault["end"]["hi_ns"] + slack_ns
