"""The residue audit: comparison over literal fingerprints, and sources over real things."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import InjectError
from harness.history.events import NoteEvent, of_type, read_events
from harness.judge import safety_of
from harness.model.ports import Identity, LinkState, Toxic
from harness.model.wiring import Wiring
from harness.run.clock import MonotonicClock
from harness.run.journal import PROXY, Journal, Opened, Spawned
from harness.run.process import start_ticks
from harness.run.recorder import Recorder
from harness.run.residue import Audit, Difference, Fingerprint, compare, look
from harness.run.residue_networks import NetworkFacts
from harness.run.residue_sources import FaultProxyFacts, InstanceFacts, KernelFacts, OwnProcesses, QueueFacts


class Said:
    """A source that says what it is told; keys that begin with "our" are ours."""

    def __init__(self, name: str, *answers: Mapping[str, str] | Exception) -> None:
        self.name = name
        self.answers = list(answers)

    async def look(self) -> Mapping[str, str]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def is_ours(self, key: str, before: str | None, after: str | None) -> bool:
        return key.startswith("our")


def fingerprint(facts: Mapping[str, str]) -> Fingerprint:
    return Fingerprint(facts={"s": facts})


def test_every_difference_is_found_and_ours_come_first() -> None:
    before = fingerprint({"same": "x", "changed": "a", "gone": "b", "our link": "open"})
    after = fingerprint({"same": "x", "changed": "c", "new": "d", "our link": "closed"})
    found = compare([Said("s")], before, after)
    assert found == (
        Difference(source="s", key="our link", before="open", after="closed", ours=True),
        Difference(source="s", key="changed", before="a", after="c", ours=False),
        Difference(source="s", key="gone", before="b", after=None, ours=False),
        Difference(source="s", key="new", before=None, after="d", ours=False),
    )
    assert [str(one) for one in found[1:]] == [
        "changed: was a, is c",
        "gone: was b, is gone",
        "new: d, was not there before",
    ]
    assert compare([Said("s")], before, before) == ()


def test_what_could_not_be_seen_is_not_compared() -> None:
    seen = Fingerprint(facts={"s": {"a": "x"}})
    unseen = Fingerprint(blind={"s": "no answer"})
    assert compare([Said("s")], seen, unseen) == compare([Said("s")], unseen, seen) == ()


async def test_an_audit_is_on_record_and_in_the_result(tmp_path: Path) -> None:
    sources = [
        Said("links", {"our a": "open"}, {"our a": "closed", "b": "open"}),
        Said("engine", InjectError("no answer"), {"c": "runs"}),
    ]
    recorder = Recorder(tmp_path / "events.jsonl")
    audit = Audit(sources, recorder, MonotonicClock())
    await audit.begin()
    assert await audit.end() == ("our a: was open, is closed",)
    recorder.seal()
    events = read_events(tmp_path / "events.jsonl")
    (note,) = of_type(events, NoteEvent)
    assert note.code == "audit"
    safety = safety_of(SimpleNamespace(events=events), ())  # type: ignore[arg-type]
    assert [(row.source, row.before, row.after, row.blind) for row in safety.audited] == [
        ("links", 1, 2, ""),
        ("engine", None, 1, "no answer"),
    ]
    assert safety.changed == ("b: open, was not there before",)


class Proxy:
    def __init__(self, *states: LinkState) -> None:
        self.states = states

    async def all(self) -> tuple[LinkState, ...]:
        return self.states


async def test_toxics_of_ours_and_links_of_the_stack_are_ours() -> None:
    toxic = Toxic(name="blackstart-r-latency-1", type="latency", attributes={"latency": 50})
    theirs = Toxic(name="someone", type="timeout", attributes={"timeout": 0})
    link = LinkState(name="db", listen="127.0.0.1:1", upstream="db:2", enabled=False, toxics=(toxic, theirs))
    source = FaultProxyFacts(Proxy(link), frozenset({"db"}), "r")  # type: ignore[arg-type]
    facts = await source.look()
    assert facts == {
        "link db": "127.0.0.1:1 to db:2, closed",
        "toxic blackstart-r-latency-1 on db": 'latency downstream {"latency": 50}',
        "toxic someone on db": 'timeout downstream {"timeout": 0}',
    }
    assert {key: source.is_ours(key, None, "x") for key in facts} == {
        "link db": True,
        "toxic blackstart-r-latency-1 on db": True,
        "toxic someone on db": False,
    }
    assert not source.is_ours("link other", "x", None)
    assert not source.is_ours("toxic blackstart-another-run-latency-1 on other", None, "x"), (
        "somebody else drills there"
    )


def test_rules_of_other_runs_are_not_ours() -> None:
    source = KernelFacts("20261125T223704Z-region-kill-28e9")
    assert source.is_ours("table inet blackstart_20261125t223704z_region_kill_28e9_partition_1f", None, "there")
    assert not source.is_ours("table inet blackstart_20261125t223704z_region_kill_aaaa_partition_1f", None, "there")
    assert not source.is_ours("table ip nat", None, "there")
    assert not QueueFacts().is_ours("queue of eth0, netem 8001:", None, "netem")


@pytest.mark.slow
async def test_this_machines_rules_and_queues_can_be_looked_at() -> None:
    seen = await look([KernelFacts("r"), QueueFacts()])
    assert seen.blind == {}
    assert set(seen.facts) == {"kernel rules", "network queues"}


class Boxed:
    """A host whose instance is a process in a network namespace of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    async def find(self) -> Identity:
        return Identity(pid=self.pid)

    def network_namespace(self, identity: Identity) -> int:
        return os.open(f"/proc/{identity.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_rules_and_queues_of_ours_inside_an_instances_network_are_residue() -> None:
    own, other = "blackstart_r_1_partition_1f", "blackstart_r_2_partition_2f"
    queues = [f"tc qdisc add dev {dev} root handle {handle} tbf rate 1mbit burst 9kb latency 9ms" for dev, handle in
              (("one", "b1ac:"), ("two", "5:"))]  # fmt: skip
    script = ["ip link add one type veth peer name two", f"nft add table inet {own}", f"nft add table inet {other}"]
    shell = " && ".join([*script, *queues, "echo made", "exec sleep 60"])
    with subprocess.Popen(["unshare", "-n", "sh", "-c", shell], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "made\n"
            source = NetworkFacts({"db": Boxed(process.pid)}, "R-1")  # type: ignore[dict-item]
            facts = await source.look()
        finally:
            process.kill()
    assert {key: source.is_ours(key, None, "there") for key in facts} == {
        f"table inet {own} in the network of db": True,
        f"table inet {other} in the network of db": False,
        "queue b1ac: of one in the network of db": True,
        "queue 5: of two in the network of db": False,
    }


class AttachedHost:
    def __init__(self, found: Identity | None, frozen: bool = False) -> None:
        self.found, self.is_frozen = found, frozen

    async def find(self) -> Identity | None:
        return self.found

    async def frozen(self, identity: Identity) -> bool:
        return self.is_frozen


class Container(AttachedHost):
    async def audit(self) -> Mapping[str, str]:
        return {"engine's state": "paused", "networks": "back, front"}


async def test_instances_are_ours_when_the_plan_breaks_them() -> None:
    hosts = {
        "gw": AttachedHost(Identity(pid=1)),
        "cache": AttachedHost(Identity(pid=2), frozen=True),
        "old": AttachedHost(None),
        "db": Container(Identity(container="c"), frozen=True),
    }
    source = InstanceFacts(hosts, frozenset({"db"}))  # type: ignore[arg-type]
    facts = await source.look()
    assert facts == {
        "instance gw": "runs",
        "instance cache": "stopped",
        "instance old": "does not run",
        "instance db": "stopped",
        "instance db, engine's state": "paused",
        "instance db, networks": "back, front",
    }
    assert [key for key in facts if source.is_ours(key, "runs", facts[key])] == [
        "instance db",
        "instance db, engine's state",
        "instance db, networks",
    ]


@pytest.mark.slow
async def test_a_process_of_ours_that_was_not_ended_is_found_journaled_or_marked(tmp_path: Path) -> None:
    from harness.stacks.launch import StateDir
    from harness.stacks.procfs import MARKER

    folder = tmp_path / "state"
    folder.mkdir()
    journal = Journal(tmp_path / "undo.jsonl")
    source = OwnProcesses(journal, lambda: str(folder) if folder.exists() else "")
    mark = {MARKER: StateDir.at(str(folder)).marker("gw")}
    sleep = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleep) as known, subprocess.Popen(sleep, env={**os.environ, **mark}) as marked:
        try:
            journal.append(Opened(run_id="r", pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring()))
            journal.append(Spawned(what="fault proxy", pid=known.pid, ticks=start_ticks(known.pid), order=PROXY))
            async with asyncio.timeout(20):
                while f"process {marked.pid}" not in (facts := await source.look()):
                    await asyncio.sleep(0.01)  # its environment is there once it has been executed
            assert facts[f"process {known.pid}"] == "fault proxy"
            assert facts[f"folder {folder}"] == "there, 0 files"
        finally:
            known.kill()
            marked.kill()
    journal.close()
    folder.rmdir()
    assert await source.look() == {}
