"""What the package imports is what it says it depends on: an install into an empty environment lacks nothing."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PART_OF = {"pydantic-core": "pydantic", "gevent": "locust", "greenlet": "locust"}
"""What is installed with another by necessity, at the version that one asks for."""
TESTERS = {"pytest", "hypothesis"}
"""What runs `harness.testing`, and so is there."""
NOT_OURS = {"harness", *sys.stdlib_module_names}


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found - NOT_OURS


def _named(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_.-]+", one)[0].lower().replace("_", "-") for one in requirements}  # type: ignore[index]


def test_every_import_is_a_declared_dependency_and_every_dependency_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = _named(project["dependencies"])
    extras = _named([one for extra in project.get("optional-dependencies", {}).values() for one in extra])
    homes = packages_distributions()
    used: set[str] = set()
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for name in _imported(path) - (TESTERS if path.parent.name == "testing" else set()):
            homed = {home.lower().replace("_", "-") for home in homes.get(name, [name])}
            names = {PART_OF.get(home, home) for home in homed}
            assert names & (declared | extras), f"{path.relative_to(ROOT)} imports {name}, which is not declared"
            used |= names
    assert declared <= used, "declared, and imported nowhere"
