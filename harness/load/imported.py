"""Request logs of k6, vegeta and Locust as ops. Pure but for reading the file; what a log does not say stays None.

None of these logs knows when a request was due, only when it was sent, so that intended = sent, and a load that waited for
the stack hides it; none has values or final reads, so that data checks are unknown on them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import SpecError
from harness.history.op import Op
from harness.load.outcomes import NO_EFFECT_STATUSES

__all__ = ["FORMATS", "Imported", "read_log"]

NS_PER_S, NS_PER_MS = 1_000_000_000, 1_000_000
_READS = {"get", "head", "options", "trace"}
_REFUSED = ("connection refused", "connectionrefused", "no such host", "name or service not known", "errno 111")
_UNSENT_K6 = {"1101", "1110", "1111", "1200", "1201", "1210", "1211", "1212", "1220"}  # DNS, dial, refused
_COARSE = "timestamps are whole seconds: too coarse for a measure of recovery; record with K6_CSV_TIME_FORMAT=unix_nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What a log holds. `ops` have instants in ns since `began_ns` (wall clock, Unix epoch); `closed_loop` None: unknown."""

    tool: str
    ops: tuple[Op, ...]
    began_ns: int
    closed_loop: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One request by the wall clock, in ns; `dropped`: it was due, and never sent."""

    sent_ns: int
    took_ns: int = 0
    first_after_ns: int | None = None
    method: str = "get"
    name: str | None = None
    status: int | None = None
    error: str | None = None
    unsent: bool = False
    bytes: int = 0
    dropped: bool = False


def read_log(path: Path, form: str | None = None) -> Imported:
    """The ops of a log, in `FORMATS` or told by its first line. Raises SpecError, naming file and line, for what is no log."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline()
            form = form or _form(path, first)
            file.seek(0)
            tool, closed_loop, read = FORMATS[form]
            requests = sorted(read(path, file), key=lambda request: request.sent_ns)
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"{path}: cannot be read: {exc}") from exc
    if not requests:
        raise SpecError(f"{path}: no requests in it")
    began_ns = requests[0].sent_ns
    ops = tuple(_op(number, request, began_ns) for number, request in enumerate(requests, start=1))
    return Imported(tool=tool, ops=ops, began_ns=began_ns, closed_loop=closed_loop)


def _form(path: Path, first: str) -> str:
    if first.startswith("metric_name,"):
        return "k6-csv"
    if first.startswith("timestamp,request_type,"):
        return "locust-csv"
    if first.startswith("{"):
        return "k6-json" if '"metric"' in first else "vegeta-json"
    if len(first.split(",")) in (11, 12) and first.split(",")[0].isdigit():
        return "vegeta-csv"
    raise SpecError(f"{path}:1: not a log that is known; known: {', '.join(FORMATS)} (say which with --format)")


def _op(number: int, request: _Request, began_ns: int) -> Op:
    sent_ns = request.sent_ns - began_ns
    if request.dropped:
        return Op(op=number, f=request.method, intended_ns=sent_ns, outcome="dropped", error="dropped")
    op = Op(
        op=number,
        f=request.method,
        key=request.name,
        intended_ns=sent_ns,
        sent_ns=sent_ns,
        done_ns=sent_ns + request.took_ns,
        first_ns=None if request.first_after_ns is None else sent_ns + request.first_after_ns,
        outcome="ok",
        status=request.status or None,
        bytes=request.bytes,
    )
    bad = request.error or request.status in (None, 0) or (request.status or 0) >= 400
    if not bad:
        return op
    sure = request.unsent or request.status in NO_EFFECT_STATUSES or request.method in _READS
    error = request.error or (f"http {request.status}" if request.status else "no answer")
    return replace(op, outcome="fail" if sure else "info", error=error[:200])


# ---- k6: one sample a line, several lines a request ------------------------------------------------------------------


def _k6_csv(path: Path, file: Iterable[str]) -> Iterator[_Request]:
    def samples() -> Iterator[tuple[int, str, int, float, Mapping[str, str]]]:
        for line, row in _rows(path, file):
            with _telling(path, line):
                yield line, row["metric_name"], _k6_instant(row["timestamp"]), float(row["metric_value"]), row

    return _k6(samples())


def _k6_json(path: Path, file: Iterable[str]) -> Iterator[_Request]:
    def samples() -> Iterator[tuple[int, str, int, float, Mapping[str, str]]]:
        for line, item in _objects(path, file):
            with _telling(path, line):
                if item["type"] == "Point":
                    data = item["data"]
                    yield line, item["metric"], _iso_ns(data["time"]), float(data["value"]), data.get("tags") or {}

    return _k6(samples())


def _k6(samples: Iterable[tuple[int, str, int, float, Mapping[str, str]]]) -> Iterator[_Request]:
    """Samples bear the instant of the request's end; `http_reqs` begins each request's own."""
    open_: dict[str, Any] = {}
    for _, metric, at_ns, value, tags in samples:
        if metric == "dropped_iterations":
            for _ in range(round(value)):
                yield _Request(sent_ns=at_ns, dropped=True)
        elif metric == "http_reqs":
            if open_:
                yield _k6_request(open_)
            open_ = {"at": at_ns, "tags": tags}
        elif metric.startswith("http_req_") and open_:
            open_[metric] = value
    if open_:
        yield _k6_request(open_)


def _k6_request(open_: Mapping[str, Any]) -> _Request:
    tags, took = open_["tags"], open_.get("http_req_duration", 0.0)
    status, code = int(tags.get("status") or 0), str(tags.get("error_code") or "")
    text = tags.get("error") or (f"k6 error {code}" if code and not code.startswith(("14", "15")) else None)
    return _Request(
        sent_ns=open_["at"] - round(took * NS_PER_MS),
        took_ns=round(took * NS_PER_MS),
        first_after_ns=round((took - open_.get("http_req_receiving", 0.0)) * NS_PER_MS) if status else None,
        method=str(tags.get("method") or "get").lower(),
        name=tags.get("name") or tags.get("url") or None,
        status=status,
        error=None if status else text,
        unsent=code in _UNSENT_K6,
    )


def _k6_instant(text: str) -> int:
    """Unix time in s, ms, us or ns by its length, or RFC 3339."""
    if not text.isdigit():
        return _iso_ns(text)
    if len(text) <= 11:
        raise ValueError(_COARSE)
    return int(text) * int(10 ** (19 - len(text)))


# ---- vegeta ----------------------------------------------------------------------------------------------------------


def _vegeta_json(path: Path, file: Iterable[str]) -> Iterator[_Request]:
    for line, item in _objects(path, file):
        with _telling(path, line):
            yield _vegeta(
                _iso_ns(item["timestamp"]),
                (int(item["code"]), int(item["latency"]), int(item["bytes_in"])),
                str(item.get("error") or ""),
                (str(item.get("method") or "GET"), item.get("url")),
            )


def _vegeta_csv(path: Path, file: Iterable[str]) -> Iterator[_Request]:
    for line, cells in enumerate(csv.reader(file), start=1):
        with _telling(path, line):
            numbers = int(cells[1]), int(cells[2]), int(cells[4])
            yield _vegeta(int(cells[0]), numbers, cells[5], (cells[9] or "GET", cells[10]))


def _vegeta(at_ns: int, numbers: tuple[int, int, int], error: str, what: tuple[str, str | None]) -> _Request:
    code, took_ns, size = numbers
    return _Request(
        sent_ns=at_ns,
        took_ns=took_ns,
        method=what[0].lower(),
        name=what[1] or None,
        status=code,
        error=(error or None) if code == 0 else None,
        unsent=_is_refused(error),
        bytes=size,
    )


# ---- Locust's contrib.csv_request_logger -----------------------------------------------------------------------------


def _locust_csv(path: Path, file: Iterable[str]) -> Iterator[_Request]:
    for line, row in _rows(path, file):
        with _telling(path, line):
            yield _Request(
                sent_ns=_decimal_ns(row["timestamp"]),
                took_ns=round(float(row["response_time_ms"]) * NS_PER_MS),
                method=row["request_type"].lower(),
                name=row["name"],
                status=int(row["status_code"]),
                error=row["exception"] or None,
                unsent=_is_refused(row["exception"]),
                bytes=int(row["response_length"]),
            )


# ---- lines -----------------------------------------------------------------------------------------------------------


class _telling:
    """Whatever is wrong with a line is told with its place."""

    def __init__(self, path: Path, line: int) -> None:
        self._place = f"{path}:{line}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, KeyError):
            raise SpecError(f"{self._place}: no {exc.args[0]!r} in it") from exc
        if isinstance(exc, ValueError | TypeError | IndexError):
            raise SpecError(f"{self._place}: not a line of such a log: {exc}") from exc


def _rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file)
    for row in reader:
        if None in row.values():
            raise SpecError(f"{path}:{reader.line_num}: fewer cells than its header has columns")
        yield reader.line_num, row


def _objects(path: Path, file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(file, start=1):
        if text.strip():
            with _telling(path, line):
                item = json.loads(text)
                if not isinstance(item, dict):
                    raise ValueError("expected an object")
                yield line, item


def _iso_ns(text: str) -> int:
    """RFC 3339 with up to nine digits of a second. Raises ValueError."""
    head, dot, tail = text.partition(".")
    digits = tail[: next((i for i, char in enumerate(tail) if not char.isdigit()), len(tail))]
    whole = datetime.fromisoformat(head + (tail[len(digits) :] if dot else "").replace("Z", "+00:00"))
    if whole.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return round(whole.timestamp()) * NS_PER_S + int((digits + "0" * 9)[:9])


def _decimal_ns(text: str) -> int:
    """Seconds with a decimal point, without a float between."""
    whole, _, rest = text.partition(".")
    return int(whole) * NS_PER_S + int((rest + "0" * 9)[:9])


def _is_refused(text: str) -> bool:
    return any(word in text.lower() for word in _REFUSED)


_Reader = Callable[[Path, Iterable[str]], Iterator[_Request]]
FORMATS: dict[str, tuple[str, bool | None, _Reader]] = {
    "k6-csv": ("k6", None, _k6_csv),
    "k6-json": ("k6", None, _k6_json),
    "vegeta-json": ("vegeta", False, _vegeta_json),
    "vegeta-csv": ("vegeta", False, _vegeta_csv),
    "locust-csv": ("locust", True, _locust_csv),
}
"""Name -> tool, whether it is a closed loop (None: the log does not say), reader."""
