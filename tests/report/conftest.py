"""What the report's tests share: sample results."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the sample modules beside this file, under importlib mode


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """The module `report_samples.py` beside this file."""
    return importlib.import_module("report_samples")
