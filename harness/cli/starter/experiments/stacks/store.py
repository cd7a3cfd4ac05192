"""A region's store: sets of items by key, in memory. Every item is sent to the other region before it is acknowledged.

python store.py NAME PORT PEER. When it starts it listens first, then fetches all that the other region has: an item is in
what it fetches, or is sent to it afterwards.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME, PORT, PEER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
items: dict[str, list[str]] = {}
lock = threading.Lock()
ready = threading.Event()


def keep(key: str, item: str) -> None:
    with lock:
        kept = items.setdefault(key, [])
        if item not in kept:
            kept.append(item)


def ask(method: str, path: str, body: Any = None) -> Any:
    """What the other region answers; None when it cannot be reached."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{PEER}{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=0.5) as answer:
            return json.load(answer)
    except OSError:
        return None


def catch_up() -> None:
    for key, found in (ask("GET", "/all") or {}).items():
        for item in found:
            keep(key, item)
    ready.set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200 if ready.is_set() else 503, ready.is_set())
            return
        with lock:
            found = dict(items) if self.path == "/all" else list(items.get(self.path.rpartition("/")[2], ()))
        self.answer(200, found)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.path.rpartition("/")[2]
        keep(key, body["item"])
        if not body.get("copy"):
            ask("POST", self.path, {"item": body["item"], "copy": True})
        self.answer(200, "kept")

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Instance", NAME)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent: a line per request is too much."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    threading.Thread(target=catch_up, daemon=True).start()
    server.serve_forever()
