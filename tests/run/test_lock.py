"""B10: what two runs could meet at belongs to one of them; the other is refused and told who has it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnsafeError
from harness.model.stack import HostSpec, Instance, Link, Region, Stack
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.run import lock
from harness.run.journal import Closed, Journal, Opened
from harness.run.lock import lock_keys, locked, state_home

SEVEN, OTHER, FREE = (f"{name} of test {os.getpid()}" for name in ("pid 7", "stack a", "free"))
"""Keys are the machine's: these are ours, whatever other tests run on it."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKSTART_STATE", str(tmp_path / "state"))


def stack(name: str = "shop", base_dir: str = "/a", proxy: str = "embedded", **hosts: dict[str, Any]) -> Stack:
    instances = {
        each: Instance(name=each, host=HostSpec(kind=params.pop("kind", "pid"), params=params))
        for each, params in hosts.items()
    }
    links = {"db": Link(name="db", source="a", to="b")} if proxy != "embedded" else {}
    return Stack(name=name, base_dir=base_dir, instances=instances, links=links, fault_proxy=proxy)


def keys(*args: Any, **more: Any) -> tuple[str, ...]:
    return lock_keys(stack(*args, **more), catalog())


def never(run_dir: Path) -> None:
    raise AssertionError(f"nothing of {run_dir} needs to be finished")


def begun(run_dir: Path, *, closed: bool) -> Path:
    run_dir.mkdir()
    journal = Journal(run_dir / "undo.jsonl")
    journal.append(Opened(run_id=run_dir.name, pid=1, ticks=2, origin_ns=0, stack="s", wiring=Wiring()))
    if closed:
        journal.append(Closed(by="conductor"))
    journal.close()
    return run_dir


def test_a_stack_that_the_run_starts_whole_needs_no_lock() -> None:
    assert keys(gw={"kind": "process", "process": ["gw"]}) == ()
    assert keys(llm={"kind": "external", "external": "https://llm:8443"}) == ()


def test_an_attached_instance_is_one_thing_whatever_stack_names_it() -> None:
    one = keys(gw={"pid": {"file": "/run/gw.pid"}, "start": ["a"]})
    assert one == ('pid {"pid": {"file": "/run/gw.pid"}}', "stack shop in /a")
    other = keys("other", "/b", gateway={"pid": {"file": "/run/gw.pid"}, "start": ["b"], "stop": ["c"]})
    assert set(one) & set(other) == {'pid {"pid": {"file": "/run/gw.pid"}}'}
    assert set(one) & set(keys("third", gw={"pid": {"file": "/run/other.pid"}})) == set()
    assert keys("x", "/run", gw={"pid": {"file": "gw.pid"}})[0] == one[0], "relative to its document"


def test_fixed_ports_and_links_at_someones_proxy_are_shared() -> None:
    url = "http://127.0.0.1:8474"
    assert f"link db at {url}" in keys(proxy=url, a={"kind": "process", "process": ["a"]})
    fixed = Stack(
        name="s",
        base_dir="/a",
        instances={"a": Instance(name="a", host=HostSpec(kind="process", params={}), ports={"pg": 5432})},
        links={"db": Link(name="db", source="a", to="a", listen="127.0.0.1:15432")},
    )
    assert lock_keys(fixed, catalog()) == ("port 127.0.0.1:15432", "port 127.0.0.1:5432", "stack s in /a")


def test_ports_of_an_isolated_region_are_nobody_elses() -> None:
    own = Instance(name="a", region="r", host=HostSpec(kind="process", params={}), ports={"pg": 5432})
    isolated = {"r": Region(name="r", isolation="netns")}
    assert lock_keys(Stack(name="s", base_dir="/a", regions=isolated, instances={"a": own}), catalog()) == ()


def test_a_service_is_one_thing_whether_the_run_could_bring_it_up_or_not() -> None:
    attached = keys(db={"kind": "compose", "compose": "db", "project": "shop"})
    assert attached == keys(db={"kind": "compose", "compose": "db", "project": "shop", "file": "compose.yaml"})


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with locked((SEVEN, OTHER), "run-1", tmp_path / "run-1", never):
        with (
            pytest.raises(
                UnsafeError, match=rf"{SEVEN} is being used by run run-1 of \S+ \(pid {os.getpid()}, .*alive\)"
            ) as told,
            locked((FREE, SEVEN), "run-2", tmp_path / "run-2", never),
        ):
            pass
        assert told.value.remedy == "wait for it, or `blackstart halt run-1`"
        with locked((FREE,), "run-3", tmp_path / "run-3", never) as free:
            assert free.keys == (FREE,), "what the refused one had taken is free again"
    with locked((SEVEN,), "run-4", tmp_path / "run-4", never):
        pass


def test_a_holder_that_does_not_renew_its_lease_is_said_to_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(lock.time, "time", lambda: now[0])

    def refusal() -> str:
        with pytest.raises(UnsafeError) as told, locked((SEVEN,), "run-2", tmp_path / "run-2", never):
            pass
        return str(told.value)

    with locked((SEVEN,), "run-1", tmp_path / "run-1", never) as locks:
        now[0] += 25
        assert "last heard of 25 s ago, alive" in refusal()
        locks.renew()
        now[0] += 25
        assert "last heard of 25 s ago, alive" in refusal()
        now[0] += 10
        assert "last heard of 35 s ago, its lease ran out: it may hang" in refusal()


CRASH = """
import os, sys
from pathlib import Path
from harness.run.lock import locked
with locked((sys.argv[2],), "dead", Path(sys.argv[1]), lambda run_dir: None):
    os.kill(os.getpid(), 9)
"""


HOLDER = """
import pathlib, sys
from harness.run.lock import locked
with locked((sys.argv[2],), "run-9", pathlib.Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_another_user_with_a_state_directory_of_his_own_is_refused_too(tmp_path: Path) -> None:
    theirs = os.environ | {"BLACKSTART_STATE": str(tmp_path / "theirs")}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run-9"), SEVEN]
    with subprocess.Popen(command, env=theirs, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        wanted = f"{SEVEN} is being used by process {other.pid} of user .*another state directory"
        with pytest.raises(UnsafeError, match=wanted), locked((SEVEN,), "run-2", tmp_path / "run-2", never):
            pass
        with locked((FREE,), "run-2", tmp_path / "run-2", never):
            pass
        other.kill()
    with locked((SEVEN,), "run-2", tmp_path / "run-2", never) as held:
        assert held.keys == (SEVEN,), "it falls with its process"


@pytest.mark.slow
def test_a_dead_runs_lock_is_taken_over_only_once_its_journal_is_finished(tmp_path: Path) -> None:
    dead = begun(tmp_path / "dead", closed=False)
    done = subprocess.run([sys.executable, "-c", CRASH, str(dead), SEVEN], timeout=60)
    assert done.returncode == -9

    def cannot(run_dir: Path) -> None:
        raise UnsafeError(f"{run_dir.name} left something")

    with pytest.raises(UnsafeError, match="dead left something"), locked((SEVEN,), "run-2", tmp_path / "2", cannot):
        pass
    finished = []

    def finish(run_dir: Path) -> None:
        finished.append(run_dir)
        journal = Journal(run_dir / "undo.jsonl")
        journal.append(Closed(by="test"))
        journal.close()

    with locked((SEVEN,), "run-3", tmp_path / "run-3", finish):
        assert finished == [dead]
    with locked((SEVEN,), "run-4", tmp_path / "run-4", never):
        pass


@pytest.mark.parametrize("closed", [True, False])
def test_the_claim_of_a_run_that_is_not_clean_stays_written(tmp_path: Path, closed: bool) -> None:
    run_dir = begun(tmp_path / "run-1", closed=closed)
    with locked((SEVEN,), "run-1", run_dir, never):
        pass
    (file,) = (state_home() / "locks").iterdir()
    claim = json.loads(file.read_text() or "{}")
    assert claim.get("run_id") == (None if closed else "run-1")
    asked = []
    with contextlib.suppress(UnsafeError), locked((SEVEN,), "run-2", tmp_path / "run-2", asked.append):
        pass
    assert asked == ([] if closed else [run_dir])
