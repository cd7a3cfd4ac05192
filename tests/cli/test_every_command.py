"""What holds of every command: JSON on request, an example in its help, and a help that loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from harness.cli import app as app_module
from harness.cli.app import app
from harness.errors import HarnessBug, RevertError, SpecError, StoreError, UnsafeError

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


@pytest.fixture
def exit_code(monkeypatch):
    """The exit code of the command line when its command raises."""

    def of(raised):
        def app(prog_name):
            raise raised

        monkeypatch.setattr(app_module, "app", app)
        with pytest.raises(SystemExit) as left:
            app_module.run()
        return left.value.code

    return of


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (SpecError("no such name"), 2),
        (UnsafeError("port in use"), 4),
        (StoreError("disk full"), 6),
        (HarnessBug("impossible"), 6),
        (RevertError("still there", commands=("undo it",)), 7),
        (ZeroDivisionError("a defect"), 6),
        (OSError("nobody thought of it"), 6),
    ],
)
def test_no_error_has_the_exit_code_of_a_failed_objective(exit_code, raised, code):
    assert exit_code(raised) == code


def test_a_defect_is_called_one(exit_code, capsys):
    assert exit_code(KeyError("x")) == 6
    told = capsys.readouterr().err
    assert "Traceback" in told and told.endswith("not of what it was used on: KeyError: 'x'\n")


@pytest.mark.slow
def test_a_reader_that_went_away_is_neither_a_pass_nor_a_failure():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code = "from harness.cli import main; import sys; sys.argv[1:] = ['faults', '--json']; main()"
        ended = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert ended.returncode == 141, ended.stderr


def test_the_version_is_told():
    assert CliRunner().invoke(app, ["--version"]).output.startswith("blackstart 0.")
