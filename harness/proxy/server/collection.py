"""The proxies of one server. Here: what the API calls do to them. Not here: HTTP, and what one proxy does.

A call looks names up first, which may wait, and then changes state without another await: calls never interleave
half-done, and none waits for the data path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from harness.proxy.server.address import resolve
from harness.proxy.server.decode import (
    ApiError,
    bad_body,
    parse,
    read_bool,
    read_float,
    read_int,
    read_object,
    read_str,
)
from harness.proxy.server.http.effects import EFFECTS
from harness.proxy.server.proxy import Context, Options, Proxy, describe_toxic
from harness.proxy.server.toxics import TOXICS
from harness.proxy.server.toxics.base import Fields, Toxic

__all__ = ["Collection", "Witnesses"]

_KINDS: Mapping[str, type[Fields]] = {**TOXICS, **EFFECTS}
_WITNESS_NS = 60 * 1_000_000_000


class Witnesses:
    """Source ports whose next connection is a witness, each for a minute."""

    def __init__(self) -> None:
        self._ports: dict[int, int] = {}

    def expect(self, port: int) -> None:
        """Let the next connection from `port` be a witness."""
        now_ns = time.monotonic_ns()
        self._ports = {known: until_ns for known, until_ns in self._ports.items() if until_ns > now_ns}
        self._ports[port] = now_ns + _WITNESS_NS

    def claim(self, port: int) -> bool:
        """Whether a connection from `port` is a witness; asked once per connection."""
        return bool(self._ports) and self._ports.pop(port, 0) > time.monotonic_ns()


def _options(values: Mapping[str, object], before: Options) -> Options:
    extra = read_object(values.get("blackstart"), "blackstart")
    return Options(
        mirror_refusal=read_bool(extra, "mirror_refusal", before.mirror_refusal),
        http=read_bool(extra, "http", before.http),
        tls=read_bool(extra, "tls", before.tls),
    )


class Collection:
    """All proxies by name, in order of creation."""

    def __init__(self, context: Context, witnesses: Witnesses, hold_ms: int) -> None:
        self._context = context
        self._witnesses = witnesses
        self._hold_ms = hold_ms
        self._proxies: dict[str, Proxy] = {}

    def get(self, name: str) -> Proxy:
        """The proxy of that name. Raises ApiError 404."""
        proxy = self._proxies.get(name)
        if proxy is None:
            raise ApiError(404, "proxy not found")
        return proxy

    def index(self) -> dict[str, object]:
        """All proxies as the plain API shows them."""
        return {name: proxy.describe() for name, proxy in self._proxies.items()}

    def close(self) -> None:
        """Stop every proxy for good."""
        for proxy in self._proxies.values():
            proxy.close()
        self._proxies.clear()

    # --- proxies

    async def create(self, body: bytes) -> dict[str, object]:
        """The new proxy. Raises ApiError 400, 409 or 500."""
        values = read_object(parse(body), "proxy")
        name, listen, upstream = (read_str(values, key, "") for key in ("name", "listen", "upstream"))
        enabled = read_bool(values, "enabled", True)
        options = _options(values, Options())
        for key, value in (("name", name), ("upstream", upstream)):
            if not value:
                raise ApiError(400, f"missing required field: {key}")
        self._refuse_taken(name)
        try:
            address = await resolve(listen) if enabled else None
        except ApiError as exc:
            raise ApiError(exc.status, f"listen tcp: {exc.message}") from exc
        self._refuse_taken(name)  # again: the look-up may have taken a while
        proxy = Proxy(self._context, name, listen, upstream)
        proxy.configure(options)
        if address is not None:
            proxy.start(address)
        self._proxies[name] = proxy
        return proxy.describe()

    def _refuse_taken(self, name: str) -> None:
        if name in self._proxies:
            raise ApiError(409, "proxy already exists")

    async def update(self, name: str, body: bytes) -> dict[str, object]:
        """The changed proxy; it is stopped first when its addresses change, and keeps its toxics."""
        proxy = self.get(name)
        values = read_object(parse(body), "proxy")
        read_str(values, "name", "")
        listen = read_str(values, "listen", proxy.listen)
        upstream = read_str(values, "upstream", proxy.upstream)
        enabled = read_bool(values, "enabled", proxy.enabled)
        options = _options(values, proxy.options)
        address = await resolve(listen)
        if self._proxies.get(name) is not proxy:
            raise ApiError(404, "proxy not found")
        proxy.configure(options)
        if str(address) != proxy.listen or upstream != proxy.upstream:
            proxy.stop()
            proxy.listen, proxy.upstream = listen, upstream
        if enabled and not proxy.enabled:
            proxy.start(address)
        elif not enabled and proxy.enabled:
            proxy.stop()
        return proxy.describe()

    def delete(self, name: str) -> None:
        """Stop the proxy, reset its connections and forget it."""
        self.get(name).close()
        del self._proxies[name]

    async def populate(self, body: bytes) -> tuple[int, dict[str, object]]:
        """Status and answer: the proxies created, replaced or found unchanged, up to the first that fails."""
        done: list[Proxy] = []
        failure: ApiError | None = None
        try:
            for values in self._populate_input(body):
                done.append(await self._add_or_replace(values))  # noqa: PERF401  # those before a failure count
        except ApiError as exc:
            failure = exc
        answer: dict[str, object] = {} if failure is None else {"error": failure.message, "status": failure.status}
        # As they are in the end: one that a later entry of the same name replaced is shown stopped. Empty is null there, too.
        answer["proxies"] = [proxy.describe() for proxy in done] or None
        return (201 if failure is None else failure.status), answer

    def _populate_input(self, body: bytes) -> list[Mapping[str, object]]:
        value = parse(body)
        if value is not None and not isinstance(value, list):
            raise bad_body("proxies: expected an array")
        entries = [read_object(entry, "proxy") for entry in value or []]
        for entry in entries:  # types first, as a decoder would
            for key in ("name", "listen", "upstream"):
                read_str(entry, key, "")
            read_bool(entry, "enabled", True)
            _options(entry, Options())
        for number, entry in enumerate(entries, start=1):
            for key in ("name", "upstream"):
                if not read_str(entry, key, ""):
                    raise ApiError(400, f"missing required field: {key} at proxy {number}")
        return entries

    async def _add_or_replace(self, values: Mapping[str, object]) -> Proxy:
        name, listen, upstream = (read_str(values, key, "") for key in ("name", "listen", "upstream"))
        enabled = read_bool(values, "enabled", True)
        address = await resolve(listen)
        existing = self._proxies.get(name)
        if existing is not None:
            if str(address) == existing.listen and upstream == existing.upstream:
                existing.configure(_options(values, existing.options))
                return existing
            existing.stop()
        proxy = Proxy(self._context, name, listen, upstream)
        proxy.configure(_options(values, Options() if existing is None else existing.options))
        if enabled:
            proxy.start(address)
        if existing is not None:
            existing.close()
        self._proxies[name] = proxy
        return proxy

    async def reset(self) -> None:
        """Start every proxy and remove every toxic. Raises the first ApiError after all were tried."""
        failures: list[ApiError] = []
        for proxy in list(self._proxies.values()):
            try:
                if not proxy.enabled:
                    address = await resolve(proxy.listen)
                    if self._proxies.get(proxy.name) is proxy and not proxy.enabled:
                        proxy.start(address)
            except ApiError as exc:
                failures.append(exc)
            proxy.remove_all()
        if failures:
            raise failures[0]

    # --- toxics

    def toxics(self, name: str) -> list[dict[str, object]]:
        """The toxics of a proxy, the upstream chain first."""
        return [describe_toxic(toxic) for toxic in self.get(name).toxics]

    def add_toxic(self, name: str, body: bytes) -> dict[str, object]:
        """The new toxic, acting on open connections already. Raises ApiError 400, 404 or 409."""
        proxy = self.get(name)
        values = read_object(parse(body), "toxic")
        stream = read_str(values, "stream", "downstream")
        type_name = read_str(values, "type", "")
        toxic_name = read_str(values, "name", "") or f"{type_name}_{stream}"
        toxicity = read_float(values, "toxicity", 1.0)
        attributes = read_object(values.get("attributes"), "attributes")
        if stream.lower() not in ("upstream", "downstream"):
            raise ApiError(400, "stream was invalid, can be either upstream or downstream")
        kind = _KINDS.get(type_name)
        if kind is None:
            raise ApiError(400, "invalid toxic type")
        if kind.http and not proxy.options.http:
            raise ApiError(400, f"{type_name} acts on HTTP, and this proxy was made without the option http")
        if kind.http and stream.lower() != "downstream":
            raise ApiError(400, f"{type_name} acts on answers: its stream can only be downstream")
        if any(toxic.name == toxic_name for toxic in proxy.toxics):
            raise ApiError(409, "toxic already exists")
        toxic = Toxic(toxic_name, type_name, stream, kind)
        toxic.toxicity = toxicity
        defaults = {**kind.fields, "hold": self._hold_ms} if "hold" in kind.fields else kind.fields
        toxic.attributes = {key: read_int(attributes, key, default) for key, default in defaults.items()}
        proxy.add(toxic)
        return describe_toxic(toxic)

    def update_toxic(self, name: str, toxic_name: str, body: bytes) -> dict[str, object]:
        """The changed toxic: attributes merged, toxicity replaced, the rest as it was."""
        proxy = self.get(name)
        toxic = proxy.find(toxic_name)
        values = read_object(parse(body), "toxic")
        attributes = read_object(values.get("attributes"), "attributes")
        merged = {key: read_int(attributes, key, value) for key, value in toxic.attributes.items()}
        toxicity = read_float(values, "toxicity", toxic.toxicity)
        toxic.attributes, toxic.toxicity = merged, toxicity
        proxy.update(toxic)
        return describe_toxic(toxic)

    def delete_toxic(self, name: str, toxic_name: str) -> None:
        """Remove a toxic, from open connections too."""
        proxy = self.get(name)
        proxy.remove(proxy.find(toxic_name))

    # --- beyond Toxiproxy

    def links(self) -> dict[str, object]:
        """Live counters of all proxies; `clock_ns` is CLOCK_MONOTONIC at the time of asking."""
        return {
            "clock_ns": time.monotonic_ns(),
            "pid": os.getpid(),
            "seed": self._context.seed,
            "links": {name: proxy.evidence() for name, proxy in self._proxies.items()},
        }

    def expect_witness(self, body: bytes) -> dict[str, object]:
        """The source port whose next connection counts apart. Raises ApiError 400."""
        values = read_object(parse(body), "witness")
        port = read_int(values, "source_port", 0)
        if not 0 < port < 65536:
            raise ApiError(400, f"source_port: expected a port from 1 to 65535, got {port}")
        self._witnesses.expect(port)
        return {"source_port": port}
