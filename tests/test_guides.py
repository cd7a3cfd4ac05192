"""The guides are true: their files are taken as they stand, their commands exist, their snippets fit the hosts' own schemas."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = ("gameday.md", "ci.md")
_FILE = re.compile(r"```yaml\n# (\S+)\n(.*?)```", re.S)
SCHEMAS = {".github/workflows/drills.yml": "vendor.github-workflows", ".gitlab-ci.yml": "vendor.gitlab-ci"}


def files(guide: str) -> dict[str, str]:
    """The files that a guide shows, by path."""
    return dict(_FILE.findall((DOCS / guide).read_text()))


def commands(guide: str) -> list[str]:
    """Every command line of blackstart in the guide's blocks, and those in running text."""
    text = (DOCS / guide).read_text()
    found = re.findall(r"(?:^|run: |- )(blackstart [^\n#`]+)", text, re.M) + re.findall(r"`(blackstart [^`\n]+)`", text)
    return [line.split("  ")[0].strip() for line in found]


def test_the_documents_of_the_game_day_are_taken_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in files("gameday.md").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "notes.py").write_text("")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=20)
    monkeypatch.chdir(tmp_path)
    checked = CliRunner().invoke(app, ["validate", "--json"])
    assert checked.exit_code == 0 and '"warnings": []' in checked.output, checked.output
    planned = CliRunner().invoke(app, ["drill", "plan"])
    assert planned.exit_code == 0 and planned.output.startswith("notes-monthly: "), planned.output
    assert planned.output.count("experiment notes-") == 2
    held = CliRunner().invoke(app, ["gate"])
    assert held.exit_code == 1 and held.output.count("no judged run of it") == 2


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_and_flag_exists(guide: str) -> None:
    lines = commands(guide)
    assert len(lines) >= 4
    for line in lines:
        words = line.split()[1:]
        flags = [word for word in words if word.startswith("--")]
        named = [word for word in words if not word.startswith("-")]
        for depth in (2, 1):
            shown = CliRunner().invoke(app, [*named[:depth], "--help"], env={"COLUMNS": "200"})
            if shown.exit_code == 0:
                break
        assert shown.exit_code == 0, line
        assert all(flag in shown.output for flag in flags), line


def test_both_hosts_have_a_snippet() -> None:
    assert set(files("ci.md")) == set(SCHEMAS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_snippets_fit_the_hosts_own_schemas(name: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yml"
    path.write_text(files("ci.md")[name])
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(path)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    path.write_text(files("ci.md")[name].replace("script:", "scripts:").replace("runs-on:", "runson:"))
    assert subprocess.run(check, capture_output=True, timeout=60).returncode == 1, "the schema is looked at"
