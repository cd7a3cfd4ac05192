"""Profile `chat-mix`: chat as many unlike clients make it, and not as one client made often. Model `log`.

A few clients send most; prompts have a heavy tail, answers are exponential; most are streamed; nearly half of the arrivals belong
to a sitting of several turns; requests have classes, some tenants are bound to a region, some answers must be JSON, and
some clients hang up. The shapes follow what was published of real traces (BurstGPT, ServeGen); the numbers are ours, in their
spirit, and fitted to nothing. Arrivals are the document's: `{rate: 12/s, shape: gamma}` is meant.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zlib import crc32

from harness.load.op import OpContext
from harness.load.profiles.chat import ChatUser

if TYPE_CHECKING:
    from harness.load.http_client import HttpReply

__all__ = ["MixUser"]

_CHARS_PER_TOKEN = 4
_MORE_TURNS = (1, 5)  # after the first, evenly: sittings of 2 to 6
_PARETO = 1.2


class MixUser(ChatUser):
    """One arrival of a mix of clients.

    `clients`: how many there are, of whom `heavy` make `heavy_share` of the arrivals; told in `client_header`. Classes
    are told in `class_header`: `interactive_share`, `standard_share`, the rest is batch. `bound_share` of the clients are tenants
    whose name (in `tenant_header`) begins with `bound_to`, the others' with `bound_else`; a group of that name decides instead.
    `stream_share`, `sitting_share` (of 2 to 6 turns), `json_share` (a guided answer, which must parse), `leave_share` (hang up
    after the first words: an op `leave`, no op of the log). Prompts: median `prompt_tokens`, `tail_share` of them Pareto
    up to `prompt_tokens_max`. Answers: exponential, mean `answer_tokens`, at most `answer_tokens_max`.
    """

    clients: int = 20
    heavy: int = 3
    heavy_share: float = 0.6
    interactive_share: float = 0.6
    standard_share: float = 0.25
    bound_share: float = 0.1
    bound_to: str = "eu"
    bound_else: str = "us"
    stream_share: float = 0.8
    sitting_share: float = 0.45
    json_share: float = 0.05
    leave_share: float = 0.03
    prompt_tokens: int = 120
    prompt_sigma: float = 0.8
    tail_share: float = 0.05
    prompt_tokens_max: int = 2000
    answer_tokens: float = 64.0
    answer_tokens_max: int = 256
    think_s: float = 0.5
    think_sigma: float = 0.5

    client_header: str = "x-client"
    class_header: str = "x-priority"
    tenant_header: str = "x-tenant"

    _client: str = ""
    _class: str = "interactive"
    _json: bool = False

    def mixed(self) -> None:
        """Draw who this arrival is of, and what it wants."""
        chance = self.random
        heavy = chance.random() < self.heavy_share
        number = chance.randrange(self.heavy) if heavy else chance.randrange(self.heavy, self.clients)
        self._client = f"c{number}"
        drawn = chance.random()
        standard = self.interactive_share + self.standard_share
        self._class = "interactive" if drawn < self.interactive_share else "standard" if drawn < standard else "batch"
        self._json = chance.random() < self.json_share
        self.stream = chance.random() < self.stream_share
        self.turns = 1 + (chance.randint(*_MORE_TURNS) if chance.random() < self.sitting_share else 0)

    def tenant(self) -> str:
        """The tenant's name: of its group's place, else of the place that this session is bound to."""
        if self.group is not None:
            return f"{self.group}-{self._client}"
        bound = crc32(self.session.encode()) % 100 < 100 * self.bound_share
        return f"{self.bound_to if bound else self.bound_else}-{self._client}"

    def _credentials(self) -> dict[str, str]:
        told = {self.client_header: self._client, self.class_header: self._class, self.tenant_header: self.tenant()}
        return super()._credentials() | told

    def extras(self) -> dict[str, Any]:
        return {"response_format": {"type": "json_object"}} if self._json else {}

    async def run(self) -> None:
        self.mixed()
        if self.random.random() < self.leave_share:
            await self._hang_up()
            return
        await super().run()

    def _length(self) -> int:
        return round(min(self.answer_tokens_max, max(1.0, self.random.expovariate(1 / self.answer_tokens))))

    def _prompt(self, value: str) -> str:
        tokens = self._drawn(self.prompt_tokens, self.prompt_sigma)
        if self.random.random() < self.tail_share:
            tokens = self.prompt_tokens * self.random.paretovariate(_PARETO)
        text = self.prompt.replace("{value}", value)
        words = round(min(tokens, self.prompt_tokens_max)) * _CHARS_PER_TOKEN - len(text)
        return text + " more" * max(0, words // 5)

    async def _hang_up(self) -> None:
        value = self.unique()
        headers = self._credentials() | {
            self.idempotency_header: f"{self.run_tag}-{value}",
            self.session_header: f"{self.run_tag}-left-{value}",  # nothing else is said in it
        }
        messages = [{"role": "user", "content": self._prompt(value)}]
        body = {"model": self.llm, "messages": messages, "max_tokens": self.answer_tokens_max, "stream": True}
        async with (
            self.op("leave", session=value) as op,
            self.wire.request("POST", self.path, json=body, headers=headers) as reply,
        ):
            self._note(op, reply)
            reply.raise_for_status()
            async for piece in reply.content.iter_any():
                op.bytes += len(piece)
                op.chunk()
                break

    def judge(self, op: OpContext, request: dict[str, Any], reply: HttpReply, text: str) -> None:
        if not self._json:
            return
        try:
            kind = type(json.loads(text)).__name__
        except ValueError:
            kind = "no JSON"
        op.expect(kind, "dict")
