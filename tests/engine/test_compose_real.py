"""The reference stack on PostgreSQL, Redis and HAProxy in containers: a region dies with its database, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import base_image
import compose_up
import pytest

from tests.engine.test_compose_stack import ROOT, facts, killed_under_load, serves

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]
COMPOSE = ROOT / "experiments" / "stacks" / "genai-real" / "compose.yaml"
PROJECT = "genai-real"


@pytest.fixture(scope="module")
def real(image: str) -> Iterator[str]:
    """The stack up and serving, as the shipped compose.yaml has it; its image holds this machine's own servers."""
    try:
        base = base_image.build(base_image.TAG_WITH_SERVERS, with_servers=True)
    except FileNotFoundError as exc:
        pytest.skip(str(exc))
    compose_up.down(PROJECT)
    try:
        compose_up.up(COMPOSE, base=base)
        deadline = time.monotonic() + 120
        while not serves("http://127.0.0.1:18090/readyz"):
            assert time.monotonic() < deadline, compose_up.docker("logs", "--tail", "20", f"{PROJECT}-journal-eu-1")
            time.sleep(0.1)
        yield PROJECT
    finally:
        compose_up.down(PROJECT)


def test_a_region_of_real_components_is_killed_under_load(real: str, tmp_path: Path) -> None:
    before = facts(real)
    assert len(before) == 12
    result, verified = killed_under_load(tmp_path, "stack=genai-real-compose")
    assert verified == {"gateway-eu", "engine-eu", "journal-eu", "postgres-eu", "redis-eu"}
    assert facts(real) == before, "the same containers, running, under the same addresses"
    sealed = [check for check in result["checks"] if check["name"] in ("durable", "exactly-once", "converged")]
    assert {check["verdict"] for check in sealed} == {"valid"}, sealed
