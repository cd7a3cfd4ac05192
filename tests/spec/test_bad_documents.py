"""What is said about documents that are wrong: the whole text, literally. `golden/*.txt` hold the cases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.registry import catalog as real_catalog
from harness.spec.load import load_experiment

GOLDEN = Path(__file__).parent / "golden"
CASE = re.compile(r"^## (\S+)\n-- ([^\n]*)\n\+\+ ([^\n]*)\n(.*?)\n*(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def cases(name: str) -> list[Any]:
    text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    return [
        pytest.param(json.loads(old), json.loads(new), said, id=label) for label, old, new, said in CASE.findall(text)
    ]


def said_about_all(catalog: Any) -> str:
    """What is said, if anything."""
    try:
        load_experiment(Path("experiments/region-kill.yaml"), catalog=catalog, env={})
    except SpecError as exc:
        return str(exc)
    return ""


def said_about(catalog: Any) -> str:
    with pytest.raises(SpecError) as caught:
        load_experiment(Path("experiments/region-kill.yaml"), catalog=catalog, env={})
    return str(caught.value)


@pytest.mark.parametrize(("old", "new", "said"), cases("experiment"))
def test_what_is_said_about_a_bad_experiment(
    project: Any, catalog: Any, good_texts: Any, old: str, new: str, said: str
) -> None:
    project.write("region-kill.yaml", good_texts[1].replace(old, new, 1))
    assert said_about(catalog) == said


@pytest.mark.parametrize(("old", "new", "said"), cases("stack"))
def test_what_is_said_about_a_bad_stack(
    project: Any, catalog: Any, good_texts: Any, old: str, new: str, said: str
) -> None:
    project.write("stacks/shop.yaml", good_texts[0].replace(old, new, 1))
    assert said_about(catalog) == said


def test_every_case_is_read() -> None:
    assert len(cases("experiment")) + len(cases("stack")) >= 120


def test_the_example_of_the_design(project: Any, catalog: Any, good_texts: Any) -> None:
    project.write("region-kill.yaml", good_texts[1].replace("for: 20s", "for: fifteen"))
    assert said_about(catalog) == "\n".join(
        [
            "experiments/region-kill.yaml:14:10: error: timeline[0].for: expected a duration such as \"15s\", got 'fifteen'",
            "   14 |     for: fifteen",
            "      |          ^^^^^^^",
            "   help: durations are a number and ns, us, ms, s, m, h or d",
        ]
    )


def test_all_problems_of_both_documents_are_reported_in_one_pass(project: Any, catalog: Any, good_texts: Any) -> None:
    stack, experiment = good_texts
    project.write("stacks/shop.yaml", stack.replace("serves: standby", "serves: stanby").replace("needs:", "need:"))
    project.write(
        "region-kill.yaml",
        experiment.replace("for: 20s", "for: fifteen").replace("{link: db}", "{link: bd}").replace("title:", "titel:"),
    )
    with pytest.raises(SpecError) as caught:
        load_experiment(Path("experiments/region-kill.yaml"), catalog=catalog, env={})
    assert [(Path(p.file).name, p.line, p.where) for p in caught.value.problems] == [
        ("region-kill.yaml", 4, "titel"),
        ("region-kill.yaml", 14, "timeline[0].for"),
        ("region-kill.yaml", 18, "timeline[1].on.link"),
        ("shop.yaml", 8, "regions.us.serves"),
        ("shop.yaml", 19, "instances.gw-eu.need"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping, got an empty document"),
        (b"- a\n", "expected a mapping, got a list or a single value"),
        (b"just text\n", "expected a mapping, got a list or a single value"),
        (b"a: \xff\n", "expected UTF-8 text, got byte 0xff"),
        (b"[" * 5000, "lists and mappings are nested too deeply"),
        (b"a: 1\n---\nb: 2\n", "expected one document in a file, got several"),
        (b"a: &x [*x]\n", "an alias may not stand inside its own anchor"),
        (b"a: 'x\n", "a quote or bracket is never closed"),
        (b"a: {b: 1\n", "a quote or bracket is never closed"),
        (b"a: b: c\n", "a second ': ' in one line"),
        (b"? [a]\n: 2\n", "expected a key that is text, got a list or mapping"),
        (b"a: @x\n", "an unquoted value cannot start with '@'"),
        (b"- a\nb: c\n", "a list and a mapping, or two indentations, are mixed"),
    ],
)
def test_what_is_no_document_at_all(project: Any, catalog: Any, content: bytes, message: str) -> None:
    path = project.folder / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_experiment(path, catalog=catalog, env={})
    assert caught.value.problems[0].message == message


def test_a_file_that_is_not_there(project: Any, catalog: Any) -> None:
    with pytest.raises(SpecError, match="cannot read it: no such file or directory"):
        load_experiment(project.folder / "none.yaml", catalog=catalog, env={})


def test_aliases_that_explode_are_refused(project: Any, catalog: Any) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{n}: &{n} [{','.join([f'*{chr(ord(n) - 1)}'] * 10)}]" for n in "bcdef"]
    path = project.write("bomb.yaml", "\n".join(lines))
    with pytest.raises(SpecError, match="expected at most 200000 values once aliases are expanded"):
        load_experiment(path, catalog=catalog, env={})


def test_lines_end_where_editors_end_them(project: Any, catalog: Any, good_texts: Any) -> None:
    odd = "title: 'The \x85 primary \u2028 region'"
    text = good_texts[1].replace("title: The primary region dies", odd).replace("for: 20s", "for: fifteen")
    project.write("region-kill.yaml", text)
    assert said_about(catalog).startswith(
        "experiments/region-kill.yaml:14:10: error: timeline[0].for: expected a duration"
    )


def test_a_check_of_journals_on_a_stack_that_exports_none(project: Any, good_texts: Any) -> None:
    """Without one it could never be anything but unknown."""
    known = real_catalog()
    stack = "\n".join(line for line in good_texts[0].splitlines() if not line.startswith("  journals:"))
    project.write("stacks/shop.yaml", stack + "\n")
    project.write("region-kill.yaml", good_texts[1].replace("checks: [durable,", "checks: [sealed, durable,"))
    said = said_about(known)
    assert "error: checks[0]: sealed: this stack exports no journal" in said, said
    assert "signals: {journals: [" in said
    project.write("stacks/shop.yaml", good_texts[0])
    assert "exports no journal" not in said_about_all(known)


@pytest.mark.parametrize(
    ("journals", "said"),
    [
        ("[{name: eu}]", "expected one of http (a URL) and exec (a command)"),
        ('[{name: eu, http: "http://a/", exec: [x]}]', "expected one of http (a URL) and exec (a command)"),
        ("[{name: eu, exec: [x]}, {name: eu, exec: [y]}]", "there are two journals 'eu'"),
        ("[{exec: [x]}]", "name"),
        ("[{name: eu, exec: []}]", "exec"),
        (
            "[{name: eu, exec: [x], keys: {eu: abc}}]",
            "expected an Ed25519 public key, 64 hexadecimal digits, got 'abc'",
        ),
    ],
)
def test_a_journal_that_cannot_be_asked_for(
    project: Any, catalog: Any, good_texts: Any, journals: str, said: str
) -> None:
    lines = [line for line in good_texts[0].splitlines() if not line.startswith("  journals:")]
    project.write("stacks/shop.yaml", "\n".join([*lines, f"  journals: {journals}"]) + "\n")
    told = said_about(catalog)
    assert "signals.journals" in told and said in told
