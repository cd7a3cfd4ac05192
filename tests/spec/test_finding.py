"""Documents by name or path."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.spec.find import find_document


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    mine, built_in = tmp_path / "mine", tmp_path / "builtin"
    for name in (
        "mine/experiments/region-kill",
        "mine/experiments/surge",
        "builtin/region-kill",
        "builtin/calm",
        "builtin/stacks/genai",
    ):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("version: 1\n", encoding="utf-8")
    monkeypatch.chdir(mine)
    return mine, built_in


def test_a_project_comes_before_the_built_ins(roots: tuple[Path, Path]) -> None:
    mine, built_in = roots
    assert find_document("region-kill", "experiment", roots) == mine / "experiments/region-kill.yaml"
    assert find_document("calm", "experiment", roots) == built_in / "calm.yaml"
    assert find_document("genai", "stack", roots) == built_in / "stacks/genai.yaml"


def test_a_path_is_taken_as_it_is(roots: tuple[Path, Path]) -> None:
    assert find_document("experiments/surge.yaml", "experiment", ()) == Path("experiments/surge.yaml")
    assert find_document(roots[1] / "calm.yaml", "experiment", ()) == roots[1] / "calm.yaml"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "region-kil",
            "region-kil: error: no experiment of that name; did you mean 'region-kill'?\n"
            "   help: known experiments: calm, region-kill, surge; a path has a slash or ends in .yaml",
        ),
        (
            "experiments/surg.yaml",
            "experiments/surg.yaml: error: no such file; did you mean 'surge'?\n"
            "   help: known documents: region-kill, surge",
        ),
        ("experiments/", "experiments/: error: is a folder, not a document"),
        ("none/at-all.yaml", "none/at-all.yaml: error: no such file"),
    ],
)
def test_what_is_not_there(roots: tuple[Path, Path], name: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        find_document(name, "experiment", roots)
    assert str(caught.value) == said
