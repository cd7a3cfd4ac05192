"""What a load profile imports: users and the words that end an op. Light: the HTTP library comes with the first client."""

from __future__ import annotations

from harness.load.outcomes import Broken, Rejected
from harness.load.user import HttpUser, User

__all__ = ["Broken", "HttpUser", "Rejected", "User"]
