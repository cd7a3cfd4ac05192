"""A region's store: sets of items by key, in memory. Every item is sent to the other region before it is acknowledged.

python store.py NAME PORT PEER. When it starts it listens first, then fetches all that the other region has. An item that found
nobody listening is acknowledged, and handed over when somebody does: what stands between the two may learn late that the other is
back, so that what it fetched does not hold the item. One that the other region did not answer for, though it listens, is
sent again, and is not acknowledged until it is there.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import urllib.request
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME, PORT, PEER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
items: dict[str, list[str]] = {}
lock = threading.Lock()
ready = threading.Event()
owed: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()


def keep(key: str, item: str) -> None:
    with lock:
        kept = items.setdefault(key, [])
        if item not in kept:
            kept.append(item)


def ask(method: str, path: str, body: Any = None) -> Any:
    """What the other region answers; None when nobody listens there. Tries for 1.5 s; raises TimeoutError after that."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{PEER}{path}", data=data, method=method)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, timeout=0.5) as answer:
                return json.load(answer)
        except (OSError, HTTPException) as exc:
            if isinstance(getattr(exc, "reason", exc), ConnectionRefusedError):
                return None
        time.sleep(0.05)
    raise TimeoutError(f"{PEER} listens and does not answer")


def catch_up() -> None:
    while not ready.is_set():
        try:
            found = ask("GET", "/all") or {}
        except TimeoutError:
            continue
        for key, kept in found.items():
            for item in kept:
                keep(key, item)
        ready.set()


def copy(path: str, item: str) -> bool:
    """Whether the other region has it now; False when nobody listens there."""
    return ask("POST", path, {"item": item, "copy": True}) is not None


def hand_over() -> None:
    while True:
        path, item = owed.get()
        try:
            done = copy(path, item)
        except TimeoutError:
            done = False
        if not done:
            owed.put((path, item))
            time.sleep(0.05)


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # a burst of callers must not wait for a second try of TCP


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200 if ready.is_set() else 503, ready.is_set())
            return
        with lock:
            everything = {key: list(kept) for key, kept in items.items()}
        found = everything if self.path == "/all" else everything.get(self.path.rpartition("/")[2], [])
        self.answer(200, found)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.path.rpartition("/")[2]
        keep(key, body["item"])
        try:
            if not body.get("copy") and not copy(self.path, body["item"]):
                owed.put((self.path, body["item"]))
        except TimeoutError:
            self.answer(503, "not copied")
            return
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
    server = Server(("127.0.0.1", PORT), Handler)
    for work in (catch_up, hand_over):
        threading.Thread(target=work, daemon=True).start()
    server.serve_forever()
