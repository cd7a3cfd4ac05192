"""The file by which a process is told to misbehave, for as long as the file is there. Whoever reads it sees all of it or none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["forget", "is_told", "tell"]


def is_told(file: str) -> bool:
    """Whether the file is there, whatever it says."""
    return os.path.lexists(file)


def tell(file: str, text: str) -> None:
    """Write the file anew, readable for every user. Raises OSError when its folder takes none."""
    fd, beside = tempfile.mkstemp(dir=os.path.dirname(file))
    with open(fd, "w") as writing:
        writing.write(text)
        os.fchmod(fd, 0o644)
    os.replace(beside, file)


def forget(file: str) -> None:
    """Remove the file, if it is there."""
    Path(file).unlink(missing_ok=True)
