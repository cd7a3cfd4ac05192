"""Rows in PostgreSQL, one per arrival. Clients find the primary as libpq does: all hosts, `target_session_attrs=read-write`.

Needs asyncpg (`pip install asyncpg`). It never re-sends; a connection that any op broke is not used again.
"""

from __future__ import annotations

import time
from typing import Any

from harness.load import Rejected, User

try:
    import asyncpg
except ImportError as exc:
    raise ImportError("the load profile postgres_rows needs the package asyncpg: pip install asyncpg") from exc

__all__ = ["RowUser"]

WHO = "select current_setting('cluster_name'), substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"


class RowUser(User):
    """`served_by` is the server's cluster_name, `epoch` its timeline, which grows with every promotion.

    Once no primary was found, nobody looks for one again for `look_every_ms`, as a connection pool does.
    """

    model = "set"

    look_every_ms: int = 50

    _missed_s: float = 0.0
    _db: Any = None
    _who: tuple[str, int] = ("", 0)

    async def run(self) -> None:
        row = self.unique()
        async with self.op("add", key=self.session, value=row) as op:
            db, self._db = self._db, None
            if db is None or db.is_closed():
                db = await self._primary()
            op.served_by, op.epoch = self._who
            try:
                await db.execute("insert into rows (session, item) values ($1, $2)", self.session, row)
            except asyncpg.ReadOnlySQLTransactionError as exc:
                db.terminate()
                raise Rejected("read-only") from exc
            except BaseException:
                db.terminate()
                raise
            self._db = db

    async def _primary(self) -> Any:
        """A connection to the host that accepts writes. Nothing was sent when there is none: surely no effect."""
        if time.monotonic() < RowUser._missed_s + self.look_every_ms / 1000:
            raise Rejected("no primary")
        try:
            db = await asyncpg.connect(self.entry)
            name, timeline = await db.fetchrow(WHO)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            RowUser._missed_s = time.monotonic()
            raise Rejected("no primary") from exc
        self._who = (name, int(timeline, 16))
        return db

    async def final(self) -> None:
        async with self.op("read", key=self.session) as op:
            db = await asyncpg.connect(self.entry)
            found = await db.fetch("select item from rows where session = $1", self.session)
            op.result = [row["item"] for row in found]
            await db.close()

    async def stop(self) -> None:
        if self._db is not None:
            self._db.terminate()
