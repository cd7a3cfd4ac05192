"""The gateway of one region: idempotency, admission, the turn itself, deep readiness, and reads of its journal."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from typing import Any

import aiohttp
from aiohttp import web

from harness.reference.channel import CallError, Channel, Refused, Wire
from harness.reference.metrics import Metrics
from harness.reference.mutants import NO_IDEMPOTENCY, NO_STALL_TIMEOUT
from harness.reference.oracle import PINS, split
from harness.reference.program import failure, flags, metrics_page, mutants_of, run_program
from harness.reference.sse import DONE, Span, error_event, write_event
from harness.reference.turns import ENGINE_SILENT_S, Ask, Failed, Running, Upstream, run_turn

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
    )


class _Gateway:
    def __init__(self, args: argparse.Namespace, tasks: asyncio.TaskGroup, up: Upstream, mutants: frozenset[str]):
        self.name: str = args.name
        self.region: str = args.region
        self.admit: int = args.admit
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
            return failure(400, "bad_request", str(exc), self._headers())
        turn = self.running.get(ask.idem)
        if turn is not None and turn.ask.request_sha() != ask.request_sha():
            message = "this idempotency key runs for another request"
            return failure(422, "idempotency_mismatch", message, self._headers())
        if turn is None:
            if len(self.running) >= self.admit:
                self.up.metrics.count("gw_admission_shed_total")
                headers = self._headers() | {"retry-after": "1"}
                return failure(429, "overloaded", f"{self.admit} turns are under way", headers)
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

    def _start(self, ask: Ask) -> Running:
        turn = Running(ask)
        key = uuid.uuid4().hex if NO_IDEMPOTENCY in self.mutants else ask.idem
        self.running[key] = turn

        async def run() -> None:
            try:
                await run_turn(turn, self.up)
            finally:
                del self.running[key]

        self.tasks.create_task(run())
        return turn

    def _headers(self, turn: Running | None = None) -> dict[str, str]:
        headers = {"x-served-by": self.name, "x-region": self.region, "x-model-rev": PINS.model}
        if turn is not None:
            headers["x-epoch"] = str(turn.epoch)
            if turn.answer_sha is not None:
                headers["x-answer-sha"] = turn.answer_sha
            if turn.degraded:
                headers["x-degraded"] = "unreplicated"
            if turn.replayed:
                headers["x-cached"] = "replay"
        return headers

    def _refusal(self, failed: Failed, turn: Running) -> web.Response:
        return failure(failed.status, failed.code, failed.message, self._headers(turn))

    def _serving(self, turn: Running) -> dict[str, Any]:
        return {
            "region": self.region, "served_by": self.name, "epoch": turn.epoch, "seq": turn.seq,
            "answer_sha": turn.answer_sha, "degraded": "unreplicated" if turn.degraded else None, "replayed": turn.replayed,
        }  # fmt: skip

    async def _whole(self, turn: Running) -> web.Response:
        while turn.outcome is None:
            if turn.failed is not None:
                return self._refusal(turn.failed, turn)
            await turn.changed.wait()
        outcome = turn.outcome
        reply = {
            "id": f"chatcmpl-{turn.ask.idem}", "object": "chat.completion", "created": int(time.time()),
            "model": PINS.model,
            "choices": [
                {
                    "index": 0, "finish_reason": outcome["finish"],
                    "message": {"role": "assistant", "content": outcome["answer"]},
                }
            ],
            "usage": outcome["usage"], "serving": self._serving(turn),
        }  # fmt: skip
        return web.json_response(reply, headers=self._headers(turn))

    def _chunk(self, turn: Running, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{turn.ask.idem}", "object": "chat.completion.chunk", "created": 0, "model": PINS.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip

    async def _stream(self, request: web.Request, turn: Running, ask: Ask) -> web.StreamResponse:
        while not turn.started():
            await turn.changed.wait()
        sent = len(split(ask.prefix))
        if turn.failed is not None and len(turn.tokens) <= sent:
            return self._refusal(turn.failed, turn)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self._headers(turn)})
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

    # -- health and state ---------------------------------------------------------------------------------------

    async def readyz(self, request: web.Request) -> web.Response:
        """Forward progress: a token from the engine and an answer from the journal's thread, within 450 ms."""
        lease = request.headers.get("x-lease")
        try:
            async with asyncio.timeout(_PROBE_S):
                token = await self._one_token()
                status = await self.up.journal.call("status", {"lease": json.loads(lease) if lease else None}, _PROBE_S)
        except (Refused, aiohttp.ClientError, OSError, ValueError) as exc:
            return failure(503, "no_progress", repr(exc), self._headers())
        except CallError as exc:
            self.up.journal.hang_up()
            return failure(503, "no_progress", repr(exc), self._headers())
        body = {"engine": token, "journal": status, "running": len(self.running), "mutants": sorted(self.mutants)}
        ready = token and status["confirmed"]
        return web.json_response(body, status=200 if ready else 503, headers=self._headers())

    async def _one_token(self) -> bool:
        body = {"messages": [{"role": "user", "content": "ready?"}], "max_tokens": 1}
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        url = f"{self.up.engine}/v1/chat/completions"
        for _ in range(_PROBE_TRIES):
            async with self.up.session.post(url, json=body, timeout=timeout) as reply:
                if reply.status not in _REFUSALS:  # one that refuses some requests still makes progress with others
                    return reply.status == 200 and bool((await reply.json())["usage"]["completion_tokens"])
        return False

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ask_journal(self, op: str, body: Wire) -> web.Response:
        try:
            return web.json_response(await self.up.journal.call(op, body, _READ_S), headers=self._headers())
        except Refused as refusal:
            # 409 carries the later configuration to an edge that missed it
            status = 409 if refusal.code == "fenced" else 503
            return failure(status, refusal.code, json.dumps(refusal.facts), self._headers())
        except CallError as exc:
            self.up.journal.hang_up()
            return failure(503, "journal_unreachable", str(exc), self._headers())

    async def session(self, request: web.Request) -> web.Response:
        return await self._ask_journal("session", {"session": request.match_info["id"]})

    async def journal(self, request: web.Request) -> web.Response:
        return await self._ask_journal(request.match_info["op"], {})

    async def quarantine(self, _request: web.Request) -> web.Response:
        return await self._ask_journal("quarantine", {})

    async def adopt(self, request: web.Request) -> web.Response:
        return await self._ask_journal("adopt", await request.json())

    async def models(self, _request: web.Request) -> web.StreamResponse:
        timeout = aiohttp.ClientTimeout(total=_READ_S)
        try:
            async with self.up.session.get(f"{self.up.engine}/v1/models", timeout=timeout) as reply:
                return web.json_response(await reply.json(), status=reply.status, headers=self._headers())
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return failure(502, "engine_failed", repr(exc), self._headers())


def main(argv: list[str] | None = None) -> None:
    """Run the gateway of one region until SIGTERM."""
    parser = flags("gateway")
    parser.add_argument("--region", required=True)
    parser.add_argument("--engine", required=True, metavar="URL")
    parser.add_argument("--journal", required=True, metavar="URL")
    parser.add_argument("--admit", type=int, default=160, help="turns under way at once; more are refused with 429")
    args = parser.parse_args(argv)
    run_program(lambda tasks, app: _build(tasks, app, args, mutants_of(parser, args)), args)


async def _build(
    tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=10))
    metrics = Metrics(region=args.region)
    metrics.gauge("gw_admission_limit", args.admit)
    journal = Channel(tasks, session, args.journal.rstrip("/") + "/v1/calls")
    silent_s = None if NO_STALL_TIMEOUT in mutants else ENGINE_SILENT_S
    up = Upstream(
        session=session, engine=args.engine.rstrip("/"), journal=journal, metrics=metrics, engine_silent_s=silent_s
    )
    gateway = _Gateway(args, tasks, up, mutants)

    async def close(_app: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(close)
    app.router.add_post("/v1/chat/completions", gateway.chat)
    app.router.add_get("/v1/models", gateway.models)
    app.router.add_get("/v1/sessions/{id}", gateway.session)
    app.router.add_get("/v1/journal/{op:digest|status}", gateway.journal)
    app.router.add_get("/v1/quarantine", gateway.quarantine)
    app.router.add_post("/internal/config", gateway.adopt)
    app.router.add_get("/readyz", gateway.readyz)
    app.router.add_get("/livez", gateway.livez)
    app.router.add_get("/metrics", metrics_page(metrics))


if __name__ == "__main__":
    main()
