"""What `recover` says was put back, when, and by whom."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.aftercare import _told
from harness.run.aftermath import Aftermath


def after(**facts: Any) -> Aftermath:
    return Aftermath(**{"run_id": "r", "reverted": (), "unresolved": (), "ended": (), **facts})


BY_REAPER = (("cut@a", "reaper"), ("slow@b", "reaper"))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (after(), "nothing stood broken; 0 process(es) ended"),
        (
            after(earlier=BY_REAPER),
            "put back by the reaper before: cut@a, slow@b; nothing was left to revert; 0 process(es) ended",
        ),
        (
            after(earlier=(("cut@a", "conductor"),), reverted=("slow@b",), ended=("fault proxy (pid 7)",)),
            "put back by the conductor before: cut@a; 1 fault(s) reverted now: slow@b; 1 process(es) ended",
        ),
        (after(unresolved=(("cut@a", "no server", ()),)), "0 process(es) ended"),
    ],
)
def test_it_says_what_was_put_back_and_by_whom(outcome: Aftermath, said: str) -> None:
    assert _told(outcome) == said
