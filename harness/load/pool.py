"""Users at rest: an arrival takes the one that has been idle longest, or a new one, or none is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from harness.load.user import User

__all__ = ["Pool"]


class Pool:
    """Users of one group. A user at work is in nobody's pool, so no session ever has two arrivals at once."""

    def __init__(self, make: Callable[[], User], users_min: int, users_max: int) -> None:
        self._make, self._max = make, max(1, users_max)
        self._idle = deque(make() for _ in range(min(users_min, self._max)))
        self._all = list(self._idle)

    def take(self) -> User | None:
        """The user that has been idle longest, else a new one; None when there are as many as there may be."""
        if self._idle:
            return self._idle.popleft()
        if len(self._all) >= self._max:
            return None
        user = self._make()
        self._all.append(user)
        return user

    def give(self, user: User) -> None:
        """Take a user back."""
        self._idle.append(user)

    def __iter__(self) -> Iterator[User]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
