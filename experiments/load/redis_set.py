"""A set of items per session, in Redis: RESP over a plain asyncio socket. No client library, so nothing is re-sent unseen."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from harness.load import Rejected, User

ADD = "redis.call('SADD', KEYS[1], ARGV[1]) return redis.call('EXPIRE', KEYS[1], ARGV[2])"


class SetUser(User):
    """One arrival adds one item to its session's set. Keys carry `prefix` and the run's tag, and expire after `expire_s`."""

    model = "set"

    prefix: str = "blackstart"
    expire_s: int = 3600
    _wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        item = self.unique()
        async with self.op("add", key=self.session, value=item):
            await self.ask("EVAL", ADD, "1", f"{self.prefix}:{self.session}", item, str(self.expire_s))

    async def final(self) -> None:
        async with self.op("read", key=self.session) as op:
            op.result = await self.ask("SMEMBERS", f"{self.prefix}:{self.session}")

    async def stop(self) -> None:
        if self._wire is not None:
            self._wire[1].close()

    async def ask(self, *words: str) -> object:
        """The answer to one command. A connection is kept only after a whole answer: what was cut off may still come."""
        wire, self._wire = self._wire, None
        if wire is None or wire[0].at_eof():
            where = urlsplit(self.entry)
            wire = await asyncio.open_connection(where.hostname, where.port)
        parts = (f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words)
        try:
            wire[1].write(f"*{len(words)}\r\n".encode() + b"".join(parts))
            answer = await self._answer(wire[0])
        except BaseException:
            wire[1].close()
            raise
        self._wire = wire
        return answer

    async def _answer(self, reader: asyncio.StreamReader) -> object:
        line = (await reader.readuntil(b"\r\n"))[:-2].decode()
        sort, rest = line[:1], line[1:]
        if sort == "-":
            raise Rejected(rest.partition(" ")[0])  # LOADING, READONLY, OOM: the command was not carried out
        if sort == "*":
            return [await self._answer(reader) for _ in range(int(rest))]
        if sort == "$":
            return None if rest == "-1" else (await reader.readexactly(int(rest) + 2))[:-2].decode()
        return rest
