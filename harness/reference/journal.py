"""The log of one region on disk: a hash chain of turns, outcomes and epochs in a database that is durable when it says so.

Everything here is synchronous and runs in one thread; who may append, and when an entry counts, is `replica.py`.
A turn is two entries: `turn` when it is accepted (before any token is generated) and `outcome` when its answer is
complete. A resend after a failover finds the first and is continued, or finds both and is answered from the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.reference.database import Database, DatabaseError

if TYPE_CHECKING:
    from harness.reference.seal import Seals

__all__ = ["GENESIS", "Config", "Conflict", "Draft", "Entry", "Journal"]

GENESIS = "0" * 64
_MIRRORS = ("last_seq", "last_hash", "config", "reign", "records", "quarantined", "damaged")
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log (seq BIGINT PRIMARY KEY, epoch BIGINT NOT NULL, region TEXT NOT NULL,"
    " kind TEXT NOT NULL, session TEXT, value TEXT, idem TEXT, ref BIGINT, body TEXT NOT NULL, at_unix_ns BIGINT NOT NULL,"
    " prev_hash TEXT NOT NULL, hash TEXT NOT NULL, sig TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS log_session ON log (session) WHERE session IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS log_idem ON log (idem) WHERE idem IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS log_ref ON log (ref) WHERE ref IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS quarantine (id {serial}, fenced_by BIGINT NOT NULL, at_unix_ns BIGINT NOT NULL,"
    " entry TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS config (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS seal (id INTEGER PRIMARY KEY CHECK (id = 1), key TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS damage (id INTEGER PRIMARY KEY CHECK (id = 1), reached BIGINT NOT NULL)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Who may append in an epoch. Only the edge makes these, and it makes each epoch once."""

    epoch: int
    primary: str
    sync: tuple[str, ...]  # regions that must hold an entry before it is acknowledged (the primary among them)
    mode: str  # "sync" or "async"

    def wire(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"epoch": self.epoch, "primary": self.primary, "sync": list(self.sync), "mode": self.mode}

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Config:
        """From a JSON object; raises KeyError or ValueError when it is none of ours."""
        mode = str(body["mode"])
        if mode not in ("sync", "async"):
            raise ValueError(f"mode: expected sync or async, got {mode!r}")
        return cls(epoch=int(body["epoch"]), primary=str(body["primary"]), sync=tuple(body["sync"]), mode=mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry before it has a place in the log."""

    kind: str  # "turn", "outcome", "epoch" or "record" (of the registry: its name is the value)
    session: str | None = None
    value: str | None = None
    idem: str | None = None
    ref: int | None = None  # of an outcome: the seq of its turn
    body: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The body as it stands in the log."""
        return json.dumps(self.body, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry; `hash` covers all before it, and through `prev_hash` all that came before. `sig` is of the hash, or empty."""

    seq: int
    epoch: int
    region: str
    kind: str
    session: str | None
    value: str | None
    idem: str | None
    ref: int | None
    body: str
    at_unix_ns: int
    prev_hash: str
    hash: str
    sig: str = ""

    def row(self) -> tuple[Any, ...]:
        """The columns, in the order of the fields."""
        return (*self._hashed(), self.prev_hash, self.hash, self.sig)

    def _hashed(self) -> tuple[Any, ...]:
        return (
            self.seq, self.epoch, self.region, self.kind, self.session, self.value, self.idem, self.ref, self.body,
            self.at_unix_ns,
        )  # fmt: skip

    def computed_hash(self) -> str:
        """What `hash` must be."""
        return hashlib.sha256((self.prev_hash + json.dumps(self._hashed())).encode()).hexdigest()

    def signed(self, seals: Seals | None) -> bool:
        """Whether the region that it names signed it; without seals nothing is."""
        return self.sig == "" if seals is None else seals.signed(self.region, self.hash, self.sig)

    @classmethod
    def parse(cls, row: Sequence[Any]) -> Entry:
        """From `row()`; raises ValueError when the hash does not fit."""
        names = ("seq", "epoch", "region", "kind", "session", "value", "idem", "ref", "body", "at_unix_ns")
        entry = cls(**dict(zip((*names, "prev_hash", "hash", "sig"), row, strict=True)))
        if entry.computed_hash() != entry.hash:
            raise ValueError(f"entry {entry.seq}: hash does not fit its content")
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """This log does not hold the entry that a push builds on; `hint` is a lower seq to try (0 always fits)."""

    hint: int


class Journal:
    """The log. Mirrors of its end are kept in memory and are right after every `batch`."""

    def __init__(self, db: Database, region: str, seals: Seals | None = None) -> None:
        self._db = db
        self._region = region
        self.seals = seals
        self._stale = False
        for statement in _SCHEMA:
            self._db.run(statement.format(serial=db.serial))
        own = "" if seals is None else seals.key(region)
        self._db.run("INSERT INTO seal VALUES (1, ?) ON CONFLICT (id) DO NOTHING", (own,))
        self.key: str = self._db.run("SELECT key FROM seal")[0][
            0
        ]  # the region's when the log was begun; empty: unsigned
        self._load()

    def _load(self) -> None:
        self._load_end()
        body = self._one("SELECT body FROM config")
        self.config: Config | None = Config.parse(json.loads(body[0])) if body else None
        self.reign: int | None = None  # the epoch since which this region is primary without a break
        if self.config is not None and self.config.primary == self._region:
            self.reign = self.config.epoch
        self._load_records()
        self.quarantined: int = self._db.run("SELECT count(*) FROM quarantine")[0][0]
        damage = self._one("SELECT reached FROM damage")
        self.damaged: int | None = damage[0] if damage else None  # how far the log reached before it was cut

    def _load_end(self) -> None:
        row = self._one("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1")
        self.last_seq: int = row[0] if row else 0
        self.last_hash: str = row[1] if row else GENESIS

    def _one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        return next(iter(self._db.run(sql, values)), None)

    def _load_records(self) -> None:
        rows = self._db.run("SELECT value, body FROM log WHERE kind = 'record' ORDER BY seq")
        self.records: dict[str, Any] = {}
        for name, body in rows:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # damaged: `restore.py` finds it
                self.records[name] = json.loads(body)["value"]

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def batch(self, operations: Sequence[Callable[[Journal], Any]]) -> list[Any]:
        """The result of each operation, or the exception it raised; all are durable on return (one fsync).

        An operation raises before it writes anything or not at all. An error of the database undoes the batch and is raised.
        """
        results: list[Any] = []
        if self._stale:
            self._load()
            self._stale = False
        before = {name: getattr(self, name) for name in _MIRRORS}
        try:
            self._db.begin()
            for operation in operations:
                try:
                    results.append(operation(self))
                except DatabaseError:
                    raise
                except Exception as exc:  # handed to the caller whose operation it was
                    results.append(exc)
            self._db.commit()
        except DatabaseError:
            self._db.rollback()
            vars(self).update(before)
            self._stale = True  # whether a commit that failed is there can only be read, once the database answers
            raise
        return results

    # -- writes: only inside batch ------------------------------------------------------------------------------

    def append(self, draft: Draft) -> Entry:
        """The entry written at the end of the log, under the present epoch."""
        assert self.config is not None, "append before any epoch"
        blank = Entry(
            seq=self.last_seq + 1,
            epoch=self.config.epoch,
            region=self._region,
            kind=draft.kind,
            session=draft.session,
            value=draft.value,
            idem=draft.idem,
            ref=draft.ref,
            body=draft.text(),
            at_unix_ns=time.time_ns(),
            prev_hash=self.last_hash,
            hash="",
        )
        digest = blank.computed_hash()
        entry = replace(blank, hash=digest, sig=self.seals.sign(self._region, digest) if self.seals else "")
        self._insert(entry)
        return entry

    def _insert(self, entry: Entry) -> None:
        self._db.run(f"INSERT INTO log VALUES ({','.join('?' * 13)})", entry.row())
        self.last_seq, self.last_hash = entry.seq, entry.hash
        if entry.kind == "record":
            self.records = self.records | {str(entry.value): json.loads(entry.body)["value"]}

    def set_config(self, config: Config) -> None:
        """Remember the configuration; a restart knows it."""
        self._db.run(
            "INSERT INTO config VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (json.dumps(config.wire()),),
        )
        self.config = config
        if config.primary != self._region:
            self.reign = None
        elif self.reign is None:
            self.reign = config.epoch

    def extend(self, prev: tuple[int, str], entries: Sequence[Entry], fenced_by: int) -> int | Conflict:
        """The seq up to which this log now equals the pusher's; own entries that differ go to quarantine.

        `prev` is the seq and hash that the first entry builds on. Entries already here are skipped, so a push may
        come twice or late. Own entries past the last one pushed stay: they are newer than the push, or will differ
        from the first entry of a newer epoch.
        """
        at_seq, at_hash = prev_seq, prev_hash = prev
        for entry in entries:  # before anything is written
            if (entry.seq, entry.prev_hash) != (at_seq + 1, at_hash):
                raise ValueError(f"entry {entry.seq} does not follow entry {at_seq}")
            at_seq, at_hash = entry.seq, entry.hash
        if prev_seq > self.last_seq:
            return Conflict(hint=self.last_seq)
        if self.hash_at(prev_seq) != prev_hash:
            epoch = self._db.run("SELECT epoch FROM log WHERE seq = ?", (prev_seq,))[0][0]
            first = self._db.run("SELECT min(seq) FROM log WHERE epoch = ?", (epoch,))[0][0]
            return Conflict(hint=first - 1)
        for entry in entries:
            if entry.seq <= self.last_seq:
                if self.hash_at(entry.seq) == entry.hash:
                    continue
                self._quarantine_from(entry.seq, fenced_by)
            self._insert(entry)
        return prev_seq + len(entries)

    def _quarantine_from(self, seq: int, fenced_by: int) -> None:
        now = time.time_ns()
        for row in self.rows("seq >= ?", (seq,)):
            self._db.run(
                "INSERT INTO quarantine (fenced_by, at_unix_ns, entry) VALUES (?, ?, ?)",
                (fenced_by, now, json.dumps(row, default=repr)),
            )
            self.quarantined += 1
        self._db.run("DELETE FROM log WHERE seq >= ?", (seq,))
        self._load_end()
        self._load_records()

    def cut(self, seq: int) -> int:
        """How far the log reached. It ends before this entry now, the rest is in quarantine, and `damaged` until `mend`."""
        reached = self.damaged = max(self.last_seq, self.damaged or 0)
        self._db.run("DELETE FROM damage")
        self._db.run("INSERT INTO damage VALUES (1, ?)", (reached,))
        self._quarantine_from(seq, self.config.epoch if self.config else 0)
        return reached

    def mend(self) -> None:
        """Nothing is missing any more."""
        if self.damaged is not None:
            self._db.run("DELETE FROM damage")
            self.damaged = None

    # -- reads --------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Ask the database for nothing. Raises DatabaseError."""
        self._db.run("SELECT 1")

    def hash_at(self, seq: int) -> str:
        """The hash of an entry, and thereby of the log up to it; GENESIS for 0, the empty string past the end."""
        if seq == 0:
            return GENESIS
        row = self._one("SELECT hash FROM log WHERE seq = ?", (seq,))
        return str(row[0]) if row else ""

    def entries(self, after: int, until: int, limit: int = 1_000_000, older_than_ns: int | None = None) -> list[Entry]:
        """The entries in (after, until], at most `limit`, and with `older_than_ns` only those written before it."""
        rows = self._db.run(
            "SELECT * FROM log WHERE seq > ? AND seq <= ? AND at_unix_ns < ? ORDER BY seq LIMIT ?",
            (after, until, older_than_ns if older_than_ns is not None else 1 << 62, limit),
        )
        return [Entry.parse(row) for row in rows]

    def rows(self, where: str, values: Sequence[Any] = (), limit: int = 1_000_000_000) -> list[tuple[Any, ...]]:
        """Entries in order as they lie on disk, unverified."""
        return self._db.run(f"SELECT * FROM log WHERE {where} ORDER BY seq LIMIT ?", (*values, limit))

    def stray(self) -> int | None:
        """The first outcome that belongs to no earlier turn of its key, or is a turn's second."""
        first: int | None = self._db.run(
            "SELECT min(o.seq) FROM log o LEFT JOIN log t ON t.seq = o.ref AND t.seq < o.seq AND t.kind = 'turn'"
            " AND t.idem = o.idem LEFT JOIN log b ON b.ref = o.ref AND b.seq < o.seq"
            " WHERE o.kind = 'outcome' AND (t.seq IS NULL OR b.seq IS NOT NULL)"
        )[0][0]
        return first

    def turn_of(self, idem: str) -> Entry | None:
        """The first turn with this idempotency key."""
        row = self._one("SELECT * FROM log WHERE idem = ? AND kind = 'turn' ORDER BY seq LIMIT 1", (idem,))
        return Entry.parse(row) if row else None

    def turn_at(self, seq: int) -> Entry | None:
        """The turn at this seq; None when what is there is no turn."""
        row = self._one("SELECT * FROM log WHERE seq = ? AND kind = 'turn'", (seq,))
        return Entry.parse(row) if row else None

    def outcome_of(self, turn_seq: int) -> Entry | None:
        """The outcome of the turn at this seq."""
        row = self._one("SELECT * FROM log WHERE ref = ? ORDER BY seq LIMIT 1", (turn_seq,))
        return Entry.parse(row) if row else None

    def session(self, session: str, until: int) -> list[dict[str, Any]]:
        """The turns of a session with seq up to `until`, in log order; the list only ever grows at its end."""
        rows = self._db.run(
            "SELECT t.seq, t.value, t.idem, t.epoch, t.region, t.body, o.body FROM log t LEFT JOIN log o"
            " ON o.ref = t.seq AND o.seq <= ? WHERE t.session = ? AND t.kind = 'turn' AND t.seq <= ? ORDER BY t.seq",
            (until, session, until),
        )
        turns = []
        for seq, value, idem, epoch, region, accepted, outcome in rows:
            body = json.loads(outcome) if outcome else {}
            turns.append(
                {
                    "seq": seq, "value": value, "idem": idem, "epoch": epoch, "region": region,
                    "state": "done" if outcome else "pending", "answer_sha": body.get("answer_sha"),
                    "usage": body.get("usage"), "request": json.loads(accepted).get("request"),
                }
            )  # fmt: skip
        return turns

    def outcomes(self, until: int) -> list[tuple[str, str]]:
        """Key and body of each outcome with seq up to `until`, in log order."""
        return self._db.run("SELECT idem, body FROM log WHERE kind = 'outcome' AND seq <= ? ORDER BY seq", (until,))

    def exported(self) -> Iterator[str]:
        """The whole log as JSON lines, unverified: what was hashed, its hash, and by whose clock it was written."""
        for *hashed, prev, digest, sig in self.rows("seq > 0"):
            line = {"prev": prev, "hash": digest, "body": json.dumps(hashed), "at_unix_ns": hashed[-1], "by": hashed[2]}
            seal = {"sig": sig, "key": self.seals.key(hashed[2])} if self.seals else {}
            yield json.dumps(line | seal) + "\n"

    def fenced(self) -> list[dict[str, Any]]:
        """The quarantined turns, oldest first, each with its answer's digest when it had one; damaged ones are left out."""
        entries = []
        for fenced_by, at, entry in self._db.run("SELECT fenced_by, at_unix_ns, entry FROM quarantine ORDER BY id"):
            with contextlib.suppress(TypeError, ValueError):
                entries.append((fenced_by, at, Entry.parse(json.loads(entry))))
        answers = {(e.ref, e.epoch): json.loads(e.body) for _, _, e in entries if e.kind == "outcome"}
        return [
            {
                "seq": e.seq, "value": e.value, "idem": e.idem, "session": e.session, "epoch": e.epoch,
                "region": e.region, "fenced_by": fenced_by, "fenced_at_unix_ns": at,
                "answer_sha": answers.get((e.seq, e.epoch), {}).get("answer_sha"),
            }
            for fenced_by, at, e in entries
            if e.kind == "turn"
        ]  # fmt: skip
