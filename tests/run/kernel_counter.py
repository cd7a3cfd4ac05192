"""The kernel's own count of the packets in which a port answered, which imports nothing of harness: one look on a line.

`kernel_counter.py PORT`, as root in the network namespace of the port: `BEGAN ENDED PACKETS`, the first two in ns of
CLOCK_MONOTONIC. Packets without content (of a handshake, a close, a reset) are not counted. Ends by itself after two minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

LIFE_S, EVERY_S = 120, 0.005
RULES = """
table inet witness {{
  counter answered {{ }}
  chain out {{
    type filter hook output priority 0; policy accept;
    tcp sport {port} ip length > 60 counter name answered
  }}
}}
"""


def packets() -> int:
    listed = subprocess.run(
        ["nft", "-j", "list", "counters", "table", "inet", "witness"], capture_output=True, check=True
    )
    return next(int(one["counter"]["packets"]) for one in json.loads(listed.stdout)["nftables"] if "counter" in one)


subprocess.run(["nft", "-f", "-"], input=RULES.format(port=sys.argv[1]).encode(), check=True)
until = time.monotonic() + LIFE_S
while time.monotonic() < until:
    began = time.monotonic_ns()
    count = packets()
    sys.stdout.write(f"{began} {time.monotonic_ns()} {count}\n")
    sys.stdout.flush()
    time.sleep(EVERY_S)
