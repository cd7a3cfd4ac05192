"""A pager of 25 stdlib lines: watches a shop, and posts what Alertmanager would post. Imports nothing of `harness`."""

import contextlib
import json
import sys
import time
import urllib.error
import urllib.request

shop, alerts = sys.argv[1:]


def post(name: str, status: str) -> None:
    one = {"status": status, "labels": {"alertname": name}, "startsAt": "1999-01-01T00:00:00Z", "fingerprint": name}
    body = json.dumps({"version": "4", "alerts": [one]}).encode()
    with contextlib.suppress(urllib.error.URLError):  # no run is there to listen
        urllib.request.urlopen(urllib.request.Request(alerts, body), timeout=2).close()


post("Watchdog", "firing")
was, end = "resolved", time.monotonic() + 120
while time.monotonic() < end:
    try:
        urllib.request.urlopen(shop, timeout=1).close()
        now = "resolved"
    except OSError:
        now = "firing"
    if now != was:
        post("ShopDown", now)
        was = now
    time.sleep(0.05)
