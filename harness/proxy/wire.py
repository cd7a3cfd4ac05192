"""Values as Toxiproxy's API writes them, and blocking calls kept off the event loop. Not here: what is called."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from harness.errors import InjectError
from harness.model.fields import JsonObject
from harness.model.ports import LinkState, Toxic

__all__ = ["body_of", "in_thread", "same", "state_of"]

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """What `call` returns or raises, from a daemon thread of its own. A cancelled caller leaves the thread behind."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if not done.done():  # else nobody waits any more
            settle()

    def work() -> None:
        try:
            answer = call()
        except Exception as exc:  # carried over to the caller, who raises it
            failure = exc
            settle = lambda: done.set_exception(failure)  # noqa: E731
        else:
            settle = lambda: done.set_result(answer)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits either
            loop.call_soon_threadsafe(deliver, settle)

    threading.Thread(target=work, name="fault-proxy-call", daemon=True).start()
    return await done


def body_of(toxic: Toxic) -> JsonObject:
    """The request body that makes a toxic, or updates it."""
    return {
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": toxic.toxicity,
        "attributes": dict(toxic.attributes),
    }


def state_of(raw: JsonObject) -> LinkState:
    """A proxy out of an answer. Raises InjectError when the server's answer is not one."""
    try:
        toxics = tuple(
            Toxic(
                name=toxic["name"],
                type=toxic["type"],
                stream=toxic["stream"],
                toxicity=toxic["toxicity"],
                attributes=toxic["attributes"],
            )
            for toxic in raw.get("toxics") or ()
        )
        return LinkState(
            name=raw["name"], listen=raw["listen"], upstream=raw["upstream"], enabled=raw["enabled"], toxics=toxics
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise InjectError(f"expected a proxy as Toxiproxy shows one, got {str(raw)[:200]!r}") from exc


def same(there: Toxic, wanted: Toxic) -> bool:
    """Whether the server shows the toxic that was asked for; it keeps toxicity in 32 bits."""
    attributes = {name: there.attributes.get(name) for name in wanted.attributes}
    return (
        (there.name, there.type, there.stream.lower()) == (wanted.name, wanted.type, wanted.stream)
        and abs(there.toxicity - wanted.toxicity) < 1e-6
        and attributes == dict(wanted.attributes)
    )
