"""Profile `chat`: turns of OpenAI-compatible chat, streamed, each appended to its session. Model `log`.

What it speaks: `POST {path}` with a JSON chat request, an idempotency key and the session and turn in headers; SSE back.
Every header, path and field it reads is an option with a default: nothing else of the stack is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, Literal

from harness.load import Broken, HttpUser
from harness.load.sse import SseSplitter

if TYPE_CHECKING:
    from harness.load.http_client import HttpReply
    from harness.load.op import OpContext

__all__ = ["ChatUser"]

_PADDING = "and so on, "
_NO = {"", "0", "false", "none", "no"}


class ChatUser(HttpUser):
    """One arrival is one turn in the user's session; a session has one turn in flight at most.

    Lengths have heavy tails when asked for: `max_tokens` is then the median of a log-normal with `max_tokens_sigma`, prompts
    are padded to `prompt_chars` (median; at most `prompt_chars_max`) with `prompt_sigma`. With `turns` above 1 an arrival
    is a sitting of so many turns, with pauses for thought between them (median `think_s`, `think_sigma`); the turns after
    the first are no arrivals of their own, and the load's `deadline` must hold them all.

    `sessions`: how many there are from the start (more are made when all are busy). A streamed answer has ended only
    with a finish_reason and `[DONE]`; one that stops short is broken: `info`. Time to first token is the first chunk
    with content. The object `details_field` of the last event (or of the body) may say anew `served_by`, `region`, `epoch`,
    `attempts` and `degraded`, as they were when the turn was acknowledged. If the answer declares the SHA-256 of its text
    (`sha_header`,
    or `sha_field` in the details, in `usage` or beside them), it is compared, and a stream says in its
    `result` whether it was exact (check `resume`).

    `digests` records what was asked and what was answered, as digests (checks `cache-sound`, `content`, `replay`). Of a share
    `replay` of the sessions, the final read in each region runs one turn again, which the seed picks: what `request_field` of
    the turn holds is posted anew with `dry_run_header`, so that nothing is journaled, as an op `replay`; the answer is held
    against the turn's own `sha_field`.

    `final` reads `session_path` and lists `turns_field`'s `value_field`s; a
    status of `missing_statuses` means that the session does not exist there: an empty list, so that a lost session reads as lost.
    """

    model = "log"

    client_: Literal["aiohttp", "lean"] = "aiohttp"
    sessions: int = 200
    stream: bool = True
    max_tokens: int = 16
    max_tokens_sigma: float = 0.0
    prompt_chars: int = 0
    prompt_sigma: float = 0.0
    prompt_chars_max: int = 32_768
    turns: int = 1
    think_s: float = 0.0
    think_sigma: float = 0.0
    probe_tokens: int = 1
    digests: bool = False
    replay: float = 0.0
    llm: str = "model-large"
    prompt: str = "Turn {value}: say something of interest."
    path: str = "/v1/chat/completions"
    session_path: str = "/v1/sessions/{session}"
    api_key: str | None = None

    idempotency_header: str = "Idempotency-Key"
    session_header: str = "x-session"
    value_header: str = "x-turn-value"
    served_by_header: str = "x-served-by"
    region_header: str = "x-region"
    epoch_header: str = "x-epoch"
    version_header: str = "x-model-rev"
    attempts_header: str = "x-attempts"
    degraded_header: str = "x-degraded"
    cached_header: str = "x-cached"
    sha_header: str = "x-answer-sha"
    details_field: str = "serving"
    sha_field: str = "answer_sha"
    turns_field: str = "turns"
    value_field: str = "value"
    request_field: str = "request"
    dry_run_header: str = "x-dry-run"
    missing_statuses: tuple[int, ...] = (404,)

    @classmethod
    def users_wanted(cls) -> int:
        return cls.sessions

    async def run(self) -> None:
        for number in range(self.turns):
            if number and self.think_s > 0:
                await asyncio.sleep(self._drawn(self.think_s, self.think_sigma))
            await self._turn(self._length())

    def _length(self) -> int:
        return max(1, round(self._drawn(self.max_tokens, self.max_tokens_sigma)))

    def _drawn(self, median: float, sigma: float) -> float:
        """Log-normal: its median, and the standard deviation of its logarithm; the median itself for a sigma of 0."""
        return median * math.exp(self.random.gauss(0.0, sigma)) if sigma > 0 else median

    def _prompt(self, value: str) -> str:
        text = self.prompt.replace("{value}", value)
        length = min(self.prompt_chars_max, round(self._drawn(self.prompt_chars, self.prompt_sigma)))
        return text + (" " + _PADDING * (length // len(_PADDING) + 1))[: max(0, length - len(text))]

    async def probe(self) -> None:
        await self._turn(self.probe_tokens)

    async def final(self) -> None:
        async with self.op("read", key=self.session) as op:
            path = self.session_path.format(session=self.session)
            async with self.wire.request("GET", path, headers=self._credentials()) as reply:
                op.served_by = reply.headers.get(self.served_by_header)
                if reply.status in self.missing_statuses:
                    op.result = []
                    return
                reply.raise_for_status()
                body = await reply.json(content_type=None)
                turns = body[self.turns_field]
                op.result = [turn.get(self.value_field) for turn in turns]
        if self.random.random() < self.replay:
            await self._again([turn for turn in turns if turn.get(self.request_field) and turn.get(self.sha_field)])

    async def _again(self, turns: list[dict[str, Any]]) -> None:
        """Run one of the turns again, without a trace, and hold its answer against the journal's."""
        if not turns:
            return
        turn = self.random.choice(turns)
        headers = self._credentials() | {self.dry_run_header: "1"}
        with contextlib.suppress(Exception):  # the op's own record says how it failed; the final read stands
            async with (
                self.op("replay", key=self.session, value=turn.get(self.value_field)) as op,
                self.wire.request("POST", self.path, json=turn[self.request_field], headers=headers) as reply,
            ):
                self._note(op, reply)
                reply.raise_for_status()
                text, _ = await self._whole(op, reply)
                op.answer = text
                op.expect(hashlib.sha256(text.encode()).hexdigest(), turn[self.sha_field])

    async def _turn(self, max_tokens: int) -> None:
        value = self.unique()
        idem = f"{self.run_tag}-{value}"
        headers = self._credentials() | {
            self.idempotency_header: idem,
            self.session_header: self.session,
            self.value_header: value,
        }
        request = {
            "model": self.llm,
            "messages": [{"role": "user", "content": self._prompt(value)}],
            "max_tokens": max_tokens,
            "stream": self.stream,
        } | self.extras()
        turn = self.op("append", key=self.session, value=value, idem=idem)
        if self.digests:  # before it is sent: a turn whose answer nobody heard may have filled a cache, too
            turn.input = json.dumps([self.tenant(), request], sort_keys=True)
        async with turn as op, self.wire.request("POST", self.path, json=request, headers=headers) as reply:
            self._note(op, reply)
            reply.raise_for_status()
            if self.stream:
                text, sha = await self._streamed(op, reply)
            else:
                text, sha = await self._whole(op, reply)
            op.answer = text if self.digests else None
            sha = sha or reply.headers.get(self.sha_header)
            self.judge(op, request, reply, text)
            if sha:
                got = hashlib.sha256(text.encode()).hexdigest()
                op.expect(got, sha)
                if self.stream:
                    op.result = {"exact": got == sha}

    def tenant(self) -> str | None:
        """Whose answers may be given to this user out of a cache."""
        return self.api_key

    def extras(self) -> dict[str, Any]:
        """Whatever else a profile of your own puts into the request."""
        return {}

    def judge(self, op: OpContext, request: dict[str, Any], reply: HttpReply, text: str) -> None:
        """Whatever a profile of your own knows of a right answer: call `op.expect(got, want)` on a whole answer here."""

    async def _streamed(self, op: OpContext, reply: HttpReply) -> tuple[str, str | None]:
        """The text and the declared digest of a stream that came to its end. Raises Broken for any other."""
        events, sha, finished = SseSplitter(), None, False
        text: list[str] = []
        async for piece in reply.content.iter_any():
            op.bytes += len(piece)
            for data in events.feed(piece):
                if data == b"[DONE]":
                    if not finished:
                        raise Broken("no finish_reason")
                    return "".join(text), sha
                event = _object(data)
                if "error" in event:
                    raise Broken("error event")
                sha = self._declared(op, event) or sha
                content, reason = _delta(event)
                if content:
                    op.chunk()
                    text.append(content)
                finished = finished or reason is not None
        raise Broken("cut stream" if not finished or events.pending else "no end of stream")

    async def _whole(self, op: OpContext, reply: HttpReply) -> tuple[str, str | None]:
        body = await reply.read()
        op.bytes = len(body)
        answer = _object(body)
        try:
            choice = answer["choices"][0]
            text, reason = choice["message"]["content"], choice.get("finish_reason")
        except (KeyError, IndexError, TypeError) as exc:
            raise Broken("no answer in the body") from exc
        if not isinstance(text, str) or reason is None:
            raise Broken("no finish_reason")
        return text, self._declared(op, answer)

    def _declared(self, op: OpContext, event: dict[str, Any]) -> str | None:
        """Take over what the event's details say; the digest that it declares, if any."""
        details, usage = event.get(self.details_field), event.get("usage")
        if isinstance(details, dict):
            op.served_by, op.region = details.get("served_by", op.served_by), details.get("region", op.region)
            epoch, degraded = details.get("epoch"), details.get("degraded")
            attempts = details.get("attempts")
            op.attempts = attempts if isinstance(attempts, int) and attempts > op.attempts else op.attempts
            op.epoch = epoch if isinstance(epoch, int) else op.epoch
            op.degraded = str(degraded) if degraded else op.degraded
        for place in (details, usage, event):
            declared = place.get(self.sha_field) if isinstance(place, dict) else None
            if isinstance(declared, str):
                return declared
        return None

    def _note(self, op: OpContext, reply: HttpReply) -> None:
        headers = reply.headers
        op.served_by, op.region = headers.get(self.served_by_header), headers.get(self.region_header)
        op.version = headers.get(self.version_header)
        op.epoch = _number(headers.get(self.epoch_header))
        op.attempts = max(1, _number(headers.get(self.attempts_header)) or 1)
        degraded, cached = headers.get(self.degraded_header), headers.get(self.cached_header)
        op.degraded = None if degraded is None or degraded.lower() in _NO else degraded
        op.cached = None if cached is None else cached.lower() not in _NO

    def _credentials(self) -> dict[str, str]:
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Broken for anything else: a garbled answer proves nothing."""
    try:
        value = json.loads(data)
    except ValueError as exc:
        raise Broken("not JSON") from exc
    if not isinstance(value, dict):
        raise Broken("not an object")
    return value


def _delta(event: dict[str, Any]) -> tuple[str | None, str | None]:
    """The content and the finish_reason of one chunk; None where there is none."""
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None, None
    delta = choices[0].get("delta")
    content = delta.get("content") if isinstance(delta, dict) else None
    return content if isinstance(content, str) else None, choices[0].get("finish_reason")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
