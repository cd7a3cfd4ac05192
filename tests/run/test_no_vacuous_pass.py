"""No vacuous pass, as whole runs: each thing that proves nothing ends INCONCLUSIVE, exit 3, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.run.small import Small, processes_of

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(200)]

KINDS = """\
import asyncio
from dataclasses import replace
from harness.faults import refuse


class Lazy(refuse.Refuse):
    async def apply(self, state, world):
        return None


class Brief(refuse.Refuse):
    async def apply(self, state, world):
        await super().apply(state, world)
        asyncio.get_running_loop().call_later(0.2, lambda: asyncio.ensure_future(world.links.set_enabled(state.link, True)))


LAZY = replace(refuse.KIND, name="lazy", code="sham:Lazy")
BRIEF = replace(refuse.KIND, name="brief", code="sham:Brief")
"""


def shams(small: Small) -> None:
    """An installed package with two faults: one that does nothing, one that ends by itself before it is reverted."""
    small.folder.mkdir(exist_ok=True)
    (small.folder / "sham.py").write_text(KINDS)
    info = small.folder / "sham-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sham\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[blackstart.faults]\nlazy = sham:LAZY\nbrief = sham:BRIEF\n")


def nothing_is_broken(small: Small) -> None:
    shams(small)
    small.experiment = small.experiment.replace("fault: refuse", "fault: lazy")


def broken_too_briefly(small: Small) -> None:
    shams(small)
    small.experiment = small.experiment.replace("fault: refuse", "fault: brief").replace(", ends: itself", "")
    small.experiment = small.experiment.replace("for: 500ms", "for: 1500ms")


def past_the_link(small: Small) -> None:
    small.experiment = small.experiment.replace("link: a", "link: b")


def never_arrives(small: Small) -> None:
    """A trace whose first arrival is due long after the run."""
    (small.folder / "trace.csv").write_text("900.0\n901.0\n")
    small.stack += 'probes: {calm: {exec: [echo, "1"], every: 500ms}}\n'
    small.experiment = small.experiment.replace("good >= 95%", "probe.calm.min = 1").replace(
        "rate: 100/s", "trace: trace.csv"
    )


def never_read_back(small: Small) -> None:
    small.profile = small.profile.replace('"/items"', '"/not-there"')


def as_it_should_be(small: Small) -> None:
    del small


CASES: dict[Callable[[Small], None], str] = {
    nothing_is_broken: "not-witnessed",
    broken_too_briefly: "gone-early",
    past_the_link: "no-exposure",
    never_arrives: "no-load",
    never_read_back: "data_loss",
    as_it_should_be: "",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[Callable[[Small], None], tuple[Small, int, str]]:
    """Every case's run: its folder, exit code and talk. Three at a time: what they prove rests on no pace."""
    found = {}
    waiting = list(CASES)
    while waiting:
        running = []
        for case in waiting[:3]:
            small = Small(tmp_path_factory.mktemp("small"))
            case(small)
            running.append((case, small, small.start()))
        waiting = waiting[3:]
        for case, small, process in running:
            try:
                _, talk = process.communicate(timeout=90)
            finally:
                process.kill()
            found[case] = (small, process.returncode, talk)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_proves_nothing_is_inconclusive_and_says_why(case: Callable[[Small], None], ran) -> None:
    small, code, talk = ran[case]
    result = small.result()
    reasons = {reason["code"] for reason in result["reasons"]}
    assert code == result["exit_code"], talk
    if case is as_it_should_be:  # the control: the same stack and load, and nothing that would speak against it
        assert result["verdict"] in ("PASS", "INCONCLUSIVE"), (result["reasons"], talk)
        assert reasons <= {"untrusted-load", "recovery_time", "steady_state.after"}, result["reasons"]
        assert result["validity"]["accounted"] and result["measures"]["loss"]["lost"] == 0
    else:
        if code == 4 and "this machine is busy" in result["sentence"] + talk:
            pytest.skip("this machine was too busy for a steady state")
        assert (code, result["verdict"]) == (3, "INCONCLUSIVE"), (result["reasons"], talk)
        assert CASES[case] in reasons, result["reasons"]
    assert all(fault["verified"] for fault in result["faults"])
    assert processes_of(small.folder) == []
    assert json.loads((small.runs[0] / "plan.json").read_text())
