"""The toxics by name. A new one costs its file and its line here."""

from __future__ import annotations

from harness.proxy.server.toxics.bandwidth import Bandwidth
from harness.proxy.server.toxics.base import Stage
from harness.proxy.server.toxics.latency import Latency
from harness.proxy.server.toxics.limit_data import LimitData
from harness.proxy.server.toxics.noop import Noop
from harness.proxy.server.toxics.partition import Partition
from harness.proxy.server.toxics.reset_peer import ResetPeer
from harness.proxy.server.toxics.slicer import Slicer
from harness.proxy.server.toxics.slow_close import SlowClose
from harness.proxy.server.toxics.timeout import Timeout

__all__ = ["TOXICS"]

TOXICS: dict[str, type[Stage]] = {
    "bandwidth": Bandwidth,
    "latency": Latency,
    "limit_data": LimitData,
    "noop": Noop,
    "partition": Partition,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "slow_close": SlowClose,
    "timeout": Timeout,
}
