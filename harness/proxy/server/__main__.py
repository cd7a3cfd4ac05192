"""`python -m harness.proxy.server`."""

from __future__ import annotations

import sys

from harness.proxy.server import main

if __name__ == "__main__":
    sys.exit(main())
