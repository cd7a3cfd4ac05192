"""Sequential objects: what each call may answer in each state. States are hashable values; a step is a pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.history.calls import UNKNOWN, Call

__all__ = ["ILLEGAL", "MODELS", "Model"]


class _Illegal:
    def __repr__(self) -> str:
        return "illegal"


ILLEGAL: Any = _Illegal()
"""What a step returns when the call cannot have been answered so in that state."""

Step = Callable[[Any, Call], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A sequential object. `step(state, call)` is the next state, or ILLEGAL.

    A pending call (`out` UNKNOWN) is legal in every state and has the effect it would have there. `reads` never change the
    state: pending ones mean nothing and are left out. `words` are the calls it knows.
    """

    name: str
    doc: str
    initial: Any
    step: Step
    words: frozenset[str]
    reads: frozenset[str] = frozenset({"read"})


def _answers(call: Call, truth: Any) -> bool:
    return call.out is UNKNOWN or call.out == truth


def _register(state: Any, call: Call) -> Any:
    if call.f == "read":
        return state if _answers(call, state) else ILLEGAL
    if call.f == "write":
        return call.value
    old, new = call.value  # cas
    done = state == old
    if call.out is UNKNOWN or call.out is done:
        return new if done else state
    return ILLEGAL


def _multi_register(state: Any, call: Call) -> Any:
    """Calls are `txn`: a tuple of ("r"|"w", register, value); all of it happens at once."""
    registers, answer = dict(state), call.value if call.out is UNKNOWN else call.out
    for kind, name, value in answer:
        if kind == "w":
            registers[name] = value
        elif call.out is not UNKNOWN and registers.get(name) != value:
            return ILLEGAL
    return tuple(sorted(registers.items(), key=repr))


def _mutex(state: Any, call: Call) -> Any:
    """State: who holds it (or True when nobody says who), None when free. A release is its holder's."""
    who = call.value if call.value is not None else True
    if call.f == "acquire":
        if call.out is UNKNOWN and state is not None:
            return state
        return who if state is None else ILLEGAL
    if state is None:
        return None if call.out is UNKNOWN else ILLEGAL
    return None if state in (who, True) or who is True else ILLEGAL


def _set(state: frozenset[Any], call: Call) -> Any:
    if call.f == "add":
        return state | {call.value}
    if call.f == "remove":
        return state - {call.value}
    return state if call.out is UNKNOWN or frozenset(call.out) == state else ILLEGAL


def _queue(state: tuple[Any, ...], call: Call) -> Any:
    """First in, first out. A receive from an empty queue answers None."""
    if call.f in ("send", "enqueue"):
        return (*state, call.value)
    if call.out is UNKNOWN:
        return state[1:]
    if not state:
        return state if call.out is None else ILLEGAL
    return state[1:] if call.out == state[0] else ILLEGAL


def _log(state: tuple[Any, ...], call: Call) -> Any:
    if call.f == "append":
        return (*state, call.value)
    return state if call.out is UNKNOWN or tuple(call.out) == state else ILLEGAL


def _text(state: str, call: Call) -> Any:
    """One key of a store with get, put and append; what was never put is the empty text."""
    if call.f == "put":
        return call.value
    if call.f == "append":
        return state + call.value
    return state if _answers(call, state) else ILLEGAL


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="register",
            doc="read, write",
            initial=None,
            step=_register,
            words=frozenset({"read", "write"}),
        ),
        Model(
            name="cas-register",
            doc="read, write, cas [old new]",
            initial=None,
            step=_register,
            words=frozenset({"read", "write", "cas"}),
        ),
        Model(
            name="multi-register",
            doc="txn [[r name value] [w name value] ...], all at once",
            initial=(),
            step=_multi_register,
            words=frozenset({"txn", "read", "write"}),
            reads=frozenset(),
        ),
        Model(
            name="mutex",
            doc="acquire, release",
            initial=None,
            step=_mutex,
            words=frozenset({"acquire", "release"}),
            reads=frozenset(),
        ),
        Model(
            name="set",
            doc="add, remove, read",
            initial=frozenset(),
            step=_set,
            words=frozenset({"add", "remove", "read"}),
        ),
        Model(
            name="queue",
            doc="send or enqueue, receive or dequeue; first in, first out",
            initial=(),
            step=_queue,
            words=frozenset({"send", "enqueue", "receive", "dequeue"}),
            reads=frozenset(),
        ),
        Model(
            name="append-log",
            doc="append, read of the whole log",
            initial=(),
            step=_log,
            words=frozenset({"append", "read"}),
        ),
        Model(
            name="key-value",
            doc="get, put, append (to a text)",
            initial="",
            step=_text,
            words=frozenset({"get", "put", "append"}),
            reads=frozenset({"get"}),
        ),
    )
}
"""Name -> model."""
