"""The engine process: an OpenAI-compatible server whose model is the oracle and whose speed depends on its load."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from harness.reference import oracle
from harness.reference.metrics import Metrics
from harness.reference.mutants import SLOWER_TOKENS, ZOMBIES
from harness.reference.oracle import PINS, SMALL, Basis, Pins
from harness.reference.program import failure, flags, metrics_page, mutants_of, run_program
from harness.reference.sse import DONE, write_event
from harness.reference.usage import ACCOUNT, Charges

__all__ = ["Line", "Speed", "main"]

_LONGEST_ORDER_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How the simulated hardware behaves. Times in seconds."""

    first_s: float  # before the first token
    step_s: float  # between tokens, alone
    per_running_s: float  # more between tokens, for each other stream that runs
    shortest: int  # tokens of an answer
    longest: int
    per_event: int  # tokens of one event
    prefill_s: float = 0.0  # to compute what all prompts of a template begin with, once
    slots: int = 0  # answers generated at once, the others wait in line; 0: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    id: str
    basis: Basis
    start: int  # first token to say: over 0 when continuing
    count: int  # tokens of the whole answer
    finish: str

    def text(self, start: int, end: int) -> str:
        return oracle.said(self.basis, start, end, self.count)

    def usage(self, prompt_tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": self.count,
            "total_tokens": prompt_tokens + self.count,
        }


Answer = Callable[[web.Request, _Job, int], Awaitable[web.StreamResponse]]


class Line:
    """A bounded number of places, and those who wait for one, first come first served. 0 places: no bound."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def resize(self, slots: int) -> None:
        """Have so many places from now on; who has one keeps it."""
        self.slots = slots
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (not self.slots or self.taken < self.slots):
            turn = self._waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Who is cancelled while waiting leaves the line."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():
                if turn in self._waiting:
                    self._waiting.remove(turn)
            elif turn.done():
                self.taken -= 1
            self._admit()


class _Engine:
    def __init__(self, name: str, speed: Speed, metrics: Metrics, pins: Pins, deaf: bool = False) -> None:
        self.name = name
        self.speed = speed
        self.metrics = metrics
        self.pins = pins
        self.running = 0
        metrics.gauge("vllm:num_requests_running", 0)  # also of one that was only ever probed
        self.line = Line(speed.slots)
        self.alike: Counter[Basis] = Counter()  # answers under way, by what they depend on
        self.herd = 0  # the most that were alike at once
        self.warm: dict[str, asyncio.Task[None]] = {}  # templates whose shared beginning is in the cache, or under way
        self.met_cold = 0  # answers that had to wait for it
        self.deaf = deaf  # to clients that hang up
        self.charges = Charges()

    def job(self, body: Mapping[str, Any]) -> _Job:
        """The work asked for; raises ValueError when the request makes no sense, LookupError for other revisions."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise ValueError("messages: expected a list of at least one message")
        pins = Pins(**body["pins"]) if "pins" in body else self.pins
        if replace(pins, template=self.pins.template) != self.pins:  # a template is rendered, not loaded
            raise LookupError(f"pins: this engine serves {self.pins}, got {pins}")
        guided = (body.get("response_format") or {}).get("type") == "json_object"
        seed, limit = body.get("seed") or 0, body.get("max_tokens") or body.get("max_completion_tokens")
        basis = Basis(pins=pins, prompt=oracle.prompt_sha(messages, pins.template), seed=int(seed), guided=guided)
        wanted = oracle.length(basis, self.speed.shortest, self.speed.longest)
        count = wanted if limit is None else max(1, min(wanted, int(limit)))
        start = int(body.get("continue_from") or 0)
        if not 0 <= start <= count:
            raise ValueError(f"continue_from: expected 0 to {count}, got {start}")
        finish = "stop" if count == wanted else "length"
        return _Job(id=f"engine-{time.monotonic_ns()}", basis=basis, start=start, count=count, finish=finish)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
            job = self.job(body)
        except LookupError as exc:
            return failure(409, "wrong_revision", str(exc))
        except (TypeError, ValueError) as exc:
            return failure(400, "bad_request", str(exc))
        prompt_tokens = sum(len(str(message.get("content"))) // 4 + 1 for message in body["messages"])
        await self._prefilled(job)
        answer = self._stream if body.get("stream") else self._whole
        if job.count == 1:  # a probe of forward progress: served between the steps of the batch, whatever the line
            return await answer(request, job, prompt_tokens)
        self.alike[job.basis] += 1
        self.herd = max(self.herd, self.alike[job.basis])
        try:
            return await self._in_line(request, job, answer, prompt_tokens)
        finally:
            self.alike[job.basis] -= 1
            if not self.alike[job.basis]:
                del self.alike[job.basis]

    async def _in_line(self, request: web.Request, job: _Job, answer: Answer, prompt_tokens: int) -> web.StreamResponse:
        async with self.line.place():
            self.running += 1
            self.metrics.gauge("vllm:num_requests_running", self.running)
            try:
                return await answer(request, job, prompt_tokens)
            finally:
                self.running -= 1
                self.metrics.gauge("vllm:num_requests_running", self.running)

    async def _prefilled(self, job: _Job) -> None:
        """Return once what all prompts of the job's template begin with has been computed; who asks first begins that."""
        if not self.speed.prefill_s:
            return
        template = job.basis.pins.template
        begun = self.warm.get(template)
        if begun is None:
            begun = self.warm[template] = asyncio.create_task(asyncio.sleep(self.speed.prefill_s))
        if not begun.done():
            self.met_cold += job.count > 1  # one token is what a warm-up asks for
            await asyncio.shield(begun)

    def _headers(self, job: _Job) -> dict[str, str]:
        pins = job.basis.pins
        return {
            "x-served-by": self.name,
            "x-model-rev": pins.model,
            "x-tokenizer-rev": pins.tokenizer,
            "x-template-rev": pins.template,
            "x-answer-sha": oracle.text_sha(oracle.answer(job.basis, job.count)),
        }

    async def _stream(self, request: web.Request, job: _Job, prompt_tokens: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **self._headers(job)})
        await response.prepare(request)
        due = time.monotonic()
        step = self.speed.first_s
        charged = self.charges.begin(request.headers)
        for start in range(job.start, job.count, self.speed.per_event):
            end = min(start + self.speed.per_event, job.count)
            pause = step + (self.speed.step_s + self.speed.per_running_s * (self.running - 1)) * (end - start)
            step = 0.0
            due += pause
            await asyncio.sleep(due - time.monotonic())  # against the schedule: late wake-ups do not add up
            self.metrics.observe("vllm:inter_token_latency_seconds", pause / (end - start))
            if charged is not None:
                charged[1] += end - start
            try:
                await response.write(write_event(self._chunk(job, {"content": job.text(start, end)}, None)))
            except ConnectionError:
                if not self.deaf:
                    raise
            self.metrics.count("vllm:generation_tokens_total", end - start)
        last = self._chunk(job, {}, job.finish) | {"usage": job.usage(prompt_tokens)}
        await response.write(write_event(last) + DONE)
        self.metrics.count("vllm:request_success_total", finished_reason=job.finish)
        return response

    async def _whole(self, request: web.Request, job: _Job, prompt_tokens: int) -> web.StreamResponse:
        tokens = job.count - job.start
        charged = self.charges.begin(request.headers)
        await asyncio.sleep(
            self.speed.first_s + (self.speed.step_s + self.speed.per_running_s * (self.running - 1)) * tokens
        )
        if charged is not None:
            charged[1] += tokens
        message = {"role": "assistant", "content": job.text(job.start, job.count)}
        self.metrics.count("vllm:generation_tokens_total", tokens)
        self.metrics.count("vllm:request_success_total", finished_reason=job.finish)
        reply = {
            "id": job.id, "object": "chat.completion", "created": int(time.time()), "model": job.basis.pins.model,
            "choices": [{"index": 0, "message": message, "finish_reason": job.finish}],
            "usage": job.usage(prompt_tokens),
        }  # fmt: skip
        return web.json_response(reply, headers=self._headers(job))

    def _chunk(self, job: _Job, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        return {
            "id": job.id, "object": "chat.completion.chunk", "created": 0, "model": job.basis.pins.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip

    async def usage(self, request: web.Request) -> web.Response:
        """What the account that asks was charged for each key: requests and tokens."""
        return web.json_response({"charges": self.charges.of.get(request.headers.get(ACCOUNT, ""), {})})

    async def models(self, _request: web.Request) -> web.Response:
        model = {"id": self.pins.model, "object": "model", "created": 0, "owned_by": "genai"}
        return web.json_response({"object": "list", "data": [model]})

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "running": self.running,
                "waiting": self.line.waiting,
                "slots": self.line.slots,
                "met_cold": self.met_cold,
                "herd": self.herd,
            }
        )

    async def resize(self, request: web.Request) -> web.Response:
        """Set how many answers are generated at once, as when hardware is lost or added; `after_ms` later, as orders arrive."""
        try:
            slots, after_ms = int(request.query["slots"]), float(request.query.get("after_ms", 0))
        except (KeyError, ValueError) as exc:
            return failure(400, "bad_request", f"expected slots and after_ms: {exc!r}")
        if slots < 1 or not 0 <= after_ms <= _LONGEST_ORDER_MS:
            return failure(400, "bad_request", f"slots: expected at least 1, got {slots}; after_ms: {after_ms:g}")
        if after_ms:
            asyncio.get_running_loop().call_later(after_ms / 1e3, self.line.resize, slots)
        else:
            self.line.resize(slots)
        return await self.health(request)


def main(argv: list[str] | None = None) -> None:
    """Run the engine until SIGTERM."""
    parser = flags("engine")
    parser.add_argument("--region", default="")
    parser.add_argument("--first-ms", type=float, default=15, help="time before the first token")
    parser.add_argument("--step-ms", type=float, default=5, help="time between tokens, alone")
    parser.add_argument("--per-running-us", type=float, default=50, help="more of it for each other stream")
    parser.add_argument("--min-tokens", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--tokens-per-event", type=int, default=4)
    parser.add_argument("--slots", type=int, default=0, help="answers generated at once; others wait; 0: no limit")
    parser.add_argument("--prefill-ms", type=float, default=0, help="for a template that was not asked for before")
    parser.add_argument("--small", action="store_true", help="serve the smaller model")
    args = parser.parse_args(argv)
    mutants = mutants_of(parser, args)
    run_program(lambda tasks, app: _build(tasks, app, args, mutants), args)


async def _build(
    _tasks: asyncio.TaskGroup, app: web.Application, args: argparse.Namespace, mutants: frozenset[str]
) -> None:
    slowness = 1.2 if SLOWER_TOKENS in mutants else 1.0
    speed = Speed(
        first_s=args.first_ms / 1e3,
        step_s=slowness * args.step_ms / 1e3,
        per_running_s=args.per_running_us / 1e6,
        shortest=args.min_tokens,
        longest=args.max_tokens,
        per_event=args.tokens_per_event,
        slots=args.slots,
        prefill_s=args.prefill_ms / 1e3,
    )
    pins = SMALL if args.small else PINS
    metrics = Metrics(region=args.region, model_name=pins.model)
    engine = _Engine(args.name, speed, metrics, pins, ZOMBIES in mutants)
    app.router.add_post("/v1/chat/completions", engine.chat)
    app.router.add_post("/admin/resize", engine.resize)
    app.router.add_get("/v1/models", engine.models)
    app.router.add_get("/v1/usage", engine.usage)
    for path in ("/health", "/livez", "/readyz"):
        app.router.add_get(path, engine.health)
    app.router.add_get("/metrics", metrics_page(metrics))


if __name__ == "__main__":
    main()
