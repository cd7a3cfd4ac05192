"""What a run states of an outage, beside what a second prober saw of it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.run.small import Small
from tests.run.watched import EXPERIMENT, STACK, origin_ns

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(120)]

PROBER = Path(__file__).with_name("second_prober.py")
COUNTER = Path(__file__).with_name("kernel_counter.py")


def looked(small: Small, witness: Path, *asked: str) -> list[tuple[int, int, int]]:
    """What the witness, a program beside the run and in the same network, printed of each look: began, ended, what it saw."""
    command = [*small.inside, sys.executable, "-I", witness, *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as beside:
        try:
            code, _, talk = small.run()
        finally:
            beside.terminate()
            said, _ = beside.communicate(timeout=10)
    assert code in (0, 3), talk
    return [(int(began), int(ended), int(seen)) for began, ended, seen in map(str.split, said.splitlines()[:-1])]


def outage(rows: list[tuple[int, int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first outage that a prober saw once it had been answered: within what instants it began, and ended."""
    up = next(place for place, row in enumerate(rows) if row[2])
    first = next(place for place in range(up, len(rows)) if not rows[place][2])
    back = next(place for place in range(first, len(rows)) if rows[place][2])
    return (rows[first - 1][0], rows[first][1]), (rows[back - 1][0], rows[back][1])


def test_a_second_prober_saw_the_outage_that_is_stated(tmp_path: Path) -> None:
    port = free_port()
    small = Small(tmp_path / "shop", stack=STACK.replace("PORT", str(port)), experiment=EXPERIMENT)
    began, ended = outage(looked(small, PROBER, str(port), "/items"))
    zero = origin_ns(small.runs[0])
    (fault,), recovery = small.result()["faults"], small.result()["measures"]["recovery"]
    # Neither knows an instant exactly: what one says must leave room for what the other saw.
    assert fault["effect"]["lo_ns"] <= began[1] - zero and began[0] - zero <= fault["effect"]["hi_ns"]
    assert recovery["state"] == "recovered"
    shortest, longest = ended[0] - began[1], ended[1] - began[0]
    assert recovery["interval"]["lo_ns"] <= longest and shortest <= recovery["interval"]["hi_ns"]
    assert longest - shortest < 1_000_000_000, "the prober itself was held up: it proves nothing"


@contextmanager
def own_network() -> Iterator[tuple[str, ...]]:
    """A command that runs another in a network namespace made for it, in which there is a loopback and nothing else."""
    shell = "ip link set lo up && echo up && exec sleep 120"
    with subprocess.Popen(["unshare", "-n", "sh", "-c", shell], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
            yield ("nsenter", "-t", str(holder.pid), "-n")
        finally:
            holder.kill()


def silence(rows: list[tuple[int, int, int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The longest time without an answer: within what instants the last before it was sent, and the first after it."""
    grew = [place for place in range(1, len(rows)) if rows[place][2] > rows[place - 1][2]]
    last, first = max(itertools.pairwise(grew), key=lambda two: rows[two[1]][0] - rows[two[0]][0])
    return (rows[last - 1][0], rows[last][1]), (rows[first - 1][0], rows[first][1])


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("nft", "ip", "unshare", "nsenter"))),
    reason="needs the kernel's own count: root, nft, ip, unshare, nsenter",
)
def test_the_kernel_counted_no_answer_for_as_long_as_is_stated(tmp_path: Path) -> None:
    port = free_port()
    with own_network() as inside:
        small = Small(tmp_path / "shop", stack=STACK.replace("PORT", str(port)), experiment=EXPERIMENT, inside=inside)
        began, ended = silence(looked(small, COUNTER, str(port)))
    zero = origin_ns(small.runs[0])
    (fault,), recovery = small.result()["faults"], small.result()["measures"]["recovery"]
    arrivals_ns = 200_000_000  # of 100 arrivals a second, so long a gap comes once in some hundred million
    assert began[0] - zero <= fault["effect"]["hi_ns"], "it answered when it was said to be dead"
    assert fault["effect"]["lo_ns"] <= began[1] - zero + arrivals_ns, "it answered nobody before it was said to be dead"
    assert recovery["state"] == "recovered"
    shortest, longest = ended[0] - began[1], ended[1] - began[0]
    assert recovery["interval"]["lo_ns"] <= longest and shortest - arrivals_ns <= recovery["interval"]["hi_ns"]
    assert longest - shortest < 1_000_000_000, "the counter itself was held up: it proves nothing"
