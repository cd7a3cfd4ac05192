"""The bounded search for a legal order of calls on one object. Never hangs: past its budget the answer is "undecided".

Source: Wing and Gong 1993, with Lowe's memory of (linearized set, state) pairs, as in Porcupine. The set is kept as the place
of the first call not yet placed and a bit for each one behind it, so that its size follows concurrency and not length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from harness.check.linear.models import ILLEGAL, Model
from harness.history.calls import Call

__all__ = ["Search", "Spent", "linearize", "steps"]

Spent = Callable[[int], bool]
"""Asked now and then with the steps taken since it was last asked: whether the search must give up."""

_ASK_EVERY = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The answer. `order`: ids in a legal order (the longest found, unless legal). `stuck`: the call that could not be placed.

    `open`: the calls that could have been placed beside it (ids): with the end of `order`, what contradicts it.
    """

    verdict: Literal["legal", "illegal", "undecided"]
    order: tuple[int, ...] = ()
    stuck: int | None = None
    open: tuple[int, ...] = ()


def steps(limit: int) -> Spent:
    """A budget of so many steps, over all searches that share it. About a million a second, on any machine the same verdict."""
    left = limit

    def spent(taken: int) -> bool:
        nonlocal left
        left -= taken
        return left < 0

    return spent


class _Line:
    """Beginnings and ends of calls in time order, as a doubly linked list from which placed calls are lifted.

    Node 2i is the beginning of call i, node 2i+1 its end; `head` stands before the first. A beginning precedes an end at the
    same instant (closed intervals: equal stamps mean concurrent). Pending calls have no end.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.head = 2 * len(calls)
        events = [(call.call_ns, 0, 2 * i) for i, call in enumerate(calls)]
        events += [(call.ret_ns, 1, 2 * i + 1) for i, call in enumerate(calls) if not call.pending]
        nodes = [self.head, *(node for _, _, node in sorted(events)), self.head]
        self.next, self.prev = [0] * (self.head + 1), [0] * (self.head + 1)
        for left, right in pairwise(nodes):
            self.next[left], self.prev[right] = right, left
        self.pending = [call.pending for call in calls]

    def lift(self, call: int) -> None:
        """Take a call out."""
        for node in (2 * call,) if self.pending[call] else (2 * call, 2 * call + 1):
            self.next[self.prev[node]], self.prev[self.next[node]] = self.next[node], self.prev[node]

    def unlift(self, call: int) -> None:
        """Put it back where it was. Calls come back in the reverse order of their lifting."""
        for node in (2 * call,) if self.pending[call] else (2 * call + 1, 2 * call):
            self.next[self.prev[node]] = self.prev[self.next[node]] = node


def linearize(model: Model, calls: Sequence[Call], spent: Spent) -> Search:
    """Whether calls on one object have a legal order; legal when there are none. Calls that failed, and pending reads, are ignored.

    Raises ValueError for a call that the model does not know.
    """
    calls = [call for call in calls if not call.failed and not (call.pending and call.f in model.reads)]
    unknown = next((call for call in calls if call.f not in model.words), None)
    if unknown is not None:
        raise ValueError(f"model {model.name} has no {unknown.f!r}; it has {', '.join(sorted(model.words))}")
    return _Walk(model, sorted(calls, key=lambda call: (call.call_ns, call.ret_ns)), spent).search()


_Place = tuple[int, int, int, Any]
"""How far a search is: the number of the first completed call that is not placed, a bit for each placed one behind it, a bit
for each placed pending one, and the state."""


@dataclass(slots=True)
class _Frame:
    """A choice that may have to be taken back: the call, the reads that went with it, how things stood before, and the calls
    that may come next instead."""

    call: int
    reads: list[int]
    before: _Place
    choices: list[int]


class _Walk:
    """One search. A read that is legal now is placed at once and never reconsidered: it changes nothing, so that whatever
    order exists without it here exists with it."""

    def __init__(self, model: Model, calls: Sequence[Call], spent: Spent) -> None:
        self._model, self._calls, self._spent = model, calls, spent
        self._line = _Line(calls)
        # Completed calls are numbered by their ends, pending ones apart: one that is never placed must not hold the first back.
        ends = sorted((call.ret_ns, i) for i, call in enumerate(calls) if not call.pending)
        self._number = {i: number for number, (_, i) in enumerate(ends)}
        self._bit = {i: 1 << n for n, i in enumerate(i for i, call in enumerate(calls) if call.pending)}
        self._reads = [call.f in model.reads for call in calls]
        self._taken = self._depth = 0

    def search(self) -> Search:
        line, calls, step = self._line, self._calls, self._model.step
        at, first = self._read_on((0, 0, 0, self._model.initial))
        stack = [_Frame(-1, first, at, self._choices())]
        seen, longest = {at}, Search(verdict="illegal")
        while at[0] < len(self._number):
            if self._taken >= _ASK_EVERY and self._out_of_budget():
                return Search(verdict="undecided", order=longest.order)
            top = stack[-1]
            if not top.choices:
                longest = self._longer(longest, stack)
                if len(stack) == 1:
                    self._out_of_budget()
                    return longest
                stack.pop()
                self._take_back(top.call, top.reads)
                at = top.before
                continue
            call = top.choices.pop()
            self._taken += 1
            after = step(at[3], calls[call])
            if after is ILLEGAL:
                continue
            line.lift(call)
            then, reads = self._read_on((*self._with(call, at), after))
            if then in seen:
                self._take_back(call, reads)
                continue
            seen.add(then)
            stack.append(_Frame(call, reads, at, self._choices()))
            at = then
        self._out_of_budget()
        return Search(verdict="legal", order=self._order(stack))

    def _choices(self) -> list[int]:
        """The calls that may come next, other than reads (which are placed, or illegal): last what must end first."""
        line, found = self._line, []
        node = line.next[line.head]
        while node != line.head and not node & 1:
            if not self._reads[node >> 1]:
                found.append(node >> 1)
            node = line.next[node]
        found.sort(key=lambda call: -self._calls[call].ret_ns)
        return found

    def _out_of_budget(self) -> bool:
        taken, self._taken = self._taken, 0
        return self._spent(taken)

    def _read_on(self, at: _Place) -> tuple[_Place, list[int]]:
        """Lift every read that is legal here and now; those that become possible by it too."""
        line, lifted = self._line, []
        node = line.next[line.head]
        while node != line.head and not node & 1:
            call = node >> 1
            node = line.next[node]
            if self._reads[call] and self._model.step(at[3], self._calls[call]) is not ILLEGAL:
                line.lift(call)
                lifted.append(call)
                at = (*self._with(call, at), at[3])
                if node & 1:
                    node = line.next[line.head]  # its own end may have been what closed the window
        self._taken += len(lifted)
        return at, lifted

    def _take_back(self, call: int, reads: list[int]) -> None:
        for read in reversed(reads):
            self._line.unlift(read)
        self._line.unlift(call)

    def _with(self, call: int, at: _Place) -> tuple[int, int, int]:
        """The sets with one more call."""
        first, bits, maybe, _ = at
        number = self._number.get(call)
        if number is None:
            return first, bits, maybe | self._bit[call]
        bits |= 1 << (number - first)
        while bits & 1:
            bits, first = bits >> 1, first + 1
        return first, bits, maybe

    def _order(self, stack: list[_Frame]) -> tuple[int, ...]:
        calls = self._calls
        return tuple(calls[each].id for frame in stack for each in (frame.call, *frame.reads) if each >= 0)

    def _longer(self, longest: Search, stack: list[_Frame]) -> Search:
        """No call can come next, and one must: the answer, unless a longer order is known."""
        line, calls = self._line, self._calls
        if longest.stuck is not None and len(stack) <= self._depth:
            return longest
        self._depth = len(stack)
        beside, node = [], line.next[line.head]
        while not node & 1:
            beside.append(calls[node >> 1].id)
            node = line.next[node]
        stuck = calls[node >> 1].id
        beside.remove(stuck)
        return Search(verdict="illegal", order=self._order(stack), stuck=stuck, open=tuple(beside))
