"""What is happening, on stderr, one plain line each: phases, faults, steps, aborts. The same lines on a terminal and in CI."""

from __future__ import annotations

from typing import TextIO

from harness.history.events import (
    AbortEvent,
    Event,
    FaultEvent,
    InstanceEvent,
    NoteEvent,
    PhaseEvent,
    SignalEvent,
    StepEvent,
)

__all__ = ["Progress"]

_SAID = {"witnessed", "not-witnessed", "gone-early", "verified", "unverified", "failed"}
_WORDS = {
    "start": "starting the stack",
    "warmup": "load begins",
    "steady": "judging the steady state",
    "inject": "T0: the timeline begins",
    "observe": "observing",
    "heal": "putting everything back",
    "settle": "settling",
    "drain": "no more load; waiting for what is in flight",
    "final": "final reads",
    "seal": "the record is sealed",
}


_JUDGING = {"measure": "measuring", "check": "checking the data", "judge": "judging", "render": "writing the report"}


class Progress:
    """Prints events as they come, at seconds since the run's origin."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def judging(self, phase: str) -> None:
        """Say which part of the judging begins."""
        if phase in _JUDGING:
            self._out.write(f"{'':>7}    {_JUDGING[phase]}\n")
            self._out.flush()

    def event(self, event: Event) -> None:
        """Print one event, if people care."""
        text = _text(event)
        if text:
            self._out.write(f"{event.at_ns / 1e9:7.1f} s  {text}\n")
            self._out.flush()


def _text(event: Event) -> str | None:
    match event:
        case PhaseEvent():
            return _WORDS.get(event.phase)
        case FaultEvent() if event.stage in _SAID:
            return f"  {event.id} on {event.target}: {event.stage}" + (f" ({event.what})" if event.what else "")
        case StepEvent():
            return f"  step {event.id}: {event.stage}"
        case InstanceEvent() if event.what == "exited":
            return f"  {event.instance} ended by itself: {event.detail}"
        case SignalEvent():
            return f"  {event.source}: {event.event}"
        case AbortEvent():
            return f"  ABORT: {event.reason}"
        case NoteEvent() if event.level != "info":
            return f"  {event.text}"
    return None
