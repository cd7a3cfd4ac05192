"""The dependency arrows of DESIGN 3, walked over every import of every module, type-only ones included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "harness"
PURE = ["errors", "units", "model", "history", "measure", "check", "judge"]
UP_TO_MODEL = {"errors", "units", "model"}
UP_TO_HISTORY = UP_TO_MODEL | {"history"}
EVERYTHING_BELOW_RUN = {
    *PURE,
    "spec",
    "plan",
    "faults",
    "probe",
    "stacks",
    "proxy",
    "load",
    "store",
    "report",
    "registry",
    "testing",
}

ALLOWED: dict[str, set[str]] = {name: set(PURE[:index]) for index, name in enumerate(PURE)}
ALLOWED |= dict.fromkeys(("spec", "plan", "registry"), UP_TO_MODEL)
ALLOWED |= dict.fromkeys(("faults", "probe", "stacks", "proxy", "load", "store", "testing"), UP_TO_HISTORY)
ALLOWED |= {
    "report": set(PURE),
    "run": EVERYTHING_BELOW_RUN,
    "drill": EVERYTHING_BELOW_RUN | {"run"},
    "cli": EVERYTHING_BELOW_RUN | {"run", "drill"},
    "__main__": {"cli"},
    "reference": set(),
    "proxy.server": {"errors", "units"},
}


def area_of(module: str) -> str:
    parts = module.split(".")[1:]
    return "proxy.server" if parts[:2] == ["proxy", "server"] else (parts[0] if parts else "")


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= (
                {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                if node.module == "harness"
                else {node.module}
            )
    return {name for name in found if name.split(".")[0] == "harness"} - {"harness.__version__"}


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(file: Path) -> None:
    module = "harness." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    area = area_of(module)
    if area in ("", "__init__"):
        assert imports_of(file) == set(), "the package itself imports nothing"
        return
    allowed = ALLOWED[area] | {area}
    wrong = {name for name in imports_of(file) if area_of(name) and area_of(name) not in allowed}
    assert not wrong, f"{module} may not import {sorted(wrong)}"
