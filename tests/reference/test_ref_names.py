"""What an edge believes of a name server, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import dns.message
import dns.rrset
import pytest

from harness.reference.follower import Site
from harness.reference.mutants import TRUSTS_NAMES
from harness.reference.names import Names, answered, question


def reply(*addresses: str, rcode: int = 0) -> Callable[[bytes], bytes | None]:
    def answer(asked: bytes) -> bytes:
        query = dns.message.from_wire(asked)
        made = dns.message.make_response(query)
        made.set_rcode(rcode)
        if addresses:
            made.answer.append(dns.rrset.from_text(query.question[0].name, 2, "IN", "A", *addresses))
        return made.to_wire()

    return answer


class Server(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: Callable[[bytes], bytes | None] = reply()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        if (said := self.answer(data)) is not None:
            self.transport.sendto(said, addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, str, int]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    region = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    place = transport.get_extra_info("sockname")
    try:
        yield server, f"127.0.0.1:{place[1]}", region.sockets[0].getsockname()[1]
    finally:
        transport.close()
        region.close()


def test_questions_and_answers_are_those_of_rfc_1035() -> None:
    asked = question("us-1.genai", 7)
    parsed = dns.message.from_wire(asked)
    assert parsed.id == 7 and parsed.question[0].to_text() == "us-1.genai. IN A"
    assert set(answered(reply("127.0.0.1", "10.0.0.2")(asked) or b"", 7)) == {"127.0.0.1", "10.0.0.2"}
    assert answered(reply()(asked) or b"", 7) == () and answered(reply(rcode=3)(asked) or b"", 7) == ()


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (b"", "malformed answer"),
        (question("a.genai", 7), "not the answer to this question"),
        ((reply("127.0.0.1")(question("a.genai", 8)) or b""), "not the answer to this question"),
        ((reply(rcode=2)(question("a.genai", 7)) or b""), "refused with code 2"),
        ((reply("127.0.0.1")(question("a.genai", 7)) or b"")[:-6], "malformed answer"),
    ],
)
def test_anything_else_is_no_answer(message: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        answered(message, 7)


async def test_an_address_is_kept_until_another_one_answers() -> None:
    async with serving() as (server, resolver, port):
        names, site = Names(resolver, frozenset()), Site(name="us-1", url=f"http://localhost:{port}")
        for answer in (reply(), reply(rcode=3), reply(rcode=2), lambda _: b"garbage", reply("127.0.0.77")):
            server.answer = answer
            await names.follow(site)
            assert site.url == f"http://localhost:{port}"
        server.answer = reply("127.0.0.77", "127.0.0.1")
        await names.follow(site)
        assert site.url == f"http://127.0.0.1:{port}"


async def test_the_mutant_goes_where_it_is_told() -> None:
    async with serving() as (server, resolver, port):
        names, site = Names(resolver, frozenset({TRUSTS_NAMES})), Site(name="us-1", url=f"http://127.0.0.1:{port}")
        server.answer = reply("127.0.0.77")
        await names.follow(site)
        assert site.url == f"http://127.0.0.77:{port}"
        server.answer = reply()
        await names.follow(site)
        assert site.url == f"http://127.255.255.254:{port}"
