"""Any OpenAI-compatible server (vLLM, llama.cpp, Ollama) in place of the reference engine: what it is asked, and how it is read.

It is no oracle: nobody can say which words are right, and it goes on at no offset. So a broken stream ends in an explicit error
instead of a resume, an answer cannot be made again to compare it, and `UNPROVEN` names what a drill with it leaves unknown.
"""

from __future__ import annotations

from typing import Any

from harness.reference import oracle

__all__ = ["ALONE", "UNPROVEN", "Words", "question"]

ALONE = {"connection": "close"}
"""Headers of every request: llama.cpp closes a connection after a stream without a word, and the next request would meet that."""

UNPROVEN = {
    "content": "a foreign engine has no oracle: that the text is what was journaled can be told, not that it is right",
    "resume": "a foreign engine goes on at no offset: a stream that breaks ends in the error not_resumable",
    "replay": "a foreign engine need not give the same answer twice: a dry run is refused with no_oracle",
}


def question(model: str, messages: list[dict[str, Any]], seed: int, limit: int | None, guided: bool) -> dict[str, Any]:
    """The body of a streamed request in the words of OpenAI's API alone: strict servers refuse any other key."""
    body: dict[str, Any] = {"model": model, "messages": messages, "seed": seed, "stream": True}
    body["stream_options"] = {"include_usage": True}
    if limit is not None:
        body["max_tokens"] = limit
    if guided:
        body["response_format"] = {"type": "json_object"}
    return body


class Words:
    """Text that comes in pieces of any size, as the words that the stack counts: a word is out once the next one begins."""

    def __init__(self) -> None:
        self._open = ""

    def add(self, text: str) -> tuple[str, ...]:
        """The words that are whole now."""
        *whole, self._open = oracle.split(self._open + text) or ("",)
        return tuple(whole)

    def rest(self) -> tuple[str, ...]:
        """The last word, once nothing more comes."""
        last, self._open = self._open, ""
        return (last,) if last else ()
