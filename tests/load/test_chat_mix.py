"""Profile `chat-mix`: who asks for what, by the seed; and what a guided answer must be."""

from __future__ import annotations

import random
from collections import Counter
from statistics import mean, median
from typing import Any

from harness.load.profile import load_profile


def drawn(bench: Any, count: int = 3000, **options: Any) -> list[tuple[Any, ...]]:
    user = bench.user(load_profile("chat-mix", options), "http://127.0.0.1:9")
    found = []
    for number in range(count):
        user._random = random.Random(number)
        user.mixed()
        found.append(
            (user._client, user._class, user._json, user.stream, user.turns, user._length(), len(user._prompt("v")))
        )
    return found


def test_the_mix_is_of_unlike_clients_and_heavy_tails(bench: Any) -> None:
    rows = drawn(bench)
    clients = Counter(row[0] for row in rows)
    assert len(clients) == 20 and 0.55 < sum(clients[f"c{n}"] for n in range(3)) / len(rows) < 0.65
    classes = Counter(row[1] for row in rows)
    assert 0.57 < classes["interactive"] / len(rows) < 0.63 and 0.12 < classes["batch"] / len(rows) < 0.18
    assert 0.03 < mean(row[2] for row in rows) < 0.07 and 0.77 < mean(row[3] for row in rows) < 0.83
    assert {row[4] for row in rows} == {1, 2, 3, 4, 5, 6} and 0.51 < mean(row[4] == 1 for row in rows) < 0.59
    assert (
        56 < mean(row[5] for row in rows) < 68
        and max(row[5] for row in rows) == 256
        and min(row[5] for row in rows) >= 1
    )
    chars = sorted(row[6] for row in rows)
    assert 400 < median(chars) < 560 and 4000 < chars[-1] <= 8010


def test_the_same_seed_draws_the_same_mix(bench: Any) -> None:
    assert drawn(bench, 50) == drawn(bench, 50)


def test_a_group_decides_the_tenants_place_else_a_share_of_the_sessions(bench: Any) -> None:
    user = bench.user(load_profile("chat-mix", {}), "http://127.0.0.1:9")
    user.mixed()
    places = Counter()
    for number in range(1000):
        user.session = f"s{number}"
        places[user.tenant().partition("-")[0]] += 1
    assert 40 < places["eu"] < 200 and places["eu"] + places["us"] == 1000
    user.group = "eu"
    assert user.tenant().startswith("eu-c")
