"""Makes the helper modules of this folder importable: `literal` (histories as people write them) and `generate`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
