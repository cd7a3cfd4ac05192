"""A run's receiver of alerts, and the record that it was up: without that, an alert that did not come says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UnsafeError
from harness.history.events import NoteEvent, SignalEvent
from harness.model.ports import Clock, StackSignal
from harness.model.stack import Stack
from harness.run.recorder import Recorder

if TYPE_CHECKING:
    from harness.probe.alerts import AlertReceiver

__all__ = ["Alerting"]


class Alerting:
    """From before anything that could send an alert is started, until the stack is stopped. Does nothing without `alerts:`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._receiver: AlertReceiver | None = None
        self._parts: tuple[Recorder, Clock] | None = None

    async def begin(self, url: str, recorder: Recorder, clock: Clock) -> None:
        """Listen at `url`. Raises UnsafeError when that cannot be."""
        if self._stack.alerts is None:
            return
        if not url:
            raise UnsafeError(
                "this stack was brought up without a place for its alerts",
                remedy=f"`blackstart stack down {self._stack.name}` and up again",
            )
        from harness.probe.alerts import AlertReceiver

        def take(seen: StackSignal) -> None:
            recorder.emit(SignalEvent(at_ns=seen.at_ns, source=seen.source, event=seen.event, fields=seen.fields))

        receiver = AlertReceiver(url, clock, take)
        await receiver.open()
        self._receiver, self._parts = receiver, (recorder, clock)
        text = f"alerts are received at {url}"
        recorder.emit(NoteEvent(at_ns=clock.now_ns(), code="alerts", text=text, data={"url": url}))

    async def end(self) -> None:
        """Receive no more, and say how much there was. Idempotent."""
        receiver, self._receiver = self._receiver, None
        if receiver is None or self._parts is None:
            return
        recorder, clock = self._parts
        await receiver.close()
        data = {"posts": receiver.posts, "refused": receiver.refused, "left_out": receiver.left_out}
        text = f"{receiver.posts} posts of alerts received, {receiver.refused} of them in another form"
        recorder.emit(NoteEvent(at_ns=clock.now_ns(), code="alerts-closed", text=text, data=data))
