"""Which ports are spoken for: two runs of one machine never choose the same one, not even while neither listens on it."""

from __future__ import annotations

import socket

__all__ = ["Claims"]


class Claims:
    """Ports that this process has spoken for, in its network namespace. All end with `close`, or with the process.

    A claim is a name in Linux's abstract socket namespace: nothing on disk, one owner at a time, of whichever user, and
    none left behind by a process that was killed. It holds no port: only who asks here is kept from it.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def claim(self, port: int) -> bool:
        """Whether the port is now claimed here; False when another process, or another `Claims`, has it."""
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(f"\0blackstart-port-{port}")
        except OSError:
            mark.close()
            return False
        self._held.append(mark)
        return True

    def close(self) -> None:
        """Give all of them up. Idempotent."""
        while self._held:
            self._held.pop().close()
