"""`python -m tests.check.toy [--bugged N] [--healthy N]`: recall of every bug of the toy store, and findings where there is none.

Per bug: seed after seed until it did harm in N of them (at most in every second one it may do none), and in how many of the N
its check said so (at least 0.99). Then N healthy seeds, half of them sums: no finding at all. Exit 1 unless all of that holds.
Ten minutes on an idle core; CI runs a part (test_toy.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from harness.check.run import run_check
from harness.model.experiment import CheckSpec
from harness.registry import catalog
from tests.check.toy_cache import CACHE_BUGS, TTL_NS, simulate_cache
from tests.check.toy_store import BUGS as STORE_BUGS
from tests.check.toy_store import Toy, simulate

BUGS = STORE_BUGS | dict.fromkeys(CACHE_BUGS, "cache-sound")
"""Bug -> the check that must find it."""

LOGS = (
    "durable",
    "exactly-once",
    "session-order",
    "resume",
    "converged",
    "phantom",
    "fresh",
    "session-guarantees",
    "single-writer",
    "linearizable",
)
SUMS = ("counter", "exactly-once", "converged", "phantom", "single-writer")
RECALL = 0.99
WITHIN = {"cache-sound": TTL_NS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Of `seeds` runs, the bug did harm in `bitten`, its check found it in `found`; runs without harm and yet with a finding."""

    bug: str
    seeds: int
    bitten: int
    found: int
    invented: tuple[int, ...]

    @property
    def holds(self) -> bool:
        return self.bitten >= self.seeds * 0.5 and self.found >= RECALL * self.bitten and not self.invented


def verdict(toy: Toy, name: str) -> str:
    """One check of a run, through the same door as any run's."""
    return str(
        run_check(
            toy.history, CheckSpec(name=name, kind=name, within_ns=WITHIN.get(name)), toy.context, catalog()
        ).verdict
    )


def recall(bug: str, seeds: range, enough: int | None = None) -> Recall:
    """How often the bug's check finds it, in all the seeds, or in those until `enough` of them did harm."""
    make = simulate_cache if bug in CACHE_BUGS else simulate
    tried = bitten = found = 0
    invented = []
    for seed in seeds:
        if bitten == enough:
            break
        toy = make(seed, bug)
        said = verdict(toy, BUGS[bug]) == "invalid"
        tried += 1
        bitten += toy.bites > 0
        found += said and toy.bites > 0
        if said and not toy.bites:
            invented.append(seed)
    return Recall(bug=bug, seeds=tried, bitten=bitten, found=found, invented=tuple(invented))


def findings(seeds: range) -> Iterator[tuple[int, str, str]]:
    """(seed, check, verdict) of every check that does not hold a healthy run valid."""
    for seed in seeds:
        toy = simulate(seed, counter=seed % 2 == 1)
        for name in SUMS if seed % 2 else LOGS:
            said = verdict(toy, name)
            if said != "valid":
                yield seed, name, said
        said = verdict(simulate_cache(seed), "cache-sound")
        if said != "valid":
            yield seed, "cache-sound", said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bugged", type=int, default=100, help="runs of each bug that did harm")
    parser.add_argument("--healthy", type=int, default=1000)
    given = parser.parse_args()
    good = True
    for bug in BUGS:
        one = recall(bug, range(2 * given.bugged), given.bugged)
        good &= one.holds
        said = f"{one.found} of {one.bitten} harmed runs (of {one.seeds}) by {BUGS[bug]}"
        sys.stdout.write(f"{bug:22} {said}{'' if one.holds else '  MISSED'}\n")
        sys.stdout.flush()
    wrong = list(findings(range(given.healthy)))
    sys.stdout.write(f"{'healthy':22} {len(wrong)} findings in {given.healthy} runs {wrong[:5]}\n")
    return 0 if good and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
