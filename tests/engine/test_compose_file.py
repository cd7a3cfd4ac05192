"""A Compose project that the run brings up because nothing of it is there, and takes down again, however it ends."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run.journal import JournalView
from harness.stacks.compose_project import compose_program
from tests.run.small import SHOP, Small, processes_of

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(compose_program() is None, reason="no Compose here"),
]
COMPOSE = """\
services:
  shop:
    image: IMAGE
    init: true
    command: [python3, /srv/shop.py, "8080"]
    volumes: ["FOLDER/served.py:/srv/shop.py:ro", "kept:/srv/kept"]
    networks: {shop: {ipv4_address: ADDRESS}}
volumes: {kept: {}}
networks:
  shop: {ipam: {config: [{subnet: SUBNET}]}}
"""


@pytest.fixture
def small(tmp_path: Path, image: str, subnet: str) -> Iterator[Small]:
    project = f"bs{secrets.token_hex(4)}"
    (tmp_path / "served.py").write_text(SHOP.read_text().replace('"127.0.0.1"', '"0.0.0.0"'))
    (tmp_path / "compose.yaml").write_text(
        COMPOSE.replace("IMAGE", image).replace("FOLDER", str(tmp_path))
        .replace("ADDRESS", subnet.replace("0/24", "9")).replace("SUBNET", subnet)
    )  # fmt: skip
    made = Small(tmp_path)
    head, _, rest = made.stack.partition("    host: ")
    host = f"    host: {{compose: shop, project: {project}, file: compose.yaml}}\n    ports: {{http: 8080}}\n"
    made.stack = f"{head}{host}links:{rest.partition('links:')[2]}"
    yield made
    assert of_project(made) == []


def of_project(small: Small) -> list[str]:
    """Containers, networks and volumes of the project that the stack names."""
    project = small.stack.partition("project: ")[2].partition(",")[0]
    label = f"label=com.docker.compose.project={project}"
    asked = (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"])
    found = (
        subprocess.run(["docker", *one, "--filter", label], capture_output=True, text=True, check=True) for one in asked
    )
    return [line for one in found for line in one.stdout.split()]


def test_what_is_absent_is_brought_up_and_down_by_the_run(small: Small) -> None:
    _, _, talk = small.run()
    result = small.result()
    assert result["verdict"] == "PASS", (result["reasons"], talk)
    (run,) = small.runs
    view = JournalView.read(run / "undo.jsonl")
    assert [(project.services, project.volumes) for project in view.raised] == [(("shop",), True)]
    assert view.opened is not None
    assert view.opened.wiring.ports["shop"] == {"http": 8080}
    assert of_project(small) == []


def test_it_goes_down_with_a_run_that_was_killed(small: Small) -> None:
    small.experiment = small.experiment.replace("for: 500ms", "for: 60s")
    process = small.start()
    deadline = time.monotonic() + 90
    while not any(
        '"witnessed"' in (run / "events.jsonl").read_text() for run in small.runs if (run / "events.jsonl").exists()
    ):
        assert time.monotonic() < deadline, "nothing was ever broken"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert len(of_project(small)) == 3, "a container, a network and a volume"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while of_project(small) or processes_of(small.folder):
        assert time.monotonic() < deadline, (of_project(small), processes_of(small.folder))
        time.sleep(0.1)
    assert JournalView.read(small.runs[0] / "undo.jsonl").closed
