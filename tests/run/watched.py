"""A run of one shop that dies and comes back, for tests in which others watch who import nothing of harness.

Nothing stands between the load and the shop, as nothing stands between it and a prober: both see the same service.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.run.small import SHOP

__all__ = ["EXPERIMENT", "STACK", "origin_ns"]

STACK = f"""\
version: 1
kind: stack
name: shop
environment: test
instances:
  shop:
    host: {{process: [{sys.executable}, -I, {SHOP}, "${{port:http}}"]}}
    ports: {{http: PORT}}
drillable: [shop]
entry: "http://${{addr:shop.http}}"
"""
EXPERIMENT = """\
version: 1
kind: experiment
name: watched
title: A shop dies and comes back, and somebody else watches
hypothesis: what is stated is what was seen
stack: stack.yaml
load: {profile: http, arrival: {rate: 100/s}, timeout: 500ms, warmup: 500ms, with: {path: /items}}
steady_state: {for: 3s, require: ["good >= 95%"]}
blast_radius: {share: 100%}
recovered_when: "good >= 99% for 1s"
timeline:
  - {id: down, at: 0s, fault: kill, on: {instance: shop}, for: 1500ms, ends: itself}
observe: 2s
settle: 10s
objectives: [recovery_time <= 10s]
"""


def origin_ns(run: Path) -> int:
    """The run's zero, on CLOCK_MONOTONIC."""
    first = json.loads((run / "events.jsonl").read_text().splitlines()[0])
    return int(first["origin_ns"])
