"""The `blackstart` command: wiring only. Importing this imports nothing heavy; each command imports what it uses."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line. Exit codes: DESIGN 11."""
    from harness.cli.app import run

    run()
