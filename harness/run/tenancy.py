"""One drill at a time on each thing, whoever runs it: a name that the kernel lets one process of the machine hold.

Lock files are in the user's own state directory, where no other user looks. A listening socket in the abstract namespace needs
no directory and no rights, falls with its process, and the kernel vouches for whose it is. It counts within one network
namespace, as ports do.
"""

from __future__ import annotations

import contextlib
import hashlib
import pwd
import socket
import struct

from harness.errors import UnsafeError

__all__ = ["occupy"]

_ASK_LIMIT_S = 1.0


def occupy(key: str) -> socket.socket:
    """The hold of `key` on this machine; closing it lets go. Raises UnsafeError naming the process and user that have it."""
    name = "\0blackstart-" + hashlib.sha256(key.encode()).hexdigest()[:32]
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(name)
        held.listen(8)
    except OSError as exc:
        held.close()
        raise UnsafeError(
            f"{key} is being used by {_holder(name)}, whose runs are kept in another state directory",
            remedy="wait for it, or have its owner `blackstart halt` it",
        ) from exc
    return held


def _holder(name: str) -> str:
    """Whose process listens there, as the kernel says; it need not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_ASK_LIMIT_S)
        try:
            asking.connect(name)
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "another process"
    pid, uid, _ = struct.unpack("3i", raw)
    user = str(uid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    return f"process {pid} of user {user}"
