"""The small parts: recorder, SSE, pacing, lateness, capacity, profiles' options."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessBug, SpecError
from harness.history.table import OpTable
from harness.load import User
from harness.load.capacity import draw_groups, read_trace, share_of
from harness.load.op import dropped_row
from harness.load.pacing import ThreadAlarm, TimerfdAlarm, open_alarm
from harness.load.profile import load_profile
from harness.load.pulse import STALL_NS, GcPauses, Lateness, Stalls, percentile
from harness.load.record import Recorder, write_part
from harness.load.sse import SseSplitter
from harness.load.wire import Unpacker, pack

# ---- recorder ----------------------------------------------------------------------------------------------------------


def test_ids_are_unique_over_workers(tmp_path: Path) -> None:
    first, second = Recorder(0, tmp_path), Recorder(1, tmp_path)
    ids = {recorder.next_id() for recorder in (first, second) for _ in range(100)}
    assert len(ids) == 200
    assert max(ids) == (1 << 40) + 100


async def test_started_is_the_sum_of_outcomes(bench: Any) -> None:
    class Open(User):
        async def run(self) -> None:
            async with self.op("add"):
                await asyncio.Event().wait()

    recorder = bench.recorder
    task = asyncio.ensure_future(bench.user(Open).run())
    await asyncio.sleep(0)
    assert recorder.started_count == 1 and recorder.ended_count == 0
    recorder.check()
    assert recorder.cut(123) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    recorder.check()
    (op,) = bench.ops()
    assert (op.outcome, op.cut, op.done_ns, op.error) == ("info", True, 123, "cut")  # once, though it ended twice
    recorder.started_count += 1
    with pytest.raises(HarnessBug, match="2 ops started, 1 ended and 0 are open"):
        recorder.check()


def test_parts_appear_whole(tmp_path: Path) -> None:
    recorder = Recorder(3, tmp_path)
    recorder.dropped(dropped_row(recorder.next_id(), "add", "g", 5, ("load", None)), 5)
    part = recorder.take_part()
    assert part is not None and part[0].name == "w3-00001.parquet"
    write_part(*part)
    assert [path.name for path in tmp_path.iterdir()] == ["w3-00001.parquet"]
    (op,) = OpTable.read(tmp_path).ops()
    assert (op.outcome, op.f, op.group, op.intended_ns, op.sent_ns, op.done_ns) == (
        "dropped",
        "add",
        "g",
        5,
        None,
        None,
    )
    assert recorder.take_part() is None
    assert recorder.take_live() == ([], [5])


# ---- SSE and wire ------------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text(alphabet="abc: {}", min_size=1, max_size=12), max_size=8),
    end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=9),
)
def test_events_do_not_depend_on_how_the_stream_is_cut(texts: list[str], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(b": note" + end + b"id: 4" + end + b"data: " + text.encode() + end + end for text in texts)
    splitter, got, at = SseSplitter(), [], 0
    for size in cuts * (len(stream) + 1):
        got += splitter.feed(stream[at : at + size])
        at += size
        if at >= len(stream):
            break
    assert got == [text.encode() for text in texts]
    assert not splitter.pending


def test_an_event_without_its_end_is_pending() -> None:
    splitter = SseSplitter()
    assert list(splitter.feed(b"data: a\ndata: b\n\ndata: c\n")) == [b"a\nb"]
    assert splitter.pending


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers()), max_size=5), st.integers(min_value=1, max_value=7))
def test_messages_survive_any_cutting(messages: list[dict[str, Any]], size: int) -> None:
    data = b"".join(map(pack, messages))
    unpacker = Unpacker()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [message for piece in pieces for message in unpacker.feed(piece)] == messages


# ---- pacing, lateness --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TimerfdAlarm, ThreadAlarm, open_alarm])
async def test_alarms_ring_at_or_after_their_instant(kind: Any) -> None:
    loop, rung, at_ns = asyncio.get_running_loop(), asyncio.Event(), 0
    alarm = kind(loop, rung.set)
    try:
        for ahead_ns in (5_000_000, 20_000_000, -1_000_000, 700_000):
            at_ns = time.monotonic_ns() + ahead_ns
            alarm.set(at_ns)
            async with asyncio.timeout(5):
                await rung.wait()
            assert time.monotonic_ns() >= at_ns
            rung.clear()
        alarm.set(time.monotonic_ns() + 60 * 10**9)
        alarm.set(time.monotonic_ns() + 10**6)  # the later word counts
        async with asyncio.timeout(5):
            await rung.wait()
    finally:
        alarm.close()


@given(st.lists(st.integers(min_value=-5, max_value=10**10), min_size=1, max_size=200))
def test_lateness_percentiles_are_right_to_three_percent(values: list[int]) -> None:
    lateness = Lateness()
    for value in values:
        lateness.add(value)
    floored = [max(0, value) for value in values]
    assert lateness.max_ns == max(floored)
    for share in (0.5, 0.99, 1.0):
        exact, got = percentile(floored, share), lateness.percentile(share)
        assert exact is not None and got is not None
        assert exact * 0.96 <= got <= exact
    assert lateness.take_recent_p99() == percentile(floored, 0.99)
    assert lateness.take_recent_p99() is None


def test_the_longest_stalls_are_kept_on_the_runs_clock() -> None:
    stalls = Stalls(origin_ns=1000)
    for number in range(300):
        stalls.add(1000 + number, STALL_NS - 1 + number, "gc")
    stalls.add(5000, 10**9, "cpu")
    noted = stalls.noted()
    assert len(noted) == 100  # those below STALL_NS are passed over, then the shortest are
    assert noted[0] == (201, STALL_NS - 1 + 201, "gc")
    assert noted[-1] == (4000, 10**9, "cpu")


def test_a_collection_is_noted_where_it_happened() -> None:
    pauses, before = GcPauses(), time.monotonic_ns()
    pauses.stalls = Stalls(origin_ns=before)
    pauses._note("start", {})
    pauses._began_ns -= STALL_NS  # as if it had taken so long
    pauses._note("stop", {})
    ((begin_ns, length_ns, what),) = pauses.stalls.noted()
    assert (what, length_ns) == ("gc", pauses.max_ns)
    assert begin_ns + length_ns <= time.monotonic_ns() - before


def test_no_lateness_without_arrivals() -> None:
    assert Lateness().percentile(0.99) is None


# ---- capacity ----------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=500), st.integers(min_value=1, max_value=9))
def test_shares_add_up(total: int, parts: int) -> None:
    shares = [share_of(total, part, parts) for part in range(parts)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_groups_are_drawn_from_the_seed_by_their_share() -> None:
    drawn = list(islice(draw_groups({"sticky": 0.25, "follow": 0.75}, 7), 4000))
    assert drawn == list(islice(draw_groups({"sticky": 0.25, "follow": 0.75}, 7), 4000))
    assert drawn != list(islice(draw_groups({"sticky": 0.25, "follow": 0.75}, 8), 4000))
    assert drawn.count("sticky") == pytest.approx(1000, abs=150)
    assert list(islice(draw_groups({}, 7), 3)) == [None, None, None]


def test_a_trace_is_a_column_of_seconds(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text('seconds,path\n0.5,/a\n\n"1.25",/b\n')
    assert read_trace(str(path)) == (0.5, 1.25)


@pytest.mark.parametrize(
    ("text", "said"),
    [("1\nsoon\n", r":2: expected seconds .* got 'soon'"), ("-1\n", r":1: expected seconds"), ("at\n", "no arrivals")],
)
def test_a_wrong_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        read_trace(str(path))
    with pytest.raises(SpecError, match="cannot read"):
        read_trace(str(tmp_path / "none.csv"))


# ---- profiles ----------------------------------------------------------------------------------------------------------

SHOP = """
from __future__ import annotations
from harness.load import HttpUser
from harness.model.fields import Duration

class Shop(HttpUser):
    model = "set"
    items: int = 3
    share: float = 0.5
    regions: tuple[str, ...] = ()
    pause: Duration = 5
    plain = 4
    async def run(self) -> None:
        pass
"""


def problem(profile: str, options: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        load_profile(profile, options)
    return str(caught.value)


def test_options_become_class_attributes_of_a_copy(profile: Callable[[str], str]) -> None:
    path = profile(SHOP)
    options = {"items": 5, "share": 1, "regions": ["eu", "us"], "pause": "2s", "no_effect": [503]}
    shop: Any = load_profile(path, options)
    assert (shop.items, shop.share, shop.regions, shop.pause, shop.no_effect) == (
        5,
        1.0,
        ("eu", "us"),
        2 * 10**9,
        (503,),
    )
    assert shop.model == "set" and shop.__name__ == "Shop"
    assert load_profile(path, {}).__dict__.get("items") is None


def test_a_file_is_loaded_as_it_is_written_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written twice within a second, equally long: bytecode of the first would pass for that of the second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, run = tmp_path / "profile.py", "    async def run(self):\n        pass\n"
    for word in ("one", "two"):
        file.write_text(f"from harness.load import User\n\n\nclass Shop(User):\n    word = {word!r}\n\n{run}")
        os.utime(file, (1_000_000, 1_000_000))
        shop: Any = load_profile(f"{file}:Shop", {})
        assert shop.word == word
    assert [path.name for path in tmp_path.iterdir()] == ["profile.py"], "and leaves nothing beside it"


def test_all_wrong_options_are_told_at_once(profile: Callable[[str], str]) -> None:
    said = problem(profile(SHOP), {"itmes": 5, "share": "half", "items": "5", "plain": 1, "session": "x"})
    assert "load.with.itmes: unknown option 'itmes' of profile Shop" in said
    assert "did you mean 'items'?" in said
    assert "load.with.share: " in said and "got 'half'" in said
    assert "load.with.items: " in said and "declared as int" in said
    assert "load.with.plain: unknown option" in said
    assert "load.with.session: unknown option" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chta", "unknown profile 'chta'"),
        ("chta", "did you mean 'chat'"),
        ("nowhere/shop.py:Shop", "no such file: 'nowhere/shop.py'"),
        ("shop.py", "unknown profile 'shop.py'"),
    ],
)
def test_unknown_profiles(name: str, said: str) -> None:
    assert said in problem(name, {})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("class Shpo:\n    pass\n", "no class 'Shop'"),
        (SHOP.replace("class Shop", "class Store"), "known: Store"),
        ("Shop = 3\n", "not a subclass of harness.load.User"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Shop(:\n", "SyntaxError"),
        (SHOP.replace('"set"', '"sett"'), "unknown model 'sett'"),
        (SHOP.replace("async def run", "async def go"), "Shop has no run()"),
        (SHOP.replace("items: int", "items: Nothing"), "an annotation cannot be read"),
    ],
)
def test_files_that_are_no_profiles(profile: Callable[[str], str], body: str, said: str) -> None:
    assert said in problem(profile(body), {})


def test_built_in_profiles_load_with_their_defaults() -> None:
    assert load_profile("chat", {"sessions": 50}).users_wanted() == 50
    assert load_profile("chat", {}).model == "log"
    assert load_profile("http", {"path": "/x", "method": "POST"}).model is None
    assert "load.with.method: " in problem("http", {"method": "FETCH"})


@pytest.mark.slow
def test_importing_load_brings_no_http_library() -> None:
    code = "import harness.load, sys; print(sorted({'aiohttp', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# ---- users -------------------------------------------------------------------------------------------------------------


def test_unique_values_and_chance_are_functions_of_seed_and_arrival(bench: Any) -> None:
    one, other = bench.user(User), bench.user(User)
    for user in (one, other):
        user._arrive("12", 0)
    assert [one.unique(), one.unique()] == [other.unique(), other.unique()] == ["seed-12-1", "seed-12-2"]
    assert one.random.random() == other.random.random() == random.Random("7:12").random()
    one._arrive("13", 0)
    assert one.unique() == "seed-13-1"
    assert one.random.random() == random.Random("7:13").random()
