"""A replicated store of a hundred lines on a simulated clock, right unless one of its bugs is switched on, and its clients.

Two replicas: the first leads, and acknowledges once the second has the entry. In the middle the first dies, or is cut off from the
second; the second is told to lead, and later the first comes back, throws away what it has and follows. Clients try again under
the same idempotency key, streams go on where they broke. Nothing here knows a check: `bites` counts what a bug really did.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from harness.check.context import CheckContext, FaultSpan
from harness.history.events import PhaseEvent
from harness.history.history import History
from harness.history.op import Op
from harness.history.table import OpTable

__all__ = ["BUGS", "Toy", "simulate"]

MS, US = 1000, 1000
"""A millisecond in the simulation's microseconds; a microsecond in nanoseconds."""
FAULT, LEADS, BACK, STOP, FINAL = 1000 * MS, 1300 * MS, 2000 * MS, 2500 * MS, 3500 * MS
LOST_ANSWERS = 0.01
REGIONS = ("eu-west", "us-east")

BUGS = {
    "ack-before-replicate": "durable",
    "lose-on-promote": "durable",
    "double-apply-on-retry": "exactly-once",
    "reorder-on-reconnect": "session-order",
    "resume-gap": "resume",
    "resume-overlap": "resume",
    "stale-reads": "fresh",
    "dual-leader": "single-writer",
    "non-converging": "converged",
    "counter-double-count": "counter",
}
"""Bug -> the check that must find it."""
CUT_OFF = frozenset({"dual-leader", "non-converging"})
KILLED = frozenset(BUGS) - CUT_OFF

Process = Generator[Any, Any, None]


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: str
    idem: str
    session: str


@dataclass(frozen=True, kw_only=True)
class Toy:
    """What clients saw, the ground to judge it on, and how often the bug did harm."""

    history: History
    context: CheckContext
    bites: int


class Wait:
    """Something that one process waits for; the first answer counts."""

    def __init__(self) -> None:
        self.value: Any = None
        self.done = False
        self.then: Callable[[Any], None] | None = None

    def set(self, value: Any) -> None:
        if not self.done:
            self.done, self.value = True, value
            if self.then is not None:
                self.then(value)


@dataclass
class Replica:
    leads: bool
    epoch: int = 1
    alive: bool = True
    log: list[Entry] = field(default_factory=list)
    committed: int = 0
    waiting: list[tuple[int, Wait]] = field(default_factory=list)

    def commit(self, length: int) -> None:
        self.committed = max(self.committed, length)
        ready = [wait for at, wait in self.waiting if at <= self.committed]
        self.waiting = [(at, wait) for at, wait in self.waiting if at > self.committed]
        for wait in ready:
            wait.set(self.epoch)


class Store:
    """The simulation: time, the network between two replicas, and what befalls them."""

    def __init__(self, seed: int, bug: str | None) -> None:
        self.rng = random.Random(f"{seed}:{bug}")
        self.bug = bug
        self.killed = bug in KILLED if bug is not None else self.rng.random() < 0.5
        self.now, self._events, self._ties = 0, [(0, 0, lambda: None)][:0], count()
        self.one, self.two = Replica(leads=True), Replica(leads=False)
        self.together = True  # the two can talk, and the second one's acknowledgement is needed
        self.sent_last = 0
        self.applied: list[tuple[int, int]] = [(0, 0)]  # when the second showed how many entries, with stale reads
        self.acked: dict[str, int] = {}
        self.bites = 0
        self.second = FINAL  # the first acknowledgement under the second's epoch
        self.at(FAULT, self._break)
        self.at(LEADS, self._promote)
        self.at(BACK, self._return)

    # ---- time

    def at(self, when: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._ties), what))

    def after(self, low: int, high: int, what: Callable[[], None]) -> None:
        self.at(self.now + self.rng.randrange(low, high), what)

    def run(self) -> None:
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()

    def spawn(self, process: Process, value: Any = None) -> None:
        try:
            wait = process.send(value)
        except StopIteration:
            return
        if isinstance(wait, int):
            self.at(self.now + wait, lambda: self.spawn(process))
        elif wait.done:
            self.at(self.now, lambda: self.spawn(process, wait.value))
        else:
            wait.then = lambda found: self.spawn(process, found)

    # ---- what befalls it

    def _break(self) -> None:
        self.together = False
        self.one.alive = not self.killed

    def _promote(self) -> None:
        two = self.two
        if self.bug == "lose-on-promote":
            del two.log[-self.rng.randrange(1, 5) :]
        two.leads, two.epoch, two.committed = True, 2, len(two.log)
        if self.bug != "dual-leader":
            self.one.leads = False  # it cannot commit any more; what it holds is thrown away when it is back

    def _return(self) -> None:
        one, two = self.one, self.two
        same = next((n for n, (a, b) in enumerate(zip(one.log, two.log, strict=False)) if a != b), len(one.log))
        same = min(same, len(two.log))
        missed = two.log[same:]
        if self.bug == "reorder-on-reconnect":
            owners = [entry.session for entry in missed if entry.idem in self.acked]
            self.bites += len(owners) - len(set(owners))
            missed.reverse()
        if self.bug == "non-converging":
            one.log += two.log[len(one.log) :]
            self.bites += one.log != two.log
        else:
            one.log = [*two.log[:same], *missed]
        one.alive, one.leads, one.epoch, one.waiting = True, False, 2, []
        self.together = True

    # ---- what it does

    @property
    def leader(self) -> Replica:
        """Who a client that asks is sent to."""
        return self.two if self.two.leads else self.one

    def append(self, replica: Replica, entry: Entry, answer: Wait) -> None:
        """Handle a write at a replica; answers its epoch, or "refused" when it surely did nothing."""
        if not replica.alive or not replica.leads:
            answer.set("refused")
            return
        known = next((n for n, held in enumerate(replica.log, start=1) if held.idem == entry.idem), None)
        if known is not None and self.bug in ("double-apply-on-retry", "counter-double-count"):
            self.bites += 1
            known = None
        if known is None:
            replica.log.append(entry)
            known = len(replica.log)
            self._replicate(replica, entry, known)
        done = Wait()
        lost = self.rng.random() < LOST_ANSWERS
        done.then = lambda epoch: lost or self.after(MS, 3 * MS, lambda: replica.alive and answer.set(epoch))
        replica.waiting.append((known, done))
        lone = replica is self.one and self.bug in ("ack-before-replicate", "dual-leader")
        if lone or (replica is self.two and not self.together):
            replica.commit(known)
        else:
            replica.commit(replica.committed)

    def _replicate(self, replica: Replica, entry: Entry, length: int) -> None:
        if not self.together:
            return
        other = self.one if replica is self.two else self.two
        slow = 60 * MS if self.bug == "ack-before-replicate" else MS
        self.sent_last = max(
            self.sent_last + 1, self.now + slow + self.rng.randrange(4 * MS)
        )  # the network keeps order
        epoch = replica.epoch

        def arrive() -> None:
            if not self.together or other.epoch > epoch or other.leads:
                return
            if len(other.log) == length - 1:
                other.log.append(entry)
                self.applied.append((self.now + self.rng.randrange(60 * MS, 120 * MS), length))
            self.after(MS, 4 * MS, lambda: replica.alive and replica.epoch == epoch and replica.commit(length))

        self.at(self.sent_last, arrive)

    def read(self, replica: Replica, key: str, answer: Wait, since: int) -> None:
        """Handle a read: what is committed, once it is sure that this one still leads."""
        if not replica.alive or not replica.leads:
            answer.set("refused")
            return
        length, shown = replica.committed, replica
        if self.bug == "stale-reads" and replica is self.one and self.together:
            shown, length = self.two, max(number for at, number in self.applied if at <= self.now)
            missed = [entry for entry in self.one.log[length:] if entry.key == key]
            self.bites += any(self.acked.get(entry.idem, STOP) < since for entry in missed)
        found = [entry for entry in shown.log[:length] if entry.key == key]
        sure = replica is self.two or self.bug == "dual-leader"

        def confirmed() -> None:
            if sure or (self.together and self.two.epoch == replica.epoch):
                self.after(MS, 3 * MS, lambda: replica.alive and answer.set(found))

        self.after(0, 1 if sure else 4 * MS, confirmed)


@dataclass
class Client:
    """One session: an op at a time, tried again under its key while nothing is known."""

    store: Store
    name: str
    others: tuple[str, ...]
    counter: bool
    ops: list[Op]
    pinned: bool
    writer: int = 0

    def life(self) -> Process:
        rng = self.store.rng
        yield rng.randrange(40 * MS)
        for number in count():
            if self.store.now >= STOP:
                return
            if rng.random() < 0.65:
                yield from self._write(number)
            else:
                yield from self._read("total" if self.counter else rng.choice((self.name, self.name, *self.others)))
            yield rng.randrange(5 * MS, 40 * MS)

    def _target(self) -> Replica:
        one = self.store.one
        return one if self.pinned and one.alive and one.leads else self.store.leader

    def _ask(self, handle: Callable[[Replica, Wait], None]) -> Generator[Any, Any, Any]:
        """(the answer, who gave it) of one wire attempt; None when none came within 150 ms."""
        target, answer = self._target(), Wait()
        self.store.after(MS, 3 * MS, lambda: handle(target, answer))
        self.store.at(self.store.now + 150 * MS, lambda: answer.set(None))
        return (yield answer), target

    def _write(self, number: int) -> Process:
        store, rng = self.store, self.store.rng
        idem = f"{self.name}/{number}"
        value = str(rng.randrange(1, 9)) if self.counter else f"{self.name}-{number}"
        entry = Entry("total" if self.counter else self.name, value, idem, self.name)
        sent, unsure, attempts, answer = store.now, False, 0, None
        while attempts < 4 and not isinstance(answer, int):
            answer, target = yield from self._ask(lambda replica, wait: store.append(replica, entry, wait))
            attempts += 1
            unsure = unsure or answer is None
            if not isinstance(answer, int):
                yield rng.randrange(60 * MS, 140 * MS)
        outcome = "ok" if isinstance(answer, int) else "info" if unsure else "fail"
        result = None
        if outcome == "ok" and not self.counter:
            result, whole = yield from self._stream(target, rng.randrange(6, 14))
            outcome = "ok" if whole else "info"
        if outcome == "ok":
            store.acked[idem] = store.now
            if answer == 2:
                store.second = min(store.second, store.now)
            store.bites += store.bug == "dual-leader" and answer == 1 and sent > store.second
        facts = {"value": value, "idem": idem, "attempts": max(attempts, 1), "result": result}
        facts |= {"epoch": answer if outcome == "ok" else None, "chunks": 1 if result else 0}
        self._end("add" if self.counter else "append", entry.key, (sent, outcome), facts)
        self.writer += outcome == "info"

    def _stream(self, source: Replica, length: int) -> Generator[Any, Any, tuple[str, bool]]:
        """The answer, a piece every 2 ms; when its source dies it goes on elsewhere, from where it broke."""
        pieces, begin, at, exact = [], 0, 0, True
        bug, waited = self.store.bug, 0
        while at < length:
            yield 2 * MS
            if source.alive:
                at += 1
                continue
            if waited > 1000 * MS:
                return json.dumps({"offsets": [*pieces, [begin, at]], "length": None, "exact": None}), False
            yield 50 * MS
            waited += 50 * MS
            if self.store.leader.alive:
                source = self.store.leader
                if at and bug in ("resume-gap", "resume-overlap"):
                    pieces.append([begin, at])
                    begin = at = at + 1 if bug == "resume-gap" else at - 1
                    exact = bug != "resume-overlap"
                    self.store.bites += 1
                elif at:
                    pieces.append([begin, at])
                    begin = at
        return json.dumps({"offsets": [*pieces, [begin, length]], "length": length, "exact": exact}), True

    def _read(self, key: str) -> Process:
        store, sent = self.store, self.store.now
        answer, _ = yield from self._ask(lambda replica, wait: store.read(replica, key, wait, sent))
        if isinstance(answer, list):
            self._end("read", key, (sent, "ok"), {"result": json.dumps(shown(answer, self.counter, whole=False))})
        else:
            self._end("read", key, (sent, "fail"), {})

    def _end(self, f: str, key: str, how: tuple[int, str], facts: dict[str, Any]) -> None:
        sent, outcome = how
        times = {"intended_ns": sent * US, "sent_ns": sent * US, "done_ns": self.store.now * US}
        who = {"session": self.name, "writer": f"{self.name}.{self.writer}"}
        self.ops.append(Op(op=len(self.ops), f=f, key=key, outcome=outcome, **times, **who, **facts))  # type: ignore[arg-type]


def shown(entries: list[Entry], counter: bool, *, whole: bool) -> Any:
    if not counter:
        return [entry.value for entry in entries]
    total = sum(int(entry.value) for entry in entries)
    return {"value": total, "events": [entry.idem for entry in entries]} if whole else total


def simulate(seed: int, bug: str | None = None, *, counter: bool = False) -> Toy:
    """One run: the same seed and bug give the same history. `counter`: sums instead of logs."""
    counter = counter or bug == "counter-double-count"
    store, ops = Store(seed, bug), list[Op]()
    names = tuple(f"s{number}" for number in range(8))
    for place, name in enumerate(names):
        pinned = bug == "dual-leader" and place % 2 == 0
        others = tuple(other for other in names if other != name)
        store.spawn(Client(store, name, others, counter, ops, pinned).life())
    store.run()
    if bug in ("ack-before-replicate", "lose-on-promote"):
        store.bites += len(store.acked.keys() - {entry.idem for entry in store.two.log})
    for turn in range(2):
        for key in ("total",) if counter else names:
            for region, replica in zip(REGIONS, (store.one, store.two), strict=True):
                at = FINAL + turn * 2000 * MS + len(ops)
                found = [entry for entry in replica.log if entry.key == key]
                times = {"intended_ns": at * US, "sent_ns": at * US, "done_ns": (at + 1) * US}
                facts = {"phase": "final", "region": region, "key": key, "session": None if counter else key}
                result = json.dumps(shown(found, counter, whole=True))
                ops.append(Op(op=len(ops), f="read", outcome="ok", result=result, **times, **facts))  # type: ignore[arg-type]
    span = FaultSpan(
        id="fault", effect_lo_ns=FAULT * US, effect_hi_ns=FAULT * US, end_lo_ns=BACK * US, end_hi_ns=BACK * US
    )
    context = CheckContext(
        model="counter" if counter else "log", profile="toy", regions=REGIONS, faults=(span,), faults_planned=1
    )
    history = History(ops=OpTable.of(ops), events=(PhaseEvent(at_ns=FINAL * US, phase="final"),))
    return Toy(history=history, context=context, bites=store.bites)
