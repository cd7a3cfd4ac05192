"""Which tests may run side by side (`pytest -n N`), and which lane is the longest."""

from __future__ import annotations

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

_SHARED = {
    "engine": (
        "tests/engine/*",
        "tests/run/test_killing.py",
        "tests/run/test_residue.py",
        "tests/faults/test_cut.py",
        "tests/faults/test_nft.py",
    )
}
"""Lane -> the files that must not run side by side: they share the machine's container engine or the kernel's tables."""


_WHOLE = ("tests/run/*", "tests/experiments/*", "tests/cli/*", "tests/test_wheel.py")
"""Where a live test is a whole run, of half a minute."""


def lane_of(file: str) -> str:
    """Which tests must not run side by side with those of a file: its own, and all that share the engine with it."""
    return next((name for name, files in _SHARED.items() if any(Path(file).match(each) for each in files)), file)


class Lanes(LoadScopeScheduling):
    """With `-n N`: every lane's tests run one after another, in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid.partition("::")[0])


def seconds_of(file: str) -> int:
    """How long a live test of a file takes, roughly: what decides which lane goes first."""
    return 10 if any(Path(file).match(each) for each in _WHOLE) else 1
