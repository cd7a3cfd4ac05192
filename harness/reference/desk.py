"""What a gateway says of itself and of its region's log, and what operators say to it: all that is not chat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from harness.reference.admission import Admission
from harness.reference.channel import CallError, Refused, Wire
from harness.reference.foreign import ALONE, UNPROVEN
from harness.reference.journal import Config
from harness.reference.mutants import COLD_STANDBY, STALE_CREDENTIALS
from harness.reference.oracle import PINS
from harness.reference.program import failure, log
from harness.reference.providers import Provider
from harness.reference.registry import Registry, problem
from harness.reference.roles import Door
from harness.reference.setup import Setup
from harness.reference.turns import Upstream
from harness.reference.usage import ACCOUNT, Bill, reconcile

__all__ = ["Desk", "Front"]

_PROBE_S = 0.45
_PROBE_TRIES = 3
_REFUSALS = frozenset({429, 503})
_READ_S = 2.0
_WARM_S = 10.0


class Front(Protocol):
    """The gateway that this is the desk of."""

    name: str
    region: str
    cell: str
    up: Upstream
    mutants: frozenset[str]
    admission: Admission
    admit_per_slot: float
    door: Door
    registry: Registry
    setup: Setup
    foreign_bytes: int

    @property
    def load(self) -> int:
        """Turns under way."""

    def headers(self) -> dict[str, str]:
        """Who answers."""


class Desk:
    """Health, state, reads and records of one gateway."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.up = front.up
        self.mutants = front.mutants
        self.registry = front.registry
        self._warm = PINS.template  # every engine starts with it
        self._warming: asyncio.Task[None] | None = None

    async def readyz(self, request: web.Request) -> web.Response:
        """Forward progress: a token from the engine and an answer from the journal's thread, within 450 ms."""
        lease = request.headers.get("x-lease") if self.front.door.role(request) == "control" else None
        try:
            async with asyncio.timeout(_PROBE_S):
                token = await self._one_token()
                status = await self.up.journal.call("status", {"lease": json.loads(lease) if lease else None}, _PROBE_S)
        except (Refused, aiohttp.ClientError, OSError, ValueError) as exc:
            return failure(503, "no_progress", repr(exc), self.front.headers())
        except CallError as exc:
            self.up.journal.hang_up()
            return failure(503, "no_progress", repr(exc), self.front.headers())
        await self._follow_registry(status["records"])
        if self.front.admit_per_slot:
            await self._follow_capacity()
        body = {"engine": token, "journal": status, "running": self.front.load, "mutants": sorted(self.mutants)}
        body["setup"] = self.front.setup.told()
        ready = token and status["confirmed"]
        return web.json_response(body, status=200 if ready else 503, headers=self.front.headers())

    async def _follow_registry(self, records: Wire) -> None:
        """Take over what the journal holds, and put on record how a rollout went, where this region serves."""
        if STALE_CREDENTIALS in self.mutants and not self.up.metrics.value("gw_requests_total"):
            records = records | {"keys": self.registry.records.get("keys", [1])}
        self.registry.take(records)
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._warm_up(self.registry.template))
        concluded = self.registry.concluded()
        if concluded is None:
            return
        try:
            await self.up.journal.call("record", {"name": "config", "value": concluded}, _READ_S)
            log("rollout-concluded", because=concluded["because"], value=concluded["value"])
        except (Refused, CallError) as exc:
            log("rollout-unrecorded", why=repr(exc))

    async def _follow_capacity(self) -> None:
        """Let in what the engine can carry as it is now, so that what a surviving region lets in is what it can serve."""
        url, timeout = f"{self.up.pool.own[0].url}/health", aiohttp.ClientTimeout(total=_PROBE_S)
        try:
            async with self.up.session.get(url, timeout=timeout) as reply:
                slots = int((await reply.json())["slots"])
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as exc:
            log("capacity-unknown", why=repr(exc))
            return
        if slots:
            self.front.admission.limit = max(1, round(slots * self.front.admit_per_slot))
            self.up.metrics.gauge("gw_admission_limit", self.front.admission.limit)

    async def _warm_up(self, template: str) -> None:
        """Have the engine compute what prompts of this template begin with, once, and before anyone waits for it."""
        standby = not self.up.metrics.value("gw_requests_total")
        if self.up.pool.own[0].foreign or template == self._warm or (COLD_STANDBY in self.mutants and standby):
            return
        self._warm = template
        pins = {"model": PINS.model, "tokenizer": PINS.tokenizer, "template": template}
        body = {"messages": [{"role": "user", "content": "warm"}], "max_tokens": 1, "pins": pins}
        url = f"{self.up.pool.own[0].url}/v1/chat/completions"
        try:
            async with self.up.session.post(url, json=body, timeout=aiohttp.ClientTimeout(total=_WARM_S)) as reply:
                log("warmed", template=template, status=reply.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            self._warm = ""
            log("not-warmed", template=template, why=repr(exc))

    async def publish(self, request: web.Request) -> web.Response:
        """Put a value on record under a name; 422 when it is invalid, before any process has loaded it."""
        name = request.match_info["name"]
        try:
            value = (await request.json())["value"]
        except (ValueError, KeyError, TypeError) as exc:
            return failure(400, "bad_request", f"expected an object with a value: {exc!r}", self.front.headers())
        if (wrong := problem(name, value)) is not None:
            return failure(422, "invalid", wrong, self.front.headers())
        if name == "template":
            await self._warm_up(value)
        return await self._ask_journal("record", {"name": name, "value": self.registry.published(name, value)})

    async def wipe(self, _request: web.Request) -> web.Response:
        """Forget all answers, as a cache does that is restarted. For drills."""
        return web.json_response({"wiped": await self.up.cache.wipe()}, headers=self.front.headers())

    async def edit(self, request: web.Request) -> web.Response:
        """Change a setting of this gateway alone, past the registry, as a hand at the wrong machine does. For drills."""
        try:
            self.front.setup.edit(await request.json())
        except ValueError as exc:
            return failure(400, "bad_request", str(exc), self.front.headers())
        self.front.admission.limit = self.front.setup.admit
        return web.json_response(self.front.setup.told(), headers=self.front.headers())

    async def published(self, _request: web.Request) -> web.Response:
        """The registry as this gateway knows it."""
        template = self.registry.template
        body = {
            "records": self.registry.records,
            "digest": self.registry.digest(),
            "template": int(template.rpartition(".r")[2]),
            "rolled_back": int(self.registry.records.get("config", {}).get("because") == "rolled-back"),
        }
        return web.json_response(body, headers=self.front.headers())

    async def _one_token(self) -> bool:
        """Whether any provider makes progress, the smaller model's too; each is asked for its share of the time."""
        providers = self.up.pool.providers
        for provider in providers:
            try:
                async with asyncio.timeout(_PROBE_S / len(providers)):
                    if await self._token_from(provider.url, provider.foreign):
                        return True
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
                if provider is providers[-1]:
                    raise
        return False

    async def _token_from(self, url: str, model: str | None) -> bool:
        body: Wire = {"model": model} if model else {}
        body |= {"messages": [{"role": "user", "content": "ready?"}], "max_tokens": 1}
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        address, headers = f"{url}/v1/chat/completions", ALONE if model else None
        for _ in range(_PROBE_TRIES):
            async with self.up.session.post(address, json=body, headers=headers, timeout=timeout) as reply:
                if reply.status not in _REFUSALS:  # one that refuses some requests still makes progress with others
                    return reply.status == 200 and bool((await reply.json())["usage"]["completion_tokens"])
        return False

    async def about(self, _request: web.Request) -> web.Response:
        """What probes ask: the providers' states, who was refused, and what came in that belongs elsewhere."""
        providers = self.up.pool.about()
        return web.json_response(
            {
                "name": self.front.name,
                "region": self.front.region,
                "cell": self.front.cell,
                "running": self.front.load,
                "providers": providers,
                "unproven": UNPROVEN if self.up.pool.own[0].foreign else {},
                "cooling": int(providers[0]["state"] != "closed"),  # whether the first provider is left alone
                "refused": dict(self.front.admission.refused),
                "admits": self.front.admission.limit,
                "setup": self.front.setup.told(),
                "cache": self.up.cache.about(),
                "foreign_bytes": self.front.foreign_bytes,
                "wasted_tokens": int(self.up.metrics.value("gw_wasted_tokens_total")),
                "mutants": sorted(self.mutants),
            }
        )

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ask_journal(
        self, op: str, body: Wire, shown: Callable[[Wire], Any] = lambda found: found
    ) -> web.Response:
        """The journal's answer as it is `shown`, or a refusal."""
        try:
            found = await self.up.journal.call(op, body, _READ_S)
            return web.json_response(shown(found), headers=self.front.headers())
        except Refused as refusal:
            # 409 carries the later configuration to an edge that missed it
            status = 409 if refusal.code == "fenced" else 503
            return failure(status, refusal.code, json.dumps(refusal.facts), self.front.headers())
        except CallError as exc:
            self.up.journal.hang_up()
            return failure(503, "journal_unreachable", str(exc), self.front.headers())

    async def session(self, request: web.Request) -> web.Response:
        return await self._ask_journal("session", {"session": request.match_info["id"]})

    async def refusals(self, _request: web.Request) -> web.Response:
        """Whom the door refused last, oldest first."""
        return web.json_response({"refusals": list(self.front.door.refusals)}, headers=self.front.headers())

    async def journal(self, request: web.Request) -> web.Response:
        if request.match_info["op"] not in ("digest", "status"):
            return failure(404, "not_found", "there are digest and status", self.front.headers())
        return await self._ask_journal(request.match_info["op"], {})

    async def quarantine(self, _request: web.Request) -> web.Response:
        return await self._ask_journal("quarantine", {})

    async def billing(self, _request: web.Request) -> web.Response:
        """The log's bills against what providers charged this gateway for; 503 when one of them does not say."""
        providers = self.up.pool.providers
        told = await asyncio.gather(*(self._charged(provider) for provider in providers))
        if blind := [provider.name for provider, ledger in zip(providers, told, strict=True) if ledger is None]:
            return failure(503, "blind", f"no account of charges from {', '.join(blind)}", self.front.headers())
        ledgers = [ledger for ledger in told if ledger is not None]

        def compared(found: Wire) -> Wire:
            return reconcile((Bill(*row) for row in found["bills"]), ledgers, self.up.attempts)

        return await self._ask_journal("bills", {}, compared)

    async def _charged(self, provider: Provider) -> dict[str, list[int]] | None:
        """What a provider charged us for; None when it does not say, as a foreign one cannot."""
        if provider.foreign:
            return None
        url, timeout = f"{provider.url}/v1/usage", aiohttp.ClientTimeout(total=_READ_S)
        try:
            async with self.up.session.get(
                url, headers={ACCOUNT: self.up.account}, timeout=timeout, raise_for_status=True
            ) as reply:
                charges: dict[str, list[int]] = (await reply.json())["charges"]
                return charges
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
            return None

    async def adopt(self, request: web.Request) -> web.Response:
        try:
            config = Config.parse(await request.json())
        except (KeyError, TypeError, ValueError) as exc:
            return failure(400, "bad_request", f"expected a configuration: {exc!r}", self.front.headers())
        return await self._ask_journal("adopt", config.wire())

    async def models(self, _request: web.Request) -> web.StreamResponse:
        timeout = aiohttp.ClientTimeout(total=_READ_S)
        try:
            async with self.up.session.get(f"{self.up.pool.own[0].url}/v1/models", timeout=timeout) as reply:
                return web.json_response(await reply.json(), status=reply.status, headers=self.front.headers())
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return failure(502, "engine_failed", repr(exc), self.front.headers())
