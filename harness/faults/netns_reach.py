"""Connects and sends from inside a network namespace. Run by path under nsenter; standard library only, imports nothing of ours.

stdin: {"ways": [[address, port, datagrams], ...], "limit_s": 0.4}; stdout: for each way accepted, refused or silent. First
the datagrams, all empty, to the same number; then a connect, on which nothing is sent.
"""

from __future__ import annotations

import contextlib
import errno
import json
import selectors
import socket
import sys
import time

__all__ = ["main"]

_SILENT = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}


def main() -> None:
    """Answer one request."""
    asked = json.load(sys.stdin)
    outcomes = ["silent"] * len(asked["ways"])
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as opened:
        for index, (address, port, datagrams) in enumerate(asked["ways"]):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            _send(family, (address, port), datagrams)
            one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            one.setblocking(False)
            code = one.connect_ex((address, port))
            if code in _UNDER_WAY:
                waiting.register(one, selectors.EVENT_WRITE, index)
            else:
                outcomes[index] = _outcome(code)
        deadline = time.monotonic() + asked["limit_s"]
        while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                assert isinstance(key.fileobj, socket.socket)
                outcomes[key.data] = _outcome(key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                waiting.unregister(key.fileobj)
    json.dump(outcomes, sys.stdout)


def _outcome(code: int) -> str:
    return "accepted" if code == 0 else "silent" if code in _SILENT else "refused"


def _send(family: int, place: tuple[str, int], datagrams: int) -> None:
    """A queue that is full, or rules that tell the sender, are enough for one look."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for _ in range(datagrams):
            with contextlib.suppress(OSError):
                sender.sendto(b"", place)


if __name__ == "__main__":
    main()
