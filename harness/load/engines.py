"""The load engines by name; each is imported when an experiment asks for it."""

from __future__ import annotations

from harness.model.catalog import load_dotted
from harness.model.ports import Engine

__all__ = ["ENGINES", "open_engine"]

ENGINES = {"asyncio": "harness.load.engine:AsyncioEngine", "locust": "harness.load.locust_engine:LocustEngine"}
"""The built-in engines."""


def open_engine(name: str) -> Engine:
    """A new engine of that name, which the document has checked."""
    made: Engine = load_dotted(ENGINES[name])()
    return made
