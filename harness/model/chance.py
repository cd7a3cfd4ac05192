"""What chance alone can do: the binomial bounds behind the disruption rule, and what that rule can see. Pure, no clock.

Both `plan` (before a run) and `measure` (after it) use these, so that what was promised is what is applied.
"""

from __future__ import annotations

import math
from functools import lru_cache

from harness.units import NS_PER_S

__all__ = [
    "binomial_tail",
    "critical_bad",
    "rule_of_three",
    "smallest_outage_ns",
    "upper_bound",
    "window_ns",
]

WINDOW_ARRIVALS = 100
CHANCE_TAIL = 1e-6
"""A count of bad ops that chance reaches less often than this is not chance."""
SURE_TAIL = 1e-3
"""An outage is surely seen when Poisson arrivals bring too few ops into it less often than this."""


def window_ns(rule_for_ns: int, lowest_rate_per_s: float | None) -> int:
    """The trailing window of the disruption rule, in ns: the longer of the rule's `for` and 100 arrivals at the lowest rate.

    The rule's own `for` when the arrivals do not say their rate (a trace, a closed loop), or when it is zero.
    Source: DESIGN.md §9.
    """
    if not lowest_rate_per_s or lowest_rate_per_s <= 0:
        return rule_for_ns
    return max(rule_for_ns, math.ceil(WINDOW_ARRIVALS * NS_PER_S / lowest_rate_per_s))


def binomial_tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X ~ Binomial(n, p), relative error below 1e-8. 1 when k <= 0, 0 when k > n.

    Summed from the term nearest the mode outwards, so that the tail itself is exact and not 1 minus something near 1.
    """
    if k <= 0:
        return 1.0
    if k > n or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    if k > n * p:
        return min(1.0, _sum_from(k, n, p, up=True))
    return max(0.0, 1.0 - _sum_from(k - 1, n, p, up=False))


def _sum_from(k: int, n: int, p: float, *, up: bool) -> float:
    """The sum of the binomial probabilities of k, k+1, ... (or k, k-1, ...), stopped where the terms no longer count."""
    log_term = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    )
    term = total = math.exp(log_term)
    odds = p / (1 - p)
    while term > total * 1e-17:
        if up:
            if k == n:
                break
            term *= (n - k) / (k + 1) * odds
            k += 1
        else:
            if k == 0:
                break
            term *= k / ((n - k + 1) * odds)
            k -= 1
        total += term
    return total


@lru_cache(maxsize=65536)
def critical_bad(n: int, p: float, tail: float = CHANCE_TAIL) -> int:
    """The smallest count of bad ops among n that chance reaches with probability below `tail`, each being bad with p.

    n + 1 when even n bad ops could be chance: then no count violates. Source: DESIGN.md §9.
    """
    low, high = 0, n + 1  # P(X >= low) >= tail, P(X >= high) < tail
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_tail(middle, n, p) < tail:
            high = middle
        else:
            low = middle
    return high


def upper_bound(bad: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided upper confidence bound of a bad share after `bad` of `n`: 1 when nothing was seen.

    Source: Clopper and Pearson 1934, exact: the largest p under which so few bad ops still have probability
    1 - confidence.
    """
    if n <= 0 or bad >= n:
        return 1.0
    if bad <= 0:
        return float(1.0 - (1.0 - confidence) ** (1.0 / n))
    low, high = bad / n, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if binomial_tail(bad + 1, n, middle) < confidence:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return high


def rule_of_three(n: int) -> float:
    """The 95 % upper bound of a share of which none was seen among n: 3/n, at most 1; 1 when n is 0. Source: Hanley 1983."""
    return min(1.0, 3.0 / n) if n > 0 else 1.0


def smallest_outage_ns(rate_per_s: float, window_ns: int, level_ratio: float, steady_ops: int) -> int | None:
    """The shortest full outage, in ns, that the rule surely sees at this rate; None when it can be sure of none.

    A window violates when its good share is below `level_ratio` and its bad ops exceed chance at the upper 95 % bound of
    a clean steady state of `steady_ops`. So many ops must fall into the outage; with Poisson arrivals (even ones need
    less) they do in all but 1 in 1000 outages of the length returned. At 5 s of steady state: under 0.5 s at 60/s, under
    0.2 s at 200/s. Source: DESIGN.md §9.
    """
    if rate_per_s <= 0 or window_ns <= 0:
        return None
    mean = rate_per_s * window_ns / NS_PER_S
    n = math.ceil(mean + 3 * math.sqrt(mean))  # a full window demands more bad ops than an average one
    needed = max(critical_bad(n, upper_bound(0, steady_ops)), math.floor((1 - level_ratio) * mean + 1e-9) + 1)
    if needed > n:
        return None
    arrivals = float(needed)
    while _poisson_below(needed, arrivals) > SURE_TAIL:
        arrivals *= 1.01
    return math.ceil(arrivals * NS_PER_S / rate_per_s)


def _poisson_below(k: int, mean: float) -> float:
    """P(X < k) for X ~ Poisson(mean)."""
    return math.fsum(math.exp(i * math.log(mean) - mean - math.lgamma(i + 1)) for i in range(k))
