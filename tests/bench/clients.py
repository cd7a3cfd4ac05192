"""HTTP clients in a closed loop against one nginx, processor time per request; Locust's FastHttpUser beside them, in turn."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.finding import Finding
from tests.ports import free_port

__all__ = ["clients", "listening", "nginx"]

ROUNDS, USERS, SECONDS = 3, 16, 2.0
KINDS = ("lean", "lean-recorded", "aiohttp-recorded", "locust")


def clients() -> list[Finding]:
    """Medians of rounds that alternate."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with nginx() as url:
        for _ in range(ROUNDS):
            for kind in KINDS:
                found[kind].append(_run(kind, url))
    cpu = {kind: statistics.median(values) for kind, values in found.items()}
    beside = f"{cpu['locust']:.1f} us"
    words = {
        "lean": ("lean client alone: FastHttpUser", 1 / 6),
        "lean-recorded": ("lean client with full records: FastHttpUser", None),
        "aiohttp-recorded": ("aiohttp with full records: FastHttpUser", 0.9),
    }
    return [
        Finding(what=what, ours=f"{cpu[kind]:.1f} us", beside=beside, ratio=cpu[kind] / cpu["locust"], limit=limit)
        for kind, (what, limit) in words.items()
    ]


def _run(kind: str, url: str) -> float:
    if kind == "locust":
        path = Path(__file__).with_name("fast_locustfile.py")
        command = [sys.executable, "-m", "locust", "-f", str(path), "--headless", "--only-summary", "--host", url]
        command += ["-u", str(USERS), "-r", str(USERS), "-t", "30s"]
    else:
        command = [sys.executable, "-m", "tests.bench.closed", kind, url, str(USERS), str(SECONDS)]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout
    line = next(line for line in out.splitlines() if line.startswith("{"))
    return float(json.loads(line)["cpu_us"])


@contextmanager
def nginx() -> Iterator[str]:
    """One nginx process that answers 52 bytes of JSON to everything."""
    port = free_port()
    body = '{"status":"ok","served_by":"bench","padding":"xxxxxx"}'
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 2048; }\n"
            f"http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 75s; client_body_temp_path {folder};\n"
            f"proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; return 200 '{body}'; }} }} }}\n"
        )
        process = subprocess.Popen(["nginx", "-c", str(config), "-p", folder], stderr=subprocess.DEVNULL)
        try:
            listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=10)


def listening(port: int) -> None:
    """Return when somebody does. Raises OSError after 10 s."""
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
