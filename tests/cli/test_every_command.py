"""What holds of every command: JSON on request, an example in its help, and a help that loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from harness.cli.app import app

HEAVY = (
    "pydantic",
    "asyncio",
    "pandas",
    "numpy",
    "pyarrow",
    "aiohttp",
    "docker",
    "rich.table",
    "ruamel.yaml",
    "jinja2",
)


def commands(typer_app=app, before=()):
    for command in typer_app.registered_commands:
        yield (*before, command.name or command.callback.__name__.replace("_", "-"))
    for group in typer_app.registered_groups:
        yield from commands(group.typer_instance, (*before, group.name))


@pytest.mark.parametrize("command", tuple(commands()), ids=" ".join)
def test_its_help_has_json_and_an_example(command):
    shown = CliRunner().invoke(app, [*command, "--help"], env={"NO_COLOR": "1", "COLUMNS": "100"})
    assert shown.exit_code == 0
    assert "--json" in shown.output
    assert f"blackstart {' '.join(command)}" in " ".join(shown.output.split()), "an example that can be copied"
    assert "\x1b" not in shown.output


@pytest.mark.parametrize("command", tuple(commands()), ids=" ".join)
def test_an_unknown_flag_is_exit_2(command):
    assert CliRunner().invoke(app, [*command, "--no-such-flag"]).exit_code == 2


@pytest.mark.slow
def test_help_loads_nothing_heavy():
    code = "import sys, harness.cli.app; print(*sorted(name for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(HEAVY) & set(loaded.stdout.split()) == set()


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).output.startswith("blackstart 0.")
