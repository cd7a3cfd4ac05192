"""What is measured against what a server says of itself: real load, real sockets, real outages of exactly X s."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.live import MS, Client, Outage, S, Seen, calm_clients, outages, side_by_side, without_slos

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = 3
PACED_NS = 15 * MS
"""Three mean gaps at 200/s, the resolution that is claimed: beyond that a run says itself that its load was late."""

LUCK_NS = 150 * MS
"""Of half an outage one end in twenty is a stretch of luck: so many good ops in a row never last longer."""


async def paced(wanted, folder: Path, calm_s: float = 0) -> list[Seen]:
    """What was seen while the generator kept its pace; a machine too busy for that proves nothing and is asked again."""
    missing = [(client, list(told)) for client, told in wanted]
    found: list[Seen] = []
    for turn in range(ROUNDS):
        seen = await side_by_side(missing, turn, folder / f"{turn}", calm_s)
        found += [one for one in seen if one.late_p99_ns <= PACED_NS]
        late = [one for one in seen if one.late_p99_ns > PACED_NS]
        missing = [
            (client, [one.outage for one in late if one.client is client and one.outage]) for client, _ in missing
        ]
        missing = [(client, told) for client, told in missing if told or any(one.client is client for one in late)]
        if not missing:
            return found
    pytest.skip(f"the machine is too busy to pace the load: {'; '.join(str(one) for one in late)}")


async def test_every_stated_interval_holds_what_the_server_says_of_itself(tmp_path: Path) -> None:
    flapping = Outage(out="refuse", for_ns=300 * MS, times=3, every_ns=800 * MS)
    by_client = outages()
    by_client[1] = (by_client[1][0], (*by_client[1][1], flapping))
    found = await paced(by_client, tmp_path)
    assert len(found) == sum(len(told) for _, told in by_client)
    for seen in found:
        recovery = seen.measures.recovery
        assert recovery.state == "recovered" and recovery.interval is not None and recovery.interval.hi_ns, str(seen)
        assert seen.truth is not None and seen.outage is not None
        assert recovery.interval.lo_ns <= seen.truth.longest_ns, str(seen)
        luck_ns = LUCK_NS if seen.outage.out == "half" else 0
        assert recovery.interval.hi_ns >= seen.truth.shortest_ns - luck_ns, str(seen)
        if seen.client.slos:
            bare = without_slos(seen)
            assert bare.disruptions == () and bare.recovery.masked, f"{seen}: {bare.recovery}"
    (flapped,) = [seen for seen in found if seen.outage == flapping]
    assert flapped.truth is not None and flapped.truth.longest_ns >= 1900 * MS


async def test_calm_shows_no_disruption_and_a_stall_is_seen_at_its_full_length(tmp_path: Path) -> None:
    """Five seconds of silence under 100/s: an open loop has hundreds of ops wait, a closed one would have had one."""
    stalled = Client(name="stall", rate_per_s=100, timeout_ns=10 * S)
    stall = Outage(out="freeze", for_ns=5 * S)
    found = await paced([*((client, ()) for client in calm_clients()), (stalled, (stall,))], tmp_path, calm_s=7)
    for seen in found:
        if seen.outage is None:
            assert seen.measures.disruptions == (), str(seen)
            assert seen.measures.recovery.why == "nothing was injected"
    (seen,) = [seen for seen in found if seen.outage]
    row = next(row for row in seen.measures.latency if row.measure == "latency" and row.population == "all")
    assert row.p99_ns is not None and 4.8 * S <= row.p99_ns <= 6 * S
    waited = int((seen.history.ops.ints("done_ns") - seen.history.ops.ints("intended_ns") > S).sum())
    assert waited >= 300, waited
