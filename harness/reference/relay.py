"""The edge's request path: one chat request, the only retry loop of the stack, and the stream it keeps whole.

Every attempt carries the same idempotency key, so sending again is always safe. A request that has reached no region
waits a bounded time for one (`hold`); one that has may be on record somewhere, and waits longer to find out. 503 says
that no region can have acted on the request; 502 and 504 say that it cannot be known.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from harness.reference.follower import cell_of
from harness.reference.metrics import Metrics
from harness.reference.mutants import FAKE_DONE, RESUME_FROM_ZERO, RESUME_GAP, RETRY_STORM, SPILLS_ANYWHERE
from harness.reference.program import failure
from harness.reference.sse import DONE, error_event, read_events
from harness.reference.telemetry import Telemetry

__all__ = ["Means", "Patience", "Relay", "Router", "Target"]

_PASS_ON = (
    "x-served-by",
    "x-region",
    "x-epoch",
    "x-answer-sha",
    "x-degraded",
    "x-cached",
    "x-model-rev",
    "x-tokenizer-rev",
    "x-template-rev",
    "x-key-generation",
    "retry-after",
)
_PAUSE_S = 0.05
_FINAL_STATUS = frozenset({400, 401, 403, 413, 422, 429})
_FINAL_CODES = frozenset({"answer_mismatch", "guided_not_resumable"})


class Target(Protocol):
    """A region as requests are sent to it."""

    name: str
    url: str
    calls: set[asyncio.Timeout]


class Router(Protocol):
    """Who decides where the requests of one cell go."""

    @property
    def epoch(self) -> int:
        """The epoch of the route; 0 before there is one."""

    @property
    def primary(self) -> Target | None:
        """The region that holds the role, whether it answers or not."""

    def servable(self) -> Target | None:
        """The region to send a request to now."""

    async def wait_change(self, within_s: float) -> None:
        """Return when something may have changed, or when the time is over."""

    def live(self, region: Any, good: bool) -> None:
        """Take in how an attempt went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the edge tries. Times in seconds."""

    hold_s: float = 0.3  # a request that reached no region waits so long for one
    resume_s: float = 3.0  # one that reached a region waits so long to be carried on
    total_s: float = 10.0
    connect_s: float = 0.5
    silent_s: float | None = 2.0  # a region that sends nothing for so long has failed the attempt
    resends: int = 3
    budget: float = 100.0  # resends at once
    budget_share: float = 0.1  # resends per request, in the long run


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the request path works with."""

    session: aiohttp.ClientSession
    metrics: Metrics
    telemetry: Telemetry


@dataclass(slots=True)
class _Job:
    """One chat request under way."""

    request: web.Request
    router: Router
    body: dict[str, Any]
    idem: str
    stream: bool
    began: float
    attempts: int = 0
    resends: int = 0  # after attempts that may have been acted on
    reached: bool = False  # whether any attempt may have been acted on
    wait_began: float | None = None
    text: str = ""  # what the client has of the answer
    offset: int = 0  # in tokens
    model: str | None = None  # the revision whose words these are
    gave_up: bool = False
    tries: int = 0  # requests to providers beyond one for each attempt
    response: web.StreamResponse | None = None
    error: tuple[int, str, str] = (503, "no_upstream", "no region can serve this now")
    headers: dict[str, str] = field(default_factory=dict)


class _ClientGoneError(Exception):
    """The client went away; nobody is left to answer."""


class _AttemptError(Exception):
    """An attempt that did not end the job."""

    def __init__(self, code: str, message: str, *, reached: bool, blame: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.reached = reached
        self.blame = blame  # whether it speaks against the region's health


def _code_of(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code")) if isinstance(error, dict) else "malformed"


class Relay:
    """Carries chat requests to the region that serves; of several cells, to the one of the request's tenant."""

    def __init__(
        self,
        cells: Mapping[str, Router],
        means: Means,
        patience: Patience,
        mutants: frozenset[str],
    ) -> None:
        self._cells = cells
        self._session, self._metrics, self._telemetry = means.session, means.metrics, means.telemetry
        self._patience = patience
        self._budget = patience.budget
        self._mutants = mutants

    def router(self, request: web.Request) -> Router:
        """The cell that a request belongs to, by the tenant it names."""
        return self._cells[cell_of(request.headers.get("x-tenant", ""), self._cells)]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The answer, or an error that says whether anything can have happened."""
        try:
            body = await request.json()
            if not isinstance(body, dict):
                raise ValueError("body: expected a JSON object")
        except ValueError as exc:
            return failure(400, "bad_request", str(exc), {"x-attempts": "0"})
        job = _Job(
            request=request,
            router=self.router(request),
            body=body,
            idem=request.headers.get("idempotency-key") or uuid.uuid4().hex,
            stream=bool(body.get("stream")),
            began=time.monotonic(),
        )
        await self._telemetry.begin()
        self._budget = min(self._patience.budget, self._budget + self._patience.budget_share)
        try:
            answer = await self._carry(job)
        except _ClientGoneError:
            self._metrics.count("edge_requests_total", outcome="client-gone")
            assert job.response is not None  # a client can only be found gone while it is written to
            return job.response
        seconds = time.monotonic() - job.began
        self._metrics.observe("edge_request_seconds", seconds)
        cell = cell_of(request.headers.get("x-tenant", ""), self._cells)
        self._telemetry.note(cell, answer.status < 500 and not job.gave_up, seconds)
        return answer

    async def _carry(self, job: _Job) -> web.StreamResponse:
        while True:
            region = await self._target(job)
            if region is None:
                return await self._give_up(job)
            job.attempts += 1
            try:
                answer = await self._attempt(job, region)
            except _AttemptError as exc:
                self._metrics.count("edge_attempts_total", outcome=exc.code, region=region.name)
                if exc.blame:
                    job.router.live(region, good=False)
                if exc.reached:
                    job.reached = True
                    job.error = (504 if exc.code in ("silent", "moved") else 502, exc.code, str(exc))
                if FAKE_DONE in self._mutants and job.response is not None:
                    return await self._fake_end(job)
                if not await self._again(job, exc):
                    return await self._give_up(job)
                continue
            self._metrics.count("edge_attempts_total", outcome="answered", region=region.name)
            self._metrics.count("edge_requests_total", outcome="answered")
            return answer

    async def _again(self, job: _Job, failed: _AttemptError) -> bool:
        """Whether to try again; returns after something has changed, or a short pause."""
        if failed.code in _FINAL_CODES:
            return False
        if failed.reached:
            if RETRY_STORM not in self._mutants and (job.resends >= self._patience.resends or self._budget < 1):
                return False
            job.resends += 1
            self._budget -= 1
            self._metrics.gauge("edge_retry_budget", self._budget)
        if job.wait_began is None:
            job.wait_began = time.monotonic()
        await job.router.wait_change(min(_PAUSE_S if not failed.blame else 2 * _PAUSE_S, self._left(job)))
        return self._left(job) > 0

    def _left(self, job: _Job) -> float:
        now = time.monotonic()
        hold = self._patience.resume_s if job.reached else self._patience.hold_s
        waited = now - job.wait_began if job.wait_began is not None else 0.0
        return min(hold - waited, self._patience.total_s - (now - job.began))

    async def _target(self, job: _Job) -> Target | None:
        while True:
            region = job.router.servable()
            if region is None and SPILLS_ANYWHERE in self._mutants:
                region = next((found for cell in self._cells.values() if (found := cell.servable()) is not None), None)
            if region is not None and self._left(job) > 0:
                return region
            if job.wait_began is None:
                job.wait_began = time.monotonic()
            left = self._left(job)
            if left <= 0:
                return None
            await job.router.wait_change(left)

    # -- one attempt --------------------------------------------------------------------------------------------

    async def _attempt(self, job: _Job, region: Target) -> web.StreamResponse:
        headers = {
            name: value
            for name in ("x-session", "x-turn-value", "x-tenant", "x-priority", "authorization")
            if (value := job.request.headers.get(name)) is not None
        } | {"idempotency-key": job.idem, "x-attempt": str(job.attempts)}
        if RESUME_FROM_ZERO in self._mutants:
            job.text, job.offset = "", 0
        resume = {"resume_text": job.text, "resume_model": job.model}
        body = job.body | resume if job.text else job.body
        patience = self._patience
        timeout = aiohttp.ClientTimeout(
            total=None, connect=patience.connect_s, sock_connect=patience.connect_s, sock_read=patience.silent_s
        )
        call = asyncio.timeout_at(asyncio.get_running_loop().time() + patience.total_s)
        try:
            async with call:
                region.calls.add(call)
                async with self._session.post(
                    f"{region.url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
                ) as reply:
                    answer = await self._answer(job, reply)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise _AttemptError("refused", repr(exc), reached=False) from exc
        except TimeoutError as exc:  # silent for too long, or the region lost its role meanwhile
            moved = job.router.primary is not region
            code = "moved" if moved else "silent"
            raise _AttemptError(code, f"{region.name} did not finish", reached=True, blame=not moved) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise _AttemptError("broken", repr(exc), reached=True) from exc
        finally:
            region.calls.discard(call)
        job.router.live(region, good=True)
        return answer

    async def _answer(self, job: _Job, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        job.headers = {name: reply.headers[name] for name in _PASS_ON if name in reply.headers}
        job.tries += int(reply.headers.get("x-tries", "1")) - 1
        job.headers["x-attempts"] = str(job.attempts + job.tries)
        if reply.status != 200:
            return await self._refused(job, reply)
        job.model = job.model or reply.headers.get("x-model-rev")
        if job.stream:
            return await self._relay_events(job, reply)
        body = await reply.read()
        json.loads(body)  # a body cut short, or not JSON, is no answer
        return web.Response(body=body, content_type="application/json", headers=job.headers)

    async def _refused(self, job: _Job, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        body = await reply.read()
        try:
            code = _code_of(json.loads(body))
        except ValueError:
            code = f"status-{reply.status}"
        if reply.status in _FINAL_STATUS and not job.reached:
            return web.Response(body=body, status=reply.status, content_type="application/json", headers=job.headers)
        # Only our own gateway's 409 and 503 promise that nothing happened, and it signs them with its name.
        reached = reply.status not in (409, 429, 503) or "x-served-by" not in reply.headers
        blame = reply.status >= 500
        raise _AttemptError(code, f"region answered {reply.status}: {code}", reached=reached, blame=blame)

    async def _relay_events(self, job: _Job, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        lost = RESUME_GAP in self._mutants and job.text != ""  # the next event
        async for event in read_events(reply.content):
            if event.data == b"[DONE]":
                break
            chunk = json.loads(event.data)
            if not isinstance(chunk, dict) or "error" in chunk:
                code = _code_of(chunk)
                raise _AttemptError(code, f"stream ended with {code}", reached=True)
            if event.span is None or event.span.start != job.offset:
                raise _AttemptError("gap", f"expected token {job.offset}, got {event.span}", reached=True)
            try:
                choice = chunk["choices"][0]
                text, final = choice["delta"].get("content") or "", choice.get("finish_reason") is not None
            except (AttributeError, LookupError, TypeError) as exc:
                raise _AttemptError("malformed", f"malformed chunk: {exc!r}", reached=True) from exc
            if not lost or final:
                await self._send(job, self._signed(job, chunk) if final else event.raw)
            lost = False
            job.text += text
            job.offset = event.span.end
            if final:
                await self._send(job, DONE)
                assert job.response is not None
                return job.response
        raise _AttemptError("broken", "the stream ended without its terminator", reached=True)

    def _signed(self, job: _Job, chunk: dict[str, Any]) -> bytes:
        """The last chunk, with what the headers of a stream could not know yet."""
        chunk["serving"] = chunk.get("serving", {}) | {
            "attempts": job.attempts + job.tries,
            "resumed": job.attempts > 1,
        }
        return f"id: {job.offset}:{job.offset}\ndata: {json.dumps(chunk, separators=(',', ':'))}\n\n".encode()

    async def _send(self, job: _Job, data: bytes) -> None:
        try:
            if job.response is None:
                job.response = web.StreamResponse(headers={"content-type": "text/event-stream", **job.headers})
                await job.response.prepare(job.request)
            await job.response.write(data)
        except (ConnectionError, aiohttp.ClientError) as exc:
            raise _ClientGoneError from exc

    async def _fake_end(self, job: _Job) -> web.StreamResponse:
        """What a mutant says of a stream that broke: that it is whole."""
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await self._send(job, self._signed(job, {"object": "chat.completion.chunk", "choices": [choice]}) + DONE)
        assert job.response is not None
        return job.response

    async def _give_up(self, job: _Job) -> web.StreamResponse:
        """An explicit end: never a stream that merely stops."""
        status, code, message = job.error
        job.gave_up = True
        self._metrics.count("edge_requests_total", outcome=code)
        if job.response is not None:
            await self._send(job, error_event(code, message))
            return job.response
        headers = {**job.headers, "x-attempts": str(job.attempts + job.tries), "x-epoch": str(job.router.epoch)}
        if status == 503:
            headers["retry-after"] = "1"
        return failure(status, code, message, headers)
