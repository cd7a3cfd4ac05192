"""Names that people look for and that are not there: the refusal says what is in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from tests.spec.small import planned_on
from tests.spec.test_container_documents import STACK


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
    with pytest.raises(SpecError) as caught:
        planned_on(tmp_path, STACK.replace("PORTS", "{sql: 5432}").replace("{process: [edge]}", host), fault)
    said = [(problem.message, problem.help or "") for problem in caught.value.problems]
    assert any(told == message and remedy in help_ for told, help_ in said), said
