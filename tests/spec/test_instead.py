"""Names that people look for and that are not there: the refusal says what is in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.registry import catalog
from harness.spec.load import load_experiment
from tests.spec.test_container_documents import EXPERIMENT, STACK


@pytest.mark.parametrize(
    ("host", "fault", "message", "remedy"),
    [
        (
            "{systemd: edge.service}",
            "{id: it, fault: pause, on: {instance: edge}, for: 5s}",
            "unknown host 'systemd'",
            "{pid: {file: /run/NAME.pid}, start: [systemctl, start, NAME]}",
        ),
        (
            "{process: [edge]}",
            "{id: it, fault: deploy, on: {instance: edge}, for: 5s}",
            "unknown fault 'deploy'",
            "`fault: exec` with an `apply`, `revert` and `witness` of your own",
        ),
    ],
)
def test_a_name_that_is_not_there_says_what_is(
    tmp_path: Path, host: str, fault: str, message: str, remedy: str
) -> None:
    (tmp_path / "s.yaml").write_text(STACK.replace("PORTS", "{sql: 5432}").replace("{process: [edge]}", host))
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT.replace("FAULT", fault))
    with pytest.raises(SpecError) as caught:
        load_experiment(path, catalog=catalog())
    said = [(problem.message, problem.help or "") for problem in caught.value.problems]
    assert any(told == message and remedy in help_ for told, help_ in said), said
