"""`python -m tests.truth [--seeds N] [--first N] [--calm N]`: every sort of scripted outage, live, N times over. Not in CI.

`--simulated`: on a simulated clock instead, 1000 seeds of each script unless `--seeds` says otherwise (about 20 minutes).

Prints each stated interval with its truth, then for every sort of outage how many intervals held it. Exit 1 unless all
did (of `half`, where a lucky stretch may pass for recovery, 95 %) and no calm stretch showed a disruption.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.truth.live import calm_clients, outages, side_by_side, without_slos
from tests.truth.simulated import SCRIPTS, tally


def simulated(seeds: range) -> int:
    """Whether any script was told wrongly more often than it may be, as an exit code."""
    wrong = 0
    for script in SCRIPTS:
        found = tally(script, seeds)
        wrong += not found.holds
        sys.stdout.write(f"{'    ' if found.holds else 'MISS'} {found}\n")
        sys.stdout.flush()
    return int(wrong > 0)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, help="of each sort: 20 live ones, or 1000 simulated ones, unless given")
    parser.add_argument("--simulated", action="store_true", help="on a simulated clock")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--calm", type=int, default=0, help="calm stretches of 10 s per share of background errors")
    parser.add_argument("--keep", type=Path, help="a folder for the records, by seed; absent: they are removed")
    given = parser.parse_args()
    seeds = range(given.first, given.first + (given.seeds or (1000 if given.simulated else 20)))
    if given.simulated:
        return simulated(seeds)
    held: dict[str, list[bool]] = defaultdict(list)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            kept = given.keep / f"{seed}" if given.keep else Path(folder)
            for seen in await side_by_side(outages(), seed, kept):
                name = f"{seen.outage}, {seen.client.name}"
                held[name].append(seen.holds_truth)
                sys.stdout.write(f"{'    ' if seen.holds_truth else 'MISS'} {seen}, seed {seed}\n")
                if seen.client.slos:
                    bare = without_slos(seen).recovery
                    held[f"{name}, no latency SLO: masked"].append(bare.state == "none" and bare.masked)
    for seed in range(given.first, given.first + given.calm):
        with tempfile.TemporaryDirectory() as folder:
            for seen in await side_by_side([(client, ()) for client in calm_clients()], seed, Path(folder), calm_s=10):
                held[seen.client.name].append(not seen.measures.disruptions)
    for name, results in held.items():
        sys.stdout.write(f"{sum(results)} of {len(results)}: {name}\n")
    needed = {name: 0.95 if name.startswith("half") else 1.0 for name in held}
    return int(any(sum(results) < needed[name] * len(results) for name, results in held.items()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
