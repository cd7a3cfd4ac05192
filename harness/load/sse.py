"""Server-sent events out of a byte stream, as cheaply as a load generator must."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["SseSplitter"]


class SseSplitter:
    """Cuts a stream into the data of its events. Lines other than `data:` (comments, ids, names) are passed over."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of each event that is complete now; several `data:` lines of one event are joined by newlines.

        Line ends may be LF or CRLF. An event with no `data:` line yields nothing.
        """
        rest = self._rest + data
        if b"\r" in rest:
            keep = b"\r" if rest.endswith(b"\r") else b""  # its line feed may be in the next piece
            rest = rest[: len(rest) - len(keep)].replace(b"\r\n", b"\n") + keep
        *events, self._rest = rest.split(b"\n\n")
        for event in events:
            lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield b"\n".join(lines)

    @property
    def pending(self) -> bool:
        """Whether an event has begun that is not complete: at the end of a stream, it was cut."""
        return bool(self._rest.strip())
