"""Hostile text is cleaned before it is escaped, and escaped for each output."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.text import (
    clean,
    clean_block,
    clean_result,
    html_free_markdown,
    markdown_code,
    plural,
    workflow_data,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a\x00b\x1b[31mred\x1b[0m\x07", "abred"),
        ("one\r\ntwo\u2028three", "one two three"),
        ("\u202eevil\u202c \u2066x\u2069\ufeff", "evil x"),
        ("\x1b]0;title\x07text", "text"),
        ("naïve — 日本 👩‍🚀", "naïve — 日本 👩‍🚀"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_long_text_is_cut_and_counted() -> None:
    assert clean("x" * 2_500) == "x" * 2_000 + " … (500 more characters)"
    assert clean("x" * 1_000_000, 10) == "x" * 10 + " … (999,990 more characters)"


def test_blocks_keep_lines_and_indents() -> None:
    assert clean_block("a:\n  b: 1\n\x1b[1mc\x00") == "a:\n  b: 1\nc"
    assert clean_block("\n".join(str(n) for n in range(9)), lines=2) == "… (the rest is in the run directory)\n7\n8"
    assert clean_block("1\n2\n3", lines=2, head=True) == "1\n2\n… (the rest is in the run directory)"


@given(st.text())
def test_clean_is_idempotent_and_printable(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode("utf-8")
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in once)


def test_cleaning_a_result_keeps_its_numbers(samples: ModuleType) -> None:
    result = samples.passing()
    assert clean_result(result) == result
    hostile = clean_result(samples.hostile())
    assert hostile.measures.counts.bad == 231
    assert len(hostile.series.errors) == len(samples.hostile().series.errors)
    assert "\x00" not in hostile.model_dump_json()


def test_markdown() -> None:
    assert html_free_markdown("<b> [x](y) `a` a|b @team #1") == r"\<b\> \[x\](y) \`a\` a\|b @&#8203;team #&#8203;1"
    assert html_free_markdown("http://evil.example/") == "http:&#8203;//evil.example/"
    assert markdown_code("a | b") == "`a | b`"
    assert markdown_code("echo `date`") == "`` echo `date` ``"


def test_workflow_commands() -> None:
    assert workflow_data("50%\r\n::x") == "50%25%0D%0A::x"
    assert workflow_data("a: b, c", in_property=True) == "a%3A b%2C c"


def test_plural() -> None:
    assert [plural(n, "run") for n in (0, 1, 4812)] == ["0 runs", "1 run", "4,812 runs"]
