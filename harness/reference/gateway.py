"""The gateway of one region: idempotency, admission, the turn itself, deep readiness, and reads of its journal."""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from typing import Any

import aiohttp
from aiohttp import web

from harness.reference.admission import Admission
from harness.reference.cache import Cache
from harness.reference.channel import Channel
from harness.reference.desk import Desk
from harness.reference.metrics import Metrics
from harness.reference.mutants import NO_IDEMPOTENCY, NO_STALL_TIMEOUT, SPILLS_ANYWHERE
from harness.reference.oracle import PINS, SMALL, split
from harness.reference.program import failure, flags, metrics_page, mutants_of, run_program
from harness.reference.providers import Pool, Provider
from harness.reference.registry import Registry
from harness.reference.roles import Door
from harness.reference.setup import Setup
from harness.reference.sse import DONE, Span, error_event, write_event
from harness.reference.turns import ENGINE_SILENT_S, Ask, Failed, Running, Upstream, run_dry, run_turn

__all__ = ["main"]

_PROBE_S = 0.45
_PROBE_TRIES = 3
_REFUSALS = frozenset({429, 503})
_READ_S = 2.0


def _ask(request: web.Request, body: Any) -> Ask:
    """What the client asked for; raises ValueError when it makes no sense."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise ValueError("messages: expected a list of at least one message")
    idem = request.headers.get("idempotency-key") or uuid.uuid4().hex
    session = request.headers.get("x-session") or body.get("user") or idem
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    return Ask(
        idem=idem,
        session=str(session),
        value=request.headers.get("x-turn-value") or idem,
        messages=body["messages"],
        seed=int(body.get("seed") or 0),
        max_tokens=None if limit is None else int(limit),
        prefix=str(body.get("resume_text") or ""),
        prefix_model=body.get("resume_model"),
        priority=request.headers.get("x-priority", "standard"),
        tenant=request.headers.get("x-tenant", ""),
        guided=(body.get("response_format") or {}).get("type") == "json_object",
    )


def _degraded(turn: Running) -> str | None:
    """What of this answer is less than it should be, in a word."""
    if turn.model == SMALL.model:
        return "small-model"
    return "unreplicated" if turn.degraded else None


class _Gateway:
    def __init__(self, args: argparse.Namespace, tasks: asyncio.TaskGroup, up: Upstream, mutants: frozenset[str]):
        self.name: str = args.name
        self.region: str = args.region
        self.cell: str = args.cell
        self.setup = Setup(
            admit=args.admit,
            cache_ms=args.cache_ms,
            providers=tuple(provider.name for provider in up.pool.providers),
            model=args.engine_model or PINS.model,
            key_root=args.key_root,
        )
        self.admission = Admission(limit=args.admit, mutants=mutants)
        self.registry = up.registry
        self.admit_per_slot: float = args.admit_per_slot
        self.key_root: str = args.key_root
        self.door = Door(self, up.metrics)
        self.foreign_bytes = 0  # of requests whose tenant belongs to another cell: must stay 0
        self.tasks = tasks
        self.up = up
        self.mutants = mutants
        self.running: dict[str, Running] = {}

    # -- chat ---------------------------------------------------------------------------------------------------

    async def chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            ask = _ask(request, body)
        except (TypeError, ValueError) as exc:
            return failure(400, "bad_request", str(exc), self.headers())
        if (refusal := self._foreign(request)) is not None:
            return refusal
        if request.headers.get("x-dry-run"):
            dry = Running(ask, template=str(body.get("template") or self.registry.template), readers=1)
            await run_dry(dry, self.up)
            return await self._whole(dry)
        turn = self.running.get(ask.idem)
        if turn is not None and turn.ask.request_sha() != ask.request_sha():
            message = "this idempotency key runs for another request"
            return failure(422, "idempotency_mismatch", message, self.headers())
        if turn is None:
            if not self.admission.admits(len(self.running), ask.priority):
                self.up.metrics.count("gw_admission_shed_total", priority=ask.priority)
                headers = self.headers() | {"retry-after": "1"}
                return failure(429, "overloaded", f"{len(self.running)} turns are under way", headers)
            turn = self._start(ask)
        self.up.metrics.count("gw_requests_total")
        turn.readers += 1
        try:
            if body.get("stream"):
                return await self._stream(request, turn, ask)
            return await self._whole(turn)
        finally:
            turn.readers -= 1
            turn.left_at = time.monotonic()

    def _foreign(self, request: web.Request) -> web.Response | None:
        """A refusal for a tenant whose data must not come here; what comes in all the same is counted."""
        tenant = request.headers.get("x-tenant", "")
        if not self.cell or not tenant or tenant.partition("-")[0] == self.cell:
            return None
        if SPILLS_ANYWHERE not in self.mutants:
            return failure(403, "residency", f"this cell is not for tenant {tenant!r}", self.headers())
        self.foreign_bytes += request.content_length or 1
        return None

    def _start(self, ask: Ask) -> Running:
        turn = Running(ask)
        config, turn.canary = self.registry.config(ask.session)
        bounds = (config.get("answer_tokens_max"), self.setup.answer_tokens_max)
        turn.tokens_max = min((bound for bound in bounds if bound is not None), default=None)
        turn.template = self.registry.template
        key = uuid.uuid4().hex if NO_IDEMPOTENCY in self.mutants else ask.idem
        self.running[key] = turn

        async def run() -> None:
            try:
                await run_turn(turn, self.up)
            finally:
                del self.running[key]
            if turn.canary and self.registry.rollout is not None:
                self.registry.rollout.turns.append(turn.failed is None)

        self.tasks.create_task(run())
        return turn

    @property
    def load(self) -> int:
        """Turns under way."""
        return len(self.running)

    def headers(self, turn: Running | None = None) -> dict[str, str]:
        """Who answers, and with `turn` what answer it is."""
        headers = {
            "x-served-by": self.name,
            "x-region": self.region,
            "x-model-rev": PINS.model if turn is None else turn.model,
            "x-tokenizer-rev": PINS.tokenizer,
            "x-template-rev": PINS.template if turn is None else turn.template,
        }
        if self.key_root:
            headers["x-key-generation"] = str(self.registry.newest_key)
        if turn is not None:
            headers["x-epoch"] = str(turn.epoch)
            if turn.answer_sha is not None:
                headers["x-answer-sha"] = turn.answer_sha
            if turn.asked > 1:
                headers["x-tries"] = str(turn.asked)
            if (degraded := _degraded(turn)) is not None:
                headers["x-degraded"] = degraded
            if turn.replayed or turn.recalled:
                headers["x-cached"] = "replay" if turn.replayed else "hit"
        return headers

    def _refusal(self, failed: Failed, turn: Running) -> web.Response:
        return failure(failed.status, failed.code, failed.message, self.headers(turn))

    def _serving(self, turn: Running) -> dict[str, Any]:
        return {
            "region": self.region, "served_by": self.name, "epoch": turn.epoch, "seq": turn.seq,
            "answer_sha": turn.answer_sha, "degraded": _degraded(turn), "replayed": turn.replayed,
        }  # fmt: skip

    async def _whole(self, turn: Running) -> web.Response:
        while turn.outcome is None:
            if turn.failed is not None:
                return self._refusal(turn.failed, turn)
            await turn.changed.wait()
        outcome = turn.outcome
        reply = {
            "id": f"chatcmpl-{turn.ask.idem}", "object": "chat.completion", "created": int(time.time()),
            "model": turn.model,
            "choices": [
                {
                    "index": 0, "finish_reason": outcome["finish"],
                    "message": {"role": "assistant", "content": outcome["answer"]},
                }
            ],
            "usage": outcome["usage"], "serving": self._serving(turn),
        }  # fmt: skip
        return web.json_response(reply, headers=self.headers(turn))

    def _chunk(self, turn: Running, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{turn.ask.idem}", "object": "chat.completion.chunk", "created": 0, "model": turn.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip

    async def _stream(self, request: web.Request, turn: Running, ask: Ask) -> web.StreamResponse:
        while not turn.started():
            await turn.changed.wait()
        sent = len(split(ask.prefix))
        if turn.failed is not None and len(turn.tokens) <= sent:
            return self._refusal(turn.failed, turn)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self.headers(turn)})
        await response.prepare(request)
        while True:
            if not "".join(turn.tokens[:sent]).startswith(ask.prefix[: len("".join(turn.tokens[:sent]))]):
                await response.write(error_event("answer_mismatch", "the part already sent is not of this answer"))
                return response
            if len(turn.tokens) > sent:
                delta = {"content": "".join(turn.tokens[sent:])} | ({"role": "assistant"} if sent == 0 else {})
                span = Span(start=sent, end=len(turn.tokens))
                sent = span.end
                await response.write(write_event(self._chunk(turn, delta, None), span))
            elif turn.outcome is not None:
                # The acknowledgement: only sent once the journal says that the outcome counts.
                last = self._chunk(turn, {}, turn.outcome["finish"])
                last |= {"usage": turn.outcome["usage"], "serving": self._serving(turn)}
                await response.write(write_event(last, Span(start=sent, end=sent)) + DONE)
                return response
            elif turn.failed is not None:
                await response.write(error_event(turn.failed.code, turn.failed.message))
                return response
            else:
                await turn.changed.wait()


def main(argv: list[str] | None = None) -> None:
    """Run the gateway of one region until SIGTERM."""
    parser = flags("gateway")
    parser.add_argument("--region", required=True)
    parser.add_argument("--engine", required=True, metavar="URL")
    parser.add_argument(
        "--engine-model", metavar="NAME", help="--engine is any OpenAI-compatible server, with this model"
    )
    parser.add_argument("--also", action="append", default=[], metavar="NAME=URL", help="another provider of the model")
    parser.add_argument("--small", metavar="URL", help="a provider of the smaller model, asked when no other answers")
    parser.add_argument("--journal", required=True, metavar="URL")
    parser.add_argument("--cache-ms", type=float, default=0, help="how long answers are kept; 0: not at all")
    parser.add_argument("--redis", metavar="URL", help="keep them in this Redis; else in this program's memory")
    parser.add_argument("--key-root", default="", help="the secret that clients' keys are derived from; none: no keys")
    parser.add_argument("--cell", default="", help="tenants whose name begins with another cell's are refused")
    parser.add_argument("--admit-per-slot", type=float, default=0, help="follow what the engine can carry; 0: do not")
    parser.add_argument("--admit", type=int, default=160, help="turns under way at once; more are refused with 429")
    args = parser.parse_args(argv)
    if args.engine_model and (args.also or args.small):
        parser.error(
            "--engine-model: an answer of a foreign engine cannot be taken over by another: leave --also and --small out"
        )
    run_program(lambda tasks, app: _build(tasks, app, args, mutants_of(parser, args)), args)


def _providers(args: argparse.Namespace) -> list[Provider]:
    found = [Provider(name="own", url=args.engine.rstrip("/"), foreign=args.engine_model)]
    for entry in args.also:
        name, _, url = entry.partition("=")
        found.append(Provider(name=name, url=url.rstrip("/")))
    if args.small:
        found.append(Provider(name="small", url=args.small.rstrip("/"), model=SMALL.model))
    return found


def _cache(args: argparse.Namespace, mutants: frozenset[str]) -> Cache:
    if args.redis is None:
        return Cache(args.cache_ms / 1e3, mutants)
    from harness.reference.redis_cache import RedisCache

    return RedisCache(args.redis, args.cache_ms / 1e3, mutants)


async def _build(
    tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=10))
    metrics = Metrics(region=args.region)
    metrics.gauge("gw_admission_limit", args.admit)
    journal = Channel(tasks, session, args.journal.rstrip("/") + "/v1/calls")
    cache = _cache(args, mutants)
    silent_s = None if NO_STALL_TIMEOUT in mutants else ENGINE_SILENT_S
    up = Upstream(
        session=session,
        pool=Pool(_providers(args), mutants),
        cache=cache,
        registry=Registry(mutants),
        journal=journal,
        metrics=metrics,
        account=f"{args.name}.{uuid.uuid4().hex[:8]}",  # of this process: its list of attempts ends with it
        mutants=mutants,
        engine_silent_s=silent_s,
    )
    gateway = _Gateway(args, tasks, up, mutants)
    desk = Desk(gateway)

    async def close(_app: web.Application) -> None:
        await session.close()
        await cache.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/chat/completions", gateway.chat)
    app.router.add_get("/v1/about", desk.about)
    app.router.add_post("/admin/wipe", desk.wipe)
    app.router.add_post("/admin/setup", desk.edit)
    app.router.add_get("/v1/registry", desk.published)
    app.router.add_post("/v1/registry/{name}", desk.publish)
    app.router.add_get("/v1/models", desk.models)
    app.router.add_get("/v1/billing", desk.billing)
    app.router.add_get("/v1/sessions/{id}", desk.session)
    app.router.add_get("/v1/journal/{op}", desk.journal)
    app.router.add_get("/v1/quarantine", desk.quarantine)
    app.router.add_get("/v1/refusals", desk.refusals)
    app.router.add_post("/internal/config", desk.adopt)
    app.router.add_get("/readyz", desk.readyz)
    app.router.add_get("/livez", desk.livez)
    app.router.add_get("/metrics", metrics_page(metrics))
    gateway.door.guard(app)


if __name__ == "__main__":
    main()
