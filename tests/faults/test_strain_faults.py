"""cpu, memory, disk-fill: measured from outside, bounded by the machine, ended by their own watch."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InjectError, UnsafeError
from harness.faults import disk_fill, memory, strain, strained
from harness.faults.strained import helpers
from harness.model.plan import Target
from harness.model.ports import Identity
from harness.model.wiring import Wiring
from harness.registry import catalog
from harness.testing.conformance import check_injector
from harness.testing.fakes import FakeHost, FakeWorld

MIB = 1 << 20
A = Target(kind="instance", name="a")
CASES: dict[str, dict[str, Any]] = {
    "cpu": {"load": "50%", "workers": 1},
    "memory": {"size": "32MiB"},
    "disk-fill": {"size": "8MiB", "path": "${dir:a}"},
}


def made(kind: str, **params: Any) -> Any:
    found = catalog().fault(kind)
    return found.load()(found.params.model_validate(params))


class OurHost(FakeHost):
    """An instance that is this very process."""

    async def find(self) -> Identity:
        return Identity(pid=os.getpid(), start_ticks=1)


def world(folder: Path) -> FakeWorld:
    return FakeWorld(hosts={"a": OurHost("a")}, wiring=Wiring(dirs={"a": str(folder)}))


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "host"),
    [
        pytest.param(kind, host, marks=pytest.mark.cell(kind, host))
        for kind in CASES
        for host in ("process", "python", "pid")
    ],
)
async def test_uses_the_machine_of_an_instance_up(victim: Any, kind: str, host: str, tmp_path: Path) -> None:
    a = victim(host)
    await a.up()
    told = CASES[kind] | ({"path": str(tmp_path)} if kind == "disk-fill" else {})
    await check_injector(made(kind, **told), a.target, a.world)
    assert await a.accepts()


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
async def test_it_ends_by_its_own_watch(kind: str, tmp_path: Path) -> None:
    injector, around = made(kind, **CASES[kind]), world(tmp_path)
    state = injector.with_deadline(await injector.prepare(A, around), around.clock.now_ns() + 2_500_000_000)
    await injector.apply(state, around)
    pids = helpers(state.token)
    assert pids
    assert all(os.getsid(pid) != os.getsid(0) for pid in pids), "it must not go down with our terminal"
    deadline = time.monotonic() + 20
    while helpers(state.token):
        assert time.monotonic() < deadline, "it outlived its deadline"
        await asyncio.sleep(0.05)
    assert around.clock.now_ns() >= state.deadline_ns
    evidence = await injector.witness(state, around)
    assert (evidence.present, evidence.what) == (False, "no helper runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.live
@pytest.mark.slow
async def test_burners_die_with_their_parent(tmp_path: Path) -> None:
    injector, around = made("cpu", load="10%"), world(tmp_path)
    state = await injector.prepare(A, around)
    assert state.told["cpus"] == sorted(os.sched_getaffinity(0))
    await injector.apply(state, around)
    pids = helpers(state.token)
    parent = min(pids)
    assert len(pids) == 1 + len(state.told["cpus"])
    os.kill(parent, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while helpers(state.token):
        assert time.monotonic() < deadline, "a burner outlived its parent"
        await asyncio.sleep(0.02)


async def test_the_machine_keeps_its_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around = world(tmp_path)
    with pytest.raises(UnsafeError, match=r"1048576 MiB asked for, but only .* MiB can be taken"):
        await made("memory", size="1024GiB").prepare(A, around)
    monkeypatch.setattr(memory, "memory_room", lambda groups: 4 * MIB)
    with pytest.raises(UnsafeError, match="8 MiB asked for, but only 4 MiB can be taken"):
        await made("memory", size="8MiB").prepare(A, around)
    with pytest.raises(UnsafeError, match="at least 1024 MiB that stay free there; take less, or give the instance"):
        await made("disk-fill", leave="1023MiB", path="/").prepare(A, around)
    free = os.statvfs("/")
    nearly = free.f_bavail * free.f_frsize - 512 * MIB
    with pytest.raises(UnsafeError, match="stay free there"):
        await made("disk-fill", size=f"{nearly}B", path="/").prepare(A, around)
    with pytest.raises(InjectError, match="4096 workers, but instance a may use"):
        await made("cpu", workers=4096).prepare(A, around)


def test_memory_stops_at_the_floor_even_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    room = iter([64 * MIB, 64 * MIB, 8 * MIB])
    monkeypatch.setattr(strain, "memory_room", lambda groups: next(room))
    kept: list[Any] = []
    assert strain._memory({"size": 1024 * MIB}, kept) == 32 * MIB


def test_the_room_in_memory_is_less_than_what_is_available() -> None:
    available = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    assert strain.memory_room() <= available - 400 * MIB
    assert strain.memory_room(floor_ratio=1.0) < 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "expected either `size` or `leave`"),
        ({"size": "8MiB", "leave": "0B"}, "expected either `size` or `leave`"),
    ],
)
def test_a_disk_is_filled_by_a_size_or_to_a_rest(params: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made("disk-fill", **params)


async def test_a_folder_is_needed(tmp_path: Path) -> None:
    nowhere = FakeWorld(hosts={"a": OurHost("a")})
    with pytest.raises(InjectError, match="instance a has no folder of its own; say `path:`"):
        await made("disk-fill", size="8MiB").prepare(A, nowhere)
    with pytest.raises(InjectError, match="expected `path` to be a folder, absolute"):
        await made("disk-fill", size="8MiB", path="not/absolute").prepare(A, nowhere)


def test_a_share_of_a_processor_is_a_share() -> None:
    with pytest.raises(ValueError, match="at most 100%"):
        made("cpu", load="150%")


@pytest.mark.live
@pytest.mark.slow
async def test_it_is_reverted_when_the_helper_has_ended_not_when_its_command_line_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injector, around = made("disk-fill", **CASES["disk-fill"]), world(tmp_path)
    state = await injector.prepare(A, around)
    await injector.apply(state, around)
    (pid,) = helpers(state.token)
    kill = signal.pidfd_send_signal

    def slowly(handle: int, number: signal.Signals) -> None:
        """What a busy machine does: the kernel has taken the command line away and not yet closed the files."""
        monkeypatch.setattr(strained, "helpers", lambda token: ())
        asyncio.get_running_loop().call_later(0.2, kill, os.dup(handle), number)

    monkeypatch.setattr(signal, "pidfd_send_signal", slowly)
    await injector.revert(state, around)
    assert disk_fill._taken(pid) == 0
    monkeypatch.undo()
    assert not helpers(state.token)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let us mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.privileged
@pytest.mark.live
@pytest.mark.slow
async def test_a_full_disk_refuses_writes_and_is_as_empty_afterwards(small_disk: Path) -> None:
    injector, around = made("disk-fill", leave="0B"), world(small_disk)
    (small_disk / "kept").write_text("kept")
    free_before = os.statvfs(small_disk).f_bavail
    state = await injector.prepare(A, around)
    await injector.apply(state, around)
    assert (await injector.witness(state, around)).present
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "more").write_bytes(b"x" * 65536)
    (small_disk / "more").unlink()
    await injector.revert(state, around)
    assert (small_disk / "kept").read_text() == "kept"
    assert os.statvfs(small_disk).f_bavail == free_before


@pytest.mark.privileged
def test_which_file_systems_the_machine_needs(small_disk: Path) -> None:
    assert disk_fill._needed("/")
    assert not disk_fill._needed(str(small_disk))
    assert disk_fill._kinds(str(small_disk), None) == {"tmpfs"}


def test_a_container_has_no_folder_of_its_own_to_fill() -> None:
    kind = catalog().fault("disk-fill")
    for host in ("container", "compose"):
        assert (
            kind.refusal({"leave": 0}, host)
            == "a container has no folder of its own: say `path:`, a folder as it sees it"
        )
        assert kind.refusal({"leave": 0, "path": "/data"}, host) is None
    assert kind.refusal({"leave": 0}, "process") is None
