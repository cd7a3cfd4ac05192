"""Chat as tenants of the reference stack speak it: the group is the cell, and each answer is held against the oracle.

The answer's text must be what the oracle says for the revisions that the answer declares: a fallback model that is not
disclosed, a template that is not the one named, an answer from someone else's cache are all wrong content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from harness.load.profiles.chat import ChatUser
from harness.load.profiles.chat_mix import MixUser
from harness.reference import oracle
from harness.reference.registry import key_of

if TYPE_CHECKING:
    from harness.load.http_client import HttpReply
    from harness.load.op import OpContext


class GenaiUser(ChatUser):
    """Sessions of the profile `chat`. A group `eu`, or `us-batch`, is the tenant's cell and the priority of its requests.

    `leave`: the share of arrivals that hang up after the first words. Each does so in a session that nothing else is said in,
    and is no op of the log: whether its turn was kept is nobody's concern.
    `hot`: how many prompts there are, a few of them asked for most of the time (Zipf); 0: each is new. `tenants`: in each cell.
    `key_root`: where keys are asked for, the secret that a tenant's are derived from. Each answer says which generation is
    the newest, and the next request uses it.
    """

    leave: float = 0.0
    tenants: int = 4
    hot: int = 0
    key_root: str = ""
    newest: ClassVar[int] = 1

    def _credentials(self) -> dict[str, str]:
        cell, _, priority = (self.group or "us").partition("-")
        said = {"x-tenant": f"{cell}-t{self.index % self.tenants}", "x-priority": priority or "interactive"}
        if self.key_root:
            said["authorization"] = f"Bearer {key_of(self.key_root, type(self).newest)}"
        return said

    def tenant(self) -> str | None:
        return self._credentials()["x-tenant"]

    def _note(self, op: OpContext, reply: HttpReply) -> None:
        super()._note(op, reply)
        template = reply.headers.get("x-template-rev")
        op.version = op.version if template is None else f"{op.version} {template}"  # what a cache must tell apart
        type(self).newest = max(type(self).newest, int(reply.headers.get("x-key-generation") or 1))

    def _prompt(self, value: str) -> str:
        if not self.hot:
            return super()._prompt(value)
        rank = self.random.choices(range(self.hot), [1 / (place + 1) for place in range(self.hot)])[0]
        return f"Everyone asks number {rank}."

    async def run(self) -> None:
        if self.random.random() < self.leave:
            await self._hang_up()
        else:
            await super().run()

    async def _hang_up(self) -> None:
        value = self.unique()
        headers = self._credentials() | {self.idempotency_header: f"{self.run_tag}-{value}", self.session_header: value}
        request = {"messages": [{"role": "user", "content": f"Turn {value}: tell a long story."}], "max_tokens": 256}
        async with (
            self.op("leave", session=value) as op,
            self.wire.request("POST", self.path, json=request | {"stream": True}, headers=headers) as reply,
        ):
            self._note(op, reply)
            reply.raise_for_status()
            async for piece in reply.content.iter_any():
                op.bytes += len(piece)
                op.chunk()
                break

    def judge(self, op: OpContext, request: dict[str, Any], reply: HttpReply, text: str) -> None:
        hold_against_oracle(op, request, reply, text)


class GenaiMixUser(MixUser):
    """The profile `chat-mix`, each answer held against the oracle."""

    def judge(self, op: OpContext, request: dict[str, Any], reply: HttpReply, text: str) -> None:
        super().judge(op, request, reply, text)
        hold_against_oracle(op, request, reply, text)


def hold_against_oracle(op: OpContext, request: dict[str, Any], reply: HttpReply, text: str) -> None:
    """Expect what the oracle says for the revisions that the answer declares."""
    pins = oracle.Pins(
        model=reply.headers.get("x-model-rev") or "",
        tokenizer=reply.headers.get("x-tokenizer-rev") or "",
        template=reply.headers.get("x-template-rev") or "",
    )
    prompt = oracle.prompt_sha(request["messages"], pins.template)
    basis = oracle.Basis(pins=pins, prompt=prompt, guided="response_format" in request)
    op.expect(text, oracle.answer(basis, max(1, len(oracle.split(text)))))
