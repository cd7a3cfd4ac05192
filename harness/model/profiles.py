"""The load profiles that come along, by name; others are named by file, `path.py:ClassName`."""

from __future__ import annotations

__all__ = ["PROFILES"]

PROFILES = {
    "chat": "harness.load.profiles.chat:ChatUser",
    "chat-mix": "harness.load.profiles.chat_mix:MixUser",
    "http": "harness.load.profiles.http:PathUser",
    "jobs": "harness.load.profiles.jobs:JobUser",
}
"""Name -> dotted path of the class."""
