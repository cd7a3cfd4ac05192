"""The front: sends every request to the first healthy store. Each is asked twice a second; two equal answers in a row count.

python front.py PORT STORE...
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, STORES = int(sys.argv[1]), sys.argv[2:]
EVERY_S = 0.5
healthy = dict.fromkeys(STORES, True)


def watch(store: str) -> None:
    before = True
    while True:
        now = is_ready(store)
        if now == before:
            healthy[store] = now
        before = now
        time.sleep(EVERY_S)


def is_ready(store: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{store}/ready", timeout=EVERY_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.forward(None)

    def do_POST(self) -> None:
        self.forward(self.rfile.read(int(self.headers["Content-Length"])))

    def forward(self, body: bytes | None) -> None:
        store = next((one for one in STORES if healthy[one]), STORES[0])
        request = urllib.request.Request(f"http://{store}{self.path}", data=body, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                self.answer(answer.status, answer.read(), answer.headers["X-Instance"])
        except urllib.error.HTTPError as error:
            self.answer(error.code, b"", "")
        except OSError:
            self.answer(502, b"", "")

    def answer(self, status: int, body: bytes, instance: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Instance", instance)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent: a line per request is too much."""


if __name__ == "__main__":
    for each in STORES:
        threading.Thread(target=watch, args=(each,), daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
