"""One region's part in the replication protocol (the protocol itself is written down in the package's docstring).

Appends, pushes and changes of epoch go through one queue and one thread, so each sees all before it; what was gathered
while the last fsync ran is committed with the next.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.reference.channel import CallError, Channel, Refused, Wire
from harness.reference.database import DatabaseError
from harness.reference.frames import Frames
from harness.reference.journal import Config, Conflict, Draft, Entry, Journal
from harness.reference.metrics import Metrics
from harness.reference.mutants import ACK_BEFORE_REPLICATE, LAG_UNBOUNDED, LOCAL_REGISTRY, NO_FENCING, NO_IDEMPOTENCY
from harness.reference.program import log
from harness.reference.restore import Restoration

__all__ = ["Replica", "Timing"]

_T = TypeVar("_T")
_PUSH_ENTRIES = 400
_BEHIND_NS = 1_000_000_000  # younger entries are in flight, not behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Bounds of the protocol, in seconds."""

    commit_s: float = 3.0  # longest wait for an entry to count; after it the caller cannot know
    push_s: float = 0.6
    heartbeat_s: float = 0.2
    async_batch_s: float = 0.05
    lag_s: float = 2.0  # async: with a standby that far behind, nothing more counts until it has caught up
    mutant_lag_s: float = 0.4


class Replica:
    """The journal of one region, as primary or as standby."""

    def __init__(
        self, journal: Journal, executor: ThreadPoolExecutor, region: str, metrics: Metrics, mutants: frozenset[str]
    ) -> None:
        self.region = region
        self.metrics = metrics
        self.timing = Timing()
        self._journal = journal
        self._executor = executor
        self._mutants = mutants
        self._queue: asyncio.Queue[tuple[Callable[[Journal], Any], asyncio.Future[Any]]] = asyncio.Queue()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self.config = journal.config
        self._seq = journal.last_seq
        self._reign = journal.reign
        self._heard_primary = False  # a standby vouches for its log once the primary of this life has pushed
        self._match: int | None = None  # the peer's log equals ours up to here; None until it said so in this reign
        self._acked = 0  # entries up to here count; only grows within a reign
        self._join_seq = self._seq  # the peer is a full member once it holds this
        self._next_probe: int | None = None
        self._peer_heard_ns: int | None = None
        self._installed_ns = time.monotonic_ns()
        self._heads: deque[tuple[int, int]] = deque(maxlen=8192)  # (seq, monotonic ns) of commits the peer may lack
        self._lease_until_ns = 0
        self.seals = journal.seals
        self.frames = Frames(journal.seals, metrics, mutants)
        self.restoration = Restoration(region, journal.seals, mutants) if self._seq else None

    async def restore(self, accept_cut: bool = False) -> None:
        """Pass the gates of a log that was on disk before; nothing else uses the log until then."""
        if self.restoration is not None:
            await self.restoration.run(self.read, accept_cut)
            self._follow()

    # -- what holds now -----------------------------------------------------------------------------------------

    @property
    def primary(self) -> bool:
        """Whether this region may append, as far as it knows."""
        return self._reign is not None

    def confirmed(self) -> bool:
        """Whether this log may be read: before, it may end in entries that the others never saw."""
        if self.config is None or self.stage is not None:
            return False
        return self._heard_primary if not self.primary else not self._needs_peer() or self._match is not None

    @property
    def stage(self) -> str | None:
        """Which gate of its restoration the log stands before; None when it takes part."""
        return None if self.restoration is None else self.restoration.stage

    def degraded(self) -> bool:
        """Whether acknowledged turns have only one copy although the mode is sync."""
        config = self.config
        return config is not None and config.mode == "sync" and len(config.sync) < 2

    def _needs_peer(self) -> bool:
        config = self.config
        if config is None or config.mode == "async" or ACK_BEFORE_REPLICATE in self._mutants:
            return False
        return any(region != self.region for region in config.sync)

    def committed(self) -> int:
        """Entries up to here count and may be shown; a standby's log is always a part of the primary's."""
        if not self.primary:
            return self._seq
        if not self._needs_peer():
            self._acked = self._seq
        elif self._match is not None:
            self._acked = max(self._acked, self._match)
        return self._acked

    def _may_ack(self) -> bool:
        # An asynchronous primary alone decides that a turn counts, so it must know that no one else was promoted.
        config, now = self.config, time.monotonic_ns()
        if config is None or config.mode == "sync":
            return True
        return now < self._lease_until_ns and not self._too_far_behind(config, now)

    def _too_far_behind(self, config: Config, now_ns: int) -> bool:
        """Whether a member of the replica set lacks an entry that is older than the bound on what a failover may lose."""
        if len(config.sync) < 2 or not self._heads or LAG_UNBOUNDED in self._mutants:
            return False
        seq, at_ns = self._heads[0]
        return seq > (self._match or 0) and now_ns - at_ns > self.timing.lag_s * 1e9

    def status(self) -> Wire:
        """What the edge decides on."""
        now = time.monotonic_ns()
        config = self.config
        heard = self._peer_heard_ns
        return {
            "region": self.region,
            "config": config.wire() if config else None,
            "primary": self.primary,
            "seq": self._seq,
            "committed": self.committed(),
            "confirmed": self.confirmed(),
            "joined": self._match is not None and self._match >= self._join_seq,
            "peer_silent_ms": None if heard is None else (now - heard) // 1_000_000,
            "peer_lag": None if self._match is None else self._seq - self._match,
            "behind": self._behind(now),
            "config_age_ms": (now - self._installed_ns) // 1_000_000,
            "quarantined": self._journal.quarantined,
            "cut": self.restoration.cut if self.restoration else 0,
            "damaged": self.stage is not None,
            "restore": self.restoration.about() if self.restoration else None,
            "frames": self.frames.about() | {"refused": {"all": self.frames.refused.total(), **self.frames.refused}},
            "records": self._journal.records,
            "clock_ns": now,
            "mutants": sorted(self._mutants),
        }

    def _behind(self, now_ns: int) -> int:
        """Entries that the peer lacks for longer than is normal."""
        match = self._match or 0
        old = 0
        for seq, at_ns in self._heads:
            if at_ns > now_ns - _BEHIND_NS:
                break
            old = seq
        return max(0, old - match) if self.primary else 0

    # -- the queue ----------------------------------------------------------------------------------------------

    async def run_writer(self) -> None:
        """Commit what is queued, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < 256:
                batch.append(self._queue.get_nowait())
            began = time.monotonic()
            try:
                results = await loop.run_in_executor(self._executor, self._journal.batch, [op for op, _ in batch])
            except DatabaseError as exc:  # a full or failing disk: say so to every caller and go on
                log("commit-failed", why=str(exc))
                results = [Refused("journal_failed", why=str(exc))] * len(batch)
            self.metrics.observe("store_commit_seconds", time.monotonic() - began)
            self._follow()
            for (_, waiter), result in zip(batch, results, strict=True):
                if waiter.done():
                    continue
                if isinstance(result, Exception):
                    waiter.set_exception(result)
                else:
                    waiter.set_result(result)
            self._wake.set()
            self._release()

    def _follow(self) -> None:
        """Take over what the last batch changed, before anyone hears its results."""
        journal = self._journal
        if journal.last_seq != self._seq:
            self._seq = journal.last_seq
            self._heads.append((self._seq, time.monotonic_ns()))
        if journal.config == self.config:
            return
        self.config = journal.config
        self._join_seq = self._seq
        self._installed_ns = time.monotonic_ns()
        if journal.reign != self._reign:
            self._begin_reign(journal.reign)
        log("epoch", region=self.region, config=self.config)

    def _begin_reign(self, reign: int | None) -> None:
        """Become primary or standby, knowing nothing of the peer and without a lease."""
        self._reign = reign
        self._heard_primary = False
        self._match = self._next_probe = self._peer_heard_ns = None
        self._acked = 0
        self._lease_until_ns = 0
        self._heads.clear()
        self._heads.append((self._seq, time.monotonic_ns()))
        waiters, self._waiters = self._waiters, []
        for _, done in waiters:
            if not done.done():
                done.set_exception(Refused("fenced", epoch=self._epoch()))

    async def _submit(self, operation: Callable[[Journal], _T]) -> _T:
        waiter: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((operation, waiter))
        return await waiter

    async def read(self, question: Callable[[Journal], _T]) -> _T:
        """The answer to a question about the log as it is on disk. Raises Refused when the database does not answer."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, question, self._journal)
        except DatabaseError as exc:
            raise Refused("journal_failed", why=str(exc)) from exc

    def _release(self) -> None:
        """Let go those whose entries count now."""
        if not self._waiters or not self._may_ack():
            return
        committed = self.committed()
        waiters, self._waiters = self._waiters, []
        for seq, done in waiters:
            if seq > committed:
                self._waiters.append((seq, done))
            elif not done.done():
                done.set_result(None)

    async def _counted(self, seq: int, epoch: int) -> None:
        """Return once the entry counts; raise Refused when that can no longer be known here."""
        if self._reign is None or epoch < self._reign:
            raise Refused("fenced", epoch=self._epoch())
        if seq <= self.committed() and self._may_ack():
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, done))
        try:
            async with asyncio.timeout(self.timing.commit_s):
                await done
        except TimeoutError:
            raise Refused("commit_timeout", seq=seq) from None

    def _epoch(self) -> int:
        return self.config.epoch if self.config else 0

    # -- turns --------------------------------------------------------------------------------------------------

    async def begin(self, draft: Draft) -> Wire:
        """The turn's place in the log, once that counts: new, pending (resent), or done with its stored outcome."""

        def append(journal: Journal) -> tuple[Entry, Entry | None, str, int]:
            epoch = self._check_primary(journal)
            known = None if NO_IDEMPOTENCY in self._mutants else journal.turn_of(str(draft.idem))
            if known is None:
                # The template in force is that of the log up to here, whoever publishes what meanwhile.
                pins = {"template": journal.records.get("template", draft.body.get("template"))}
                return journal.append(replace(draft, body=draft.body | pins)), None, "new", epoch
            if json.loads(known.body)["request_sha"] != draft.body["request_sha"]:
                raise Refused("idempotency_mismatch", seq=known.seq)
            outcome = journal.outcome_of(known.seq)
            return known, outcome, "pending" if outcome is None else "done", epoch

        turn, outcome, state, epoch = await self._submit(append)
        await self._counted((outcome or turn).seq, epoch)
        self.metrics.count("store_turns_total", state=state)
        stamped = json.loads(turn.body).get("template")
        return self._place(turn) | {"state": state, "template": stamped, "outcome": outcome.body if outcome else None}

    async def finish(self, draft: Draft) -> Wire:
        """The place of the turn whose outcome is now in the log and counts. The first outcome of a turn stands."""

        def append(journal: Journal) -> tuple[Entry, Entry, int]:
            epoch = self._check_primary(journal)
            turn = journal.turn_at(draft.ref or 0)
            if turn is None or turn.idem != draft.idem:  # it was quarantined since, and its place is another's
                raise Refused("fenced", epoch=self._epoch())
            return turn, journal.outcome_of(turn.seq) or journal.append(draft), epoch

        turn, outcome, epoch = await self._submit(append)
        await self._counted(outcome.seq, epoch)
        return self._place(turn) | {"outcome": outcome.body}

    async def record(self, name: str, value: Any) -> Wire:
        """The place of a record of the registry, once it counts."""
        if LOCAL_REGISTRY in self._mutants:
            self._journal.records = self._journal.records | {name: value}
            return {"seq": 0, "epoch": self._epoch(), "degraded": False}

        def append(journal: Journal) -> tuple[Entry, int]:
            epoch = self._check_primary(journal)
            return journal.append(Draft(kind="record", value=name, body={"value": value})), epoch

        entry, epoch = await self._submit(append)
        await self._counted(entry.seq, epoch)
        return self._place(entry)

    def _place(self, turn: Entry) -> Wire:
        return {"seq": turn.seq, "epoch": self._epoch(), "degraded": self.degraded()}

    def _check_primary(self, journal: Journal) -> int:
        config = journal.config
        if config is None or config.primary != self.region:
            self.metrics.count("store_refused_appends_total")
            raise Refused("not_primary", epoch=config.epoch if config else 0, primary=config.primary if config else "")
        if self.stage is not None:
            raise Refused("damaged", reached=journal.damaged, seq=journal.last_seq)
        return config.epoch

    # -- epochs -------------------------------------------------------------------------------------------------

    async def adopt(self, config: Config) -> Wire:
        """The status after adopting what the edge decided; raises Refused when this journal knows a later epoch."""

        def change(journal: Journal) -> None:
            self._newer(journal, config)
            if journal.damaged is not None and config.primary == self.region:
                raise Refused("damaged", reached=journal.damaged, seq=journal.last_seq)
            if config != journal.config:
                journal.set_config(config)
                if config.primary == self.region:
                    # The first entry of an epoch: whatever a fenced primary wrote in its place differs from it.
                    journal.append(Draft(kind="epoch", body=config.wire()))

        await self._submit(change)
        return self.status()

    def _newer(self, journal: Journal, config: Config) -> bool:
        """Whether the configuration is new here; raises Refused when it is older, or not the one of its epoch."""
        own = journal.config
        if own is not None and config != own and config.epoch <= own.epoch:
            self.metrics.count("store_fenced_writes_total")
            raise Refused("fenced", epoch=own.epoch, config=own.wire())
        return config != own

    def grant(self, epoch: int, clock_ns: int, length_ms: int) -> None:
        """Take a lease that runs from an earlier reading of our own clock, so that a late delivery cannot lengthen it."""
        if self.primary and epoch == self._epoch():
            self._lease_until_ns = max(self._lease_until_ns, clock_ns + length_ms * 1_000_000)
            self._release()

    # -- replication --------------------------------------------------------------------------------------------

    async def take_push(self, body: Wire) -> Wire:
        """As standby: how far this log now equals the primary's; raises Refused when the pusher is fenced."""
        config = Config.parse(body["config"])
        if NO_FENCING in self._mutants and self.primary:
            raise Refused("unfenced", epoch=self._epoch())

        def extend(journal: Journal) -> int | Conflict:
            entries = self.frames.open(body)
            if self._newer(journal, config):
                journal.set_config(config)
            place = journal.extend((body["prev_seq"], body["prev_hash"]), entries, config.epoch)
            if not isinstance(place, Conflict) and place >= body["head"]:
                journal.mend()
            self.frames.taken(body)
            return place

        before = self._journal.quarantined
        try:
            result = await self._submit(extend)
        except Refused as refusal:
            if refusal.code == "fenced":
                self.frames.count("fenced", epoch=config.epoch)
            raise
        if isinstance(result, Conflict):
            return {"hint": result.hint}
        if self._journal.quarantined > before:
            log("quarantined", entries=self._journal.quarantined - before, epoch=config.epoch)
        # Up to date with the head the primary had when it pushed: only now does this log end where it should.
        self._heard_primary = self._heard_primary or result >= body["head"]
        if self.restoration is not None and self._journal.damaged is None:
            self.restoration.whole()
        return {"match": result}

    async def run_pusher(self, peer: Channel) -> None:
        """As primary: keep the peer's log equal to ours, for ever."""
        while True:
            try:
                async with asyncio.timeout(self.timing.heartbeat_s):
                    await self._wake.wait()
            except TimeoutError:
                pass  # nothing new: a push without entries tells both sides that the other is there
            self._wake.clear()
            if not self.primary or self.stage is not None:
                continue
            await self._push(peer)
            if ACK_BEFORE_REPLICATE in self._mutants or (self.config is not None and self.config.mode == "async"):
                await asyncio.sleep(self.timing.async_batch_s)

    async def _push(self, peer: Channel) -> None:
        config, reign = self.config, self._reign
        prev = self._match if self._match is not None else self._next_probe
        if config is None:
            return
        body = await self.read(lambda journal: self._push_body(journal, config, prev))
        if not peer.connected:
            self.frames.forget()
        body = self.frames.seal(body)
        try:
            answer = await peer.call("push", body, self.timing.push_s)
        except Refused as refusal:
            if self.frames.meet(refusal):
                self._wake.set()
            elif refusal.code == "fenced":
                await self._yield_to(Config.parse(refusal.facts["config"]))
            else:
                log("push-refused", code=refusal.code, facts=refusal.facts)
                await asyncio.sleep(self.timing.heartbeat_s)
            return
        except CallError as exc:
            self.metrics.count("store_push_failures_total")
            peer.hang_up()
            if time.monotonic_ns() - (self._peer_heard_ns or 0) < _BEHIND_NS:
                log("push-failed", why=str(exc))
            await asyncio.sleep(self.timing.async_batch_s)
            self._wake.set()
            return
        if self._reign != reign:
            return
        self._peer_heard_ns = time.monotonic_ns()
        if "hint" in answer:
            self._match, self._next_probe = None, int(answer["hint"])
            self._wake.set()
            return
        self._match = int(answer["match"])
        while self._heads and self._heads[0][0] <= self._match:
            self._heads.popleft()
        if self._match < self._seq:
            self._wake.set()
        self._release()

    def _push_body(self, journal: Journal, config: Config, prev: int | None) -> Wire:
        prev_seq = min(journal.last_seq if prev is None else prev, journal.last_seq)
        older = None
        if ACK_BEFORE_REPLICATE in self._mutants:
            older = time.time_ns() - int(self.timing.mutant_lag_s * 1e9)
        entries = journal.entries(prev_seq, journal.last_seq, _PUSH_ENTRIES, older)
        return {
            "config": config.wire(),
            "prev_seq": prev_seq,
            "prev_hash": journal.hash_at(prev_seq),
            "entries": [entry.row() for entry in entries],
            "head": prev_seq + len(entries) if older is not None else journal.last_seq,
        }

    async def _yield_to(self, config: Config) -> None:
        """Step down: the peer knows a later epoch than ours."""

        def change(journal: Journal) -> None:
            if journal.config is None or config.epoch > journal.config.epoch:
                journal.set_config(config)

        await self._submit(change)
        log("fenced", region=self.region, by_epoch=config.epoch)
