"""Whatever is done to a good document, it loads, or says where it is wrong: never another exception, never a place outside."""

from __future__ import annotations

import copy
import io
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from harness.errors import SpecError
from harness.spec.load import load_experiment

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.floats(),
    st.sampled_from(
        ["", "5s", "-5s", "99%", "120%", "60/s", "eu", "db-eu", "eu-down", "eu-down.end", "slow.start + 1s", "${env:X}",
         "${i}", "${", "$$", "${addr:edge}", "${link:db}", "> 5", "good >= 99%", "durable", "a/b", "x.py:Y", "::", "\x85"]
    ),
    st.text(max_size=12),
    st.lists(st.sampled_from(["x", 5, None, "5s", {"a": 1}, {"region": "eu"}]), max_size=3),
    st.dictionaries(st.sampled_from(["region", "for", "at", "x", "process", "http", "count"]), st.integers(), max_size=2),
)  # fmt: skip
PIECES = ["\t", ": ", "- ", "{", "]", "'", "&a ", "*a", "!", "|", ">", "%", "\r", "---\n"]
COMMON = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def spots(node: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        found.extend(spots(value))
    return found


def mutate(document: Any, seed: int, scalar: Any) -> Any:
    """One mutation of a parsed document: a key deleted or renamed, a value replaced or put somewhere else."""
    chance = random.Random(seed)
    document = copy.deepcopy(document)
    parent, key = chance.choice(spots(document))
    match chance.randrange(5):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[chance.choice([f"{key}x", str(key)[1:], str(key).upper(), "x"])] = parent.pop(key)
        case 2:
            other, there = chance.choice(spots(document))
            parent[key] = copy.deepcopy(other[there])
        case 3 if isinstance(parent, dict):
            parent[chance.choice(["for", "on", "count", "extra", "null"])] = scalar
        case _:
            parent[key] = scalar
    return document


def dumped(document: Any) -> str:
    writer, stream = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = None
    writer.dump(document, stream)
    return stream.getvalue()


def check(folder: Path, catalog: Any) -> None:
    try:
        load_experiment(folder / "region-kill.yaml", catalog=catalog, env={"X": "5s"})
    except SpecError as exc:
        assert exc.problems
        for problem in exc.problems:
            path = Path(problem.file)
            assert path.is_file(), problem
            lines = path.read_text(encoding="utf-8").split("\n")
            assert problem.line is not None and 1 <= problem.line <= len(lines), problem
            assert problem.column is not None and 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
            assert problem.width >= 1
            assert problem.message and "\n" not in problem.message, problem
            assert str(problem)


@pytest.mark.slow
@COMMON
@given(seeds=st.lists(st.tuples(st.integers(0, 10**9), SCALARS), min_size=1, max_size=3))
def test_mutated_experiments(project: Any, catalog: Any, good_texts: Any, seeds: list[tuple[int, Any]]) -> None:
    document = YAML(typ="safe", pure=True).load(good_texts[1])
    for seed, scalar in seeds:
        document = mutate(document, seed, scalar) if spots(document) else document
    project.write("region-kill.yaml", dumped(document))
    check(project.folder, catalog)


@pytest.mark.slow
@COMMON
@given(seeds=st.lists(st.tuples(st.integers(0, 10**9), SCALARS), min_size=1, max_size=3))
def test_mutated_stacks(project: Any, catalog: Any, good_texts: Any, seeds: list[tuple[int, Any]]) -> None:
    document = YAML(typ="safe", pure=True).load(good_texts[0])
    for seed, scalar in seeds:
        document = mutate(document, seed, scalar) if spots(document) else document
    project.write("stacks/shop.yaml", dumped(document))
    project.write("region-kill.yaml", good_texts[1])
    check(project.folder, catalog)


@pytest.mark.slow
@COMMON
@given(
    which=st.sampled_from([0, 1]),
    cut=st.tuples(st.integers(0, 3000), st.integers(0, 12)),
    put=st.one_of(st.text(max_size=4), st.sampled_from(PIECES)),
)
def test_mutated_text(project: Any, catalog: Any, good_texts: Any, which: int, cut: tuple[int, int], put: str) -> None:
    names = ("stacks/shop.yaml", "region-kill.yaml")
    at = cut[0] % len(good_texts[which])
    text = good_texts[which][:at] + put + good_texts[which][at + cut[1] :]
    project.write(names[1 - which], good_texts[1 - which])
    try:
        project.write(names[which], text)
    except UnicodeEncodeError:
        return
    check(project.folder, catalog)
