"""Where a journal lies: SQLite in a file of its own, or a PostgreSQL server. The SQL is the same, its parameters are `?`.

Every error of either is a `DatabaseError`. A connection that PostgreSQL lost is made anew at the next statement outside a
transaction, so that a server which was down is used again as soon as it is back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.reference.program import log

if TYPE_CHECKING:
    import psycopg

__all__ = ["Database", "DatabaseError", "Postgres", "Sqlite"]

_CONNECT_S = 2
_ANSWER_MS = 5_000  # no statement of ours takes longer on a server that is well
_RETRY_S = 0.2


class DatabaseError(Exception):
    """The database could not do it. Inside a transaction: nothing of that is there after `rollback`."""


class Database(Protocol):
    """What a journal needs. Used by one thread at a time."""

    serial: str
    """The type of a column that counts up by itself."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement, none for one that has none. Raises DatabaseError."""
        ...

    def begin(self) -> None:
        """Begin a transaction that writes."""
        ...

    def commit(self) -> None:
        """Make it durable."""
        ...

    def rollback(self) -> None:
        """Forget it. Never raises."""
        ...

    def close(self) -> None:
        """Close it for good."""
        ...


class Sqlite:
    """A file in WAL mode. With `lax` a commit is on disk only once a checkpoint has synced it, ten thousand pages later."""

    serial = "INTEGER PRIMARY KEY"

    def __init__(self, path: Path, *, lax: bool = False) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.text_factory = lambda raw: raw.decode(errors="replace")  # damaged text is read, and fails its hash
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'NORMAL' if lax else 'FULL'}")
        if lax:  # the usual thousand may have been synced an instant before the power fails, and nothing would be lost
            self._db.execute("PRAGMA wal_autocheckpoint=10000")

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as exc:
            raise DatabaseError(repr(exc)) from exc

    def begin(self) -> None:
        """See `Database`."""
        self.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """See `Database`."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """See `Database`."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """See `Database`."""
        self._db.close()


class Postgres:
    """A server by its URL, waited for up to `within_s` seconds. With `lax` it answers a commit before its WAL is on disk."""

    serial = "INTEGER PRIMARY KEY GENERATED ALWAYS AS IDENTITY"

    def __init__(self, url: str, *, lax: bool = False, within_s: float = 20.0) -> None:
        self._url = url
        # `local`: durable on this server. That the other region has it too is the journal's own protocol.
        self._options = f"-c synchronous_commit={'off' if lax else 'local'} -c statement_timeout={_ANSWER_MS}"
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None
        until_s = time.monotonic() + within_s
        while True:
            try:
                self.run("SELECT 1")
                return
            except DatabaseError as exc:
                if time.monotonic() > until_s:
                    raise
                log("database-unreachable", why=str(exc))
                time.sleep(_RETRY_S)

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        import psycopg

        try:
            cursor = self._connected().execute(sql.replace("?", "%s"), values or None)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as exc:
            raise DatabaseError(repr(exc)) from exc

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        import psycopg

        if self._db is None or self._db.closed:
            self._db = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                options=self._options,
                prepare_threshold=2,
                keepalives_idle=1,
                tcp_user_timeout=_ANSWER_MS,
            )
        return self._db

    def begin(self) -> None:
        """See `Database`."""
        self.run("BEGIN")

    def commit(self) -> None:
        """See `Database`."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """See `Database`. A connection of which we cannot know what it still holds is left."""
        import psycopg

        try:
            if self._db is not None and not self._db.closed:
                self._db.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """See `Database`."""
        if self._db is not None:
            self._db.close()
            self._db = None
