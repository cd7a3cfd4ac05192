"""The cache of a region's gateways in Redis. It may be gone at any time: then answers are generated, and nobody waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict

from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.reference.cache import Cache, Kept
from harness.reference.program import log

__all__ = ["RedisCache"]

_ANSWER_S = 0.25  # longer than this, generating is no worse
_REST_S = 1.0
_PREFIX = "answer:"


class RedisCache(Cache):
    """As `Cache`, shared by whoever asks the same server. After an error the server is left alone for a second."""

    def __init__(
        self, url: str, ttl_s: float, mutants: frozenset[str] = frozenset(), answer_s: float = _ANSWER_S
    ) -> None:
        super().__init__(ttl_s, mutants)
        self.errors = 0
        self._rest_until_s = 0.0
        self._redis = Redis.from_url(
            url, socket_timeout=answer_s, socket_connect_timeout=answer_s, decode_responses=True
        )

    async def _fresh(self, key: str) -> Kept | None:
        if time.monotonic() < self._rest_until_s:
            return None
        try:
            text = await self._redis.get(_PREFIX + key)
        except (RedisError, OSError) as exc:
            self._failed(exc)
            return None
        return None if text is None else _parsed(json.loads(text))

    async def _keep(self, key: str, made: Kept) -> None:
        if time.monotonic() < self._rest_until_s:
            return
        try:
            await self._redis.set(_PREFIX + key, json.dumps(asdict(made)), px=max(1, round(self.ttl_s * 1000)))
        except (RedisError, OSError) as exc:
            self._failed(exc)

    async def wipe(self) -> int:
        """Forget everything; how many answers that were. Raises RedisError when the server does not answer."""
        keys = [key async for key in self._redis.scan_iter(match=_PREFIX + "*", count=1000)]
        return int(await self._redis.unlink(*keys)) if keys else 0

    def about(self) -> dict[str, int]:
        """The counts, for probes; `errors`: how often the server did not answer."""
        return {"hits": self.hits, "misses": self.misses, "errors": self.errors}

    async def close(self) -> None:
        """Let go of its connections."""
        await self._redis.aclose()

    def _failed(self, exc: Exception) -> None:
        self.errors += 1
        self._rest_until_s = time.monotonic() + _REST_S
        log("cache-unreachable", why=repr(exc))


def _parsed(body: Mapping[str, object]) -> Kept:
    return Kept(**{**body, "tokens": tuple(body["tokens"])})  # type: ignore[arg-type]
