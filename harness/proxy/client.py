"""`LinkControl` over a Toxiproxy HTTP API: through `toxiproxy-python` in a run, through the standard library afterwards.

The adapter adds what the library lacks: a deadline on every call, errors on 5xx, the server chosen per call (the library
keeps host and port class-wide; here they are read from a context variable, so that one hung server never blocks another),
a GET after every change, names of our own, and the refusal to touch what others set. Each call runs in a thread of its
own, which dies with the process: a pool would let a few hung calls hold up those to another server.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from harness.errors import InjectError, UnsafeError
from harness.model.fields import JsonObject
from harness.model.ports import LinkCounters, LinkState, Toxic
from harness.proxy.library import CALL_LIMIT_S, library, talking_to
from harness.proxy.process import ServerProcess
from harness.proxy.wire import body_of, in_thread, same, state_of

__all__ = ["OWN_PREFIX", "Announce", "Links", "NewLink", "PlainLinks", "ToxiproxyLinks", "revive_links"]

OWN_PREFIX = "blackstart-"
"""Every toxic of ours begins so; any other is somebody's, and stays."""

Announce = Callable[[str, str, str], None]
"""Told the name, listen and upstream of a proxy just before it is made."""
T = TypeVar("T")
Body = JsonObject | list[JsonObject] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A proxy to be made. `options` are the embedded server's additions; others never hear of them."""

    name: str
    listen: str
    upstream: str
    options: Mapping[str, bool]


class Links:
    """What both clients share. Subclasses carry a change to the server; reading back is always done the plain way."""

    def __init__(self, url: str, *, embedded: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise UnsafeError(f"fault proxy: expected a URL such as 'http://127.0.0.1:8474', got {url!r}")
        self._url = url
        self._address = (parts.hostname, parts.port or 8474)
        self._embedded = embedded
        self._created: set[str] = set()
        self._made: dict[str, JsonObject] = {}  # the bodies that made them
        self._standing: dict[str, dict[str, Toxic]] = defaultdict(dict)  # toxics that should be there, by link
        self._closed: set[str] = set()
        self._process: ServerProcess | None = None
        self._start: Callable[[], Awaitable[ServerProcess]] | None = None
        self._starts_count = 0
        self._repairing = asyncio.Lock()  # of this server alone

    @property
    def url(self) -> str:
        return self._url

    @property
    def embedded(self) -> bool:
        return self._embedded

    @property
    def created(self) -> frozenset[str]:
        """The proxies that this control created: those it may delete."""
        return frozenset(self._created)

    def claim(self, names: Iterable[str]) -> None:
        """Take over proxies that an earlier control of ours created: `delete` then removes them."""
        self._created.update(names)

    def recipe(self) -> JsonObject:
        process = None if self._process is None else {"pid": self._process.pid, "ticks": self._process.ticks}
        return {
            "url": self._url,
            "embedded": self._embedded,
            "created": sorted(self._created),
            "process": process,
        }

    def hosted_by(self, process: ServerProcess, start: Callable[[], Awaitable[ServerProcess]] | None = None) -> None:
        """Note that the server is a process of ours, and what starts it again once that is gone (None: nobody will)."""
        self._process, self._start = process, start

    async def version(self) -> str:
        """What the server calls itself. Raises InjectError when none answers."""
        return str((await self._plain("GET", "/version"))["version"])

    async def all(self) -> tuple[LinkState, ...]:
        """Every proxy that the server has, whoever made it. Raises InjectError when it does not answer."""
        return tuple(state_of(raw) for raw in (await self._plain("GET", "/proxies")).values())

    async def get(self, link: str) -> LinkState:
        raw = await self._plain("GET", f"/proxies/{quote(link, safe='')}")
        return state_of(raw)

    async def add(self, link: str, toxic: Toxic) -> None:
        if not toxic.name.startswith(OWN_PREFIX):
            raise UnsafeError(f"toxic {toxic.name!r} on {link}: ours begin with {OWN_PREFIX!r}")
        before = self._own_only(await self.get(link))
        exists = any(there.name == toxic.name for there in before.toxics)
        self._standing[link][toxic.name] = toxic
        await self._bounded(lambda: self._put(link, toxic, exists), f"adding {toxic.type} to {link}")
        after = await self.get(link)
        if not any(same(there, toxic) for there in after.toxics):
            raise InjectError(f"link {link}: the fault proxy accepted {toxic.type} {toxic.name!r} but does not show it")

    async def remove(self, link: str, toxic: str) -> None:
        if not toxic.startswith(OWN_PREFIX):
            raise UnsafeError(f"toxic {toxic!r} on {link}: ours begin with {OWN_PREFIX!r}, this one is someone else's")
        self._standing[link].pop(toxic, None)
        state = await self.get(link)
        if not any(there.name == toxic for there in state.toxics):
            return
        await self._bounded(lambda: self._drop(link, toxic), f"removing {toxic} from {link}")
        if any(there.name == toxic for there in (await self.get(link)).toxics):
            raise InjectError(f"link {link}: the fault proxy still shows {toxic!r} after its removal")

    async def set_enabled(self, link: str, enabled: bool) -> None:
        before = await self.get(link)
        if not enabled:
            self._own_only(before)
        (self._closed.discard if enabled else self._closed.add)(link)
        if before.enabled != enabled:
            await self._bounded(lambda: self._enable(link, enabled), f"{'en' if enabled else 'dis'}abling {link}")
        if (await self.get(link)).enabled != enabled:
            raise InjectError(f"link {link}: the fault proxy did not {'open' if enabled else 'close'} it")

    async def counters(self, link: str) -> LinkCounters | None:
        if not self._embedded:
            return None
        seen = await self.evidence(link)
        return LinkCounters(
            bytes_up=seen["received_bytes"]["upstream"],
            bytes_down=seen["received_bytes"]["downstream"],
            connections_open=seen["connections"]["open"],
            connections_total=seen["connections"]["total"],
        )

    async def evidence(self, link: str) -> JsonObject:
        """The embedded server's live account of one link: listening, gated, counters, toxics with what they touched."""
        links: JsonObject = (await self._plain("GET", "/blackstart/links"))["links"]
        if link not in links:
            raise InjectError(f"fault proxy at {self._url}: no link {link!r}")
        found: JsonObject = links[link]
        return found

    async def create(self, name: str, listen: str, upstream: str, options: Mapping[str, bool]) -> LinkState:
        """One proxy, as `populate` makes many."""
        (state,) = await self.populate([NewLink(name=name, listen=listen, upstream=upstream, options=options)])
        return state

    async def populate(
        self, wanted: Sequence[NewLink], announce: Announce = lambda name, listen, upstream: None
    ) -> tuple[LinkState, ...]:
        """The proxies, made in one call; one that its server has already, the very same, is used, and never deleted by us.

        New ones are announced before they are made, so that they can be removed whatever happens next. Raises UnsafeError
        when a name or a port is taken, or a foreign toxic is there; none that was made then stays.
        """
        await in_thread(self._prepare)
        known = await self._plain("GET", "/proxies")
        for link in wanted:
            if link.name in known:
                self._check_adopted(link, self._own_only(state_of(known[link.name])))
        missing = [link for link in wanted if link.name not in known]
        for link in missing:
            announce(link.name, link.listen, link.upstream)
        if missing:
            await self._make(missing)
        there = await self._plain("GET", "/proxies")
        for link in missing:
            if link.name not in there:
                raise InjectError(f"link {link.name}: the fault proxy accepted it but does not show it")
            self._made[link.name] = self._body(link) | {"listen": there[link.name]["listen"]}
        return tuple(state_of(there[link.name]) for link in wanted)

    async def _make(self, missing: Sequence[NewLink]) -> None:
        self._created.update(link.name for link in missing)
        try:
            await self._plain("POST", "/populate", [self._body(link) for link in missing])
        except InjectError as exc:  # it has made those before the one that failed
            problem = f"link {', '.join(link.name for link in missing)}: {exc}"
            for link in missing:
                try:
                    await self.delete(link.name)
                except InjectError as left:
                    problem += f"; {link.name} may be left there: {left}"
            raise UnsafeError(problem, remedy="free the port, or give the link another `listen`") from exc

    def _check_adopted(self, link: NewLink, state: LinkState) -> None:
        if (state.listen, state.upstream) != (link.listen, link.upstream):
            raise UnsafeError(
                f"link {link.name}: {self._url} already has a proxy {link.name!r} from {state.listen} to {state.upstream},"
                f" expected {link.listen} to {link.upstream}",
                remedy="delete that proxy, or give the link another name",
            )

    def _body(self, link: NewLink) -> JsonObject:
        body: JsonObject = {"name": link.name, "listen": link.listen, "upstream": link.upstream, "enabled": True}
        return body | {"blackstart": dict(link.options)} if self._embedded else body

    async def delete(self, name: str) -> None:
        """Remove a proxy that this control created; any other stays. Legal when it is gone."""
        if name in self._created:
            await self._plain("DELETE", f"/proxies/{quote(name, safe='')}", missing_ok=True)
            self._created.discard(name)
            self._made.pop(name, None)

    async def gone(self) -> bool:
        if self._process is None or self._process.alive():
            return False
        try:  # started again by a conductor that died since: it answers, and what stands there stands
            await self.version()
        except InjectError:
            return True
        return False

    async def recreate(self, link: str) -> None:
        async with self._repairing:
            if link not in self._created:
                raise UnsafeError(f"link {link}: the proxy was there before this run, and is not ours to delete")
            try:
                path = f"/proxies/{quote(link, safe='')}"
                shown = await self._plain("GET", path)
                self._own_only(state_of(shown))
                keys = ("name", "listen", "upstream", "blackstart")
                body = {key: shown[key] for key in keys if key in shown} | {"enabled": True}
                await self._plain("DELETE", path, missing_ok=True)
            except InjectError:
                if link not in self._made:
                    raise
                body = self._made[link]
                await self._plain("DELETE", path, missing_ok=True)
            await self._restore(body)

    async def restart(self) -> None:
        starts_before = self._starts_count
        async with self._repairing:
            if self._starts_count != starts_before:
                return  # another revert has just done it
            if self._process is None:
                raise UnsafeError(f"fault proxy at {self._url}: this run did not start it, and does not end it")
            await self._process.kill()
            if self._start is None:
                return
            self._process = await self._start()
            self._starts_count += 1
            for body in self._made.values():
                await self._restore(body)

    async def _restore(self, body: JsonObject) -> None:
        """Make a proxy, and put on it what should stand there."""
        link = body["name"]
        await self._plain("POST", "/proxies", body)
        for toxic in self._standing[link].values():
            await self._plain("POST", f"/proxies/{quote(link, safe='')}/toxics", body_of(toxic))
        if link in self._closed:
            await self._plain("POST", f"/proxies/{quote(link, safe='')}", {"enabled": False})

    async def delete_made(self, name: str, listen: str, upstream: str) -> bool:
        """Remove a proxy that a run announced, for whoever finishes that run; one that leads elsewhere is someone else's.

        Whether there was one. Raises InjectError when the server does not answer.
        """
        known = await self._plain("GET", "/proxies")
        if name not in known:
            return False
        state = state_of(known[name])
        if (state.listen.rpartition(":")[2], state.upstream) != (listen.rpartition(":")[2], upstream):
            return False
        await self._plain("DELETE", f"/proxies/{quote(name, safe='')}", missing_ok=True)
        return True

    @staticmethod
    def _own_only(state: LinkState) -> LinkState:
        foreign = [toxic.name for toxic in state.toxics if not toxic.name.startswith(OWN_PREFIX)]
        if foreign:
            raise UnsafeError(
                f"link {state.name}: {', '.join(foreign)} was set by someone else",
                remedy="remove it first, or use another proxy",
            )
        return state

    def _prepare(self) -> None:
        """Called in a thread before links are made: what takes time is done while nothing is broken."""

    def _put(self, link: str, toxic: Toxic, exists: bool) -> None:
        raise NotImplementedError

    def _drop(self, link: str, toxic: str) -> None:
        raise NotImplementedError

    def _enable(self, link: str, enabled: bool) -> None:
        raise NotImplementedError

    async def _plain(self, method: str, path: str, body: Body = None, *, missing_ok: bool = False) -> JsonObject:
        call = lambda: _request(self._address, method, path, body, missing_ok=missing_ok)  # noqa: E731
        return await self._bounded(call, f"{method} {path}")

    async def _bounded(self, call: Callable[[], T], what: str) -> T:
        """The call's answer, from a thread, or InjectError: a hung server costs its deadline and nothing else."""
        try:
            async with asyncio.timeout(CALL_LIMIT_S + 1):
                return await in_thread(call)
        except TimeoutError as exc:
            raise InjectError(f"fault proxy at {self._url}: {what}: no answer within {CALL_LIMIT_S:g} s") from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise InjectError(f"fault proxy at {self._url}: {what}: {str(exc) or type(exc).__name__}") from exc


class PlainLinks(Links):
    """Changes by the standard library alone: the reaper's and `recover`'s, independent of what may have failed before."""

    def _put(self, link: str, toxic: Toxic, exists: bool) -> None:
        path = f"/proxies/{quote(link, safe='')}/toxics" + (f"/{quote(toxic.name, safe='')}" if exists else "")
        _request(self._address, "POST", path, body_of(toxic))

    def _drop(self, link: str, toxic: str) -> None:
        _request(
            self._address, "DELETE", f"/proxies/{quote(link, safe='')}/toxics/{quote(toxic, safe='')}", missing_ok=True
        )

    def _enable(self, link: str, enabled: bool) -> None:
        _request(self._address, "POST", f"/proxies/{quote(link, safe='')}", {"enabled": enabled})


class ToxiproxyLinks(Links):
    """Changes through `toxiproxy-python`, Shopify's API as its users know it."""

    def _prepare(self) -> None:
        library()  # its imports take a quarter of a second: now, not while a fault is being applied

    def _put(self, link: str, toxic: Toxic, exists: bool) -> None:
        with talking_to(self._address) as consumer:
            if exists:  # the library cannot update a toxic
                consumer.post(f"/proxies/{link}/toxics/{toxic.name}", json=body_of(toxic))
            else:
                self._proxy(link).add_toxic(**body_of(toxic))

    def _drop(self, link: str, toxic: str) -> None:
        with talking_to(self._address):
            self._proxy(link).destroy_toxic(toxic)

    def _enable(self, link: str, enabled: bool) -> None:
        with talking_to(self._address):
            proxy = self._proxy(link)
            if enabled:
                proxy.enable()
            else:
                proxy.disable()

    @staticmethod
    def _proxy(link: str) -> Any:
        from toxiproxy import Toxiproxy

        proxy = Toxiproxy().get_proxy(link)
        if proxy is None:
            raise ValueError(f"no proxy {link!r}")
        return proxy


def revive_links(recipe: JsonObject) -> PlainLinks:
    """A control for the same server, for whoever finishes a dead run."""
    links = PlainLinks(recipe["url"], embedded=recipe["embedded"])
    links.claim(recipe.get("created", ()))
    process = recipe.get("process")
    if process is not None:
        links.hosted_by(ServerProcess(pid=process["pid"], ticks=process["ticks"]))
    return links


def _request(
    address: tuple[str, int], method: str, path: str, body: Body = None, *, missing_ok: bool = False
) -> JsonObject:
    connection = http.client.HTTPConnection(*address, timeout=CALL_LIMIT_S)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"User-Agent": "blackstart"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    if answer.status == 404 and missing_ok:
        return {}
    if answer.status >= 400:
        raise ValueError(f"answered {answer.status} {text.strip()[:200]}")
    parsed: JsonObject = json.loads(text) if text.strip() else {}
    return parsed
