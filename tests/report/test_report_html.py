"""The page as a document: structure, offline, honest words for every verdict, harmless with hostile text."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from harness.model.measured import Interval, LostWrite, Recovery
from harness.model.verdict import Verdict
from harness.report.charts import ribbon
from harness.report.extras import ReportExtras
from harness.report.frame import WIDE, Words
from harness.report.html import render_html
from harness.report.meaning import touched
from harness.report.scene import scene_of
from harness.report.view import build_page

NAMES = (
    "pass",
    "fail",
    "inconclusive",
    "refused",
    "aborted",
    "dirty",
    "error",
    "censored",
    "calm",
    "empty",
    "long",
    "crowded",
    "hostile",
)


@pytest.fixture(scope="module")
def pages(samples: ModuleType) -> dict[str, str]:
    assert set(samples.SAMPLES) == set(NAMES)
    return {
        name: render_html(build(), samples.extras() if name in ("pass", "long") else None)
        for name, build in samples.SAMPLES.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_structure(name: str, pages: dict[str, str], read: type[Any]) -> None:
    page = read(pages[name])
    assert page.errors == []
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    for attribute in ("aria-labelledby", "aria-describedby"):
        for _, attributes in page.elements:
            assert all(target in ids for target in attributes.get(attribute, "").split())
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_says_what_it_shows(name: str, pages: dict[str, str], read: type[Any]) -> None:
    page = read(pages[name])
    pictures = [place for place, (tag, _) in enumerate(page.elements) if tag == "svg"]
    for place in pictures:
        _, attributes = page.elements[place]
        assert page.elements[place + 1][0] == "title"
        if attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img"
            assert page.elements[place + 2][0] == "desc"
        assert "style" not in attributes


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched(name: str, pages: dict[str, str], read: type[Any]) -> None:
    page = read(pages[name])
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "image", "use", "form", "base", "audio", "video"}
    for _, attributes in page.elements:
        assert not {"src", "srcset", "action", "style", "xlink:href"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
    style = re.search("<style>(.*?)</style>", pages[name], re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert pages[name].count("<script>") == 1
    script = re.search("<script>(.*?)</script>", pages[name], re.S)
    assert script is not None
    assert len(script[1].encode()) < 6_000
    policy = next(attributes["content"] for attributes in page.all("meta") if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.parametrize("name", NAMES)
def test_size(name: str, pages: dict[str, str]) -> None:
    limit = 1_000_000 if name == "hostile" else 300_000
    assert len(pages[name].encode()) < limit


@pytest.mark.parametrize("name", NAMES)
def test_the_same_input_gives_the_same_bytes(name: str, pages: dict[str, str], samples: ModuleType) -> None:
    extras = samples.extras() if name in ("pass", "long") else None
    assert render_html(samples.SAMPLES[name](), extras) == pages[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hostile"])
def test_without_styles_every_value_is_in_the_text(
    name: str, pages: dict[str, str], samples: ModuleType, read: type[Any]
) -> None:
    result = samples.SAMPLES[name]()
    text = read(pages[name]).text
    assert result.verdict.value in text
    assert result.sentence in text
    for objective in result.objectives:
        for value in (objective.text, objective.limit, objective.observed, objective.status.value, objective.why):
            assert value in text
    for reason in result.reasons[:3]:
        assert reason.text in text
    for command in result.safety.commands:
        assert command in text
    for check in result.checks:
        assert check.sentence in text
        assert all(row.text in text for row in check.evidence)
    assert result.run.plan_hash in text


def front(page: str, read: type[Any]) -> str:
    start, end = page.index('<section id="page-one"'), page.index('<section id="evidence"')
    return str(read(page[start:end]).text)


def test_page_one_of_a_pass(pages: dict[str, str], read: type[Any]) -> None:
    text = front(pages["pass"], read)
    assert text.startswith("✓ PASS The primary region dies at peak load: service was back in 4.4 s (limit 5 s)")
    assert "4.4 s (4.21 to 4.49 s)" in text
    assert "Back by the stack itself, before the fault ended" in text
    assert "231 of 4,809 (4.8 %)" in text
    assert "0.16 % of 30 d" in text
    assert "0 lost of 4,581" in text
    assert "True loss below 0.065 % (95 %)" in text
    assert "detect 1.3 s, fail over 2.3 s, converge 0.9 s" in text
    assert "What it does not show" in text
    assert "5 of the last 8 comparable runs passed, this one included." in text
    assert "F1 ◆ medium Recovery uses 88 % of its limit" in text
    assert "3 of 3 faults proven reverted · nothing left behind" in text
    assert "Why, and what to do" not in text


def test_page_one_of_a_mutant_that_loses_turns(pages: dict[str, str], read: type[Any]) -> None:
    text = front(pages["fail"], read)
    assert text.startswith("Not the healthy stack: mutant ack-before-replicate is switched on")
    assert "✕ FAIL" in text
    assert "2.3 s (2.28 to 2.34 s)" in text
    assert "7 lost of 4,488" in text
    assert "1 of 4 checks found damage: durable" in text
    assert text.index("Acknowledged writes lost = 0 7 of 4,488") < text.index("Recovery time ≤ 5 s 2.3 s")
    whole = read(pages["fail"]).text
    assert "op 1200: append to session s-000" in whole


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "inconclusive",
            ("? INCONCLUSIVE", "This is not a pass", "Check that the fault can reach its target", "not-witnessed"),
        ),
        (
            "refused",
            (
                "– REFUSED",
                "Nothing was broken",
                "Free the port, or name another one",
                "no fault was applied, nothing to revert",
            ),
        ),
        (
            "aborted",
            (
                "■ ABORTED",
                "1 fault applied and proven put back by the run itself",
                "> 15.1 s not back yet",
                "See how far the abort rule was crossed",
            ),
        ),
        (
            "dirty",
            ("! DIRTY", "Act now", "blackstart recover 2026", "curl -X DELETE", "not proven that nothing is left"),
        ),
        (
            "error",
            (
                "! ERROR",
                "The verdict is void",
                "What was touched Nothing was broken",
                "no space left on device",
                "not proven that nothing is left",
            ),
        ),
        ("censored", ("✕ FAIL", "> 15.1 s not back yet", "Service had not come back")),
        ("calm", ("✓ PASS", "0 s no breach", "1 of 3,600 (0.028 %)")),
        (
            "empty",
            ("– REFUSED", "no fault was applied, and no load was sent", "None of 0 objectives was put to the test"),
        ),
    ],
)
def test_other_verdicts_say_why_and_what_to_do(
    name: str, said: tuple[str, ...], pages: dict[str, str], read: type[Any]
) -> None:
    text = front(pages[name], read)
    for words in said:
        assert words in text, words


def test_a_run_that_judges_nothing_shows_no_unknowns_on_page_one(pages: dict[str, str], read: type[Any]) -> None:
    """Four headline figures and a table of "unknown" hid the one thing that mattered: why."""
    for name in ("refused", "error"):
        text = front(pages[name], read)
        assert (
            "What happened The run" in text and "What was touched Nothing was broken" in text and "What to do" in text
        )
        assert "unknown" not in text and "What it does not show" not in text, name
        assert "None of 5 objectives" in text
    assert "Findings None." in front(pages["refused"], read), "the reason is not told a second time"


def test_what_was_touched_is_said_of_every_verdict(samples: ModuleType) -> None:
    said = {name: touched(build()) for name, build in samples.SAMPLES.items()}
    assert said["refused"] == "Nothing was broken: no fault was applied, and no load was sent."
    assert said["pass"].startswith("1 fault applied and proven put back by the run itself: eu-down (kill)")
    assert said["inconclusive"].startswith("No fault is proven to have taken effect (what was begun is under Safety)")
    assert "not proven put back" in said["dirty"] and "left behind" in said["dirty"]
    base = samples.passing()
    reaped = base.model_copy(update={"safety": base.safety.model_copy(update={"reaper": "acted: put back 3"})})
    assert "proven put back by the reaper, after the run's own process was gone" in touched(reaped)


def test_page_one_names_the_first_lost_writes(samples: ModuleType, read: type[Any]) -> None:
    base = samples.failing()
    writes = tuple(LostWrite(op=n, key="s", value=f"turn-{n}", acked_ns=n) for n in range(5))
    loss = base.measures.loss.model_copy(update={"writes": writes})
    lossy = base.model_copy(update={"measures": base.measures.model_copy(update={"loss": loss})})
    said = "Lost: turn-0, turn-1, turn-2 and 2 more. All are under “Data”, with when each was acknowledged."
    assert said in front(render_html(lossy), read)
    assert "Lost: " not in front(render_html(samples.passing()), read)


def test_masked_and_unclear_recoveries_are_named(samples: ModuleType, read: type[Any]) -> None:
    base = samples.passing()
    masked = base.measures.model_copy(update={"recovery": Recovery(state="none", masked=True)})
    assert "0 s no breach, but masked" in front(render_html(base.model_copy(update={"measures": masked})), read)
    for by, words in (("revert", "only when the fault was taken away"), ("unclear", "by whom cannot be told")):
        recovery = base.measures.recovery.model_copy(update={"recovered_by": by})
        changed = base.measures.model_copy(update={"recovery": recovery})
        assert f"Back {words}" in front(render_html(base.model_copy(update={"measures": changed})), read)


def test_long_outages_and_absent_bounds(samples: ModuleType, read: type[Any]) -> None:
    base = samples.passing()
    hour = base.measures.recovery.model_copy(
        update={"interval": Interval(lo_ns=3_600_000_000_000, hi_ns=3_660_000_000_000)}
    )
    text = front(
        render_html(base.model_copy(update={"measures": base.measures.model_copy(update={"recovery": hour})})), read
    )
    assert "60 m 30 s (60 m to 61 m)" in text


def test_charts_have_their_numbers_behind_them(pages: dict[str, str], read: type[Any]) -> None:
    page = read(pages["pass"])
    figures = {attributes["id"] for attributes in page.all("figure")}
    assert figures == {
        "fig-lanes",
        "fig-throughput",
        "fig-errors",
        "fig-latency",
        "fig-ttft",
        "fig-regions",
        "fig-prober",
        "fig-waterfall",
    }
    assert "Good operations by region, summed per row" in page.text
    assert "blackstart run experiments/region-kill.yaml --set seed=7" in page.text
    assert "promoted epoch=4" in page.text


def test_a_closed_loop_shows_when_nothing_was_asked(samples: ModuleType, read: type[Any]) -> None:
    base = samples.passing()
    begun = (6,) * 200 + (0,) * 30 + (6,) * 395
    page = read(
        render_html(base.model_copy(update={"series": base.series.model_copy(update={"begun_per_100ms": begun})}))
    )
    assert page.errors == []
    assert "fig-begun" in {attributes["id"] for attributes in page.all("figure")}
    assert "In 30 of 625 spans of 100 ms nothing was asked, for 3 s on end from" in page.text


def test_colours_survive_without_css(pages: dict[str, str], read: type[Any]) -> None:
    for tag, attributes in read(pages["pass"]).elements:
        if tag == "path":
            assert "fill" in attributes
        if tag in ("rect", "text"):
            assert attributes.get("fill", "").startswith("#")
        if tag == "line":
            assert attributes.get("stroke", "").startswith("#")


def test_hostile_text_stays_text(pages: dict[str, str], read: type[Any]) -> None:
    page = read(pages["hostile"])
    assert [attributes for attributes in page.all("script") if attributes] == []
    assert "alert(1)" in page.text  # shown, not run
    assert "{{ 7*7 }}" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", pages["hostile"])
    assert "more characters" in page.text
    pages["hostile"].encode("utf-8")


def test_extras_are_cleaned_too(samples: ModuleType, read: type[Any]) -> None:
    from harness.report.extras import ComparableRun, InputFile, LogTail

    bad = " ".join(samples.HOSTILE)
    extras = ReportExtras(
        plan_yaml=bad,
        inputs=(InputFile(name=bad, text=bad),),
        manifest_hash=bad,
        comparable=(ComparableRun(run_id=bad, started_utc=bad, verdict=Verdict.ERROR),),
        logs=(LogTail(instance=bad, lines=(bad,) * 100),),
    )
    text = render_html(samples.passing(), extras)
    assert len(text.encode()) < 1_000_000
    assert read(text).errors == []
    assert "\x00" not in text
    assert "<img" not in text


def test_a_pass_says_until_when_it_counts_and_nothing_else_does(samples: ModuleType, read: type[Any]) -> None:
    text = front(render_html(samples.passing()), read)
    assert "expires on 23 Dec 2026" in text and "fresh for 30 d, unless a gate says otherwise" in text
    for name in ("fail", "inconclusive", "refused", "aborted", "dirty", "error"):
        assert "expires" not in front(render_html(samples.SAMPLES[name]()), read), name


def test_the_share_of_good_answers_falls_at_its_bucket_and_not_before(samples: ModuleType) -> None:
    result = samples.passing()
    bucket, zero = 200_000_000, result.measures.recovery.effect.lo_ns
    facts = {"bucket_ns": bucket, "t_ns": tuple(zero + n * bucket for n in range(-4, 4)), "offered": (8,) * 8}
    good = (8, 8, 8, 8, 0, 0, 8, 8)
    series = type(result.series)(**facts, good=good)
    scene = replace(scene_of(result), start_ns=zero - 4 * bucket, end_ns=zero + 4 * bucket)
    picture = str(ribbon(scene, series, Words(name="r", title="t", finding="f"), WIDE))
    line = re.search(r'd="(M[^"]+)"[^>]*class="[^"]*k-good|class="[^"]*k-good[^"]*"[^>]*d="(M[^"]+)"', picture)
    assert line is not None
    points = [tuple(map(float, one.split())) for one in re.split("[ML]", line[1] or line[2]) if one]
    step = (WIDE.width - 62) / 8
    assert [round((x - 52) / step, 1) for x, _ in points] == [0, 4, 4, 6, 6, 8]
    ys = [y for _, y in points]
    assert ys[0] == ys[1] == ys[4] == ys[5] and ys[2] == ys[3] > ys[1]


def test_a_restart_stands_for_no_time(samples: ModuleType) -> None:
    result = samples.passing()
    fault = result.faults[0]
    over = {"end": None, "reverted": True, "verified": True}
    moment = result.model_copy(update={"faults": (fault.model_copy(update=over),)})
    assert scene_of(moment).faults == ()
    open_ = result.model_copy(update={"faults": (fault.model_copy(update=over | {"verified": False}),)})
    assert [band.words.endswith("and on") for band in scene_of(open_).faults] == [True], "not proven over: it stands"


def test_many_objectives_below_many_reasons_are_printed_smallest(samples: ModuleType) -> None:
    result = samples.failing()
    fronts = [build_page(one).front for one in (samples.passing(), result)]
    assert [one.packed for one in fronts] == [False, False]
    full = replace(fronts[1], objectives=(fronts[1].objectives * 10)[:10])
    assert full.packed and full.crowded and not replace(full, reasons=()).packed
