"""dns: a resolver that lies and stops lying, asked by another client than ours (dnspython), over UDP and TCP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InjectError
from harness.faults.dns import lookup
from harness.faults.dns_wire import (
    AAAA,
    NXDOMAIN,
    OK,
    TXT,
    A,
    ask,
    parse_answer,
    parse_question,
    respond,
)
from harness.faults.resolver import Names
from harness.model.plan import Target
from harness.model.ports import HostSettings
from harness.model.stack import HostSpec, Instance, Stack
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.stacks.client import end_stack
from harness.stacks.process import ProcessHost
from harness.stacks.python import PythonHost
from harness.stacks.wire import allocate
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

TARGET = Target(kind="instance", name="names", host="process")
CASES: dict[str, dict[str, Any]] = {
    "nxdomain": {},
    "empty": {},
    "stale": {"to": "127.0.9.9"},
    "slow": {"delay": "400ms"},
}


def made(answer: str, **params: Any) -> Any:
    kind = catalog().fault("dns")
    return kind.load()(kind.params.model_validate({"answer": answer} | params))


@pytest.fixture
async def names(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SimpleNamespace]:
    """A resolver as a stack starts it (on the host of the test's `names`), and what another client hears from it."""
    kind = getattr(request, "param", "process")
    args = ["--listen", "${addr:names.dns}", "--faults", "${dir}/faults.json"]
    args += ["db.shop=127.0.2.1", "db.shop=::1", "web.shop=127.0.2.2"]
    params: dict[str, Any] = {"process": [sys.executable, "-m", "harness.faults.resolver", *args]}
    if kind == "python":
        params = {"python": "harness.faults.resolver:main", "args": args}
    one = Instance(name="names", ports={"dns": None}, host=HostSpec(kind=kind, params=params))
    state_dir = tmp_path / "state"
    (state_dir / "dirs").mkdir(parents=True)
    wiring = allocate(Stack(name="s", base_dir=str(tmp_path), instances={"names": one}), str(state_dir))
    places = HostSettings(
        run_id="run-1", state_dir=str(state_dir), log_dir=str(tmp_path / "logs"), base_dir=str(tmp_path)
    )
    host = {"process": ProcessHost, "python": PythonHost}[kind](one, wiring, places)
    place = wiring.address("names", "dns")

    async def hears(name: str, kind: str = "A", way: Any = dns.query.udp) -> tuple[str, list[str]]:
        query = dns.message.make_query(name, kind)
        said = await asyncio.to_thread(way, query, "127.0.0.1", timeout=10, port=int(place.rpartition(":")[2]))
        return dns.rcode.to_text(said.rcode()), sorted(str(item) for answer in said.answer for item in answer)

    async def vanish() -> None:
        found = await host.find()
        if found is not None:
            await host.kill(found)

    try:
        await host.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    await lookup(place, "db.shop", A, 1)
                    break
                except InjectError:
                    await asyncio.sleep(0.02)
        world = FakeWorld(hosts={"names": host}, wiring=wiring)
        yield SimpleNamespace(world=world, hears=hears, vanish=vanish, host=host)
    finally:
        await host.stop(0)
        await host.close()
        await end_stack(places.state_dir, 0)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "answer"),
    [
        *(pytest.param("process", answer, marks=pytest.mark.cell("dns", "process")) for answer in CASES),
        pytest.param("python", "empty", marks=pytest.mark.cell("dns", "python")),
    ],
    indirect=["names"],
)
async def test_a_resolver_lies_and_stops_lying(names: SimpleNamespace, answer: str) -> None:
    lie = made(answer, **CASES[answer])
    await check_injector(lie, TARGET, names.world, vanish=names.vanish)
    if await names.host.find() is None:
        await names.host.start()
        while not (await lie.verify(state_of(names), names.world)).what.startswith("db.shop"):
            await asyncio.sleep(0.02)
    wanted = {
        "nxdomain": ("NXDOMAIN", []),
        "empty": ("NOERROR", []),
        "stale": ("NOERROR", ["127.0.9.9"]),
        "slow": ("NOERROR", ["127.0.2.2"]),
    }
    state = await lie.prepare(TARGET, names.world)
    await lie.apply(state, names.world)
    for way in (dns.query.udp, dns.query.tcp):
        begun = time.monotonic()
        assert await names.hears("web.shop", way=way) == wanted[answer], "every name, not the witness's alone"
        assert time.monotonic() - begun >= (0.4 if answer == "slow" else 0)
    with pytest.raises(InjectError, match="it is told to lie already, by "):
        await lie.prepare(TARGET, names.world)
    await lie.revert(state, names.world)
    assert await names.hears("web.shop") == ("NOERROR", ["127.0.2.2"])
    assert await names.hears("DB.Shop", "AAAA", dns.query.tcp) == ("NOERROR", ["::1"])
    assert await names.hears("none.shop") == ("NXDOMAIN", [])
    if answer == "stale":
        with pytest.raises(InjectError, match=r"127\.0\.2\.1 is the right address of db\.shop, and no stale one"):
            await made("stale", to="127.0.2.1").prepare(TARGET, names.world)


def state_of(names: SimpleNamespace) -> Any:
    from harness.faults.dns import DnsState

    world = names.world
    file = f"{world.wiring.dirs['names']}/faults.json"
    place = world.wiring.address("names", "dns")
    return DnsState(instance="names", place=place, file=file, name="db.shop", type=A, right=("127.0.2.1",))


async def test_what_is_no_resolver_is_refused() -> None:
    plain = FakeWorld(hosts={"names": FakeHost("names")}, wiring=Wiring(ports={"names": {"http": 1}}))
    with pytest.raises(InjectError, match="no port called 'dns', so it is no resolver"):
        await made("empty").prepare(TARGET, plain)
    wiring = Wiring(addresses={"names": "127.0.0.1"}, ports={"names": {"dns": 1}})
    with pytest.raises(InjectError, match=r"no answer from 127\.0\.0\.1:1: "):
        await made("empty").prepare(TARGET, FakeWorld(hosts={"names": FakeHost("names")}, wiring=wiring))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"answer": "stale"}, "expected `to` with `answer: stale`, and with that alone"),
        ({"answer": "empty", "to": "127.0.0.1"}, "expected `to` with `answer: stale`, and with that alone"),
        ({"answer": "slow"}, "expected `delay` with `answer: slow`, and with that alone"),
        ({"answer": "slow", "delay": "6s"}, "less than or equal to 5000000000"),
        ({"answer": "refused"}, "'nxdomain', 'empty', 'stale' or 'slow'"),
    ],
)
def test_an_answer_needs_what_it_needs_and_nothing_else(params: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**params)


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda one: one[2:4] != "--")


@given(
    labels=st.lists(LABEL, min_size=1, max_size=6), number=st.integers(0, 65535), addresses=st.lists(st.ip_addresses())
)
def test_messages_come_back_as_they_were_meant_and_as_dnspython_reads_them(
    labels: list[str], number: int, addresses: list[Any]
) -> None:
    name = ".".join(labels)
    for type_, version in ((A, 4), (AAAA, 6)):
        question = parse_question(ask(number, name, type_))
        assert question is not None
        assert (question.id, question.name, question.type) == (number, name, type_)
        mine = tuple(str(one) for one in addresses if one.version == version)
        message = respond(question, OK, tuple(map(str, addresses)))
        assert parse_answer(message).data == mine
        read = dns.message.from_wire(message)
        assert {ip_address(str(item)) for answer in read.answer for item in answer} == set(map(ip_address, mine))


@settings(max_examples=60)
@given(st.binary(max_size=80))
def test_bytes_that_are_no_question_get_no_answer_and_break_nothing(message: bytes) -> None:
    question = parse_question(message)
    if question is not None:
        assert Names({"a.b": ("127.0.0.1",)}, "/nonexistent").answer(question)[0] == 0.0
    try:
        parse_answer(message)
    except ValueError as exc:
        assert str(exc) in ("not a DNS message", "a question, not an answer")


def test_a_resolver_says_which_file_it_obeys_whatever_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    names = Names({"a.b": ("127.0.0.1",)}, str(file))

    def said(name: str, type_: int = A) -> tuple[int, tuple[str, ...]]:
        question = parse_question(ask(1, name, type_))
        assert question is not None
        answer = parse_answer(names.answer(question)[1])
        return answer.code, answer.data

    file.write_text('{"answer": "nxdomain"}')
    assert said("_names.blackstart", TXT) == (OK, (f'["{file}", "a.b"]',))
    assert said("a.b") == (NXDOMAIN, ())
    file.write_text("{torn")
    assert said("a.b") == (OK, ("127.0.0.1",)), "a file that is no fault is none"
    assert said("a.b", TXT) == (OK, ())


def test_what_has_no_port_of_that_name_is_refused_before_a_run() -> None:
    lacks = catalog().fault("dns").lacks
    assert lacks is not None
    host = HostSpec(kind="process", params={})
    assert "no resolver of ours" in str(lacks({}, Instance(name="web", host=host, ports={"http": 8080})))
    assert lacks({}, Instance(name="names", host=host, ports={"dns": None})) is None
