"""A second prober, which imports nothing of harness: asks a port every 10 ms, and prints each asking on a line.

`second_prober.py PORT PATH`: `BEGAN ENDED GOOD`, the first two in ns of CLOCK_MONOTONIC. Ends by itself after two minutes.
"""

from __future__ import annotations

import socket
import sys
import time

LIFE_S, EVERY_S, LIMIT_S = 120, 0.01, 0.2


def good(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), LIMIT_S) as one:
            one.settimeout(LIMIT_S)
            one.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            return one.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


until = time.monotonic() + LIFE_S
while time.monotonic() < until:
    began = time.monotonic_ns()
    answered = good(int(sys.argv[1]), sys.argv[2])
    sys.stdout.write(f"{began} {time.monotonic_ns()} {int(answered)}\n")
    sys.stdout.flush()
    time.sleep(EVERY_S)
